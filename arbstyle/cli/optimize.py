"""`arbstyle optimize`: pictures painted by optimisation (Gatys et al. 2016)."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from torch import Tensor

    from arbstyle.optimization import Evaluation, Optimized

HELP = "paint by optimisation: style transfer, texture synthesis, reconstruction"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "CONTENT and --style transfer the style, --style alone makes a texture, CONTENT alone shows what the "
        "content layers keep of it. Layers are named conv4_2, relu4_2, pool4 or block4. Put CONTENT first. "
        "Ctrl-C saves the best picture so far."
    )
    parser.add_argument("content", nargs="?", type=Path, metavar="CONTENT", help="photo to repaint")
    parser.add_argument(
        "--style",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE[:WEIGHT]",
        help="style pictures; with weights, as in a.jpg:0.6 b.jpg:0.4, they are mixed in that ratio",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="picture to write")

    search = parser.add_argument_group("search")
    search.add_argument(
        "--steps",
        type=int,
        default=300,
        metavar="N",
        help="evaluations of the loss, in all (default: %(default)s)",
    )
    search.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="longer side of the result (default: that of CONTENT or the first style, at most 512)",
    )
    search.add_argument(
        "--scales",
        type=int,
        default=1,
        metavar="N",
        help="sizes from coarse to fine, each double the one before (default: %(default)s)",
    )
    search.add_argument(
        "--init",
        metavar="content|noise|white-noise|style|FILE",
        help="where to start (default: content for a transfer, else noise)",
    )
    search.add_argument(
        "--optimizer", choices=("lbfgs", "adam"), default="lbfgs", help="(default: %(default)s)"
    )
    search.add_argument(
        "--learning-rate", type=float, default=0.05, metavar="RATE", help="of adam (default: %(default)s)"
    )
    search.add_argument(
        "--basis",
        choices=("fourier", "pixels"),
        default="fourier",
        help="of what is optimised; fourier has decorrelated colours (default: %(default)s)",
    )
    search.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the noise (default: %(default)s)"
    )

    loss = parser.add_argument_group("loss")
    layers: dict[str, Any] = {"nargs": "+", "metavar": "LAYER[:WEIGHT]"}
    loss.add_argument("--content-layers", **layers, default=["relu4_2"], help="(default: relu4_2)")
    style_layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    loss.add_argument(
        "--style-layers", **layers, default=style_layers, help=f"(default: {' '.join(style_layers)})"
    )
    weight: dict[str, Any] = {"type": float, "metavar": "WEIGHT"}
    loss.add_argument("--content-weight", **weight, default=1.0, help="(default: %(default)s)")
    loss.add_argument("--style-weight", **weight, default=1.0, help="(default: %(default)s)")
    loss.add_argument(
        "--tv-weight", **weight, default=0.0, help="of total variation, for smoothness (default: %(default)s)"
    )
    loss.add_argument(
        "--style-scale",
        type=float,
        default=1.0,
        metavar="RATIO",
        help="longer side of the style pictures over that of the result (default: %(default)s)",
    )
    loss.add_argument(
        "--style-statistic",
        choices=("gram", "moments", "both"),
        default="gram",
        help="moments are channel means and standard deviations (default: %(default)s)",
    )
    loss.add_argument(
        "--balance",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="divide each layer's error by the mean square of its target (default: yes)",
    )

    network = parser.add_argument_group("network")
    network.add_argument(
        "--encoder", choices=("vgg19", "vgg16"), default="vgg19", help="(default: %(default)s)"
    )
    network.add_argument(
        "--vgg-weights",
        metavar="FILE",
        help=".safetensors or .pth (default: ARBSTYLE_VGG19 or ARBSTYLE_VGG16, else torchvision's download)",
    )
    network.add_argument("--pooling", choices=("max", "avg"), default="max", help="(default: %(default)s)")
    network.add_argument(
        "--normalize-filters",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="rescale filters to mean activations of 1 (default: yes)",
    )
    network.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, mps or auto: cuda where there is one (default: %(default)s)",
    )

    record = parser.add_argument_group("record")
    record.add_argument("--history", type=Path, metavar="FILE.csv", help="the loss terms of every evaluation")
    record.add_argument("--plot", type=Path, metavar="FILE.png", help="the same drawn (needs matplotlib)")
    record.add_argument("--frames", type=Path, metavar="DIR", help="pictures on the way, for a film")
    record.add_argument(
        "--frames-every",
        type=int,
        default=10,
        metavar="N",
        help="evaluations between two frames (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    from arbstyle.images import read_picture, resize, write_image
    from arbstyle.optimization import Settings, optimize, plot_history

    styles, style_weights = _split_weights(args.style)
    _check_outputs(args, [*filter(None, [args.content]), *styles])
    fields = {field.name for field in dataclasses.fields(Settings)}
    chosen = {name: value for name, value in vars(args).items() if name in fields}
    settings = Settings(**chosen, style_weights=style_weights)
    photo = read_picture(args.content, background=None) if args.content else None

    with _Progress(args) as progress:
        result = optimize(args.content, styles, settings, callback=progress)

    size = (result.image.shape[-2], result.image.shape[-1])
    write_image(
        result.image,
        args.output,
        alpha=resize(photo.alpha, size) if photo and photo.alpha is not None else None,
        exif=photo.exif if photo else None,
    )
    if args.history:
        result.save_history(args.history)
    if args.plot:
        plot_history(result.history, args.plot)
    return _report(result, args)


def _split_weights(texts: Sequence[str]) -> tuple[list[Path], list[float] | None]:
    """Files and weights of `FILE[:WEIGHT]`; no weights if none is given, else 1 where it is left out."""
    paths: list[Path] = []
    weights: list[float | None] = []
    for text in texts:
        name, colon, number = text.rpartition(":")
        if not colon or Path(text).exists():
            paths.append(Path(text))
            weights.append(None)
            continue
        try:
            weight = float(number)
        except ValueError:
            weight = -1.0
        if not name or not 0 <= weight < float("inf"):
            raise ArbstyleError(
                f"--style expects FILE or FILE:WEIGHT with a weight of 0 or more, got '{text}'"
            )
        paths.append(Path(name))
        weights.append(weight)
    if all(weight is None for weight in weights):
        return paths, None
    return paths, [1.0 if weight is None else weight for weight in weights]


def _check_outputs(args: argparse.Namespace, inputs: Sequence[Path]) -> None:
    """Whatever can't be written is known before the long work."""
    from arbstyle.images import check_output_path

    check_output_path(args.output)
    if args.history:
        check_output_path(args.history, (".csv",))
    if args.plot:
        check_output_path(args.plot, (".png", ".pdf", ".svg"))
        if importlib.util.find_spec("matplotlib") is None:
            raise ArbstyleError("--plot needs matplotlib: pip install 'arbstyle[plot]'")
    if args.frames:
        check_output_path(_frame_path(args.frames, 1))
    if args.frames_every < 1:
        raise ArbstyleError(f"expected --frames-every 1 or more, got {args.frames_every}")
    taken = {os.path.abspath(path): "is an input" for path in inputs}
    for path in filter(None, (args.output, args.plot)):
        where = os.path.abspath(path)
        if where in taken:
            raise ArbstyleError(f"{path} {taken[where]}; write to another file")
        taken[where] = "is already the output"


def _frame_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.png"


class _Progress:
    """Callback that keeps a progress bar and writes frames."""

    def __init__(self, args: argparse.Namespace) -> None:
        from tqdm import tqdm

        self.frames: Path | None = args.frames
        self.frames_every: int = args.frames_every
        self.bar = tqdm(total=args.steps, unit="evaluation", disable=None, dynamic_ncols=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def __call__(self, evaluation: Evaluation, image: Tensor) -> None:
        from arbstyle.images import resize, write_image

        self.bar.set_postfix_str(_terms(evaluation), refresh=False)
        self.bar.update()
        if self.frames is not None and (evaluation.number - 1) % self.frames_every == 0:
            full_size = resize(image.cpu(), evaluation.full_size)
            write_image(full_size, _frame_path(self.frames, evaluation.number))


def _terms(evaluation: Evaluation) -> str:
    parts = ("content", "style", "tv")
    terms = ", ".join(f"{part} {value:.3g}" for part in parts if (value := getattr(evaluation, part)))
    return f"loss {evaluation.total:.3g} ({terms})"


def _report(result: Optimized, args: argparse.Namespace) -> int:
    """Say what came of it; the exit code."""
    done = len(result.history)
    if result.stopped == "interrupted":
        _warn(f"interrupted after {done} of {args.steps} evaluations; best picture so far: {args.output}")
        return 130
    if result.stopped == "non-finite":
        _warn(f"the loss was not a finite number after {done} evaluations; last good picture: {args.output}")
        return 1
    height, width = result.image.shape[-2:]
    effort = f"{done} evaluations in {result.seconds:.0f} s"
    print(f"{args.output}: {width}×{height}, {effort}, {_terms(result.best)}")
    shares = [f"{name} {share:.0%}" for name, share in result.best.shares().items()]
    print(f"shares of the terms: {', '.join(shares)}")
    if result.stopped == "converged":
        print(f"stopped before {args.steps} evaluations: the loss falls no further")
    return 0


def _warn(message: str) -> None:
    print(f"arbstyle: {message}", file=sys.stderr)
