"""Whether a file's description of networks is believable, before they are built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from arbstyle.networks.state import load_own_state

MAX_WIDTH = 1 << 16
MAX_LIST = 64
_COUNTS = ("blocks", "deep_blocks", "depths", "num_styles")
"""Arguments that say how many layers or rows there are: each has a tensor of its own."""
_MAY_BE_ZERO = ("blocks", "deep_blocks")

Shapes = Mapping[str, tuple[int, ...]]


def check_architecture(architecture: object, shapes: Shapes) -> Mapping[str, Any]:
    """The description of a styler if its values are plain and no larger than its file can hold.

    Raises:
        ValueError: of another form, a path, or a number out of bounds.
    """
    if not isinstance(architecture, dict):
        raise ValueError(f"expected an object, got {type(architecture).__name__}")
    widest = max((max(shape) for shape in shapes.values() if shape and all(shape)), default=0)
    for part in ("style_encoder", "transformer"):
        description = architecture[part]
        kind, arguments = description["class"], description["arguments"]
        if not isinstance(kind, str) or not isinstance(arguments, dict):
            raise ValueError(f"expected a class and its arguments for the {part}")
        if arguments.get("weights") not in (None, "random"):
            raise ValueError("expected weights null or 'random', since a file may not name other files")
        if ":" in kind:  # whose code is trusted knows its own bounds
            continue
        for name, value in arguments.items():
            limit = len(shapes) if name in _COUNTS else min(MAX_WIDTH, max(64, widest))
            _check_value(name, value, limit)
    return architecture


def _check_value(name: str, value: object, limit: int) -> None:
    if isinstance(value, list | tuple):
        if len(value) > MAX_LIST:
            raise ValueError(f"{name}: expected at most {MAX_LIST} values, got {len(value)}")
        for each in value:
            _check_value(name, each, limit)
    elif isinstance(value, int) and not isinstance(value, bool):
        least = 0 if name in _MAY_BE_ZERO else 1
        if not least <= value <= limit:
            raise ValueError(
                f"{name}: expected {least} to {limit}, as the weights say, got {str(value)[:20]}"
            )
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value}")
    elif not isinstance(value, int | float | str | None):
        raise ValueError(f"{name}: expected a plain value, got {type(value).__name__}")


def check_shapes(module: nn.Module, prefix: str, shapes: Shapes) -> None:
    """Refuse shapes, of all names that begin with ``prefix``, that are not the module's.

    Raises:
        ArbstyleError: they belong to another architecture.
    """
    own = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    load_own_state(module, {name: torch.empty(shape, device="meta") for name, shape in own.items()})
