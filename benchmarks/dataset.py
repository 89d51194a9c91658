"""Whole data sets: speed beside one process and beside the AdaIN of stylize-datasets; kills; memory.

python benchmarks/dataset.py make PHOTOS -o big --count 20000    # crops of 224 px, in ten classes
python benchmarks/dataset.py speed big --styles PAINTINGS --count 400
python benchmarks/dataset.py run big --styles PAINTINGS -o whole --engine local
python benchmarks/dataset.py run big --styles PAINTINGS -o killed --kills 5    # at random, and resumed
python benchmarks/dataset.py compare whole killed    # bit for bit

``run`` prints pictures/s and the peak memory of all processes. With ``--kills`` it takes turns with the
engines at every start, and kills the command itself, or one of its workers. What stylize-datasets (AdaIN)
costs is measured with networks of the same architecture with random weights (its own cannot be had here): a
picture at its own size, a style read and looked at anew for every picture at 512 pixels, as its defaults are,
in one process of one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from common import machine
from PIL import Image

from arbstyle.images import find_images, read_image, resize, write_image
from arbstyle.networks.model_file import build_styler
from arbstyle.painting import Stylizer
from arbstyle.restyling.job import plan
from arbstyle.restyling.local import LocalEngine

CLASSES = 10
ADAIN = {
    "style_encoder": {"class": "AdaINEncoder", "arguments": {"weights": "random"}},
    "transformer": {"class": "AdaINTransformer", "arguments": {"weights": "random"}},
}
PEER_STYLE_SIZE = 512


def make(args: argparse.Namespace) -> None:
    """Random crops of photos, a seed each."""
    photos = find_images(args.photos, recursive=True)
    for number in range(args.count):
        chance = random.Random(number)
        path = Path(args.output, f"class-{number % CLASSES}", f"{number:06d}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photos[number % len(photos)]) as image:
            side = min(image.size)
            crop = chance.randint(min(side, args.size), side)
            left, top = (chance.randint(0, length - crop) for length in image.size)
            box = (left, top, left + crop, top + crop)
            image.convert("RGB").resize((args.size, args.size), box=box).save(path, quality=90)


# --- speed ----------------------------------------------------------------------------------------


def measure_speed(args: argparse.Namespace) -> None:
    """Pictures a second, by the wall clock and of CPU time, in turns; ratios turn by turn.

    The CPU's time is the fairer measure of a machine that others use, too; but two processes need two cores.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        source.mkdir()
        for path in find_images(args.photos, recursive=True)[: args.count]:
            shutil.copy(path, source / f"{path.parent.name}-{path.name}")
        peer = _Peer(source, args.styles)
        turns: dict[str, list[Speed]] = {"1 process": [], f"{args.workers} processes": [], "AdaIN": []}
        one, many, adain = turns.values()
        for _ in range(args.repeats):
            one.append(_ours(args, source, Path(folder), 1))
            many.append(_ours(args, source, Path(folder), args.workers))
            adain.append(peer.measure(args.peer_count))
    for name, found in turns.items():
        wall, cpu = (statistics.median(speed[clock] for speed in found) for clock in (0, 1))
        print(f"{name:12} {wall:8.2f} pictures/s by the clock, {cpu:8.2f} of one core's time")
    print(f"{args.workers} processes / 1 process by the clock: {_median_ratio(many, one, 0):.2f}")
    on_own_cores = args.workers * _median_ratio(many, one, 1)
    print(f"{args.workers} processes / 1 process, were each core theirs alone: {on_own_cores:.2f}")
    print(f"1 process / AdaIN by a core's time: {_median_ratio(one, adain, 1):.2f}")


Speed = tuple[float, float]
"""Pictures a second by the clock, and of CPU time."""


def _ours(args: argparse.Namespace, source: Path, folder: Path, workers: int) -> Speed:
    """A job between the time when all workers have begun and its end."""
    output = folder / "out"
    for leftover in (output, output.with_name("out.manifest")):
        shutil.rmtree(leftover, ignore_errors=True)
    job = plan(str(source), args.styles, output, LocalEngine(workers), part_size=10)
    steps = [(progress.so_far, *_clocks()) for progress in job.run()]
    first, last = next(step for step in steps if step[0] >= 20 * workers), steps[-1]
    wall, cpu = ((last[0] - first[0]) / (last[clock] - first[clock]) for clock in (1, 2))
    return wall, cpu


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time() + sum(map(_cpu_seconds, _descendants(os.getpid())))


class _Peer:
    """What stylize-datasets does for a picture, with our AdaIN of the same architecture; one thread."""

    def __init__(self, source: Path, styles: Sequence[str]) -> None:
        torch.set_num_threads(1)
        self.photos = find_images(source)
        self.paintings = [path for folder in styles for path in find_images(folder, recursive=True)]
        self.stylizer = Stylizer(build_styler(ADAIN), device="cpu", precision="fp32")

    def measure(self, count: int) -> Speed:
        start = time.perf_counter(), time.process_time()
        for number in range(count):
            style = resize(read_image(self.paintings[number % len(self.paintings)]), PEER_STYLE_SIZE)
            photo = read_image(self.photos[number % len(self.photos)])
            painted = self.stylizer.stylize(photo, style, style_size=PEER_STYLE_SIZE)
            with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
                write_image(painted, file.name)
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        return count / wall, count / cpu


def _median_ratio(first: Sequence[Speed], second: Sequence[Speed], clock: int) -> float:
    return statistics.median(one[clock] / two[clock] for one, two in zip(first, second, strict=True))


# --- runs, kills, memory ----------------------------------------------------------------------------


def measure_run(args: argparse.Namespace) -> None:
    """One job, from start to end in spite of all; prints pictures/s and peak memory of all processes."""
    chance = random.Random(args.seed)
    parts = Path(f"{args.output}.manifest", "parts")
    total = len(find_images(args.photos, recursive=True))
    moments = sorted(chance.randint(total // 20, total - total // 20) for _ in range(args.kills))
    victims = ["worker", "command"] * args.kills
    engines = (
        ["ray", "local"] * (args.kills + 1) if args.engine == "both" else [args.engine] * (args.kills + 1)
    )
    peak, starts, begun = 0, 0, time.perf_counter()
    command: subprocess.Popen[bytes] | None = None
    events = []
    while True:
        if command is None:
            command = _start(args, engines[starts])
            starts += 1
        time.sleep(args.interval)
        family = [command.pid, *_descendants(command.pid)]
        peak = max(peak, sum(map(_proportional_bytes, family)))
        painted = sum(1 for _ in parts.glob("[0-9]*")) * 100 if parts.is_dir() else 0
        if moments and painted >= moments[0]:
            targets = [command.pid] if victims[0] == "command" else list(filter(_is_worker, family[1:]))
            if targets:
                os.kill(chance.choice(targets), signal.SIGKILL)
                moments.pop(0)
                events.append(f"{victims.pop(0)} of {engines[starts - 1]} after {painted} pictures")
            if targets == [command.pid]:
                command.wait()
                command = None
                continue
        if command.poll() is not None:
            break
    seconds = time.perf_counter() - begun
    result = {
        "pictures": total,
        "exit code": command.returncode,
        "starts": starts,
        "killed": events,
        "seconds": round(seconds),
        "pictures/s": round(total / seconds, 1),
        "peak memory of all processes, MiB": round(peak / 2**20),
    }
    print(json.dumps(result, indent=2))


def _start(args: argparse.Namespace, engine: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "arbstyle", "dataset", args.photos, "--styles", *args.styles]
    words += [
        "-o",
        args.output,
        "--engine",
        engine,
        "--workers",
        str(args.workers),
        "--resume",
        *args.options,
    ]
    return subprocess.Popen(words, start_new_session=True)


def _descendants(pid: int) -> Iterator[int]:
    answer = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    for child in map(int, answer.stdout.split()):
        yield child
        yield from _descendants(child)


def _is_worker(pid: int) -> bool:
    with suppress(OSError):
        name = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"ray::MapWorker" in name or b"spawn_main" in name
    return False


def _cpu_seconds(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # in user and in system mode
    return 0.0


def _proportional_bytes(pid: int) -> int:
    """Memory of a process, what it shares divided by those that share it."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return 0


def compare(args: argparse.Namespace) -> None:
    """Whether two results have the same files and manifests, and no picture twice."""
    digests = [_digests(Path(folder)) for folder in (args.first, args.second)]
    manifests = [
        Path(f"{folder}.manifest", "manifest.csv").read_bytes() for folder in (args.first, args.second)
    ]
    rows = manifests[0].splitlines()[1:]
    print(f"{len(digests[0])} and {len(digests[1])} files, {len(rows)} rows, {len(set(rows))} different ones")
    same = digests[0] == digests[1] and manifests[0] == manifests[1] and len(set(rows)) == len(rows)
    print("equal bit for bit" if same else "NOT equal")
    raise SystemExit(0 if same else 1)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for name, function in (
        ("make", make),
        ("speed", measure_speed),
        ("run", measure_run),
        ("compare", compare),
    ):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        if name == "compare":
            command.add_argument("first")
            command.add_argument("second")
            continue
        command.add_argument("photos")
        command.add_argument("-o", "--output")
        command.add_argument("--styles", nargs="+")
        command.add_argument("--count", type=int, default=400)
        command.add_argument("--size", type=int, default=224)
        command.add_argument("--workers", type=int, default=2)
        command.add_argument("--repeats", type=int, default=3)
        command.add_argument("--peer-count", type=int, default=4)
        command.add_argument("--engine", choices=("local", "ray", "both"), default="both")
        command.add_argument("--kills", type=int, default=0)
        command.add_argument("--interval", type=float, default=1.0)
        command.add_argument("--seed", type=int, default=0)
    args, options = parser.parse_known_args()
    args.options = options  # of the command that is run, such as --size
    print(machine())
    args.function(args)


if __name__ == "__main__":
    main()
