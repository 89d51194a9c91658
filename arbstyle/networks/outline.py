"""Whether a file's description of networks is believable, before they are built."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from arbstyle.networks.state import load_own_state

MAX_WIDTH = 1 << 16
MAX_LIST = 64
_COUNTS = ("blocks", "deep_blocks", "depths", "num_styles")
"""Arguments that say how many layers or rows there are: each has a tensor of its own."""
_MAY_BE_ZERO = ("blocks", "deep_blocks")

Shapes = Mapping[str, tuple[int, ...]]


@contextmanager
def shapes_only() -> Iterator[None]:
    """Inside, modules are built without memory for their weights, and without drawing them."""
    with torch.device("meta"), _NothingDrawn():
        yield


class _NothingDrawn(TorchFunctionMode):
    """``normal_`` of a tensor without memory loads PyTorch's compiler, which takes a second."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


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
    state = {name: torch.empty(shape, device="meta") for name, shape in own.items()}
    load_own_state(module.to("meta"), state)
