"""What one stylisation takes, beside a peer in the same run, and how exact it is.

python benchmarks/stylize.py time --size 1024 --threads 2 --peer /path/to/peer.py
python benchmarks/stylize.py memory --size 4096
python benchmarks/stylize.py load
python benchmarks/stylize.py identity --content PHOTOS --size 512             # a photo in its own style
python benchmarks/stylize.py tiles --content PHOTOS --style PAINTINGS --pairs 3    # against one piece

The peer is any Python file with a function ``stylize(content, style)`` on 1×3×H×W tensors in [0,1].
Runs alternate, and ratios are taken run by run, because a machine's speed drifts.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import in_turns, machine, peak_gib

from arbstyle.images import find_images, read_image
from arbstyle.painting import Stylizer
from arbstyle.perception import psnr

Stylize = Callable[[torch.Tensor, torch.Tensor], object]


def load_peer(path: str) -> Stylize:
    """The function ``stylize`` of a Python file."""
    sys.path.insert(0, str(Path(path).parent))
    spec = importlib.util.spec_from_file_location("peer", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.stylize


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def seconds(stylize: Stylize, content: torch.Tensor, style: torch.Tensor, clock: str) -> float:
    """Time of one call, by the wall clock or of all the process's threads together."""
    start = CLOCKS[clock]()
    with torch.inference_mode():
        stylize(content, style)
    return CLOCKS[clock]() - start


def measure_time(args: argparse.Namespace) -> dict[str, object]:
    """Median seconds of each contender and median ratio to the peer."""
    torch.set_num_threads(args.threads)
    content, style = torch.rand(1, 3, args.size, args.size), torch.rand(1, 3, 512, 512)
    contenders: dict[str, Stylize] = {
        f"arbstyle {precision}": Stylizer.from_pretrained(args.model, precision=precision)
        for precision in args.precisions
    }
    if args.peer:
        contenders["peer"] = load_peer(args.peer)
    clocked = {
        name: functools.partial(seconds, stylize, content, style, args.clock)
        for name, stylize in contenders.items()
    }
    runs = in_turns(clocked, args.repeats)
    result: dict[str, object] = {
        f"{name}, s": round(statistics.median(times), 3) for name, times in runs.items()
    }
    for name in runs:
        if args.peer and name != "peer":
            ratios = [ours / peer for ours, peer in zip(runs[name], runs["peer"], strict=True)]
            result[f"{name} / peer"] = round(statistics.median(ratios), 3)
    return result


def measure_memory(args: argparse.Namespace) -> dict[str, object]:
    """Peak resident memory of this process, interpreter and libraries included; pictures are bytes."""
    torch.set_num_threads(args.threads)
    stylizer = Stylizer.from_pretrained(args.model, precision=args.precisions[0])
    photo = torch.randint(0, 256, (1, 3, args.size, args.size), dtype=torch.uint8)
    stylizer(photo, torch.rand(1, 3, 512, 512))
    return {"peak memory, GiB": round(peak_gib(), 2)}


def measure_load(args: argparse.Namespace) -> dict[str, object]:
    """Median seconds from `import torch` to a model that can paint, each in a process of its own."""
    program = (
        "import sys, torch, time; began = time.perf_counter(); from arbstyle import Stylizer; "
        "Stylizer.from_pretrained(sys.argv[1] or None); print(time.perf_counter() - began)"
    )
    command = [sys.executable, "-c", program, args.model or ""]
    times = [float(subprocess.check_output(command)) for _ in range(args.repeats)]
    return {"loading, s": round(statistics.median(times), 3)}


def measure_identity(args: argparse.Namespace) -> dict[str, object]:
    """PSNR in dB between photos and the same photos in their own style."""
    stylizer = Stylizer.from_pretrained(args.model, precision=args.precisions[0])
    found = []
    for path in list(find_images(args.content))[: args.pairs]:
        photo = read_image(path, size=args.size)
        found.append(float(psnr(stylizer.stylize(photo, photo), photo)))
    mean, lowest, highest = (round(of(found), 2) for of in (statistics.mean, min, max))
    return {"pictures": len(found), "mean, dB": mean, "lowest, dB": lowest, "highest, dB": highest}


def measure_tiles(args: argparse.Namespace) -> dict[str, object]:
    """PSNR in dB between pictures painted in tiles and in one piece."""
    photos, styles = (list(find_images(folder)) for folder in (args.content, args.style))
    result: dict[str, object] = {}
    for precision in args.precisions:
        stylizer = Stylizer.from_pretrained(args.model, precision=precision)
        for number in range(args.pairs or len(photos)):
            photo = read_image(photos[number % len(photos)], size=args.size)
            style = styles[7 * number % len(styles)]
            whole = stylizer.stylize(photo, style)
            tiled = (stylizer.stylize(photo, style, tile=tile) for tile in args.tiles)
            name = f"{precision}, {photos[number % len(photos)].stem} × {style.stem}, dB"
            result[name] = [round(float(psnr(picture, whole)), 1) for picture in tiled]
    return result


MEASURES = {
    "time": measure_time,
    "memory": measure_memory,
    "load": measure_load,
    "identity": measure_identity,
    "tiles": measure_tiles,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("--size", type=int, default=1024, help="side of the photo (the short one) in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu on machines with other work")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--model", help="another model file than the one in the package")
    parser.add_argument("--content", type=Path, help="folder of photos, for identity and tiles")
    parser.add_argument("--style", type=Path, help="folder of paintings, for tiles")
    parser.add_argument("--pairs", type=int, help="only so many photos")
    parser.add_argument("--tiles", type=int, nargs="+", default=[192, 320, 512], help="their sides")
    parser.add_argument("--peer", help="Python file with a function stylize(content, style)")
    args = parser.parse_args()
    if args.measure in ("identity", "tiles") and not args.content:
        parser.error(f"{args.measure} needs --content PHOTOS")
    if args.measure == "tiles" and not args.style:
        parser.error("tiles needs --style PAINTINGS")
    settings = {"machine": machine(), **vars(args)}
    print(json.dumps({**settings, **MEASURES[args.measure](args)}, indent=2, default=str))


if __name__ == "__main__":
    main()
