"""Options of painting: their ranges and defaults, for whoever checks them before PyTorch is loaded."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Literal, SupportsIndex, get_args

from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

KeepColors = Literal["none", "luminance", "histogram", "coral"]
KEEP_COLORS: tuple[str, ...] = get_args(KeepColors)
MATCHING_COLORS = "histogram", "coral"
"""Those that give a style picture the photo's colours first: a style's code is not enough."""

STYLE_SIZE = 512
"""Short side at which a style picture is looked at where no photo says how large, in pixels."""

STYLE_SIZES = 256, 2048
"""What it is kept within where a photo does: a style is seen best at the size of what is painted."""

LARGEST_STRENGTH = 100.0
"""Beyond, whatever is painted is white."""

STROKES = 1, 2, 4
"""How many times wider than the model's own the strokes can be."""


NOT_FINITE = (
    "this model paints numbers that are not finite in this style; choose --strength 1 or less, or get the "
    "model and the style anew"
)


class StrengthWarning(UserWarning):
    """A strength beyond what models are trained for."""


def style_size_for(photo: Tensor | np.ndarray) -> int:
    """Short side at which to look at a style for a photo …×H×W: the photo's, within ``STYLE_SIZES``."""
    smallest, largest = STYLE_SIZES
    return min(max(min(photo.shape[-2:]), smallest), largest)


def whole_number(value: SupportsIndex, name: str) -> int:
    """A number of any integer type, NumPy's too, as Python's.

    Raises:
        ArbstyleError: anything else.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise ArbstyleError(f"expected a whole number for {name}, got {value!r}") from None


def check_options(
    strength: float = 1.0,
    keep_colors: str = "none",
    style_size: int | None = None,
    tile: int | None = None,
    stroke: int = 1,
) -> None:
    """Raise an ArbstyleError for an option of :meth:`Stylizer.stylize` that is out of its range."""
    if not 0 <= strength <= LARGEST_STRENGTH:
        raise ArbstyleError(f"expected a strength from 0 (the photo) to 1 (the style) or so, got {strength}")
    if keep_colors not in KEEP_COLORS:
        raise ArbstyleError(f"expected to keep colours by {', '.join(KEEP_COLORS)}, got '{keep_colors}'")
    if style_size is not None and whole_number(style_size, "the style size") < 16:
        raise ArbstyleError(f"expected a style size of at least 16 pixels, got {style_size}")
    if tile is not None and whole_number(tile, "the tile") < 64:
        raise ArbstyleError(f"expected tiles of at least 64 pixels, got {tile}")
    if stroke not in STROKES:
        widths = ", ".join(map(str, STROKES))
        raise ArbstyleError(f"expected strokes {widths} times as wide, got {stroke}")
