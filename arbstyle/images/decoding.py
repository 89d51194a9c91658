"""Decoding without PyTorch: whatever a file holds (orientation, profile, alpha, depth) becomes one array."""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images.codecs import format_of, require_codec
from arbstyle.images.files import check_input_file, quoted
from arbstyle.images.metadata import portable_exif
from arbstyle.images.png import LARGEST_PROFILE, transparent_colour, without_large_notes
from arbstyle.images.profiles import through_profile
from arbstyle.images.sizes import MAX_PIXELS
from arbstyle.images.tiff import as_numbered, check_tiff
from arbstyle.memory import available_ram

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

READABLE_FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP", "HEIF"
)  # fmt: skip
"""What is read, by content whatever the name says. Pillow has more, of which EPS runs Ghostscript."""

# Integers of 16 and 32 bits; floats by the habits of TIFF and PFM, of Pillow, and of 16-bit data in disguise.
_FULL_SCALES = {"I;16": (65_535,), "I": (65_535, 2**31 - 1), "F": (1, 255, 65_535)}
_FULL_SCALE_TOLERANCE = 0.1
_HIGHEST_LIGHT = 32  # of floats of which 1 is white

# At the peak: Pillow's own copies of 4 bytes, and what comes out.
_BYTES_PER_PIXEL_KEPT = 12
_BYTES_PER_PIXEL = 24
_BYTES_PER_PIXEL_OF_VIDEO_CODECS = 12  # whose decoders keep canvases of their own, on top

_FILMS = ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "HEIF")
"""Formats in which further frames are further pictures; in a phone's JPEG (MPO) they are previews."""

logger = logging.getLogger(__name__)

_process_lock = threading.Lock()  # around changes to what all threads share


class Decoded(NamedTuple):
    """Colour 1×3×H×W in sRGB and alpha 1×1×H×W (or None), both upright; and the EXIF block to pass on."""

    pixels: np.ndarray
    alpha: np.ndarray | None
    exif: bytes | None


def decode_file(path: str | Path, keep_bytes: bool = False, *, of_film: bool = False) -> Decoded:
    """The first frame of any picture that Pillow reads; see :func:`arbstyle.images.read_picture`.

    Args:
        of_film: whoever asks takes the other frames, too; otherwise a line tells that they are left out.
    """
    path = Path(path)
    name = quoted(path)
    check_input_file(path)
    with decoding(name), open_picture(path) as image:
        if not of_film:
            _tell_of_frames(image, name)
        return Decoded(*decode(image, name, keep_bytes), portable_exif(image))


def _tell_of_frames(image: Image.Image, name: str) -> None:
    """Whoever gives a film should know that one picture is made of it."""
    if image.format not in _FILMS:
        return
    try:
        animated = bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second frame must not cost the first
        return
    if animated:
        film = image.format != "TIFF"
        what, remedy = ("an animation", "; 'arbstyle video' paints all") if film else ("several pages", "")
        logger.warning("%s has %s: the first is used%s", name, what, remedy)


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises on a bad picture into one line, and keep its warnings out of the output."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    except ArbstyleError:
        raise
    except UnidentifiedImageError as error:
        raise ArbstyleError(
            f"cannot read {name}: not a picture, or of an unsupported format; convert it to PNG or JPEG"
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except MemoryError as error:
        raise ArbstyleError(f"cannot read {name}: not enough memory; make the picture smaller") from error
    except Exception as error:  # plug-ins raise anything, from struct.error to IndexError, on a damaged file
        of_the_system = isinstance(error, OSError) and error.errno is not None
        hint = "" if of_the_system else " (is the file damaged or cut off?)"
        raise ArbstyleError(f"cannot read {name}: {reason_of(error)}{hint}") from error


@contextmanager
def open_picture(source: str | Path | bytes) -> Iterator[Image.Image]:
    """A file, or the bytes of one, as a Pillow image that is still to be decoded: the only way in."""
    # Given a name, Pillow maps uncompressed TIFFs into memory and then garbles turned ones.
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        require_codec(
            format_of(file.read(12)), f"read {quoted(source) if isinstance(source, Path) else 'it'}"
        )
        file.seek(0)
        start = without_large_notes(file)
        with _open_any_size(start or file) as image:
            yield image


def _open_any_size(file: BinaryIO) -> Image.Image:
    """`Image.open` with Pillow's limits, which are global, replaced by ours; decoding comes later."""
    with _process_lock:
        pillows_limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = MAX_PIXELS, LARGEST_PROFILE
        try:
            Image.init()
            return Image.open(file, formats=[name for name in READABLE_FORMATS if name in Image.OPEN])
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = pillows_limits


def _too_large(name: str) -> ArbstyleError:
    return ArbstyleError(
        f"cannot read {name}: it has more than {MAX_PIXELS / 1e6:g} megapixels, the limit; make it smaller"
    )


def check_memory(image: Image.Image, name: str, keep_bytes: bool = False) -> None:
    """Raise an ArbstyleError for a picture too large for the memory: a small file may claim any size."""
    each = _BYTES_PER_PIXEL_KEPT if keep_bytes else _BYTES_PER_PIXEL
    if image.format in ("WEBP", "AVIF"):
        each += _BYTES_PER_PIXEL_OF_VIDEO_CODECS
    needed = image.width * image.height * each
    there = available_ram()
    if needed > there:
        raise ArbstyleError(
            f"cannot read {name}: its {image.width}×{image.height} pixels need {needed / 2**30:.1f} GiB of "
            f"memory, and {max(0, there) / 2**30:.1f} GiB are free; make the picture smaller"
        )


def decode(image: Image.Image, name: str, keep_bytes: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour 1×3×H×W in sRGB, and alpha 1×1×H×W or None, both upright."""
    if min(image.size) < 1:
        raise ArbstyleError(f"cannot read {name}: the picture has no pixels ({image.width}×{image.height})")
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name)
    check_memory(image, name, keep_bytes)
    check_tiff(image, name)
    transparent = transparent_colour(image)
    with _silent_libtiff(image):
        image.load()
    upright = turned(image, orientation(image))
    if transparent is not None:
        upright = upright.copy()
        upright.info["transparency"] = transparent
    colour, alpha = _split_alpha(upright)
    if image.format == "TGA" and alpha is not None and not alpha.any():
        alpha = None  # four bytes a pixel of which nobody set the last
    colour = as_numbered(colour, image)
    converted = through_profile(colour)
    if converted is None and _is_deep_grey(colour):
        return np.repeat(_deep_grey_planes(colour, name), 3, axis=1), alpha
    final = converted or (colour if colour.mode == "RGB" else colour.convert("RGB"))
    if keep_bytes and alpha is None:
        return np.array(final).transpose(2, 0, 1)[None], None
    return _byte_planes(final), alpha


@contextmanager
def _silent_libtiff(image: Image.Image) -> Iterator[None]:
    """Keep libtiff, which decodes compressed TIFFs, from writing its own remarks to the process's stderr."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.info.get("compression") == "raw":
        yield
        return
    with _process_lock, open(os.devnull, "wb") as nowhere:
        stderr = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def orientation(image: Image.Image) -> Image.Transpose | None:
    """What the EXIF block says must be done to the picture to turn it upright."""
    try:
        return _ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a broken EXIF block must not cost the picture
        return None


def turned(image: Image.Image, how: Image.Transpose | None) -> Image.Image:
    return image if how is None else image.transpose(how)


def _is_deep_grey(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _split_alpha(image: Image.Image) -> tuple[Image.Image, np.ndarray | None]:
    """The opaque picture, and alpha 1×1×H×W if there is any transparency."""
    if not image.has_transparency_data:
        return image, None
    if _is_deep_grey(image):
        visible = np.asarray(image) != image.info["transparency"]
        return image, visible.astype(np.float32)[None, None]
    image = image.convert("LA" if image.mode in ("1", "L", "La", "LA") else "RGBA")
    return image.convert(image.mode[:-1]), _byte_planes(image.getchannel("A"))


def _byte_planes(image: Image.Image) -> np.ndarray:
    """An image of 8-bit channels as 1×C×H×W in [0, 1]."""
    values = np.asarray(image).reshape(image.height, image.width, -1)
    planes = np.empty((1, values.shape[-1], image.height, image.width), np.float32)
    planes[0] = values.transpose(2, 0, 1)
    planes /= 255
    return planes


def _deep_grey_planes(image: Image.Image, name: str) -> np.ndarray:
    """Mode I;16, I or F as 1×1×H×W in [0, 1] of the smallest usual full scale that holds its values."""
    values = np.asarray(image, dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    scales = _FULL_SCALES[image.mode[:4]]
    tolerance = _FULL_SCALE_TOLERANCE
    if image.mode == "F" and high > 1 + tolerance and _is_scene_light(values, high):
        scales, high = (1,), 1.0
    full = next((scale for scale in scales if high <= (1 + tolerance) * scale), None)
    if full is None or low < -tolerance * full:
        raise ArbstyleError(
            f"cannot read {name}: its grey values run from {low:g} to {high:g}, expected 0 to "
            f"{' or '.join(map(str, scales))}; convert it to 8 or 16 bits"
        )
    return (values / np.float32(full)).clip(0, 1)[None, None]


def _is_scene_light(values: np.ndarray, high: float) -> bool:
    """Whether floats are light of which 1 is white and some is brighter, not integers in disguise.

    Those are whole numbers, or mostly far above 1.
    """
    fractions = bool((values != np.floor(values)).any())
    return fractions and np.isfinite(high) and (high <= _HIGHEST_LIGHT or float(np.median(values)) <= 1)
