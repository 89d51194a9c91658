"""How far the colours of a picture are from those of the style."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

BINS = 8
"""A channel: few enough for a picture of 64×64 pixels, enough to tell two browns apart."""


def color_histogram_distance(image: Tensor, style: Tensor) -> Tensor:
    """Hellinger distance of the colour histograms of pictures N×3×H×W and N×3×h×w in [0, 1]; N, in [0, 1].

    0 for equal palettes, wherever the colours are; 1 for palettes without a common colour. A histogram of
    8×8×8 colours, each pixel shared out linearly among the eight nearest, so that a small change of
    colour is a small change of the histogram. Distance as used for palettes by Afifi et al. 2021 (HistoGAN).
    """
    overlap = (_histogram(image) * _histogram(style)).sqrt().sum(dim=1)
    return (1 - overlap).clamp_min(0).sqrt()


def _histogram(image: Tensor) -> Tensor:
    """Shares of the colours, N×BINS³."""
    position = image.flatten(2).double().clamp(0, 1) * (BINS - 1)
    lower = position.floor().clamp_max(BINS - 2)
    upper_share = position - lower
    histogram = image.new_zeros(len(image), BINS**3, dtype=torch.float64)
    for corner in product((0, 1), repeat=3):
        offset = lower.new_tensor(corner).view(1, 3, 1)
        red, green, blue = (lower + offset).long().unbind(dim=1)
        share = (upper_share * offset + (1 - upper_share) * (1 - offset)).prod(dim=1)
        histogram.scatter_add_(1, (red * BINS + green) * BINS + blue, share)
    return histogram / histogram.sum(dim=1, keepdim=True)
