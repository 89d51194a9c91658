"""What the benchmarks share: the line that says where figures are from, and turns for contenders.

A machine's speed drifts. So contenders are timed in turn, and compared round by round.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable, Mapping
from datetime import date
from typing import TypeVar

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
