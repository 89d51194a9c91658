"""Evidence for the optimisation: each subcommand prints a table for docs/optimization.md and keeps it as CSV.

python benchmarks/optimize.py reconstruction
python benchmarks/optimize.py texture
python benchmarks/optimize.py transfer        # from the content and from noise
python benchmarks/optimize.py optimizers
python benchmarks/optimize.py overhead
python benchmarks/optimize.py scales
python benchmarks/optimize.py precision

All on the pictures in examples/, with VGG-19 weights from ARBSTYLE_VGG19 or torchvision. Where times count,
the contenders take turns within one run, because a machine's speed drifts.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torchvision
from common import machine
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import read_image, resize, write_image
from arbstyle.optimization import LossRecord, Optimized, Settings, optimize
from arbstyle.optimization.settings import Basis
from arbstyle.perception import IMAGENET_MEAN, IMAGENET_STD

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PAINTINGS = ("painting-desert", "painting-storm", "drawing-oz")
Row = dict[str, object]


def example(name: str, size: int) -> Tensor:
    """An example picture with a longer side of `size` pixels."""
    return resize(read_image(EXAMPLES / f"{name}.jpg"), size, edge="long")


def psnr(image: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB; peak 1."""
    return -10 * math.log10(float((image - reference).square().mean()))


def evaluations_to_reach(history: Sequence[LossRecord], total: float) -> int | None:
    """Number of the first evaluation with a loss of at most `total`."""
    return next((evaluation.number for evaluation in history if evaluation.total <= total), None)


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f} %"


class Report:
    """A table that grows on the screen and in a CSV file, and the pictures that belong to it."""

    def __init__(self, args: argparse.Namespace, settings: str) -> None:
        self.folder: Path = args.output
        self.name: str = args.benchmark
        self.rows: list[Row] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        print(f"{self.name}: {settings}; {machine()}", flush=True)

    def add(self, row: Row) -> None:
        if not self.rows:
            print(f"| {' | '.join(row)} |\n|{'---|' * len(row)}", flush=True)
        print(f"| {' | '.join(map(str, row.values()))} |", flush=True)
        self.rows.append(row)
        with (self.folder / f"{self.name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(self.rows)

    def picture(self, result: Optimized, label: str) -> None:
        write_image(result.image, self.folder / f"{self.name}-{label}.png")
        result.save_history(self.folder / f"{self.name}-{label}.csv")


# --- what comes out -----------------------------------------------------------------------------


def reconstruction(args: argparse.Namespace) -> None:
    """PSNR of a photo reconstructed from noise, layer by layer; the deepest with two seeds."""
    photo = example(args.photo, args.size)
    report = Report(args, f"{args.photo}, {args.size} px, {args.steps} evaluations from noise")
    runs = [(layer, 0) for layer in args.layers] + [(args.layers[-1], 1)]
    results: dict[tuple[str, int], Optimized] = {}
    for layer, seed in runs:
        result = optimize(photo, content_layers=[layer], steps=args.steps, seed=seed)
        results[layer, seed] = result
        report.picture(result, f"{layer}-seed{seed}")
        report.add(
            {
                "layer": layer,
                "seed": seed,
                "PSNR, dB": f"{psnr(result.image, photo):.1f}",
                "content term, of its start": percent(result.best.content, result.history[0].content),
            }
        )
    first, second = (results[args.layers[-1], seed].image for seed in (0, 1))
    print(f"between the two seeds: PSNR {psnr(first, second):.1f} dB")


def texture(args: argparse.Namespace) -> None:
    """Style term of textures, against its start, from white noise and from clouds."""
    report = Report(args, f"{args.size} px, {args.steps} evaluations")
    for painting in args.paintings:
        for init in ("white-noise", "noise"):
            result = optimize(None, example(painting, args.size), steps=args.steps, init=init)
            report.picture(result, f"{painting}-{init}")
            start = result.history[0].style
            row: Row = {"painting": painting, "from": init, "style term at the start": f"{start:.4g}"}
            for number in (50, 100, args.steps):
                best = min(evaluation.style for evaluation in result.history[:number])
                row[f"after {number}"] = percent(best, start)
            report.add(row)


def transfer(args: argparse.Namespace) -> None:
    """Style terms against their values at the noise starts; and where to start from."""
    photo = example(args.photo, args.size)
    report = Report(args, f"{args.photo}, {args.size} px, {args.steps} evaluations, default weights")
    for painting in args.paintings:
        style = example(painting, args.size)
        inits = ("content", "noise", "white-noise")
        results = {init: optimize(photo, style, steps=args.steps, init=init) for init in inits}
        for init, result in results.items():
            report.picture(result, f"{painting}-{init}")
            best, history = result.best, results["content"].history
            report.add(
                {
                    "painting": painting,
                    "from": init,
                    "style term at the start": f"{result.history[0].style:.4g}",
                    "at the end": f"{best.style:.4g}",
                    "of white noise's": percent(best.style, results["white-noise"].history[0].style),
                    "of clouds'": percent(best.style, results["noise"].history[0].style),
                    "loss at the end": f"{best.total:.4f}",
                    "from content after": evaluations_to_reach(history, best.total) or f"> {args.steps}",
                }
            )


def optimizers(args: argparse.Namespace) -> None:
    """The same loss by L-BFGS and by Adam, and in both bases."""
    photo, style = example(args.photo, args.size), example(args.paintings[0], args.size)
    report = Report(args, f"{args.photo} as {args.paintings[0]}, {args.size} px, from {args.init}")
    contenders: list[tuple[str, dict]] = [
        ("L-BFGS, Fourier", {}),
        ("L-BFGS, pixels", {"basis": "pixels"}),
    ]
    for rate in args.learning_rates:
        contenders.append((f"Adam {rate}, Fourier", {"optimizer": "adam", "learning_rate": rate}))
    for rate in args.learning_rates:
        changes = {"optimizer": "adam", "learning_rate": rate, "basis": "pixels"}
        contenders.append((f"Adam {rate}, pixels", changes))
    for name, changes in contenders:
        result = optimize(photo, style, steps=args.steps, init=args.init, **changes)
        row: Row = {"optimiser": name}
        for number in (25, 50, 100, 200, 300):
            if number <= args.steps:
                row[str(number)] = f"{min(e.total for e in result.history[:number]):.4f}"
        report.add(row)


# --- what it costs ------------------------------------------------------------------------------


class BareNetwork:
    """torchvision's own layers to relu5_1, forward and backward; the weights don't matter for the time.

    Args:
        memory_format: torchvision's own is contiguous; channels last is what ours computes in, too.
    """

    def __init__(self, memory_format: torch.memory_format) -> None:
        layers = torchvision.models.vgg19(weights=None).features[:30].requires_grad_(False)
        self.network = layers.to(memory_format=memory_format)
        self.memory_format = memory_format
        self.mean, self.std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))

    def seconds(self, image: Tensor) -> float:
        started = time.perf_counter()
        image = image.clone().requires_grad_()
        normalized = ((image - self.mean) / self.std).contiguous(memory_format=self.memory_format)
        self.network(normalized).square().mean().backward()
        return time.perf_counter() - started


def overhead(args: argparse.Namespace) -> None:
    """Time of an evaluation against the forward and backward pass of the bare network."""
    bare = [BareNetwork(torch.contiguous_format), BareNetwork(torch.channels_last)]
    report = Report(args, f"relu1_1 to relu5_1 and relu4_2, {args.repeats} turns")
    for size in args.sizes:
        photo, style = torch.rand(1, 3, size, size), torch.rand(1, 3, size, size)
        for network in bare:
            network.seconds(photo)
        turns: list[tuple[float, ...]] = []
        clock = [0.0]

        def take_turns(evaluation: LossRecord, image: Tensor, photo=photo, turns=turns, clock=clock) -> None:
            """Time the bare networks after every evaluation of the running optimisation."""
            if evaluation.number > 1:  # the first has warmed up
                ours = time.perf_counter() - clock[0]
                turns.append((ours, *(network.seconds(photo) for network in bare)))
            clock[0] = time.perf_counter()

        optimize(photo, style, steps=args.repeats + 1, callback=take_turns)
        ours, plain, last = (statistics.median(times) for times in zip(*turns, strict=True))
        ratios = [statistics.median(turn[0] / turn[other] for turn in turns) for other in (1, 2)]
        report.add(
            {
                "size": f"{size}×{size}",
                "evaluation, s": f"{ours:.2f}",
                "bare network, s": f"{plain:.2f}",
                "ratio, median of turns": f"{ratios[0]:.3f}",
                "bare network in channels last, s": f"{last:.2f}",
                "ratio": f"{ratios[1]:.3f}",
            }
        )


class Turns:
    """Lets runs in threads of their own take turns, an evaluation each, and times each one's turns."""

    def __init__(self, names: Sequence[str]) -> None:
        self.condition = threading.Condition()
        self.waiting = list(names)
        self.clocks = {name: [0.0] for name in names}  # seconds at the end of every turn

    def begin(self, name: str) -> None:
        with self.condition:
            self.condition.wait_for(lambda: self.waiting[0] == name)
        self.started = time.perf_counter()

    def end(self, name: str, *, leave: bool = False) -> None:
        self.clocks[name].append(self.clocks[name][-1] + time.perf_counter() - self.started)
        with self.condition:
            self.waiting.remove(name)
            if not leave:
                self.waiting.append(name)
            self.condition.notify_all()

    def run(self, name: str, job: Callable[[Callable[[LossRecord, Tensor], None]], Optimized]) -> Optimized:
        """Run a job that takes a callback, one evaluation a turn."""

        def pass_on(evaluation: LossRecord, image: Tensor) -> None:
            self.end(name)
            self.begin(name)

        self.begin(name)
        try:
            return job(pass_on)
        finally:
            self.end(name, leave=True)


def scales(args: argparse.Namespace) -> None:
    """Wall time in which coarse-to-fine reaches the final losses of single scales, in pixels and Fourier."""
    style = example(args.paintings[0], args.size)
    photo = None if args.job == "texture" else example(args.photo, args.size)
    report = Report(args, f"{args.job}, {args.size} px, {args.steps} evaluations, from {args.init}")
    contenders: list[tuple[Basis, int]] = [("pixels", 1), ("pixels", 3), ("fourier", 1), ("fourier", 3)]
    names = [f"{basis}, {count} scale{'s' * (count > 1)}" for basis, count in contenders]
    turns = Turns(names)

    def job(name: str, basis: Basis, count: int) -> Optimized:
        settings = Settings(steps=args.steps, init=args.init, scales=count, basis=basis)
        return turns.run(name, lambda callback: optimize(photo, style, settings, callback=callback))

    with ThreadPoolExecutor(len(names)) as threads:
        results = dict(zip(names, threads.map(job, names, *zip(*contenders, strict=True)), strict=True))
    for name, result in results.items():
        report.picture(result, f"{args.job}-{args.init}-{name.replace(', ', '-').replace(' ', '-')}")
        seconds = turns.clocks[name]
        row: Row = {
            "": name,
            "final loss": f"{result.best.total:.4f}",
            "wall time, s": f"{seconds[-1]:.0f}",
        }
        for single in (names[0], names[2]):
            goal, whole = results[single].best.total, turns.clocks[single][-1]
            fine = [e.number for e in result.history if e.size == e.full_size and e.total <= goal]
            reached = f"{seconds[fine[0]] / whole:.2f}" if fine else "not reached"
            row[f"loss of '{single}' after, of its wall time"] = reached
        report.add(row)


def precision(args: argparse.Namespace) -> None:
    """Final loss and time of all processor threads, with most evaluations in bf16 against all in float32."""
    report = Report(args, f"{args.photo}, {args.size} px, {args.steps} evaluations from the content")
    photo = example(args.photo, args.size)
    for painting in args.paintings:
        losses, seconds = {}, {}
        for name in ("fp32", "bf16"):
            start = time.process_time()
            result = optimize(photo, example(painting, args.size), steps=args.steps, precision=name)
            seconds[name] = time.process_time() - start
            losses[name] = result.best.total
            report.picture(result, f"{painting}-{name}")
        report.add(
            {
                "painting": painting,
                "loss, float32": f"{losses['fp32']:.5f}",
                "loss, bf16": f"{losses['bf16']:.5f}",
                "ratio": f"{losses['bf16'] / losses['fp32']:.4f}",
                "CPU, s, float32": f"{seconds['fp32']:.1f}",
                "CPU, s, bf16": f"{seconds['bf16']:.1f}",
                "ratio of times": f"{seconds['bf16'] / seconds['fp32']:.2f}",
            }
        )


def main() -> None:
    """Parse the command line and run one benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="benchmark", required=True)

    def command(run: Callable[[argparse.Namespace], None], size: int, steps: int) -> argparse.ArgumentParser:
        options = commands.add_parser(run.__name__, help=(run.__doc__ or "").splitlines()[0])
        options.set_defaults(run=run)
        options.add_argument("--size", type=int, default=size, help="longer side (default: %(default)s)")
        options.add_argument("--steps", type=int, default=steps, help="evaluations (default: %(default)s)")
        options.add_argument("--photo", default="photo-cat", help="name in examples/ (default: %(default)s)")
        options.add_argument("--paintings", nargs="+", default=PAINTINGS, help="names in examples/")
        options.add_argument(
            "--output", type=Path, default=Path("runs/benchmarks"), help="folder to write to"
        )
        return options

    layers = ["relu1_2", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    command(reconstruction, 256, 300).add_argument("--layers", nargs="+", default=layers)
    command(texture, 192, 300)
    command(transfer, 192, 300)
    options = command(optimizers, 128, 300)
    options.add_argument("--init", default="content")
    options.add_argument("--learning-rates", nargs="+", type=float, default=[0.01, 0.03, 0.1])
    options = command(overhead, 0, 0)
    options.add_argument("--sizes", nargs="+", type=int, default=[256, 512])
    options.add_argument("--repeats", type=int, default=10)
    options = command(scales, 512, 60)
    options.add_argument("--job", choices=("transfer", "texture"), default="transfer")
    options.add_argument("--init", default="content")
    command(precision, 192, 300)

    args = parser.parse_args()
    try:
        args.run(args)
    except ArbstyleError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
