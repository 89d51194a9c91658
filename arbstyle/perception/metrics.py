"""Measures of a stylised picture.

Style and content losses compare features of a frozen network (`PerceptualEncoder`, whose filter
normalisation makes the numbers comparable between sets of weights); PSNR and SSIM compare pixels.
Every measure returns one number per picture of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from arbstyle.errors import ArbstyleError
from arbstyle.images.arrays import LUMA
from arbstyle.perception.statistics import channel_moments, gram_matrix

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
DEEP_STYLE_LAYER = "relu5_1"
CONTENT_LAYER = "relu4_1"

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5


@dataclass(frozen=True)
class StyleStatistics:
    """What style losses compare, by layer: channel means and standard deviations N×C, Gram matrices N×C×C."""

    means: dict[str, Tensor]
    stds: dict[str, Tensor]
    grams: dict[str, Tensor]


def style_statistics(features: Mapping[str, Tensor]) -> StyleStatistics:
    """Reduce features (layer name → N×C×H×W) to what the style losses need, whatever H and W are."""
    moments = {layer: channel_moments(maps) for layer, maps in features.items()}
    return StyleStatistics(
        means={layer: mean for layer, (mean, _) in moments.items()},
        stds={layer: std for layer, (_, std) in moments.items()},
        grams={layer: gram_matrix(maps) for layer, maps in features.items()},
    )


def moment_style_losses(image: StyleStatistics, style: StyleStatistics) -> dict[str, Tensor]:
    """Mean squared error of the channel means plus that of the standard deviations, by layer; each N.

    The style loss of Huang & Belongie 2017 (eq. 13), averaged over channels as in their published code.
    """
    return {
        layer: _mean_squared_error(image.means[layer], style.means[layer])
        + _mean_squared_error(image.stds[layer], style.stds[layer])
        for layer in style.means
    }


def gram_style_losses(image: StyleStatistics, style: StyleStatistics) -> dict[str, Tensor]:
    """Mean squared error of the Gram matrices, by layer; each N.

    Gram matrices are divided by H·W and the error is averaged over the C×C entries: four times
    E_l of Gatys et al. 2016 (eq. 4).
    """
    return {layer: _mean_squared_error(image.grams[layer], gram) for layer, gram in style.grams.items()}


def content_loss(image: Tensor, content: Tensor) -> Tensor:
    """Mean squared error between feature maps N×C×H×W of equal size (by convention relu4_1); N."""
    _require_equal_shapes(image, content)
    return _mean_squared_error(image, content)


def psnr(image: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of pictures N×3×H×W in [0, 1]; N, infinite for equal pictures."""
    _require_equal_shapes(image, reference)
    return -10 * torch.log10(_mean_squared_error(image, reference))


def ssim(image: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity of the luminance of pictures N×3×H×W in [0, 1]; N, 1 for equal pictures.

    Wang et al. 2004: Gaussian window of 11×11 pixels with σ 1.5, K1 = 0.01, K2 = 0.03, no padding (so the
    mean leaves out a border of 5 pixels). On luminance (ITU-R BT.601), as theirs: it tells whether the
    photo's structure is still there and leaves the palette, which is meant to change, out of it.
    """
    similarity, _ = structural_similarity(image, reference)
    return similarity


def structural_similarity(image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM as in `ssim`, and its contrast and structure terms alone (what MS-SSIM multiplies); each N."""
    _require_equal_shapes(image, reference)
    if min(image.shape[-2:]) < SSIM_WINDOW:
        height, width = image.shape[-2:]
        raise ArbstyleError(
            f"SSIM needs pictures of at least {SSIM_WINDOW}×{SSIM_WINDOW} pixels, got {width}×{height}: "
            "use larger pictures"
        )
    # Variances don't depend on the origin; near 0, float32 loses fewer digits in E[x²] − E[x]².
    x, y = luminance(image) - 0.5, luminance(reference) - 0.5
    mean_x, mean_y, square_x, square_y, product = _gaussian_window(
        torch.cat([x, y, x * x, y * y, x * y], dim=1)
    ).split(1, dim=1)
    variance_x, variance_y = square_x - mean_x**2, square_y - mean_y**2
    covariance = product - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    c1, c2 = 0.01**2, 0.03**2
    contrast = (2 * covariance + c2) / (variance_x + variance_y + c2)
    similarity = contrast * (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return similarity.flatten(1).mean(dim=1), contrast.flatten(1).mean(dim=1)


def luminance(image: Tensor) -> Tensor:
    """ITU-R BT.601 luma of pictures N×3×H×W; N×1×H×W."""
    weights = image.new_tensor(LUMA).view(1, 3, 1, 1)
    return (image * weights).sum(dim=1, keepdim=True)


def _gaussian_window(maps: Tensor) -> Tensor:
    """Gaussian-weighted local means of N×C×H×W, only where the window fits."""
    offsets = torch.arange(SSIM_WINDOW, dtype=maps.dtype, device=maps.device) - SSIM_WINDOW // 2
    kernel = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    kernel = kernel / kernel.sum()
    channels = maps.shape[1]
    for shape in ((1, 1, SSIM_WINDOW, 1), (1, 1, 1, SSIM_WINDOW)):
        maps = F.conv2d(maps, kernel.view(shape).expand(channels, -1, -1, -1), groups=channels)
    return maps


def _mean_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Over all but the batch dimension; a batch of one on either side is compared with every other."""
    return (a - b).square().flatten(1).mean(dim=1)


def _require_equal_shapes(image: Tensor, reference: Tensor) -> None:
    if image.shape != reference.shape:
        raise ArbstyleError(
            f"two pictures of equal size are expected, got {tuple(image.shape)} and "
            f"{tuple(reference.shape)}: resize one to the other"
        )
