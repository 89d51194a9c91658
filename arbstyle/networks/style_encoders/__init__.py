"""Style encoders: a style picture (or its number) in, a style code out. One file a system."""
