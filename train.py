"""Train a styler: `python train.py fit --config configs/default.yaml …` is `arbstyle train fit …`."""

from __future__ import annotations

import sys

from arbstyle.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
