"""The studies at full size: figures and tables for docs/studies/.

    python benchmarks/studies.py reconstruction     # or texture, starts, grid, variants, arbitrary
    python benchmarks/studies.py all --size 256 --steps 300

Real VGG-19 weights are needed (see the README). Each study writes WebP sheets, tables as CSV and
Markdown, and a JSON file with its settings, seeds, machine and date.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, get_args

from common import EXAMPLES, machine

from arbstyle import __version__, studies
from arbstyle.images import find_images
from arbstyle.optimization.settings import Precision
from arbstyle.studies import Finding
from arbstyle.studies.arbitrary import SYSTEMS, from_one_style_to_any, read_pictures
from arbstyle.studies.reconstruction import BLOCKS, CONVOLUTIONS


def picture(name: str) -> Path:
    return EXAMPLES / f"{name}.jpg"


def search(args: argparse.Namespace) -> dict[str, Any]:
    return {"size": args.size, "steps": args.steps, "precision": args.precision}


def reconstruction(args: argparse.Namespace) -> Finding:
    return studies.content_reconstruction(
        picture("photo-cat"), layers=(*CONVOLUTIONS, *BLOCKS), **search(args)
    )


def texture(args: argparse.Namespace) -> Finding:
    return studies.texture_synthesis(picture("painting-night"), **search(args))


def starts(args: argparse.Namespace) -> Finding:
    return studies.transfer_starts(
        picture("photo-cat"),
        picture("painting-desert"),
        size=args.size,
        steps=args.long,
        every=max(1, args.long // 6),
        precision=args.precision,
    )


def grid(args: argparse.Namespace) -> Finding:
    photos = [picture(f"photo-{name}") for name in ("cat", "pagoda", "flower")]
    styles = [picture(f"painting-{name}") for name in ("night", "desert", "storm")]
    return studies.style_transfer_grid(photos, styles, **search(args))


def variants(args: argparse.Namespace) -> Finding:
    return studies.transfer_variants(picture("photo-cat"), picture("painting-desert"), **search(args))


def arbitrary(args: argparse.Namespace) -> Finding:
    if args.photos is None or args.styles is None:
        raise SystemExit("arbitrary needs --photos FOLDER and --styles FOLDER to train on")
    pictures = read_pictures(
        find_images(args.photos)[: args.most_photos],
        find_images(args.styles)[:: args.every],
        size=min(args.size, args.crop),
    )
    return from_one_style_to_any(
        pictures,
        counts=args.counts,
        seconds=args.seconds,
        systems=args.systems,
        compressed_vgg=args.compressed_vgg,
        report=lambda line: print(line, flush=True),
    )


def conditions() -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "arbstyle": __version__,
        "machine": machine(),
    }


STUDIES: dict[str, Callable[[argparse.Namespace], Finding]] = {
    study.__name__: study for study in (reconstruction, texture, starts, grid, variants, arbitrary)
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=[*STUDIES, "all"])
    parser.add_argument("--size", type=int, default=128, help="longer side in pixels (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="evaluations a picture (default: %(default)s)")
    parser.add_argument(
        "--long", type=int, default=300, help="evaluations to compare starts over (%(default)s)"
    )
    parser.add_argument(
        "--precision",
        default="auto",
        choices=get_args(Precision),
        help="of the evaluations; see `arbstyle optimize --help` (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, default=Path("docs/studies"), help="folder to write to")
    training = parser.add_argument_group("arbitrary")
    training.add_argument(
        "--photos", type=Path, metavar="DIR", help="to train on; the first four are held out"
    )
    training.add_argument("--styles", type=Path, metavar="DIR", help="to train on; eight are held out")
    training.add_argument("--most-photos", type=int, default=1000, help="(default: %(default)s)")
    training.add_argument("--every", type=int, default=1, help="take every so many a style (default: all)")
    training.add_argument("--counts", type=int, nargs="+", default=[8, 64, 512, 100_000], help="of styles")
    training.add_argument("--seconds", type=float, default=1200, help="of processor time for each training")
    training.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS, metavar="NAME")
    training.add_argument("--crop", type=int, default=96, help="side of the training pictures in pixels")
    training.add_argument("--compressed-vgg", type=Path, metavar="FILE", help="train through this network")
    args = parser.parse_args()
    for name in STUDIES if args.study == "all" else [args.study]:
        STUDIES[name](args).save(args.output, conditions())


if __name__ == "__main__":
    main()
