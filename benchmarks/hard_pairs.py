"""Twelve pairs that are hard to paint, by several systems, on one sheet to look at.

python benchmarks/hard_pairs.py --content PHOTOS --style PAINTINGS --earlier MODEL --microast CLONE -o x.webp

PHOTOS and PAINTINGS are folders of the StyleID evaluation, 00 to 19 and 00 to 39. From left to right: photo,
style, an earlier model (if one is named), this one, this one with --stroke 2, MicroAST (if a clone is named,
see peers.py), and Gatys' optimisation. Pictures in --folder are used again, by whatever settings they were
painted: name a new folder for others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from peers import microast
from torch import Tensor

from arbstyle import Stylizer
from arbstyle.cli import main as arbstyle
from arbstyle.images import find_images, read_image, resize, write_image

PAIRS = (
    *("00/20", "03/09", "05/22", "06/32", "07/12", "08/26"),
    *("09/10", "12/35", "13/03", "17/36", "18/00", "19/05"),
)

Painter = Callable[[Path, Path, Path], object]
"""Photo, style and output."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--content", required=True)
    parser.add_argument("--style", required=True)
    parser.add_argument("--earlier", help="another model file")
    parser.add_argument("--microast", type=Path, help="a copy of its repository")
    parser.add_argument("--pairs", nargs="+", default=PAIRS, metavar="PHOTO/STYLE")
    parser.add_argument("--size", type=int, default=320, help="shorter side of the photos in pixels")
    parser.add_argument("--steps", type=int, default=300, help="evaluations of the optimisation; 0: none")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/hard-pairs"))
    parser.add_argument("-o", "--output", required=True)
    args = parser.parse_args()
    photos, styles = ({path.stem: path for path in find_images(each)} for each in (args.content, args.style))
    methods = painters(args)
    rows = []
    for names in (pair.split("/") for pair in args.pairs):
        pair = photos[names[0]], styles[names[1]]
        cells = [read_image(each, size=args.size) for each in pair]
        for method, paint in methods.items():
            output = args.folder / method / f"{'__'.join(names)}.png"
            if not output.exists():
                output.parent.mkdir(parents=True, exist_ok=True)
                paint(*pair, output)
            cells.append(read_image(output))
        rows.append(torch.cat([tile(cell, args.size) for cell in cells], dim=3))
        print("/".join(names), flush=True)
    write_image(torch.cat(rows, dim=2), args.output, quality=80)


def painters(args: argparse.Namespace) -> dict[str, Painter]:
    """By name, in the order of the columns."""
    size = args.size
    found = {"earlier": by_model(args.earlier, size)} if args.earlier else {}
    found |= {"ours": by_model(None, size), "stroke-2": by_model(None, size, stroke=2)}
    if args.microast:
        found["microast"] = by_microast(args.microast, size)
    if args.steps:
        found["optimised"] = by_optimisation(args.steps, size)
    return found


def by_model(model: str | None, size: int, **how: int) -> Painter:
    stylizer = Stylizer.from_pretrained(model)

    def paint(photo: Path, style: Path, output: Path) -> None:
        painted = stylizer.stylize(read_image(photo, size=size), read_image(style, size=size), **how)
        write_image(painted, output)

    return paint


def by_optimisation(steps: int, size: int) -> Painter:
    def paint(photo: Path, style: Path, output: Path) -> None:
        longer = max(read_image(photo, size=size).shape[2:])
        how = ["--style", str(style), "--steps", str(steps), "--size", str(longer), "--precision", "auto"]
        if arbstyle(["optimize", str(photo), *how, "-o", str(output)]):
            raise SystemExit(2)

    return paint


def by_microast(clone: Path, size: int) -> Painter:
    painter = microast(clone)

    def paint(photo: Path, style: Path, output: Path) -> None:
        with torch.inference_mode():
            painted = painter(read_image(photo, size=size), read_image(style, size=size))
        write_image(painted, output)

    return paint


def tile(picture: Tensor, side: int) -> Tensor:
    """The middle of a picture, side×side."""
    height, width = picture.shape[2:]
    scale = side / min(height, width)
    picture = resize(picture, (round(height * scale), round(width * scale)))
    top, left = ((length - side) // 2 for length in picture.shape[2:])
    return picture[..., top : top + side, left : left + side]


if __name__ == "__main__":
    main()
