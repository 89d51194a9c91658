"""Painting by optimisation (Gatys): settings, the canvas, the search, the result.

The names below are imported when they are first asked for: `Settings` alone loads no PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arbstyle.optimization.engine import optimize
    from arbstyle.optimization.history import LossRecord, Optimized, plot_history
    from arbstyle.optimization.settings import Settings

_EXPORTS = {
    "LossRecord": "history",
    "Optimized": "history",
    "Settings": "settings",
    "optimize": "engine",
    "plot_history": "history",
}

__all__ = ["LossRecord", "Optimized", "Settings", "optimize", "plot_history"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
