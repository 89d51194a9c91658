"""Where and in which number format networks compute, and how much memory is left there."""

from __future__ import annotations

import sys
from typing import Literal

import torch

from arbstyle.errors import ArbstyleError
from arbstyle.memory import available_ram

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

Precision = Literal["auto", "fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: str | torch.device) -> torch.device:
    """The device of that name; ``auto`` takes cuda, else mps, else cpu.

    Raises:
        ArbstyleError: not a device, or not on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ArbstyleError(f"expected a device auto, cpu, cuda or mps, got '{device}'") from error
    if not available.get(chosen.type, False) or (chosen.index or 0) >= max(1, torch.cuda.device_count()):
        here = ", ".join(name for name, there in available.items() if there)
        raise ArbstyleError(f"there is no device '{device}' here; choose among auto, {here}")
    return chosen


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The number format of that name; ``auto`` takes bf16 on a CPU that is made for it, else fp32.

    Raises:
        ArbstyleError: not a precision.
    """
    if precision == "auto":
        return torch.bfloat16 if device.type == "cpu" and _cpu_computes_bf16() else torch.float32
    if precision not in _DTYPES:
        raise ArbstyleError(f"expected a precision auto, {', '.join(_DTYPES)}, got '{precision}'")
    return _DTYPES[precision]


def choose_layout(device: torch.device) -> torch.memory_format:
    """The layout in which convolutions are fast there; in another they round differently."""
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def available_bytes(device: torch.device) -> int:
    """Memory to be had: free on the GPU, available to the process on Linux, elsewhere a cautious 4 GiB."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_ram()


def peak_memory_mib(device: torch.device) -> float | None:
    """Most memory used so far: allocated on a CUDA device, else resident in this process; not on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _cpu_computes_bf16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not in every version of PyTorch
    return any(getattr(torch.cpu, check, bool)() for check in checks)
