"""TIFF files whose pixels Pillow reads wrongly without a word: put right, or refused."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from PIL import Image, TiffImagePlugin

from arbstyle.errors import ArbstyleError


class _Tag(IntEnum):
    """Numbers of TIFF 6.0, section 8 and part 2."""

    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    PLANAR_CONFIGURATION = 284
    SAMPLE_FORMAT = 339
    YCBCR_SUBSAMPLING = 530


_UNCOMPRESSED, _JPEG = 1, (6, 7)
_WHITE_IS_ZERO, _YCBCR = 0, 6
_SIGNED = 2
_SEPARATE_PLANES = 2
_SOME_16_BITS = 2**17  # more, as instruments overshoot


def check_tiff(image: Image.Image, name: str) -> None:
    """Raise an ArbstyleError for layouts that Pillow misreads; other formats pass."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    bits = max(_numbers(image, _Tag.BITS_PER_SAMPLE, 1))
    compression = _numbers(image, _Tag.COMPRESSION, _UNCOMPRESSED)[0]
    photometric = _numbers(image, _Tag.PHOTOMETRIC, 1)[0]
    planar = _numbers(image, _Tag.PLANAR_CONFIGURATION, 1)[0]
    fault = None
    if _SIGNED in _numbers(image, _Tag.SAMPLE_FORMAT, 1) and bits < 32:
        fault = "signed numbers"
    elif (
        planar == _SEPARATE_PLANES and bits > 8 and compression == _UNCOMPRESSED and len(image.getbands()) > 1
    ):
        fault = f"uncompressed planes of {bits} bits"
    elif photometric == _WHITE_IS_ZERO and image.mode == "F":
        fault = "floating-point numbers of which 0 is white"
    elif photometric == _YCBCR and compression not in _JPEG and _subsampled(image):
        fault = "subsampled YCbCr without JPEG compression"
    if fault is not None:
        raise ArbstyleError(f"cannot read {name}: a TIFF of {fault} is not supported; convert it to PNG")


def as_numbered(image: Image.Image, source: Image.Image) -> Image.Image:
    """``image``, as decoded from ``source``, with the greys that a TIFF's numbers stand for.

    Pillow turns what counts from white up to 8 bits only, and takes all numbers of 32 bits for signed ones:
    those without a sign become their upper 16 bits, where they are not 16-bit numbers anyway.
    """
    if not isinstance(source, TiffImagePlugin.TiffImageFile):
        return image
    values = np.asarray(image)
    if image.mode == "I" and _SIGNED not in _numbers(source, _Tag.SAMPLE_FORMAT, 1):
        unsigned = values.view(np.uint32)
        if unsigned.max() <= _SOME_16_BITS:
            return image
        meant = (unsigned >> 16).astype(np.uint16)
    elif image.mode.startswith("I;16") and _numbers(source, _Tag.PHOTOMETRIC, 1)[0] == _WHITE_IS_ZERO:
        meant = 65_535 - values.astype(np.uint16)
    else:
        return image
    turned = Image.fromarray(meant)
    turned.info = image.info
    return turned


def _subsampled(image: TiffImagePlugin.TiffImageFile) -> bool:
    return _numbers(image, _Tag.YCBCR_SUBSAMPLING, 2) not in ((1,), (1, 1))


def _numbers(image: TiffImagePlugin.TiffImageFile, tag: int, default: int) -> tuple[int, ...]:
    value = image.tag_v2.get(tag, default)
    return tuple(value) if isinstance(value, tuple | list) else (int(value),)
