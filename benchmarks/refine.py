"""What refining a style for one photo brings, and how long Gatys' optimisation takes for as much.

python benchmarks/refine.py --content PHOTOS --style PAINTINGS
python benchmarks/refine.py --content PHOTOS --style PAINTINGS --practice OTHER_PHOTOS --most 0

With --practice a style is refined on eight other photos, as for a style file, and tried on a new one.
Photo i is paired with painting i·stride. Style loss (moments, relu1_1 to relu4_1) and content loss (relu4_1)
are measured in float32 at full size, as 'arbstyle evaluate' does. The optimisation starts from the photo with
its default loss, and stops once its picture has the refined one's style loss; where it has not after --most
evaluations, their time is a bound (<); --most 0 leaves it out. Measuring takes no part in the times.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from common import machine, print_row
from torch import Tensor

from arbstyle.images import find_images, read_image, write_image
from arbstyle.optimization import LossRecord, optimize
from arbstyle.painting import Stylizer
from arbstyle.perception import PerceptualEncoder, PerceptualLoss
from arbstyle.perception.metrics import CONTENT_LAYER, STYLE_LAYERS

Change = tuple[float, float, float]
"""Style loss after refining over that before; the same of content; its time over that of Gatys."""


class Clock:
    """Seconds of this process that count."""

    def __init__(self, name: str) -> None:
        self.now = {"wall": time.perf_counter, "cpu": time.process_time}[name]
        self.restart()

    def restart(self) -> None:
        self.counted, self.began = 0.0, self.now()

    def pause(self) -> float:
        self.counted += self.now() - self.began
        return self.counted

    def go_on(self) -> None:
        self.began = self.now()


def seconds_of_gatys(
    photo: Tensor, style: Tensor, goal: float, most: int, measure: PerceptualLoss, clock: Clock
) -> tuple[float, int, bool]:
    """Seconds and evaluations until the style loss is no more than `goal`, and whether it ever is."""
    targets = measure.targets(None, style)
    reached = False

    @torch.no_grad()
    def look(evaluation: LossRecord, image: Tensor) -> None:
        nonlocal reached
        clock.pause()
        reached = float(measure(image, targets).style) <= goal
        if reached:
            raise KeyboardInterrupt
        clock.go_on()

    clock.restart()
    result = optimize(photo, style, steps=most, callback=look)
    return clock.counted, len(result.history), reached


def main() -> None:
    """Parse the command line and measure pair by pair."""
    args = parse()
    print(f"{args}; {machine()}")
    changes: list[Change] = []
    print_row(
        [
            "pair",
            "style loss, before → after",
            "content loss",
            "refining, s",
            "Gatys, s (evaluations)",
            "ratio",
        ]
    )
    print("|" + "---|" * 6)
    for row, change in measured(args):
        print_row(row)
        changes.append(change)
    style_change, content_change, ratio = (statistics.mean(each) for each in zip(*changes, strict=True))
    time_change = f", time × {ratio:.2f} at most" if args.most else ""
    print(f"means: style loss × {style_change:.2f}, content loss × {content_change:.2f}{time_change}")


def measured(args: argparse.Namespace) -> Iterator[tuple[list[str], Change]]:
    """A row of the table for each pair, and the ratios in it."""
    stylizer, clock = Stylizer.from_pretrained(args.model), Clock(args.clock)
    encoder = PerceptualEncoder("vgg19", [*STYLE_LAYERS])
    measure = PerceptualLoss(
        encoder, {CONTENT_LAYER: 1.0}, dict.fromkeys(STYLE_LAYERS, 1.0), style_statistic="moments"
    )
    args.output.mkdir(parents=True, exist_ok=True)
    photos, paintings = list(find_images(args.content)), list(find_images(args.style))
    practice_files = list(find_images(args.practice))[:8] if args.practice else []
    practice = [read_image(file, size=args.size) for file in practice_files]
    for i in range(args.pairs):
        photo_file = photos[i % len(photos)]
        painting_file = paintings[i * args.stride % len(paintings)]
        photo, style = read_image(photo_file, size=args.size), read_image(painting_file, size=args.size)
        stylizer.refine(style, [photo], steps=1)  # loads what it needs
        clock.restart()
        refined = stylizer.refine(style, practice or [photo], steps=args.steps)
        ours = clock.pause()
        before, after = stylizer.stylize(photo, style), stylizer.stylize(photo, refined)
        name = f"{photo_file.stem}__{painting_file.stem}"
        write_image(torch.cat([photo, before, after], dim=3), args.output / f"{name}.png")
        with torch.no_grad():
            targets = measure.targets(photo, style)
            was, now = (measure(image, targets) for image in (before, after))
        goal = float(now.style)
        gatys, ratio = ["–", "–"], math.nan
        if args.most:
            theirs, evaluations, reached = seconds_of_gatys(photo, style, goal, args.most, measure, clock)
            ratio = ours / theirs
            gatys = [f"{theirs:.1f} ({evaluations})", f"{'' if reached else '<'}{ratio:.2f}"]
        losses = (
            f"{float(was.style):.3f} → {goal:.3f}",
            f"{float(was.content):.3f} → {float(now.content):.3f}",
        )
        change = goal / float(was.style), float(now.content / was.content), ratio
        yield [name, *losses, f"{ours:.1f}", *gatys], change


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--content", type=Path, required=True, help="folder of photos")
    parser.add_argument("--style", type=Path, required=True, help="folder of paintings")
    parser.add_argument("--practice", type=Path, help="folder of photos to refine on in place of the pair's")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--size", type=int, default=512, help="short side (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="of refinement (default: %(default)s)")
    parser.add_argument("--most", type=int, default=300, help="evaluations of Gatys (default: %(default)s)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu on busy machines")
    parser.add_argument("--model", help="another model file than the one in the package")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/refine"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
