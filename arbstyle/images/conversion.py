"""Pictures of any kind that Python code may hold, as tensors N×3×H×W of floats in [0,1] or of bytes.

Bytes stay bytes until they are computed with: a very large photo then takes a quarter of the memory.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images.reading import from_pil, read_image

PictureLike = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor

_SLACK = 0.01
"""How far beyond [0,1] floats may be: resampling overshoots."""


def as_tensor(picture: PictureLike) -> Tensor:
    """A path, a Pillow image, an array H×W×3 or H×W, or a tensor N×3×H×W or 3×H×W, as N×3×H×W.

    Raises:
        ArbstyleError: a file that cannot be read, or something of another kind, shape or range.
    """
    if isinstance(picture, str | os.PathLike):
        return read_image(Path(picture))
    if isinstance(picture, Image.Image):
        return from_pil(picture)
    tensor: Any = _from_array(picture) if isinstance(picture, np.ndarray) else picture
    if not isinstance(tensor, Tensor):
        raise ArbstyleError(
            f"expected a picture as a path, Pillow image, array or tensor, got {type(picture).__name__}"
        )
    tensor = tensor[None] if tensor.dim() == 3 else tensor
    check_picture(tensor)
    return tensor if tensor.dtype == torch.uint8 else tensor.float()


def as_mask(picture: PictureLike) -> Tensor:
    """A picture of any kind as a mask 1×1×H×W in [0,1]: its mean over colours, and 0 where transparent.

    Raises:
        ArbstyleError: as :func:`as_tensor`, and for a batch of several.
    """
    if isinstance(picture, np.ndarray) and picture.shape[2:] == (4,) and picture.dtype == np.uint8:
        picture = Image.fromarray(picture)
    if isinstance(picture, Tensor) and picture.dim() == 4 and picture.shape[1] == 1:
        picture = picture.expand(-1, 3, -1, -1)
    if isinstance(picture, str | os.PathLike):
        inside = read_image(Path(picture), background="black")
    elif isinstance(picture, Image.Image):
        inside = from_pil(picture, background="black")
    else:
        inside = as_float(as_tensor(picture))
    if len(inside) != 1:
        raise ArbstyleError(f"expected one picture as a mask, got {len(inside)}; give a mask a style")
    return inside.mean(dim=1, keepdim=True)


def check_picture(picture: Tensor) -> None:
    """Raise an ArbstyleError for anything but N×3×H×W of floats in [0,1] or of bytes."""
    if picture.dim() != 4 or picture.shape[1] != 3 or picture.numel() == 0:
        raise ArbstyleError(
            f"expected a picture of shape N×3×H×W, got {'×'.join(map(str, picture.shape)) or 'a number'}"
        )
    if picture.dtype == torch.uint8:
        return
    if not picture.is_floating_point():
        raise ArbstyleError(f"expected a picture of floats in [0,1] or of bytes, got {picture.dtype}")
    low, high = (float(extreme) for extreme in picture.aminmax())
    if not (low >= -_SLACK and high <= 1 + _SLACK):  # NaN is neither
        raise ArbstyleError(
            f"expected values in [0,1], got {low:g} to {high:g}; divide by 255, or give bytes (uint8)"
        )


def as_float(picture: Tensor) -> Tensor:
    """The same in floats."""
    return picture.float() / 255 if picture.dtype == torch.uint8 else picture


def as_bytes(picture: Tensor) -> Tensor:
    """The same in bytes, rounded."""
    return (
        picture if picture.dtype == torch.uint8 else (picture * 255).round_().clamp_(0, 255).to(torch.uint8)
    )


def _from_array(array: np.ndarray) -> Tensor:
    """H×W, H×W×1, H×W×3 or H×W×4 as 3×H×W."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise ArbstyleError(f"expected an array H×W×3 or H×W, got shape {'×'.join(map(str, array.shape))}")
    if array.shape[2] == 4:
        if array.dtype != np.uint8:
            raise ArbstyleError(f"expected bytes in an array with alpha, got {array.dtype}; drop the alpha")
        return from_pil(Image.fromarray(array))[0]
    if array.dtype.newbyteorder("=") == np.uint16:
        array = array.astype(np.float32) / 65535
    elif np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float32)  # of any byte order and length
    elif array.dtype != np.uint8:
        raise ArbstyleError(f"expected an array of floats in [0,1], uint8 or uint16, got {array.dtype}")
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).expand(3, -1, -1)
