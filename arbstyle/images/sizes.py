"""Sizes of pictures: how large one may be, and what size a wish comes to."""

from __future__ import annotations

import math
import operator
from typing import Literal

from arbstyle.errors import ArbstyleError

MAX_PIXELS = 512_000_000
"""The largest picture that is decoded or resized to, in pixels: a guard against decompression bombs."""


STYLE_PIXELS = 4
"""Of a style picture that is looked at, over the square of its short side: a ribbon would take any memory."""


def style_view(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width at which a style picture is looked at: a short side of ``size``, less for a ribbon."""
    scale = min(size / min(height, width), size * (STYLE_PIXELS / (height * width)) ** 0.5)
    scale = max(scale, 16 / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def target_size(
    height: int, width: int, size: int | tuple[int, int], edge: Literal["short", "long"] = "short"
) -> tuple[int, int]:
    """Height and width that a picture is resized to.

    Args:
        height, width: the picture's own.
        size: length in pixels of the `edge`, aspect ratio kept; or exactly (height, width).

    Raises:
        ArbstyleError: a size below 1, or more than `MAX_PIXELS` in all.
    """
    try:  # NumPy's integers, too
        wanted = tuple(map(operator.index, size if isinstance(size, tuple | list) else (size,)))
    except TypeError as error:
        raise ArbstyleError(f"expected a size in whole pixels, got {size!r}") from error
    if min(wanted) < 1:
        raise ArbstyleError(f"expected a size of at least 1 pixel, got {'×'.join(map(str, wanted))}")
    if len(wanted) == 1:
        scale = wanted[0] / (min(height, width) if edge == "short" else max(height, width))
        wanted = max(1, round(height * scale)), max(1, round(width * scale))
    if math.prod(wanted) > MAX_PIXELS:
        raise ArbstyleError(
            f"a picture of {width}×{height} cannot be resized to {wanted[1]}×{wanted[0]}: "
            f"that is more than {MAX_PIXELS / 1e6:g} megapixels; ask for a smaller size"
        )
    return wanted[0], wanted[1]
