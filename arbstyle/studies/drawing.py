"""Sheets of labelled pictures and plots of curves, as pictures that a notebook shows and a script saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import to_pil

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Labelled = tuple[str, Tensor]
"""A label, of one or several lines, and a picture 1×3×H×W in [0, 1]."""

Curve = tuple[Sequence[float], Sequence[float]]

DPI = 100


def sheet(rows: Sequence[Sequence[Labelled]], *, width: int = 150) -> Image.Image:
    """Pictures in rows, each with its label above it.

    Args:
        rows: of possibly unequal length.
        width: of each picture, in pixels.
    """
    columns = max(map(len, rows))
    heights = [max(picture.shape[2] / picture.shape[3] for _, picture in row) * width for row in rows]
    lines = [max(label.count("\n") + 1 for label, _ in row) for row in rows]
    label_heights = [15 * count + 6 for count in lines]
    total = sum(heights) + sum(label_heights)
    figure = _new_figure(columns * (width + 8), total)
    top = 0.0
    for row, height, label_height in zip(rows, heights, label_heights, strict=True):
        top += label_height
        for number, (label, picture) in enumerate(row):
            own_height = picture.shape[2] / picture.shape[3] * width
            axes = figure.add_axes(
                (
                    (number * (width + 8) + 4) / (columns * (width + 8)),
                    1 - (top + own_height) / total,
                    width / (columns * (width + 8)),
                    own_height / total,
                )
            )
            axes.imshow(np.asarray(to_pil(picture)), interpolation="lanczos")
            axes.set_axis_off()
            axes.set_title(label, fontsize=7.5, pad=2)
        top += height
    return _to_pil_image(figure)


def plot(
    curves: Mapping[str, Curve],
    *,
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
    ticks: Sequence[str] | None = None,
) -> Image.Image:
    """Curves in one diagram.

    Args:
        curves: by name, x and y values.
        x, y: titles of the axes.
        log_x, log_y: logarithmic axes.
        ticks: names of x = 0, 1, 2 … in place of numbers.
    """
    figure = _new_figure(720, 400, layout="constrained")
    axes = figure.subplots()
    for name, (xs, ys) in curves.items():
        axes.plot(xs, ys, marker="o" if len(xs) < 20 else None, markersize=4, linewidth=1.5, label=name)
    axes.set(xlabel=x, ylabel=y)
    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    if ticks is not None:
        axes.set_xticks(range(len(ticks)), ticks, fontsize=8)
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        figure.legend(fontsize=8, loc="outside right upper")
    return _to_pil_image(figure)


def _new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """Without pyplot, which would pick a window system."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ArbstyleError("figures need matplotlib: pip install 'arbstyle[plot]'") from error
    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout=layout)


def _to_pil_image(figure: Figure) -> Image.Image:
    file = BytesIO()
    figure.savefig(file, format="png", facecolor="white")
    return Image.open(file, formats=("PNG",)).convert("RGB")
