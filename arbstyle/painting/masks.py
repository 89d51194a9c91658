"""Masks: which style goes where."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import resize


def region_weights(masks: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Masks as weights of regions, the last of them being what no mask covers.

    Args:
        masks: R pictures 1×3×h×w or 1×1×h×w of any size; white is inside, black outside, grey in between.
        size: height and width of the photo.

    Returns:
        1×(R+1)×H×W that add up to 1 at every position; where masks overlap, they share.

    Raises:
        ArbstyleError: no mask, or one that is black all over.
    """
    planes = [resize(mask.mean(dim=1, keepdim=True), size) for mask in masks]
    for number, plane in enumerate(planes, start=1):
        if float(plane.max()) < 1 / 255:
            raise ArbstyleError(f"mask {number} is black all over: paint white what it is to cover")
    inside = torch.cat(planes, dim=1)
    inside = inside / inside.sum(dim=1, keepdim=True).clamp_min(1)
    return torch.cat([inside, 1 - inside.sum(dim=1, keepdim=True)], dim=1).clamp(0, 1)
