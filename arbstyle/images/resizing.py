"""Resizing, antialiased."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images.arrays import fill_hidden
from arbstyle.images.sizes import target_size

_LARGE = 16_000_000
"""Pixels from which on memory counts more than half a grey level."""


def resize(image: Tensor, size: int | tuple[int, int], *, edge: Literal["short", "long"] = "short") -> Tensor:
    """Antialiased bicubic resize of N×C×H×W, clamped to [0, 1] because bicubic overshoots.

    Args:
        size: length in pixels of the `edge`, aspect ratio kept; or exactly (height, width).
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or not image.is_floating_point():
        raise ArbstyleError(f"expected float pictures of shape N×C×H×W, got {described(image)}")
    height, width = image.shape[-2:]
    size = target_size(height, width, size, edge)
    if (height, width) == size:
        return image
    resized = F.interpolate(image.float(), size, mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(0, 1).to(image.dtype)


def resize_with_alpha(
    pixels: Tensor, alpha: Tensor, size: int | tuple[int, int], *, edge: Literal["short", "long"] = "short"
) -> tuple[Tensor, Tensor]:
    """Resize a picture 1×3×H×W with its transparency 1×1×H×W, both in [0, 1].

    By way of premultiplied values, so that what is hidden lends no colour to what is not. What is fully
    transparent gets the colours beside it: :func:`~arbstyle.images.arrays.fill_hidden`.
    """
    height, width = pixels.shape[-2:]
    size = target_size(height, width, size, edge)
    if (height, width) != size:
        planes = torch.cat([pixels * alpha, alpha], dim=1).float()
        planes = F.interpolate(planes, size, mode="bicubic", align_corners=False, antialias=True)
        # Bicubic overshoots in colour and alpha alike: the ratio is right before either is clamped.
        pixels, alpha = (planes[:, :3] / planes[:, 3:].clamp_min(1e-4)).clamp(0, 1), planes[:, 3:].clamp(0, 1)
    return hidden_filled(pixels, alpha), alpha


def hidden_filled(pixels: Tensor, alpha: Tensor) -> Tensor:
    """:func:`~arbstyle.images.arrays.fill_hidden` of tensors N×3×H×W, with alpha N×1×H×W; floats or bytes."""
    if pixels.dtype == torch.uint8:
        filled = hidden_filled(pixels.float() / 255, alpha.float() / 255)
        return (filled * 255).round_().to(torch.uint8)
    pairs = zip(pixels.detach().float().cpu().numpy(), alpha.detach().float().cpu().numpy(), strict=True)
    return torch.from_numpy(np.stack([fill_hidden(*pair) for pair in pairs])).to(pixels)


def shrink(picture: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Floats resized as by `resize`; very large bytes are reduced as bytes, in a quarter of the memory."""
    height, width = picture.shape[-2:]
    target = target_size(height, width, size)
    if picture.dtype != torch.uint8:
        return resize(picture, target)
    if height * width <= _LARGE or target[0] > height or target[1] > width:
        return resize(picture.float() / 255, target)
    return F.interpolate(picture, size=target, mode="bicubic", antialias=True).float() / 255


def described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {'×'.join(map(str, value.shape)) or '()'}"
    return type(value).__name__


def reduced(picture: Tensor, size: int) -> Tensor:
    """Floats with a short side of ``size``; bytes are reduced as bytes, so that a large photo stays small."""
    if picture.dtype != torch.uint8:
        return resize(picture, size)
    scale = size / min(picture.shape[2:])
    target = [max(1, round(side * scale)) for side in picture.shape[2:]]
    return F.interpolate(picture, size=target, mode="bicubic", antialias=True).float() / 255


def fit_into(picture: Tensor, height: int, width: int) -> Tensor:
    """Resized, aspect kept, to the largest size that fits into height × width."""
    scale = min(height / picture.shape[2], width / picture.shape[3])
    size = tuple(max(1, round(side * scale)) for side in picture.shape[2:])
    return resize(picture, (size[0], size[1]))
