"""Paint the same pairs with one model after the other: how a training went.

python examples/progress.py FIRST.safetensors LATER.safetensors … -o docs/images/progress.jpg
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from contact_sheet import FOLDER, PHOTOS, square
from torch import Tensor

from arbstyle.images import contact_sheet, read_image, write_image
from arbstyle.painting import Stylizer

STYLES = [f"painting-{name}" for name in ("night", "desert", "storm", "venice", "blossom", "letter")]


def progress_sheet(models: Sequence[str], size: int) -> Tensor:
    """Photos along the top, their styles below, then a row a model: 1×3×H×W."""
    photos = [square(read_image(FOLDER / f"photo-{name}.jpg"), size) for name in PHOTOS]
    styles = [read_image(FOLDER / f"{name}.jpg") for name in STYLES]
    rows = [photos, [square(style, size) for style in styles]]
    for model in models:
        stylizer = Stylizer.from_pretrained(model)
        rows.append([stylizer(photo, style) for photo, style in zip(photos, styles, strict=True)])
    return contact_sheet(rows, gap=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="model files, the first one trained the least")
    parser.add_argument("-o", "--output", default="progress.jpg")
    parser.add_argument("--size", type=int, default=256, help="side of each picture in pixels")
    args = parser.parse_args()
    write_image(progress_sheet(args.models, args.size), args.output, quality=85)


if __name__ == "__main__":
    main()
