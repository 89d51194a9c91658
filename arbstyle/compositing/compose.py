"""Two picture files made one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from arbstyle.compositing.blend import Gradients, blend_seamlessly
from arbstyle.compositing.placing import place
from arbstyle.images import Picture, as_mask, read_picture


def read_and_composite(
    foreground: str | Path,
    background: str | Path,
    *,
    mask: str | Path | None = None,
    at: tuple[int, int] | None = None,
    scale: float = 1.0,
    gradients: Gradients = "normal",
) -> Picture:
    """Set a part of one picture into another, see :func:`~arbstyle.compositing.blend_seamlessly`.

    Transparent parts of the foreground are left out of the mask. Transparent parts of the background lend
    no colour to the border, and become opaque where the foreground covers them.

    Args:
        foreground, background, mask: files; the mask is white where the foreground is taken.
        at, scale: see :func:`~arbstyle.compositing.place`.

    Returns:
        the background, its metadata included, with the foreground in it.
    """
    above, below = (read_picture(path, background=None) for path in (foreground, background))
    inside = None if mask is None else as_mask(mask)
    size = (below.pixels.shape[2], below.pixels.shape[3])
    placed = place(above.pixels, inside, size, alpha=above.alpha, at=at, scale=scale)
    pixels = blend_seamlessly(
        placed.pixels,
        below.pixels,
        placed.mask,
        gradients,
        foreground_known=placed.alpha,
        background_known=below.alpha,
    )
    if below.alpha is None:
        return replace(below, pixels=pixels)
    covered = (placed.mask > 0.5) & (placed.alpha > 0.5)
    return replace(below, pixels=pixels, alpha=torch.where(covered, 1.0, below.alpha))
