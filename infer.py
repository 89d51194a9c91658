"""Stylise pictures: `python infer.py photo.jpg --style painting.jpg` is `arbstyle stylize …`."""

from __future__ import annotations

import sys

from arbstyle.cli import main

if __name__ == "__main__":
    sys.exit(main(["stylize", *sys.argv[1:]]))
