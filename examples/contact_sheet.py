"""Paint every example photo in eight styles of the gallery: the contact sheet of the README.

python examples/contact_sheet.py -o contact-sheet.jpg --preview docs/contact-sheet-small.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from arbstyle.images import from_pil, read_image, resize, write_image
from arbstyle.painting import Stylizer

FOLDER = Path(__file__).parent
PHOTOS = ["astronaut", "cat", "pagoda", "coffee", "rocket", "flower"]
STYLES = ["night", "irises", "pointillism", "lilies", "woodcut", "comic", "tahiti", "storm"]


def square(image: torch.Tensor, size: int) -> torch.Tensor:
    """The middle of a 1×3×H×W picture as a square of ``size`` pixels."""
    image = resize(image, size)
    top, left = ((side - size) // 2 for side in image.shape[2:])
    return image[..., top : top + size, left : left + size]


def contact_sheet(stylizer: Stylizer, size: int) -> torch.Tensor:
    """Styles along the top, photos down the left: 1×3×7·size×9·size."""
    works = [from_pil(stylizer.gallery[name].thumbnail) for name in STYLES]
    rows = [torch.cat([torch.ones(1, 3, size, size), *(square(work, size) for work in works)], dim=3)]
    for name in PHOTOS:
        photo = square(read_image(FOLDER / f"photo-{name}.jpg"), size)
        rows.append(torch.cat([photo, *(stylizer(photo, style) for style in STYLES)], dim=3))
    return torch.cat(rows, dim=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="contact-sheet.jpg", help="the full-size sheet")
    parser.add_argument("--preview", help="the README's, a third of the size")
    parser.add_argument("--size", type=int, default=384, help="side of each picture in pixels")
    parser.add_argument("--model", help="another model file than the one in the package")
    args = parser.parse_args()
    sheet = contact_sheet(Stylizer.from_pretrained(args.model), args.size)
    write_image(sheet, args.output, quality=70)
    if args.preview:
        write_image(resize(sheet, (sheet.shape[2] // 3, sheet.shape[3] // 3)), args.preview, quality=85)


if __name__ == "__main__":
    main()
