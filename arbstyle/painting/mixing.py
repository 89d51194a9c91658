"""Several styles, how strong they are and where each goes, as what the painter works by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import PictureLike, as_mask
from arbstyle.networks import blend, interpolate
from arbstyle.painting.masks import region_weights
from arbstyle.painting.options import KeepColors
from arbstyle.painting.style_reader import StyleLike, StyleReader
from arbstyle.painting.task import Finish, Task


@dataclass(frozen=True)
class Mixture:
    """What photos of one size are painted by.

    Attributes:
        targets: transformer's parameters for each region, 1×P, or N×P for photos with a style each.
        regions: weights 1×R×H×W; ``None`` where one target goes everywhere.
        cover: 1×1×H×W, 0 where the photo stays as it is; ``None`` where it is painted all over.
        finish: what is put back from the photo afterwards.
    """

    targets: list[Tensor]
    regions: Tensor | None
    cover: Tensor | None
    finish: Finish

    def task(self, photos: Tensor, number: int, seed: int, origin: tuple[int, int]) -> Task:
        """What to paint of the photos N×3×H×W at a number."""
        one = photos[number : number + 1]
        rows = torch.cat([target[number % len(target)][None] for target in self.targets])
        return Task(one, one, rows, self.regions, self.cover, self.finish, seed, origin)


def mix(
    reader: StyleReader,
    photos: Tensor,
    styles: Sequence[StyleLike],
    *,
    strength: float,
    weights: Sequence[float] | None,
    masks: Sequence[PictureLike] | None,
    keep_colors: KeepColors,
    style_size: int,
) -> Mixture:
    """Blend styles, or give each its region; see :meth:`arbstyle.painting.Stylizer.stylize`.

    Raises:
        ArbstyleError: styles, weights and masks that do not fit together or to the photos.
    """
    if masks is not None and weights is not None:
        raise ArbstyleError(
            "masks say where each style goes, weights how much of each everywhere; give one of them"
        )
    targets = [reader.parameters(one, style_size, keep_colors, photos) for one in styles]
    if any(len(target) not in (1, len(photos)) for target in targets):
        raise ArbstyleError(f"expected 1 or {len(photos)} style pictures for {len(photos)} photos")
    regions = None
    if masks is None:
        targets = [blend(targets, [1.0] * len(targets) if weights is None else weights)]
    else:
        regions = _regions(masks, len(targets), photos)
    own = reader.own_parameters(photos, style_size) if strength != 1 or regions is not None else None
    if own is not None:
        targets = [interpolate(own, target, strength) for target in targets]
    cover = None
    if regions is not None and regions.shape[1] > len(targets):
        cover = 1 - regions[:, -1:]
        # A bank knows no style that is the photo's own.
        targets.append(targets[-1] if own is None else own)
    return Mixture(targets, regions, cover, Finish(strength, own is not None, keep_colors))


def _regions(masks: Sequence[PictureLike], styles: int, photo: Tensor) -> Tensor:
    """Weights 1×R×H×W of the masks' regions, and of what no mask covers unless that is nothing."""
    if len(masks) not in (styles, styles - 1) or not masks:
        raise ArbstyleError(
            f"expected a mask for each of the {styles} styles (or for all but the last), got {len(masks)}"
        )
    height, width = photo.shape[2:]
    weights = region_weights([as_mask(mask) for mask in masks], (height, width))
    covers_all = float(weights[:, -1].max()) == 0
    return weights[:, :-1] if len(masks) == styles and covers_all else weights
