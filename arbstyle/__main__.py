"""`python -m arbstyle` is the `arbstyle` command."""

from __future__ import annotations

import sys

from arbstyle.cli import main

if __name__ == "__main__":
    sys.exit(main())
