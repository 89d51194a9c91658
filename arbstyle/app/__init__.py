"""The page that `arbstyle app` serves, and that runs as a Space: what it does, and how it looks."""
