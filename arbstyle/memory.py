"""How much memory this process may still take."""

from __future__ import annotations

from pathlib import Path

_UNKNOWN = 4 * 2**30


def available_ram() -> int:
    """Bytes to be had, the limits of a container counted in; on other systems than Linux a cautious 4 GiB."""
    found = [_meminfo_available(), _cgroup_available()]
    return min((amount for amount in found if amount is not None), default=_UNKNOWN)


def _meminfo_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def _cgroup_available() -> int | None:
    try:
        group = Path("/sys/fs/cgroup")
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None
