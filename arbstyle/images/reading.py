"""Reading: whatever a file holds (orientation, profile, palette, alpha, bit depth) becomes one tensor."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images.color import composite, parse_color
from arbstyle.images.files import check_input_file, quoted, reason_of
from arbstyle.images.metadata import portable_exif
from arbstyle.images.profiles import through_profile
from arbstyle.images.resizing import MAX_PIXELS, resize

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Integers of 16 and 32 bits; floats by the habits of TIFF and PFM, of Pillow, and of 16-bit data in disguise.
_FULL_SCALES = {"I;16": (65_535,), "I": (65_535, 2**31 - 1), "F": (1, 255, 65_535)}
_FULL_SCALE_TOLERANCE = 0.1

_process_lock = threading.Lock()  # around changes to what all threads share


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, and what must survive a round trip through the project.

    Attributes:
        pixels: 1×3×H×W float32, sRGB in [0, 1], upright; or uint8, where `read_picture` kept the bytes.
        alpha: 1×1×H×W float32 in [0, 1], or None for an opaque (or composited) picture.
        exif: the photo's EXIF block, with orientation 1 and without thumbnail, or None.
        path: where it was read from, or None.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    exif: bytes | None = None
    path: Path | None = None


def read_picture(path: str | Path, *, background: str | None = "white", keep_bytes: bool = False) -> Picture:
    """Read the first frame of any picture that Pillow reads.

    The EXIF orientation is applied and an embedded colour profile converted to sRGB (a broken one ignored).

    Args:
        background: the colour behind transparent parts ("white", "#ff8800", "rgb(0, 0, 0)"), or None to carry
            the transparency in `Picture.alpha` and leave the pixels as stored.
        keep_bytes: leave the pixels of an opaque picture of 8 bits as uint8, in a quarter of the memory.

    Raises:
        ArbstyleError: no such file, not a picture, damaged, larger than `MAX_PIXELS`, or not a colour.
    """
    path = Path(path)
    name = quoted(path)
    if background is not None:
        parse_color(background)
    check_input_file(path)
    # Opened here: given a name, Pillow maps uncompressed TIFFs into memory and then garbles turned ones.
    with _decoding(name), path.open("rb") as file, _open_any_size(file) as image:
        colour, alpha = _decode(image, name, keep_bytes)
        exif = portable_exif(image)
    if alpha is not None and background is not None:
        colour, alpha = composite(colour, alpha, background), None
    return Picture(colour, alpha, exif, path)


def read_image(path: str | Path, *, size: int | None = None, background: str = "white") -> Tensor:
    """The pixels of `read_picture`, 1×3×H×W; `size` resizes the short side, up or down, aspect kept."""
    image = read_picture(path, background=background).pixels
    return image if size is None else resize(image, size)


def from_pil(image: Image.Image, *, background: str = "white") -> Tensor:
    """A Pillow image of any mode as 1×3×H×W; treated like a file (orientation, profile, transparency)."""
    if not isinstance(image, Image.Image):
        raise ArbstyleError(f"expected a Pillow image, got {type(image).__name__}")
    name = "the Pillow image"
    with _decoding(name):
        colour, alpha = _decode(image, name)
    return colour if alpha is None else composite(colour, alpha, background)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
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


def _open_any_size(file: BinaryIO) -> Image.Image:
    """`Image.open` with Pillow's limit, which is global, replaced by ours; decoding comes later."""
    with _process_lock:
        pillows_limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = pillows_limit


def _too_large(name: str) -> ArbstyleError:
    return ArbstyleError(
        f"cannot read {name}: it has more than {MAX_PIXELS / 1e6:g} megapixels, the limit; make it smaller"
    )


def _decode(image: Image.Image, name: str, keep_bytes: bool = False) -> tuple[Tensor, Tensor | None]:
    """Colour 1×3×H×W in sRGB, and alpha 1×1×H×W or None, both upright."""
    if min(image.size) < 1:
        raise ArbstyleError(f"cannot read {name}: the picture has no pixels ({image.width}×{image.height})")
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name)
    with _silent_libtiff(image):
        image.load()
    colour, alpha = _split_alpha(_upright(image))
    converted = through_profile(colour)
    if converted is None and _is_deep_grey(colour):
        return _deep_grey_planes(colour, name).expand(1, 3, -1, -1).contiguous(), alpha
    final = converted or (colour if colour.mode == "RGB" else colour.convert("RGB"))
    if keep_bytes and alpha is None:
        return torch.from_numpy(np.array(final)).permute(2, 0, 1)[None], None
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


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a broken EXIF block must not cost the picture
        return image
    return image.transpose(_ORIENTATIONS[orientation]) if orientation in _ORIENTATIONS else image


def _is_deep_grey(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Tensor | None]:
    """The opaque picture, and alpha 1×1×H×W if there is any transparency."""
    if not image.has_transparency_data:
        return image, None
    if _is_deep_grey(image):
        visible = np.asarray(image) != image.info["transparency"]
        return image, torch.from_numpy(visible).float()[None, None]
    image = image.convert("LA" if image.mode in ("1", "L", "La", "LA") else "RGBA")
    return image.convert(image.mode[:-1]), _byte_planes(image.getchannel("A"))


def _byte_planes(image: Image.Image) -> Tensor:
    """An image of 8-bit channels as 1×C×H×W in [0, 1]."""
    values = np.asarray(image).reshape(image.height, image.width, -1)
    planes = np.empty((1, values.shape[-1], image.height, image.width), np.float32)
    planes[0] = values.transpose(2, 0, 1)
    planes /= 255
    return torch.from_numpy(planes)


def _deep_grey_planes(image: Image.Image, name: str) -> Tensor:
    """Mode I;16, I or F as 1×1×H×W in [0, 1] of the smallest usual full scale that holds its values."""
    values = np.asarray(image, dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    scales = _FULL_SCALES[image.mode[:4]]
    tolerance = _FULL_SCALE_TOLERANCE
    full = next((scale for scale in scales if high <= (1 + tolerance) * scale), None)
    if full is None or low < -tolerance * full:
        raise ArbstyleError(
            f"cannot read {name}: its grey values run from {low:g} to {high:g}, expected 0 to "
            f"{' or '.join(map(str, scales))}; convert it to 8 or 16 bits"
        )
    return torch.from_numpy(values / full).clamp_(0, 1)[None, None]
