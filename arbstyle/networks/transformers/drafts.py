"""Painting a picture twice: first small, for wider strokes, then whole."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mix_draft(content: Tensor, draft: Tensor) -> Tensor:
    """What a second pass repaints: half the photo, half a smaller painting of it, enlarged.

    The strokes of the draft come out as many times wider as it was smaller; the photo's half brings back what
    the draft has lost.

    Args:
        content: N×3×H×W in [0,1].
        draft: N×3×h×w in [0,1].

    Returns:
        N×3×H×W in [0,1].
    """
    enlarged = F.interpolate(draft.to(content), size=content.shape[2:], mode="bicubic", align_corners=False)
    return torch.lerp(content, enlarged.clamp(0, 1), 0.5)


def half_size(image: Tensor) -> Tensor:
    """N×3×H×W at half the size, rounded up: what a draft is painted from."""
    size = [-(-side // 2) for side in image.shape[2:]]
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
