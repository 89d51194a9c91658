"""Weights as whole numbers of eight bits, which makes a model's file half as large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from arbstyle.stored import FLOATS, SCALES

if TYPE_CHECKING:
    from arbstyle.stored import StoredTensors

_WORTH_IT = 4096
_LARGEST = 127
_SMALLEST_SCALE = 1e-12
"""For rows of zeros, which may have any."""


def pack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large matrices and kernels as int8 and a scale for each row (output channel); the rest as it is.

    A weight is off by at most half of 1/127 of the largest in its row, and :func:`unpack` rounds it again.

    Args:
        state: floating-point weights by name.
    """
    packed: dict[str, Tensor] = {}
    for name, value in state.items():
        if value.dim() < 2 or value.numel() < _WORTH_IT or not value.is_floating_point():
            packed[name] = value
            continue
        rows = value.detach().float().flatten(1)
        scales = (rows.abs().amax(dim=1) / _LARGEST).clamp_min(_SMALLEST_SCALE)
        packed[name] = (rows / scales[:, None]).round().to(torch.int8).view(value.shape)
        packed[name + SCALES] = scales
    return packed


def unpack(whole: Tensor, scales: Tensor) -> Tensor:
    """Weights from int8 rows and their scales, R×… and R, rounded to half precision; in float32."""
    return (whole.float() * scales.float().view(-1, *[1] * (whole.dim() - 1))).half().float()


def weight_shapes(file: StoredTensors) -> dict[str, tuple[int, ...]]:
    """Shapes of a file's weights, without the scales that belong to packed ones."""
    return {name: shape for name, shape in file.shapes.items() if not _is_scale(file, name)}


def strange_weight(file: StoredTensors) -> str | None:
    """Name of a weight that is neither of floating-point numbers nor packed with scales that fit."""
    for name, dtype in file.dtypes.items():
        shape = file.shapes[name]
        is_packed = dtype == "I8" and len(shape) > 1 and file.shapes.get(name + SCALES) == shape[:1]
        if dtype not in FLOATS and not is_packed:
            return name
    return None


def read_weight(file: StoredTensors, name: str) -> Tensor:
    """A weight in float32, unpacked if need be."""
    value = file.read(name)
    return unpack(value, file.read(name + SCALES)) if value.dtype == torch.int8 else value.float()


def _is_scale(file: StoredTensors, name: str) -> bool:
    return name.endswith(SCALES) and file.dtypes.get(name.removesuffix(SCALES)) == "I8"
