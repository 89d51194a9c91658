"""`arbstyle composite`: a part of one picture set into another, without a visible border."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

import arbstyle
from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from torch import Tensor

    from arbstyle.images import Picture

HELP = "set a part of one picture into another by Poisson blending, without a visible border"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("foreground", metavar="FOREGROUND", help="the picture to take a part from")
    parser.add_argument("background", metavar="BACKGROUND", help="the picture to set it into")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the result")
    parser.add_argument(
        "--mask",
        metavar="FILE",
        help="white where the foreground is taken, stretched to it (default: all that is not transparent)",
    )
    parser.add_argument(
        "--at",
        metavar="X,Y",
        help="place of the foreground's upper left corner, in the background's pixels, as in 40,120; for a "
        "negative one write --at=-40,0 (default: centred)",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="of the foreground, before it is placed (default: %(default)s)",
    )
    parser.add_argument(
        "--gradients",
        choices=("normal", "mixed"),
        default="normal",
        help="mixed lets the background's texture show through (default: %(default)s)",
    )

    painting = parser.add_argument_group("painting")
    painting.add_argument("--style", metavar="STYLE", help="paint the composite in the style of a picture")
    painting.add_argument(
        "--strength", type=float, default=1.0, help="0 is the photo, 1 the style (default: %(default)s)"
    )
    painting.add_argument("--model", metavar="FILE", help="another model than the packaged one")
    painting.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")

    file = parser.add_argument_group("result")
    file.add_argument(
        "--quality", type=int, default=95, help="of JPEG and WebP, 1 to 100 (default: %(default)s)"
    )
    file.add_argument(
        "--bits",
        type=int,
        choices=(8, 16),
        default=8,
        help="a channel; 16 in PNG only (default: %(default)s)",
    )
    file.add_argument("--no-metadata", action="store_true", help="do not note program and style in the file")


def run(args: argparse.Namespace) -> int:
    from arbstyle.compositing import read_and_composite
    from arbstyle.images import check_output_path, write_image

    check_output_path(args.output)
    inputs = [name for name in (args.foreground, args.background, args.mask, args.style) if name]
    if Path(args.output).resolve() in {Path(name).resolve() for name in inputs}:
        raise ArbstyleError(f"the result '{args.output}' would replace an input; give another --output")
    picture = read_and_composite(
        args.foreground,
        args.background,
        mask=args.mask,
        at=None if args.at is None else _place(args.at),
        scale=args.scale,
        gradients=args.gradients,
    )
    pixels = picture.pixels if args.style is None else _painted(picture, args)
    notes = {"Software": f"arbstyle {arbstyle.__version__}", **({"Style": args.style} if args.style else {})}
    write_image(
        pixels,
        args.output,
        alpha=picture.alpha,
        exif=picture.exif,
        quality=args.quality,
        bits=args.bits,
        text={} if args.no_metadata else notes,
    )
    print(args.output)
    return 0


def _place(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(-?\d{1,9})\s*,\s*(-?\d{1,9})\s*", text)
    if found is None:
        raise ArbstyleError(f"expected a place --at X,Y in pixels, as in 40,120, got '{text}'")
    return int(found[1]), int(found[2])


def _painted(picture: Picture, args: argparse.Namespace) -> Tensor:
    from arbstyle.painting import Stylizer

    stylizer = Stylizer.from_pretrained(args.model, args.device)
    return stylizer.stylize(picture.pixels, args.style, args.strength)
