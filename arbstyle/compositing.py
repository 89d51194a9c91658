"""What happens to colours and regions around the network: pure functions on pictures N×3×H×W in [0,1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import resize

KeepColors = Literal["none", "luminance", "histogram", "coral"]
KEEP_COLORS: tuple[str, ...] = get_args(KeepColors)

# ITU-R BT.601, whose luma is what JPEG and YIQ call brightness.
_LUMA = (0.299, 0.587, 0.114)


def transfer_luminance(painted: Tensor, photo: Tensor) -> Tensor:
    """The painting's brightness with the photo's colours (Gatys et al. 2016, arXiv:1606.05897, section 4).

    Args:
        painted, photo: N×3×H×W.
    """
    weights = painted.new_tensor(_LUMA).view(1, 3, 1, 1)
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


def contact_sheet(rows: Sequence[Sequence[Tensor | None]], gap: int = 8) -> Tensor:
    """Pictures in rows and columns on white.

    Args:
        rows: of equal length, 1×3×h×w or ``None`` for an empty place; each picture is fitted into its
            place, whose size is that of the largest picture in the row and in the column.
        gap: pixels between places and around.

    Returns:
        1×3×H×W.
    """
    heights = [max((cell.shape[2] for cell in row if cell is not None), default=0) for row in rows]
    columns = list(zip(*rows, strict=True))
    widths = [max((cell.shape[3] for cell in column if cell is not None), default=0) for column in columns]
    sheet = torch.ones(1, 3, sum(heights) + gap * (len(heights) + 1), sum(widths) + gap * (len(widths) + 1))
    top = gap
    for row, height in zip(rows, heights, strict=True):
        left = gap
        for cell, width in zip(row, widths, strict=True):
            if cell is not None:
                y, x = top + (height - cell.shape[2]) // 2, left + (width - cell.shape[3]) // 2
                sheet[..., y : y + cell.shape[2], x : x + cell.shape[3]] = cell
            left += width + gap
        top += height + gap
    return sheet


def fit_into(picture: Tensor, height: int, width: int) -> Tensor:
    """Resized, aspect kept, to the largest size that fits into height × width."""
    scale = min(height / picture.shape[2], width / picture.shape[3])
    size = tuple(max(1, round(side * scale)) for side in picture.shape[2:])
    return resize(picture, (size[0], size[1]))
