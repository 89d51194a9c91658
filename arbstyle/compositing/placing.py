"""Where a foreground lies on a background: scaled, moved, and cut off at the background's frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import resize, resize_with_alpha


@dataclass(frozen=True)
class Placed:
    """A foreground on a canvas of the background's size.

    Attributes:
        pixels: 1×3×H×W.
        mask: 1×1×H×W, what is to be set into the background.
        alpha: 1×1×H×W, 0 where the foreground is transparent or does not reach.
    """

    pixels: Tensor
    mask: Tensor
    alpha: Tensor


def place(
    pixels: Tensor,
    mask: Tensor | None,
    size: tuple[int, int],
    *,
    alpha: Tensor | None = None,
    at: tuple[int, int] | None = None,
    scale: float = 1.0,
) -> Placed:
    """Lay a foreground on a canvas.

    Args:
        pixels: the foreground, 1×3×h×w in [0,1].
        mask: 1×1×m×n, stretched to the foreground; None for all of it.
        size: height and width of the canvas.
        alpha: the foreground's, 1×1×h×w.
        at: column and row of the canvas for the foreground's upper left corner, negative ones too; None
            centres it.
        scale: of the foreground, before it is placed.

    Raises:
        ArbstyleError: a scale of no size, or a foreground that lies outside the canvas.
    """
    if not 0 < scale < math.inf:
        raise ArbstyleError(f"expected a scale above 0, got {scale:g}")
    height, width = (max(1, round(side * scale)) for side in pixels.shape[2:])
    opacity = torch.ones_like(pixels[:, :1]) if alpha is None else alpha
    small, opacity = resize_with_alpha(pixels, opacity, (height, width))
    covered = torch.ones_like(opacity) if mask is None else resize(mask, (height, width))
    left, top = at if at is not None else ((size[1] - width) // 2, (size[0] - height) // 2)
    rows = slice(max(0, top), min(size[0], top + height))
    columns = slice(max(0, left), min(size[1], left + width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise ArbstyleError(
            f"the foreground of {width}×{height} pixels at {left},{top} lies outside the background of "
            f"{size[1]}×{size[0]}"
        )
    part = (..., slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    canvases = []
    for plane in (small, covered, opacity):
        canvas = plane.new_zeros(1, plane.shape[1], *size)
        canvas[..., rows, columns] = plane[part]
        canvases.append(canvas)
    return Placed(*canvases)
