"""How much of the photo is still there: MS-SSIM in pixels, CFSD in features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from arbstyle.errors import ArbstyleError
from arbstyle.perception.metrics import SSIM_WINDOW, structural_similarity

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales from fine to coarse, fitted to what people see (Wang et al. 2003)."""

MS_SSIM_MIN_SIZE = SSIM_WINDOW * 2 ** (len(MS_SSIM_WEIGHTS) - 1)
"""In pixels: at the coarsest scale the window still has to fit."""

CFSD_LAYER = "relu3_1"

CFSD_POSITIONS = 64
"""A side: 128×128 positions, those of a picture of 512 pixels, would make 268 million pairs."""


def ms_ssim(image: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity at five scales, of pictures N×3×H×W in [0, 1]; N, 1 for equal pictures.

    Wang et al. 2003 (eq. 7), on luminance as `metrics.ssim`. Halved by averaging 2×2 pixels. A negative
    mean counts as 0: a power of it is not a real number.

    Raises:
        ArbstyleError: pictures smaller than `MS_SSIM_MIN_SIZE`, or of unequal sizes.
    """
    if min(image.shape[-2:]) < MS_SSIM_MIN_SIZE:
        height, width = image.shape[-2:]
        raise ArbstyleError(
            f"MS-SSIM needs pictures of at least {MS_SSIM_MIN_SIZE}×{MS_SSIM_MIN_SIZE} pixels, "
            f"got {width}×{height}: use larger pictures, or SSIM"
        )
    result = image.new_ones(len(image))
    coarsest = len(MS_SSIM_WEIGHTS) - 1
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        similarity, contrast = structural_similarity(image, reference)
        result = result * (similarity if scale == coarsest else contrast).clamp_min(0) ** weight
        image, reference = F.avg_pool2d(image, 2), F.avg_pool2d(reference, 2)
    return result


def cfsd(image: Tensor, content: Tensor) -> Tensor:
    """Content feature structural distance of features N×C×H×W at `CFSD_LAYER`; N, 0 for equal features.

    Chung et al. 2024 (StyleID). Each position's similarity to all positions, Fᵀ F / C², becomes a
    distribution by softmax; the distance is the Kullback-Leibler divergence from the photo's distribution
    to the picture's, averaged over positions. It sees which places look alike and not how they look.

    Two departures: their code adds up over positions where the paper averages, and maps larger than
    `CFSD_POSITIONS` a side are averaged down to that.

    Raises:
        ArbstyleError: features of unequal shapes.
    """
    if image.shape != content.shape:
        raise ArbstyleError(
            f"features of equal shape are expected, got {tuple(image.shape)} and {tuple(content.shape)}: "
            "resize one picture to the other"
        )
    ours, theirs = _log_self_similarity(image), _log_self_similarity(content)
    return (theirs.exp() * (theirs - ours)).sum(dim=2).mean(dim=1)


def _log_self_similarity(features: Tensor) -> Tensor:
    """Logarithms of N distributions a position over all positions: N×P×P."""
    height, width = features.shape[-2:]
    if max(height, width) > CFSD_POSITIONS:
        size = (min(height, CFSD_POSITIONS), min(width, CFSD_POSITIONS))
        features = F.adaptive_avg_pool2d(features, size)
    positions = features.flatten(2).float() / features.shape[1]
    return torch.log_softmax(positions.transpose(1, 2) @ positions, dim=2)
