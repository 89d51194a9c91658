"""Reading: a file or a Pillow image becomes one tensor, and what must survive a round trip beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images.color import composite, parse_color
from arbstyle.images.decoding import decode, decode_file, decoding
from arbstyle.images.resizing import shrink
from arbstyle.images.sizes import style_view


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
    if background is not None:
        parse_color(background)
    pixels, opacity, exif = decode_file(path, keep_bytes)
    colour, alpha = _tensors(pixels, opacity)
    if alpha is not None and background is not None:
        colour, alpha = composite(colour, alpha, background), None
    return Picture(colour, alpha, exif, path)


def read_image(path: str | Path, *, size: int | None = None, background: str = "white") -> Tensor:
    """The pixels of `read_picture`, 1×3×H×W; `size` resizes the short side, up or down, aspect kept."""
    if size is None:
        return read_picture(path, background=background).pixels
    return shrink(read_picture(path, background=background, keep_bytes=True).pixels, size)


def read_style(path: str | Path, size: int) -> Tensor:
    """A style picture at the size at which it is looked at, see `style_view`; 1×3×H×W."""
    picture = read_picture(path, keep_bytes=True).pixels
    return shrink(picture, style_view(picture.shape[2], picture.shape[3], size))


def from_pil(image: Image.Image, *, background: str = "white") -> Tensor:
    """A Pillow image of any mode as 1×3×H×W; treated like a file (orientation, profile, transparency)."""
    if not isinstance(image, Image.Image):
        raise ArbstyleError(f"expected a Pillow image, got {type(image).__name__}")
    name = "the Pillow image"
    with decoding(name):
        colour, alpha = _tensors(*decode(image, name))
    return colour if alpha is None else composite(colour, alpha, background)


def _tensors(colour: np.ndarray, alpha: np.ndarray | None) -> tuple[Tensor, Tensor | None]:
    return torch.from_numpy(colour), None if alpha is None else torch.from_numpy(alpha)
