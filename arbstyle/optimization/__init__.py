"""Painting by optimisation (Gatys): settings, the canvas, the search, the result."""

from arbstyle.optimization.engine import optimize
from arbstyle.optimization.history import Evaluation, Optimized, plot_history
from arbstyle.optimization.settings import Settings

__all__ = [
    "Evaluation",
    "Optimized",
    "Settings",
    "optimize",
    "plot_history",
]
