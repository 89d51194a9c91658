"""Writing: one picture in the format that the file name asks for."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images.color import composite
from arbstyle.images.files import FORMATS, atomic_path, check_output_path, quoted, reason_of
from arbstyle.images.metadata import format_metadata
from arbstyle.images.resizing import described

_FORMATS_WITH_ALPHA = {"PNG", "WEBP", "TIFF"}
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535}


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
        alpha: 1×1×H×W; kept in PNG, WebP and TIFF, composited over white in the others.
        exif: as in `Picture.exif`; kept in JPEG, PNG, WebP and TIFF (in JPEG only where it fits, 64 kB).
        quality: 1…100, for JPEG and lossy WebP.
        text: notes to keep in the file: PNG text, or the EXIF tags Software and ImageDescription elsewhere.
        bits: per channel; 16 for PNG only.

    Raises:
        ArbstyleError: an unknown suffix, a folder or disk that cannot be written, a wrong shape, NaN.
    """
    path = check_output_path(path)
    planes = _planes_of(image, alpha)
    image_format = FORMATS[path.suffix.lower()]
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ArbstyleError(f"expected a quality from 1 to 100, got {quality!r}")
    if bits not in (8, 16) or (bits == 16 and image_format != "PNG"):
        raise ArbstyleError(f"cannot write {quoted(path)} with {bits} bits: use 8, or 16 with a .png name")
    longest = max(planes.shape[1:])
    if longest > _LONGEST_SIDE.get(image_format, longest):
        limit = _LONGEST_SIDE[image_format]
        raise ArbstyleError(
            f"cannot write {quoted(path)}: {image_format} holds at most {limit} pixels a side, "
            f"the picture has {longest}; use .png or .tif"
        )
    if len(planes) == 4 and image_format not in _FORMATS_WITH_ALPHA:
        planes = composite(planes[None, :3], planes[None, 3:], "white")[0]
    try:
        metadata = format_metadata(image_format, exif, text or {})
        if bits == 16:
            encoded = _encode_png16(planes, metadata)
        else:
            encoded = _encode(planes, image_format, quality, metadata)
    except Exception as error:  # like decoders, encoders raise anything
        raise ArbstyleError(f"cannot write {quoted(path)} as {image_format}: {reason_of(error)}") from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded)
    return path


def to_pil(image: Tensor, *, alpha: Tensor | None = None) -> Image.Image:
    """1×3×H×W (or 3×H×W) as an 8-bit RGB image, rounded; RGBA with `alpha` 1×1×H×W. Values are clamped."""
    return Image.fromarray(_quantise(_planes_of(image, alpha), np.uint8))


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


def _quantise(planes: Tensor, dtype: type[np.uint8] | type[np.uint16]) -> np.ndarray:
    """C×H×W in [0, 1] or of bytes → H×W×C integers, rounded; plane by plane, to go easy on memory."""
    if planes.dtype == torch.uint8:
        values = planes.permute(1, 2, 0).contiguous().numpy()
        return values if dtype is np.uint8 else values.astype(dtype) * 257
    channels, height, width = planes.shape
    values = np.empty((height, width, channels), dtype)
    for channel, plane in enumerate(planes):
        values[..., channel] = plane.clamp(0, 1).mul_(np.iinfo(dtype).max).round_().numpy()
    return values


def _encode(planes: Tensor, image_format: str, quality: int, metadata: Mapping[str, Any]) -> bytes:
    # TIFF stays uncompressed: with compression, Pillow cannot write the directories of EXIF.
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality},
    }
    # In memory first: writing straight to a full disk, Pillow reports "encoder error" and no reason.
    buffer = io.BytesIO()
    image = Image.fromarray(_quantise(planes, np.uint8))
    image.save(buffer, image_format, **options.get(image_format, {}), **metadata)
    return buffer.getvalue()


def _encode_png16(planes: Tensor, metadata: Mapping[str, Any]) -> bytes:
    """16 bits a channel, which Pillow cannot write; chunks as in the PNG specification, section 11."""
    values = _quantise(planes, np.uint16)
    height, width, channels = values.shape
    buffer = io.BytesIO()
    buffer.write(b"\x89PNG\r\n\x1a\n")
    colour_type = {3: 2, 4: 6}[channels]
    PngImagePlugin.putchunk(buffer, b"IHDR", struct.pack(">2I5B", width, height, 16, colour_type, 0, 0, 0))
    PngImagePlugin.putchunk(buffer, b"iCCP", b"ICC Profile\0\0", zlib.compress(metadata["icc_profile"]))
    for name, data, _ in metadata["pnginfo"].chunks:
        PngImagePlugin.putchunk(buffer, name, data)
    if "exif" in metadata:
        PngImagePlugin.putchunk(buffer, b"eXIf", metadata["exif"].removeprefix(b"Exif\0\0"))
    PngImagePlugin.putchunk(buffer, b"IDAT", *_png_scanlines(values))
    PngImagePlugin.putchunk(buffer, b"IEND")
    return buffer.getvalue()


def _png_scanlines(values: np.ndarray) -> Iterator[bytes]:
    """Compressed rows of 16-bit samples, filtered by type 2, "Up": bytes minus those of the row above."""
    compressor = zlib.compressobj()
    above = np.uint8(0)
    for row in values:
        samples = row.astype(">u2").reshape(-1).view(np.uint8)
        yield compressor.compress(b"\2" + (samples - above).tobytes())
        above = samples
    yield compressor.flush()
