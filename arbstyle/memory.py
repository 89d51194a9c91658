"""How much memory this process may still take, and how many cores."""

from __future__ import annotations

import os
from pathlib import Path

_UNKNOWN = 4 * 2**30


def available_ram() -> int:
    """Bytes to be had, within the limit of a container (cgroup v2); a cautious 4 GiB where Linux is not."""
    found = [_meminfo_available(), left_in_group(Path("/sys/fs/cgroup"))]
    return min((amount for amount in found if amount is not None), default=_UNKNOWN)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _meminfo_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def left_in_group(group: Path) -> int | None:
    """Bytes that the limit of a control group leaves, None without one: a folder of Linux's cgroup v2."""
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such file, or "max"
        return None
    # The kernel gives up cached files before it refuses memory.
    return max(0, limit - used + int(counts.get("inactive_file", 0)))
