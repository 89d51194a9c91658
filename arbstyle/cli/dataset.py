"""`arbstyle dataset`: a whole data set repainted."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from arbstyle.restyling.local import Engine

HELP = "repaint a whole data set, each picture in a style drawn for it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Beside the results, OUTPUT.manifest holds manifest.csv, a row for every picture with its style, "
        "strength, seed, and error if it has one. Exit code 1: some pictures could not be painted."
    )
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="a folder of pictures, of parquet or arrow tables or of WebDataset shards (.tar); a file or "
        "quoted pattern of such; or a hub name (owner/name)",
    )
    parser.add_argument(
        "--styles",
        nargs="+",
        required=True,
        metavar="PAINTINGS",
        help="pictures, folders of pictures, files of 'arbstyle style save'",
    )
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="where the results go")

    drawing = parser.add_argument_group("what is drawn for a picture, from the seed and its key")
    drawing.add_argument(
        "--seed", type=int, default=0, help="another one draws other styles (default: %(default)s)"
    )
    drawing.add_argument(
        "--per-image",
        type=int,
        default=1,
        metavar="N",
        help="copies, each in another style (default: %(default)s)",
    )
    drawing.add_argument(
        "--strength",
        default="1",
        metavar="S or LOW-HIGH",
        help="0 is the photo, 1 the style; a range is drawn from (default: %(default)s)",
    )
    drawing.add_argument(
        "--key", default="", metavar="COLUMN", help="what tells a table's rows apart (default: file and row)"
    )
    drawing.add_argument("--split", default="train", help="of a hub name (default: %(default)s)")

    painting = parser.add_argument_group("painting")
    painting.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="short side to work at and to write (default: the picture's)",
    )
    painting.add_argument(
        "--style-size",
        type=int,
        default=256,
        metavar="PIXELS",
        help="short side at which styles are looked at (default: %(default)s)",
    )
    painting.add_argument(
        "--keep-colors",
        choices=("none", "luminance"),
        default="none",
        help="luminance keeps each picture's own colours (default: %(default)s)",
    )

    results = parser.add_argument_group("results")
    results.add_argument(
        "--to",
        choices=("same", "folder", "parquet", "webdataset"),
        default="same",
        help="their form (default: %(default)s as the input's)",
    )
    results.add_argument(
        "--format",
        choices=("same", "jpg", "png", "webp"),
        default="same",
        help="of every picture (default: %(default)s as it had)",
    )
    results.add_argument("--quality", type=int, default=95, help="of JPEG and WebP (default: %(default)s)")
    results.add_argument(
        "--part-size",
        type=int,
        metavar="N",
        help="pictures a table or shard, and a worker's turn (default: 1000, in folders 100)",
    )
    results.add_argument(
        "--resume", action="store_true", help="do what an interrupted run left, and what failed"
    )

    machine = parser.add_argument_group("model and machines")
    machine.add_argument("--model", metavar="FILE", help="another model than the packaged one")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    machine.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help="auto is bf16 on a CPU made for it, else fp32 (default: %(default)s)",
    )
    machine.add_argument("--vgg-weights", metavar="FILE", help="for models that contain a VGG")
    machine.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="processes of this machine, or Ray on any number of machines (default: %(default)s)",
    )
    machine.add_argument(
        "--address", default="", help="of a Ray cluster: HOST:PORT, or auto (default: start Ray here)"
    )
    machine.add_argument(
        "--workers", type=int, metavar="N", help="processes of one thread (default: one a core, or a GPU)"
    )


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from arbstyle.restyling.job import plan

    job = plan(
        args.input,
        args.styles,
        args.output,
        _engine(args),
        form=args.to,
        resume=args.resume,
        key=args.key,
        split=args.split,
        part_size=args.part_size,
        warn=lambda message: print(f"arbstyle: {message}", file=sys.stderr),
        seed=args.seed,
        per_image=args.per_image,
        strength=_range(args.strength),
        size=args.size,
        style_size=args.style_size,
        keep_colors=args.keep_colors,
        format=args.format,
        quality=args.quality,
        model=args.model,
        device=args.device,
        precision=args.precision,
        vgg_weights=args.vgg_weights,
    )
    with tqdm(unit="picture", dynamic_ncols=True, smoothing=0.05) as bar:
        for progress in job.run():
            if bar.total is None:
                bar.reset(progress.total)
                bar.initial = bar.n = progress.finished
            bar.set_postfix_str(f"{progress.failed} failed" if progress.failed else "", refresh=False)
            bar.update(progress.so_far - bar.n)
    counts = f"{progress.done} painted, {progress.finished} were there, {progress.failed} failed"
    print(f"{counts}; see {job.manifest}")
    return 1 if progress.failed else 0


def _engine(args: argparse.Namespace) -> Engine:
    from arbstyle.restyling.local import LocalEngine
    from arbstyle.restyling.ray_engine import RayEngine

    if args.workers is not None and args.workers < 1:
        raise ArbstyleError(f"expected --workers of at least 1, got {args.workers}")
    if args.address and args.engine != "ray":
        raise ArbstyleError("--address names a Ray cluster; add --engine ray")
    return RayEngine(args.address, args.workers) if args.engine == "ray" else LocalEngine(args.workers)


def _range(text: str) -> tuple[float, float]:
    low, dash, high = text.partition("-")
    try:
        return float(low), float(high if dash else low)
    except ValueError as error:
        raise ArbstyleError(f"expected a --strength such as 0.8 or 0.5-1, got '{text}'") from error
