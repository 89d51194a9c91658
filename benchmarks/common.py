"""What the benchmarks share: where figures are from, turns for contenders, a photo, tables.

A machine's speed drifts. So contenders are timed in turn, and compared round by round.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import TypeVar

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "examples"

Result = TypeVar("Result")


def machine() -> str:
    """Processor, cores, version of PyTorch and threads if it is loaded, and the date."""
    parts = [platform.processor() or platform.machine(), f"{os.cpu_count()} cores"]
    torch = sys.modules.get("torch")
    if torch is not None:
        parts += [f"{torch.get_num_threads()} threads", f"PyTorch {torch.__version__}"]
    return ", ".join([*parts, str(date.today())])


def in_turns(contenders: Mapping[str, Callable[[], Result]], repeats: int) -> dict[str, list[Result]]:
    """What each contender returns, round by round; a first round is not counted."""
    rounds = [{name: run() for name, run in contenders.items()} for _ in range(repeats + 1)]
    return {name: [each[name] for each in rounds[1:]] for name in contenders}


def peak_gib() -> float:
    """Most memory that this process has held, in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def square_photo(folder: str | Path, side: int) -> Path:
    """The photo of an astronaut as a PNG of that many pixels a side."""
    from PIL import Image, ImageOps

    path = Path(folder, "photo.png")
    with Image.open(EXAMPLES / "photo-astronaut.jpg") as image:
        ImageOps.fit(image, (side, side)).save(path)
    return path


def print_table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
    """In Markdown, row by row as they come."""
    titles = list(head)
    print_row(titles)
    print("|" + "---|" * len(titles))
    for row in rows:
        print_row(row)


def print_row(cells: Iterable[object]) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
