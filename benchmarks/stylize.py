"""Time and memory of one stylisation, style included, beside a peer in the same run.

python benchmarks/stylize.py time --size 1024 --threads 2 --peer /path/to/peer.py
python benchmarks/stylize.py memory --size 4096

The peer is any Python file with a function ``stylize(content, style)`` on 1×3×H×W tensors in [0,1].
Runs alternate, and ratios are taken run by run, because a machine's speed drifts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch

from arbstyle.inference import Stylizer

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
    runs: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(args.repeats + 1):
        for name, stylize in contenders.items():
            taken = seconds(stylize, content, style, args.clock)
            if repeat:  # the first round warms up
                runs[name].append(taken)
    result: dict[str, object] = {
        f"{name}, s": round(statistics.median(times), 3) for name, times in runs.items()
    }
    for name in runs:
        if args.peer and name != "peer":
            ratios = [ours / peer for ours, peer in zip(runs[name], runs["peer"], strict=True)]
            result[f"{name} / peer"] = round(statistics.median(ratios), 3)
    return result


def measure_memory(args: argparse.Namespace) -> dict[str, object]:
    """Peak resident memory of this process, interpreter and libraries included."""
    torch.set_num_threads(args.threads)
    stylizer = Stylizer.from_pretrained(args.model, precision=args.precisions[0])
    stylizer(torch.rand(1, 3, args.size, args.size), torch.rand(1, 3, 512, 512))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"peak memory, GiB": round(peak / 2**30, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measure", choices=["time", "memory"])
    parser.add_argument("--size", type=int, default=1024, help="side of the photo in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu on machines with other work")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--model", help="another model file than the one in the package")
    parser.add_argument("--peer", help="Python file with a function stylize(content, style)")
    args = parser.parse_args()
    settings = {
        "date": str(date.today()),
        "machine": platform.processor() or platform.machine(),
        **vars(args),
    }
    result = measure_time(args) if args.measure == "time" else measure_memory(args)
    print(json.dumps({**settings, **result}, indent=2))


if __name__ == "__main__":
    main()
