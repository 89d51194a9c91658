"""The machine that evaluates: what it is, and how much memory was used."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

from arbstyle import __version__
from arbstyle.devices import peak_memory_mib


class PeakMemory:
    """High-water mark of memory from construction on; see `Row` for what it means where."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return

    def mib(self) -> float | None:
        return peak_memory_mib(self._device)


def environment(device: torch.device) -> dict[str, Any]:
    return {
        "arbstyle": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _processor() -> str:
    try:
        information = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    match = re.search(r"^model name\s*:\s*(.+)$", information, re.MULTILINE)
    return match[1] if match else platform.machine()
