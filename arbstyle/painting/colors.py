"""Keeping a photo's colours: give them to the painting, or to the style before it is painted."""

from __future__ import annotations

import torch
from torch import Tensor

from arbstyle.images.arrays import LUMA


def transfer_luminance(painted: Tensor, photo: Tensor) -> Tensor:
    """The painting's brightness with the photo's colours (Gatys et al. 2016, arXiv:1606.05897, section 4).

    Args:
        painted, photo: N×3×H×W.
    """
    weights = painted.new_tensor(LUMA).view(1, 3, 1, 1)
    step = ((painted - photo) * weights).sum(dim=1, keepdim=True)
    return (photo + step).clamp(0, 1)


def match_histogram(style: Tensor, photo: Tensor) -> Tensor:
    """The style with the photo's distribution of values in each of red, green and blue.

    Args:
        style: 1×3×h×w.
        photo: 1×3×H×W.

    Returns:
        1×3×h×w; equal values stay equal.
    """
    channels = [
        _match_channel(source, reference)
        for source, reference in zip(style.flatten(2)[0], photo.flatten(2)[0], strict=True)
    ]
    return torch.stack(channels).view_as(style)


def _match_channel(source: Tensor, reference: Tensor) -> Tensor:
    values, positions, counts = source.unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - counts / 2) / source.numel()
    ordered = reference.sort().values
    place = (ranks * len(ordered) - 0.5).clamp(0, len(ordered) - 1)
    low = place.long()
    high = (low + 1).clamp_max(len(ordered) - 1)
    return torch.lerp(ordered[low], ordered[high], (place - low).to(ordered))[positions].to(values)


def match_coral(style: Tensor, photo: Tensor) -> Tensor:
    """The style with the photo's mean colour and colour covariance, by a linear map.

    Whitening and re-colouring as in CORAL (Sun, Feng & Saenko 2016); symmetric square roots move colours
    least (Gatys et al. 2016, arXiv:1606.05897, section 3).

    Args:
        style: 1×3×h×w.
        photo: 1×3×H×W.
    """
    own, target = (picture.flatten(2)[0].double() for picture in (style, photo))
    whiten = _matrix_power(_covariance(own), -0.5)
    colour = _matrix_power(_covariance(target), 0.5)
    centred = own - own.mean(dim=1, keepdim=True)
    matched = colour @ whiten @ centred + target.mean(dim=1, keepdim=True)
    return matched.view_as(style).to(style.dtype).clamp(0, 1)


def _covariance(pixels: Tensor) -> Tensor:
    # A floor of half a grey level keeps a black-and-white style from being divided by nothing.
    floor = (0.5 / 255) ** 2 * torch.eye(3, dtype=pixels.dtype, device=pixels.device)
    return torch.cov(pixels, correction=0) + floor


def _matrix_power(matrix: Tensor, power: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(1e-12) ** power) @ vectors.T
