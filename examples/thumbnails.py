"""The five thumbnails of the README, made anew for a new model.

python examples/thumbnails.py -o docs/images

The pictures of optimisation and training are cut from docs/images/transfers.jpg and progress.jpg, which their
own scripts make.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image

from arbstyle import Stylizer

FOLDER = Path(__file__).parent
IMAGES = FOLDER.parent / "docs" / "images"
SIDE = 240


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=IMAGES)
    args = parser.parse_args()
    stylizer = Stylizer.from_pretrained()
    thumbnails = {
        "stylize": halves(stylizer, "photo-pagoda.jpg", "painting-night.jpg"),
        "optimize": middle(Image.open(IMAGES / "transfers.jpg")),
        "composite": square(Image.open(IMAGES / "dahlia-moon-painted.webp")),
        "dataset": mosaic(stylizer),
        "train": middle(Image.open(IMAGES / "progress.jpg")),
    }
    for name, picture in thumbnails.items():
        picture.convert("RGB").save(args.output / f"five-{name}.webp", quality=80)


def square(picture: Image.Image, side: int = SIDE) -> Image.Image:
    """The largest square in the middle, resized."""
    short = min(picture.size)
    left, top = (picture.width - short) // 2, (picture.height - short) // 2
    return picture.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.LANCZOS)


def middle(picture: Image.Image) -> Image.Image:
    """A square of half the short side, from the middle of a sheet."""
    half = min(picture.size) // 4
    x, y = picture.width // 2, picture.height // 2
    return square(picture.crop((x - half, y - half, x + half, y + half)))


def halves(stylizer: Stylizer, photo: str, style: str) -> Image.Image:
    """The photo on the left, its painting on the right."""
    whole = square(Image.open(FOLDER / photo).convert("RGB"), 2 * SIDE)
    painted = stylizer(whole, FOLDER / style)
    whole.paste(painted.crop((SIDE, 0, 2 * SIDE, 2 * SIDE)), (SIDE, 0))
    return square(whole)


def mosaic(stylizer: Stylizer, count: int = 3) -> Image.Image:
    """Nine small photos, each in a style drawn for it."""
    draw = random.Random(0)
    photos = sorted(FOLDER.glob("photo-*.jpg"))
    styles = sorted(path for path in FOLDER.glob("*.jpg") if path not in photos)
    sheet = Image.new("RGB", (SIDE, SIDE))
    side = SIDE // count
    for place in range(count * count):
        photo = square(Image.open(photos[place % len(photos)]).convert("RGB"), 4 * side)
        painted = stylizer(photo, draw.choice(styles))
        sheet.paste(square(painted, side), (place % count * side, place // count * side))
    return sheet


if __name__ == "__main__":
    main()
