"""How still a painted clip is, what stability costs, and how fast clips are painted.

python benchmarks/video.py clips --output DIR              # the clips, as films
python benchmarks/video.py parts                           # each part of stability, alone and together
python benchmarks/video.py stability --amounts 0 0.5 1     # errors and style loss against --stability
python benchmarks/video.py film --film clip.mp4           # how much a real film changes from frame to frame
python benchmarks/video.py strip --output strip.png        # frame by frame above, stable below
python benchmarks/video.py speed --size 480 --clock cpu   # beside a plain loop, and FFmpeg alone
python benchmarks/video.py memory --minutes 10            # of a long clip; --strength 1 paints it, too

Clips are made from the photographs in examples/, with motion in whole pixels, so that the true flow is known
and moving a picture along it changes no pixel:
- pan: a window over a photograph;
- foreground: a disc moves over a still photograph;
- cut: the first half of one, then of the other; noisy: the pan with noise of deviation 0.04.

Warping error: root mean square difference between a painted frame and the one before, moved along the true
flow, where both show the same thing; 3 pixels around every moving border are left out. Distance at d: that of
two painted frames d apart, by VGG-19 as LPIPS does it without learned weights (features of unit length at
relu1_2, 2_2, 3_4 and 4_4, squared difference, summed over layers); LPIPS' own weights are a download. Style
loss: moments at relu1_1 to relu4_1. VGG-19 computes in bf16 where the CPU has it. All are means over styles
and frames; ratios are to frame by frame.
Most of a distance is what moves. So "along the motion" is the distance to the earlier frame moved to where
the film went; what was not seen then is left out, and so are pairs of frames with a cut between them. The
film itself, unpainted, has a row: what a painting that shows all of it must change by. The second ratio is of
what is above that; a dash stands where frame by frame is not.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from common import EXAMPLES, in_turns, machine, peak_gib, print_table
from torch import Tensor

from arbstyle import Stylizer, VideoStylizer
from arbstyle.devices import choose_dtype
from arbstyle.images import as_bytes, as_float, read_image, write_image
from arbstyle.painting.tiling import TiledPainter
from arbstyle.perception import PerceptualEncoder
from arbstyle.perception.metrics import STYLE_LAYERS, StyleStatistics, moment_style_losses, style_statistics
from arbstyle.video import flow
from arbstyle.video.encoding import SegmentWriter
from arbstyle.video.finishing import Cut
from arbstyle.video.frames import ClipInfo, Frame
from arbstyle.video.job import VideoJob
from arbstyle.video.outputs import plan_output
from arbstyle.video.sources import open_clip
from arbstyle.video.stability import Stabilizer

STYLES = ("painting-night", "painting-storm", "drawing-oz")
DISTANCE_LAYERS = ("relu1_2", "relu2_2", "relu3_4", "relu4_4")
COLUMNS = {
    "error": "warping error",
    "near": "distance 1",
    "far": "distance 10",
    "moved near": "distance 1 along the motion",
    "moved far": "distance 10 along the motion",
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
BORDER = 3
NOISE = 0.04


# --- clips with known flow --------------------------------------------------------------------------


@dataclass
class KnownClip:
    """Frames H×W×3 in [0,1]; for each but the first, how far it was away before, x and y, and where."""

    frames: list[np.ndarray]
    flows: list[np.ndarray]
    valid: list[np.ndarray]

    def truncated(self, count: int) -> KnownClip:
        return KnownClip(self.frames[:count], self.flows[: count - 1], self.valid[: count - 1])


def photo(name: str, height: int, width: int) -> np.ndarray:
    picture = read_image(EXAMPLES / f"photo-{name}.jpg")[0].permute(1, 2, 0).numpy()
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def pan(count: int, height: int, width: int, noise: float = 0.0) -> KnownClip:
    step = np.array([3, 1])
    large = photo("pagoda", height + count * step[1] + 1, width + count * (step[0] + 1))
    places = [np.array([step[0] * number + number % 2, step[1] * number]) for number in range(count)]
    frames = [large[y : y + height, x : x + width] for x, y in places]
    moved = [after - before for before, after in pairwise(places)]
    flows = [np.broadcast_to(one.astype(np.float32), (height, width, 2)) for one in moved]
    generator = np.random.default_rng(0)
    if noise:
        frames = [(frame + generator.normal(0, noise, frame.shape)).clip(0, 1) for frame in frames]
    clean = [np.ascontiguousarray(frame, dtype=np.float32) for frame in frames]
    return KnownClip(clean, flows, [np.ones((height, width), bool)] * (count - 1))


def foreground(count: int, height: int, width: int) -> KnownClip:
    still = photo("coffee", height, width)
    side = height // 2
    y, x = np.mgrid[:side, :side]
    disc = (y - side / 2 + 0.5) ** 2 + (x - side / 2 + 0.5) ** 2 < (side / 2 - 1) ** 2
    moving = photo("cat", side, side)
    span = width - side - 4
    places = [
        (2 + round(span * number / max(count - 1, 16)), round(height / 4 + height / 8 * np.sin(number / 4)))
        for number in range(count)
    ]
    frames, inside = [], []
    for left, top in places:
        frame, mask = still.copy(), np.zeros((height, width), bool)
        frame[top : top + side, left : left + side][disc] = moving[disc]
        mask[top : top + side, left : left + side] = disc
        frames.append(frame)
        inside.append(mask)
    kernel = np.ones((2 * BORDER + 1,) * 2, np.uint8)
    flows, valid = [], []
    for number in range(1, count):
        here, there = inside[number], inside[number - 1]
        known = np.zeros((height, width, 2), np.float32)
        known[here] = np.subtract(places[number - 1], places[number])
        wide = [cv2.dilate(mask.astype(np.uint8), kernel) > 0 for mask in (here, there)]
        core = cv2.erode(here.astype(np.uint8), kernel) > 0
        flows.append(known)
        valid.append(core | ~(wide[0] | wide[1]))
    return KnownClip(frames, flows, valid)


def cut(count: int, height: int, width: int) -> KnownClip:
    first = pan(count, height, width).truncated(count // 2)
    second = foreground(count, height, width).truncated(count - count // 2)
    nowhere = np.zeros((height, width), bool)
    still = np.zeros((height, width, 2), np.float32)
    return KnownClip(
        first.frames + second.frames,
        [*first.flows, still, *second.flows],
        [*first.valid, nowhere, *second.valid],
    )


def noisy(count: int, height: int, width: int) -> KnownClip:
    return pan(count, height, width, NOISE)


CLIPS: dict[str, Callable[[int, int, int], KnownClip]] = {
    "pan": pan,
    "foreground": foreground,
    "cut": cut,
    "noisy": noisy,
}


# --- measures ---------------------------------------------------------------------------------------


def warping_error(painted: Sequence[np.ndarray], clip: KnownClip) -> float:
    squares, places = 0.0, 0
    for number, after in enumerate(painted[1:]):
        moved, seen = carried(painted, clip, number, number + 1)
        squares += float(((moved - after)[seen] ** 2).sum())
        places += int(seen.sum()) * 3
    return (squares / max(places, 1)) ** 0.5


def carried(
    painted: Sequence[np.ndarray], clip: KnownClip, start: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """A painted frame moved along the true flow to a later one; and where both show the same thing."""
    picture, seen = painted[start], np.ones(painted[start].shape[:2], bool)
    height, width = seen.shape
    y, x = np.mgrid[:height, :width]
    for known, valid in zip(clip.flows[start:end], clip.valid[start:end], strict=True):
        there = np.stack([x, y], axis=-1) + np.rint(known).astype(int)
        inside = valid & (there >= 0).all(axis=2) & (there < (width, height)).all(axis=2)
        column, row = np.moveaxis(there.clip(0, (width - 1, height - 1)), -1, 0)
        picture, seen = picture[row, column], seen[row, column] & inside
    return picture, seen


class Eye:
    """VGG-19: distances between frames, and style loss."""

    def __init__(self) -> None:
        layers = tuple(dict.fromkeys((*DISTANCE_LAYERS, *STYLE_LAYERS)))
        self.encoder = PerceptualEncoder("vgg19", layers)

    @torch.no_grad()
    def features(self, picture: np.ndarray | Tensor) -> dict[str, Tensor]:
        dtype = choose_dtype("auto", torch.device("cpu"))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            found = self.encoder(picture if isinstance(picture, Tensor) else tensor(picture))
        return {layer: each.float() for layer, each in found.items()}

    def distance(self, one: np.ndarray, other: np.ndarray) -> float:
        a, b = self.features(one), self.features(other)
        unit = torch.nn.functional.normalize
        apart = ((unit(a[layer]) - unit(b[layer])).square().sum(1).mean() for layer in DISTANCE_LAYERS)
        return sum(map(float, apart))

    def distance_along(self, painted: Sequence[np.ndarray], clip: KnownClip, start: int, end: int) -> float:
        moved, seen = carried(painted, clip, start, end)
        return self.distance(np.where(seen[..., None], moved, painted[end]), painted[end])

    def style_loss(self, picture: np.ndarray, style: Tensor) -> float:
        one, other = (self.statistics(seen) for seen in (tensor(picture), style))
        return sum(float(loss.mean()) for loss in moment_style_losses(one, other).values())

    def statistics(self, picture: Tensor) -> StyleStatistics:
        found = self.features(picture)
        return style_statistics({layer: found[layer] for layer in STYLE_LAYERS})


def tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32)).permute(2, 0, 1)[None]


def array(picture: Tensor) -> np.ndarray:
    return picture[0].permute(1, 2, 0).float().numpy()


# --- parts of stability -----------------------------------------------------------------------------


class Statistics:
    """Paints with statistics of the norms that are frozen (share 0) or follow slowly, in float32."""

    def __init__(self, stylizer: Stylizer, style: Path, share: float) -> None:
        self.painter = TiledPainter(stylizer.styler.transformer, 4096)
        self.parameters = stylizer.parameters_of(str(style), 256)
        self.share = share
        self.values: Tensor | None = None

    @torch.no_grad()
    def __call__(self, frame: Tensor) -> Tensor:
        if self.values is None:
            self.values = self.painter.find_values(frame, self.parameters)
        elif self.share:
            found = self.painter.find_values(frame, self.parameters)
            self.values = torch.lerp(self.values, found, self.share)
        return next(iter(self.painter.paint(frame, self.values)))[1]


class Farneback:
    """Stands where dense inverse search does."""

    def calc(self, one: np.ndarray, other: np.ndarray, _: None) -> np.ndarray:
        start = np.zeros((*one.shape, 2), np.float32)
        return cv2.calcOpticalFlowFarneback(one, other, start, 0.5, 3, 15, 3, 5, 1.2, 0)


@dataclass(frozen=True)
class Part:
    """Statistics: None as they come, else the share that is new. Filter: stability of the input.

    Camera: whether the network's grid and its noise go with the camera.
    """

    statistics: float | None = None
    stability: float = 0.0
    camera: bool = False
    both_ways: bool = False
    farneback: bool = False
    filter: float = 0.0


PARTS = {
    "frame by frame": Part(),
    "statistics smoothed (1/10 new)": Part(statistics=0.1),
    "statistics frozen": Part(statistics=0.0),
    "input filtered along the flow": Part(filter=0.5),
    "strokes go with the camera": Part(camera=True),
    "flow, DIS, both ways": Part(stability=0.8, both_ways=True),
    "flow, DIS, one way": Part(stability=0.8),
    "flow, Farnebäck, one way": Part(stability=0.8, farneback=True),
    "flow and statistics frozen": Part(statistics=0.0, stability=0.8),
    "camera and flow (the default)": Part(camera=True, stability=0.8),
    "camera, flow, input filtered": Part(camera=True, stability=0.8, filter=0.5),
}


class Workshop:
    """Paints a clip in a style with any part, each frame once for all that do not change the painter."""

    def __init__(self, stylizer: Stylizer, style: Path, clip: KnownClip) -> None:
        self.stylizer, self.style, self.clip = stylizer, style, clip
        self.known: dict[tuple[float | None, float, bool], list[np.ndarray]] = {}

    def __call__(self, part: Part) -> list[np.ndarray]:
        key = part.statistics, part.filter, part.camera
        if key not in self.known:
            self.known[key] = self._paint(*key)
        if not part.stability:
            return self.known[key]
        steady = Stabilizer(part.stability, both_ways=part.both_ways)
        original = flow._search
        flow._search = (lambda: Farneback()) if part.farneback else original
        try:
            pairs = zip(self.clip.frames, self.known[key], strict=True)
            return [array(steady(tensor(frame), tensor(one))) for frame, one in pairs]
        finally:
            flow._search = original

    def _paint(self, statistics: float | None, strength: float, camera: bool) -> list[np.ndarray]:
        cleaner, tracker = Stabilizer(strength), Stabilizer()
        frames = [tensor(frame) for frame in self.clip.frames]
        seen = [cleaner(frame, frame) for frame in frames] if strength else frames
        if statistics is None:
            places = [tracker.look(frame).origin if camera else (0, 0) for frame in frames]
            paint = partial(self.stylizer.stylize, style=str(self.style))
            return [array(paint(frame, origin=place)) for frame, place in zip(seen, places, strict=True)]
        painter = Statistics(self.stylizer, self.style, statistics)
        return [array(painter(frame)) for frame in seen]


def measured(args: argparse.Namespace, parts: dict[str, Part]) -> Iterator[list[object]]:
    """Rows: clip, part, the values of `COLUMNS` with their ratios, ratio of the style loss."""
    stylizer, eye = Stylizer.from_pretrained(args.model), Eye()
    for name in args.clips:
        clip = CLIPS[name](args.frames, args.size, args.size * 4 // 3)
        shops = [Workshop(stylizer, EXAMPLES / f"{style}.jpg", clip) for style in args.styles]
        film = stillness(eye, clip.frames, clip, args.looks)
        alone = ("–" if math.isnan(film[key]) else f"{film[key]:.4f}" for key in COLUMNS)
        yield [name, "the film, not painted", *alone, "–"]
        first: dict[str, list[float]] = {}
        for label, part in parts.items():
            rows: dict[str, list[float]] = {}
            for shop in shops:
                painted = shop(part)
                picture = read_image(shop.style, size=args.size)
                found = stillness(eye, painted, clip, args.looks)
                last = range(len(painted) - 1, 0, -max(1, len(painted) // (args.looks + 1)))
                found["loss"] = mean(eye.style_loss(painted[number], picture) for number in last)
                for key, value in found.items():
                    rows.setdefault(key, []).append(value)
            first = first or rows
            cells = (compared(rows[key], first[key], film[key]) for key in COLUMNS)
            losses = [one / other for one, other in zip(rows["loss"], first["loss"], strict=True)]
            yield [name, label, *cells, f"×{mean(losses):.3f} (worst {max(losses):.3f})"]


def compared(values: Sequence[float], others: Sequence[float], floor: float, digits: int = 4) -> str:
    """The mean of values; the mean ratio to others; and that of what is above the floor."""
    if math.isnan(floor):
        return "–"  # no two frames so far apart show the same
    pairs = list(zip(values, others, strict=True))
    whole = f"×{mean(value / max(other, 1e-12) for value, other in pairs):.2f}"
    above = "–"
    if min(others) > floor:
        above = f"×{mean(max(0.0, value - floor) / (other - floor) for value, other in pairs):.2f}"
    return f"{mean(values):.{digits}f} ({whole}, {above})"


def stillness(eye: Eye, frames: Sequence[np.ndarray], clip: KnownClip, looks: int) -> dict[str, float]:
    """Warping error and distances of frames, painted or not, by the keys of `COLUMNS`."""
    far = min(10, len(frames) - 1)

    def starts(apart: int) -> list[int]:
        """Of pairs without a cut between them."""
        found = [i for i in range(len(frames) - far) if carried(frames, clip, i, i + apart)[1].any()]
        return found[:: max(1, len(found) // looks)]

    return {
        "error": warping_error(frames, clip),
        "near": mean(eye.distance(frames[i], frames[i + 1]) for i in starts(1)),
        "far": mean(eye.distance(frames[i], frames[i + far]) for i in starts(far)),
        "moved near": mean(eye.distance_along(frames, clip, i, i + 1) for i in starts(1)),
        "moved far": mean(eye.distance_along(frames, clip, i, i + far) for i in starts(far)),
    }


def measure_film(args: argparse.Namespace) -> None:
    """A film whose motion is not known: mean difference of neighbouring frames, distances, style loss."""
    if args.film is None:
        raise SystemExit("film needs --film FILE")
    stylizer, eye = Stylizer.from_pretrained(args.model), Eye()
    frames = [array(as_float(frame.pixels)) for frame in islice(open_clip(args.film).frames(), args.frames)]
    far = min(10, len(frames) - 1)
    chosen = range(0, len(frames) - far, max(1, (len(frames) - far) // args.looks))

    found = {(i, i + apart): found_motion(frames[i], frames[i + apart]) for i in chosen for apart in (1, far)}

    def along(shown: Sequence[np.ndarray], start: int, end: int) -> float:
        places, seen = found[start, end]
        moved = cv2.remap(shown[start], places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return eye.distance(np.where(seen[..., None], moved, shown[end]), shown[end])

    def values(shown: Sequence[np.ndarray]) -> list[float]:
        change = mean(float(np.abs(one - other).mean()) for one, other in pairwise(shown))
        plain = [mean(eye.distance(shown[i], shown[i + apart]) for i in chosen) for apart in (1, far)]
        moved = [mean(along(shown, i, i + apart) for i in chosen) for apart in (1, far)]
        return [change, *plain, *moved]

    def rows() -> Iterator[list[object]]:
        film = values(frames)
        yield ["", "the film, not painted", *(f"{value:.3f}" for value in film), "–"]
        for style in args.styles:
            path = EXAMPLES / f"{style}.jpg"
            picture, base = read_image(path, size=min(frames[0].shape[:2])), 0.0
            first: list[float] = []
            for amount in args.amounts:
                painter = VideoStylizer(stylizer, str(path), stability=amount)
                shown = [array(painter.paint(tensor(frame))) for frame in frames]
                loss = mean(eye.style_loss(shown[i + far], picture) for i in chosen)
                base, now = base or loss, values(shown)
                first = first or now
                cells = (compared([a], [b], c, digits=3) for a, b, c in zip(now, first, film, strict=True))
                yield [style, f"{amount:g}", *cells, f"{loss:.3f} (×{loss / base:.2f})"]

    distances = [f"distance {apart}{way}" for way in ("", " along the motion") for apart in (1, far)]
    print_table(["style", "--stability", "change", *distances, "style loss"], rows())


def found_motion(before: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel was, by dense inverse search at full size, and where the way back agrees."""
    grey = [(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) * 255).astype(np.uint8) for each in (now, before)]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    there, back = search.calc(*grey, None), search.calc(*grey[::-1], None)
    x, y = np.meshgrid(np.arange(now.shape[1]), np.arange(now.shape[0]))
    places = np.stack([x, y], axis=-1).astype(np.float32) + there
    returned = cv2.remap(back, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=99)
    return places, np.linalg.norm(there + returned, axis=2) < 1


def mean(values: Iterator[float] | Sequence[float]) -> float:
    found = list(values)
    return statistics.fmean(found) if found else math.nan


def measure_parts(args: argparse.Namespace) -> None:
    print_table(["clip", "part", *COLUMNS.values(), "style loss"], measured(args, PARTS))


def measure_stability(args: argparse.Namespace) -> None:
    parts = {f"{amount:g}": Part(stability=amount, camera=amount > 0) for amount in args.amounts}
    print_table(["clip", "--stability", *COLUMNS.values(), "style loss"], measured(args, parts))


# --- pictures, speed, memory ------------------------------------------------------------------------


def write_clips(args: argparse.Namespace) -> None:
    args.output.mkdir(parents=True, exist_ok=True)
    for name, make in CLIPS.items():
        clip = make(args.frames, args.size, args.size * 4 // 3)
        path = args.output / f"{name}.mkv"
        write_film(path, clip.frames, 20)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def write_film(path: Path, frames: Sequence[np.ndarray], crf: int = 18, repeats: int = 1) -> None:
    height, width = frames[0].shape[:2]
    pictures = [as_bytes(tensor(frame)) for frame in frames]
    info = ClipInfo(width, height, Fraction(25), Fraction(1, 25), None)
    writer = SegmentWriter(path, info, "h264", crf, False)
    for number in range(len(frames) * repeats):
        writer.write(Frame(pictures[number % len(frames)], Fraction(number, 25), Fraction(1, 25)))
    writer.close()


def write_strip(args: argparse.Namespace) -> None:
    """Three frames in a row, and what changed from the first to the second, eight times enlarged."""
    stylizer = Stylizer.from_pretrained(args.model)
    clip = foreground(args.frames, args.size, args.size * 4 // 3)
    shop = Workshop(stylizer, EXAMPLES / f"{args.styles[0]}.jpg", clip)
    rows = []
    for part in (Part(), Part(camera=True, stability=0.8)):
        painted = shop(part)
        shown = painted[-3:]
        change = np.abs(painted[-1] - painted[-2]).mean(axis=2, keepdims=True) * 8
        rows.append(np.concatenate([*shown, np.broadcast_to(change, shown[0].shape)], axis=1))
    path = args.output if args.output.suffix else args.output / "strip.png"
    write_image(tensor(np.concatenate(rows).clip(0, 1)), path)
    print(path)


def measure_speed(args: argparse.Namespace) -> None:
    """Seconds a frame of each way, in turns, decoding and encoding included; ratios turn by turn."""
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    stylizer, style = Stylizer.from_pretrained(args.model), str(EXAMPLES / f"{args.styles[0]}.jpg")
    clip = pan(args.frames, args.size, args.size * 16 // 9 // 2 * 2)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.mkv"
        write_film(source, clip.frames)

        def job(painter: VideoStylizer) -> None:
            opened = open_clip(str(source))
            work = VideoJob(opened, plan_output(f"{folder}/out.mp4"), Cut(Fraction(0), None), {})
            work.prepare(overwrite=True)
            work.run(painter)

        def loop() -> None:
            for frame in open_clip(str(source)).frames():
                stylizer.stylize(frame.pixels, style)

        def timed(way: Callable[[], None]) -> float:
            began = CLOCKS[args.clock]()
            way()
            return CLOCKS[args.clock]() - began

        ways: dict[str, Callable[[], None]] = {
            "arbstyle video --stability 0": lambda: job(VideoStylizer(stylizer, style, stability=0)),
            "arbstyle video (stability 0.8)": lambda: job(VideoStylizer(stylizer, style)),
            "plain loop over Stylizer, nothing written": loop,
            "decode and encode alone": lambda: job(VideoStylizer(stylizer, style, 0, stability=0)),
        }
        runs = in_turns({name: partial(timed, way) for name, way in ways.items()}, args.repeats)
    base = runs["arbstyle video --stability 0"]
    rows = [
        [
            name,
            f"{statistics.median(times) / args.frames:.3f}",
            f"{statistics.median([one / other for one, other in zip(times, base, strict=True)]):.2f}",
        ]
        for name, times in runs.items()
    ]
    print_table(["way", f"{args.clock} seconds a frame", "time / stability 0"], rows)


def measure_memory(args: argparse.Namespace) -> None:
    """Peak resident memory after each tenth of a long clip; with strength 0 all but the network runs."""
    repeats = max(1, int(args.minutes * 60 * 25) // args.frames)
    frames = args.frames * repeats
    clip = pan(args.frames, args.size, args.size * 16 // 9 // 2 * 2)
    stylizer, style = Stylizer.from_pretrained(args.model), str(EXAMPLES / f"{args.styles[0]}.jpg")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.mkv"
        write_film(source, clip.frames, repeats=repeats)
        peaks: dict[int, float] = {}

        def look(done: int) -> None:
            if done % max(1, frames // 10) == 0:
                peaks[done] = peak_gib()

        work = VideoJob(open_clip(str(source)), plan_output(f"{folder}/out.mp4"), Cut(Fraction(0), None), {})
        work.prepare()
        work.run(VideoStylizer(stylizer, style, args.strength, stability=args.amounts[-1]), look)
    print_table(["frames", "peak memory, GiB"], ([done, f"{peak:.3f}"] for done, peak in peaks.items()))


MEASURES = {
    "clips": write_clips,
    "parts": measure_parts,
    "stability": measure_stability,
    "film": measure_film,
    "strip": write_strip,
    "speed": measure_speed,
    "memory": measure_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("--size", type=int, default=192, help="height of the clips")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--looks", type=int, default=3, help="about how many pairs of frames VGG compares")
    parser.add_argument("--clips", nargs="+", default=["pan", "foreground"], choices=CLIPS)
    parser.add_argument("--film", help="a film of your own")
    parser.add_argument("--styles", nargs="+", default=STYLES)
    parser.add_argument("--amounts", type=float, nargs="+", default=[0, 0.2, 0.4, 0.6, 0.8, 1])
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/video"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu on machines with other work")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--strength", type=float, default=0, help="for memory; 0 leaves the network out")
    parser.add_argument("--model", help="another model file than the one in the package")
    args = parser.parse_args()
    print(json.dumps({"machine": machine(), **vars(args)}, default=str), flush=True)
    MEASURES[args.measure](args)


if __name__ == "__main__":
    main()
