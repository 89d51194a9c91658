"""Writing: one picture in the format that the file name asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images.encoding import quantise, write_array
from arbstyle.images.files import check_output_path
from arbstyle.images.resizing import described


def write_image(
    image: Tensor,
    path: str | Path,
    *,
    alpha: Tensor | None = None,
    exif: bytes | None = None,
    quality: int = 95,
    text: Mapping[str, str] | None = None,
    bits: Literal[8, 16] = 8,
) -> Path:
    """Write one picture in the format that the file name asks for, whole or not at all.

    Values are clamped to [0, 1] and rounded. An embedded profile says that they are sRGB (not in BMP, GIF).

    Args:
        image: 1×3×H×W or 3×H×W, in [0, 1], or of bytes.
        path: ends in one of `WRITABLE_SUFFIXES`; missing folders are made, an existing file is replaced.
        alpha: 1×1×H×W; kept in PNG, WebP, TIFF, AVIF and HEIF, composited over white in the others.
        exif: as in `Picture.exif`; kept in JPEG (where it fits, 64 kB), PNG, WebP, TIFF, AVIF and HEIF.
        quality: 1…100, for JPEG and lossy WebP.
        text: notes to keep in the file: PNG text, or the EXIF tags Software and ImageDescription elsewhere.
        bits: per channel; 16 for PNG only.

    Raises:
        ArbstyleError: an unknown suffix, a folder or disk that cannot be written, a wrong shape, NaN.
    """
    path = check_output_path(path)
    planes = _planes_of(image, alpha).numpy()
    return write_array(planes, path, exif=exif, quality=quality, text=text, bits=bits)


def to_pil(image: Tensor, *, alpha: Tensor | None = None) -> Image.Image:
    """1×3×H×W (or 3×H×W) as an 8-bit RGB image, rounded; RGBA with `alpha` 1×1×H×W. Values are clamped."""
    return Image.fromarray(quantise(_planes_of(image, alpha).numpy()))


def _planes_of(image: Tensor, alpha: Tensor | None) -> Tensor:
    """One checked picture as 3×H×W, or 4×H×W with alpha, float32 on the CPU."""
    planes = _checked_planes(image, 3, "a picture")
    if alpha is None:
        return planes
    planes = planes.float() / 255 if planes.dtype == torch.uint8 else planes
    opacity = _checked_planes(alpha, 1, "an alpha channel")
    if opacity.shape[1:] != planes.shape[1:]:
        raise ArbstyleError(
            f"expected alpha of the picture's size, got {described(alpha)} beside {described(image)}"
        )
    return torch.cat([planes, opacity])


def _checked_planes(tensor: Tensor, channels: int, what: str) -> Tensor:
    if not isinstance(tensor, Tensor) or not (tensor.is_floating_point() or tensor.dtype == torch.uint8):
        raise ArbstyleError(f"expected {what} of floats in [0, 1], got {described(tensor)}")
    planes = tensor[0] if tensor.ndim == 4 and len(tensor) == 1 else tensor
    if planes.ndim != 3 or len(planes) != channels or planes.numel() == 0:
        raise ArbstyleError(f"expected {what} of shape 1×{channels}×H×W, got {described(tensor)}")
    if planes.dtype == torch.uint8:
        return planes.cpu()
    planes = planes.detach().to("cpu", torch.float32)
    if not all(extreme.isfinite() for extreme in planes.aminmax()):
        raise ArbstyleError(f"expected {what} of finite values, got NaN or infinity")
    return planes
