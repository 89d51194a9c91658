"""Sizes of pictures: how large one may be, and what size a wish comes to."""

from __future__ import annotations

from typing import Literal

from arbstyle.errors import ArbstyleError

MAX_PIXELS = 512_000_000
"""The largest picture that is decoded or resized to, in pixels: a guard against decompression bombs."""


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
    wanted = (size,) if isinstance(size, int) else tuple(size)
    if min(wanted) < 1:
        raise ArbstyleError(f"expected a size of at least 1 pixel, got {'×'.join(map(str, wanted))}")
    if isinstance(size, int):
        scale = size / (min(height, width) if edge == "short" else max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
    if size[0] * size[1] > MAX_PIXELS:
        raise ArbstyleError(
            f"a picture of {width}×{height} cannot be resized to {size[1]}×{size[0]}: "
            f"that is more than {MAX_PIXELS / 1e6:g} megapixels; ask for a smaller size"
        )
    return size
