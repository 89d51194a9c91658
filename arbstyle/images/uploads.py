"""Pictures that strangers send: measured before they are decoded, reduced to what they may be."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

from PIL import Image
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images.conversion import as_float
from arbstyle.images.reading import read_picture
from arbstyle.images.resizing import reduced

UPLOAD_FORMATS = "JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"
"""By content; others that Pillow knows start other programs, or are rarely tested."""

UPLOAD_PIXELS = 40_000_000
"""Of a picture that is decoded."""

GREATEST_RATIO = 8
SMALLEST_SIDE = 16


def read_upload(path: str, *, size: int | None = None, pixels: int = UPLOAD_PIXELS) -> Tensor:
    """Read a picture that may be anything.

    Args:
        path: of the file; messages tell its name alone.
        size: short side in pixels at most.
        pixels: in all, at most.

    Returns:
        1×3×H×W, floats in [0,1].

    Raises:
        ArbstyleError: not a picture of `UPLOAD_FORMATS`, damaged, of more than `UPLOAD_PIXELS`, too narrow,
            or with a side below 16 pixels, read or asked for.
    """
    short, long = sorted(_measured(path))
    wanted = min(size or short, short, math.floor(math.sqrt(pixels * short / long)))
    if wanted < SMALLEST_SIDE:
        raise ArbstyleError(
            f"expected at least {SMALLEST_SIDE} pixels a side, got {wanted}; give a larger picture"
        )
    try:
        picture = read_picture(path, keep_bytes=True).pixels
    except ArbstyleError as error:
        reason = str(error).replace(path, Path(path).name)  # where it lies here is nobody's business
        raise ArbstyleError(reason) from error
    return as_float(picture) if wanted == short else reduced(picture, wanted)


def restrict_pillow() -> None:
    """Let Pillow open uploads' formats and sizes only, in this whole process, whoever calls it."""
    Image.init()
    Image.ID[:] = [name for name in Image.ID if name in UPLOAD_FORMATS]
    Image.MAX_IMAGE_PIXELS = UPLOAD_PIXELS // 2  # it warns there, and refuses the double


def _measured(path: str) -> tuple[int, int]:
    """Width and height of a file that may be decoded."""
    most = f"{UPLOAD_PIXELS / 1e6:g} megapixels"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=UPLOAD_FORMATS) as image:
                width, height = image.size
    except Exception as error:  # decoders raise anything
        kinds = ", ".join(UPLOAD_FORMATS)
        raise ArbstyleError(f"this file is no picture of {kinds} of at most {most}") from error
    if width * height > UPLOAD_PIXELS:
        raise ArbstyleError(f"this picture is too large here: at most {most}")
    if max(width, height) > GREATEST_RATIO * min(width, height):
        raise ArbstyleError(f"{width}×{height} is too narrow: at most {GREATEST_RATIO} to 1")
    return width, height
