"""Painting a picture twice: first small, for wider strokes, then whole."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 8
"""Pixels: what is wider than two of these comes from the draft alone."""
_DETAIL = 0.8
"""How much of the draft's fine detail gives way to the photo's."""


def mix_draft(content: Tensor, draft: Tensor) -> Tensor:
    """What a second pass repaints: a smaller painting of the photo, enlarged, with the photo's fine detail.

    The strokes of the draft come out as many times wider as it was smaller; the photo brings back the edges
    that the draft has lost.

    Args:
        content: N×3×H×W in [0,1].
        draft: N×3×h×w in [0,1].

    Returns:
        N×3×H×W in [0,1].
    """
    size = content.shape[2:]
    enlarged = F.interpolate(draft.to(content), size=size, mode="bicubic", align_corners=False).clamp(0, 1)
    missing = content - enlarged
    coarse = F.avg_pool2d(missing, _BLOCK, ceil_mode=True)
    wide = F.interpolate(coarse, scale_factor=_BLOCK, mode="bilinear", align_corners=False)
    fine = missing - wide[..., : size[0], : size[1]]
    return torch.add(enlarged, fine, alpha=_DETAIL).clamp(0, 1)


def half_size(image: Tensor) -> Tensor:
    """N×3×H×W at half the size, rounded up: what a draft is painted from."""
    size = [-(-side // 2) for side in image.shape[2:]]
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
