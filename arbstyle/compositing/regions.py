"""Regions of a photo painted each in its style, with borders that cannot be seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

from arbstyle.compositing.blend import blend_seamlessly
from arbstyle.errors import ArbstyleError
from arbstyle.images import as_float, resize

Style = TypeVar("Style")


def paint_regions(
    paint: Callable[[Style], Tensor], photo: Tensor, styles: Sequence[Style], masks: Sequence[Tensor]
) -> Tensor:
    """Each style painted on the whole photo, then blended into what came before it where its mask is white.

    Args:
        paint: paints the photo in a style.
        photo: 1×3×H×W of floats in [0,1].
        masks: pictures 1×3×h×w or 1×1×h×w, stretched to the photo, one a style; with one less, the last
            style is painted everywhere first.

    Returns:
        1×3×H×W.

    Raises:
        ArbstyleError: another number of masks, or one that is nowhere brighter than half.
    """
    if not masks or len(masks) not in (len(styles), len(styles) - 1):
        raise ArbstyleError(
            f"expected a mask for each of the {len(styles)} styles (or for all but the last), "
            f"got {len(masks)}"
        )
    size = (photo.shape[2], photo.shape[3])
    planes = [resize(as_float(mask).mean(dim=1, keepdim=True), size) for mask in masks]
    for number, mask in enumerate(planes, start=1):
        if float(mask.max()) <= 0.5:
            raise ArbstyleError(
                f"mask {number} is nowhere brighter than half: paint white what it is to cover"
            )
    result = photo if len(masks) == len(styles) else paint(styles[-1])
    for style, mask in zip(styles, planes, strict=False):
        result = blend_seamlessly(paint(style), result, mask)
    return result
