"""Encoding without PyTorch: an array in the format that the file name asks for."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, PngImagePlugin

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images.files import FORMATS, atomic_path, check_output_path, quoted
from arbstyle.images.metadata import format_metadata

_FORMATS_WITH_ALPHA = {"PNG", "WEBP", "TIFF", "AVIF", "HEIF"}
_PNG_LEVEL = 4
"""Of compression: a painting of 512×512 comes out as small as with zlib's usual 6, in a third of the time."""

_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535, "AVIF": 65_535, "HEIF": 16_384}


def write_array(
    planes: np.ndarray,
    path: str | Path,
    *,
    exif: bytes | None = None,
    quality: int = 95,
    text: Mapping[str, str] | None = None,
    bits: Literal[8, 16] = 8,
) -> Path:
    """:func:`arbstyle.images.write_image` for an array 3×H×W, or 4×H×W with alpha, of floats or bytes."""
    path = check_output_path(path)
    image_format = FORMATS[path.suffix.lower()]
    if isinstance(quality, bool) or not isinstance(quality, int | np.integer) or not 1 <= quality <= 100:
        raise ArbstyleError(f"expected a quality from 1 to 100, got {quality!r}")
    if bits not in (8, 16) or (bits == 16 and image_format != "PNG"):
        raise ArbstyleError(f"cannot write {quoted(path)} with {bits} bits: use 8, or 16 with a .png name")
    check_sides(path, max(planes.shape[1:]))
    if len(planes) == 4 and image_format not in _FORMATS_WITH_ALPHA:
        planes = 1 + (planes[:3] - 1) * planes[3:]
    try:
        metadata = format_metadata(image_format, exif, text or {})
        if bits == 16:
            encoded = _encode_png16(planes, metadata)
        else:
            encoded = encode(planes, image_format, int(quality), metadata)
    except Exception as error:  # like decoders, encoders raise anything
        raise ArbstyleError(f"cannot write {quoted(path)} as {image_format}: {reason_of(error)}") from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded)
    return path


def check_sides(path: Path, longest: int) -> None:
    """Raise an ArbstyleError if a file of this name can't hold so many pixels a side."""
    if reason := why_too_long(FORMATS[path.suffix.lower()], longest):
        raise ArbstyleError(f"cannot write {quoted(path)}: {reason}; use .png or .tif")


def why_too_long(image_format: str, longest: int) -> str | None:
    """What a format says to so many pixels a side, if that is too many."""
    limit = _LONGEST_SIDE.get(image_format, longest)
    if longest <= limit:
        return None
    return f"{image_format} holds at most {limit} pixels a side, the picture has {longest}"


def quantise(planes: np.ndarray, dtype: type[np.uint8] | type[np.uint16] = np.uint8) -> np.ndarray:
    """C×H×W in [0, 1] or of bytes → H×W×C integers, rounded; plane by plane, to go easy on memory."""
    if planes.dtype == np.uint8:
        values = np.ascontiguousarray(planes.transpose(1, 2, 0))
        return values if dtype is np.uint8 else values.astype(dtype) * 257
    channels, height, width = planes.shape
    values = np.empty((height, width, channels), dtype)
    for channel, plane in enumerate(planes):
        levels = plane.clip(0, 1)
        levels *= np.float32(np.iinfo(dtype).max)
        values[..., channel] = np.rint(levels, out=levels)
    return values


def encode(
    planes: np.ndarray, image_format: str, quality: int, metadata: Mapping[str, Any] | None = None
) -> bytes:
    """An array C×H×W as a file; equal pixels give equal files. Encoders raise anything."""
    # TIFF stays uncompressed: with compression, Pillow cannot write the directories of EXIF.
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "PNG": {"compress_level": _PNG_LEVEL},
        "WEBP": {"quality": quality},
        "AVIF": {"quality": quality, "subsampling": "4:4:4"},
        "HEIF": {"quality": quality, "chroma": 444},
    }
    # In memory first: writing straight to a full disk, Pillow reports "encoder error" and no reason.
    buffer = io.BytesIO()
    image = Image.fromarray(quantise(planes, np.uint8))
    image.save(buffer, image_format, **options.get(image_format, {}), **(metadata or {}))
    return buffer.getvalue()


def _encode_png16(planes: np.ndarray, metadata: Mapping[str, Any]) -> bytes:
    """16 bits a channel, which Pillow cannot write; chunks as in the PNG specification, section 11."""
    values = quantise(planes, np.uint16)
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
    compressor = zlib.compressobj(_PNG_LEVEL)
    above = np.uint8(0)
    for row in values:
        samples = row.astype(">u2").reshape(-1).view(np.uint8)
        yield compressor.compress(b"\2" + (samples - above).tobytes())
        above = samples
    yield compressor.flush()
