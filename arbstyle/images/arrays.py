"""Pictures as NumPy arrays, for whoever paints without PyTorch: 3×H×W, RGB, floats in [0,1] or bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from arbstyle.images.decoding import decode_file
from arbstyle.images.encoding import quantise
from arbstyle.images.sizes import target_size

LUMA = 0.299, 0.587, 0.114
"""Share of red, green and blue in the brightness of JPEG and YIQ (ITU-R BT.601)."""


def read_array(path: str | Path) -> np.ndarray:
    """The pixels of a file, 3×H×W in [0,1], over white where they are transparent."""
    pixels, alpha, _ = decode_file(path)
    return pixels[0] if alpha is None else 1 + (pixels[0] - 1) * alpha[0]


def as_float_array(planes: np.ndarray) -> np.ndarray:
    """The same in floats."""
    return planes / np.float32(255) if planes.dtype == np.uint8 else planes


def as_image(planes: np.ndarray) -> Image.Image:
    """3×H×W as a Pillow image of bytes, rounded."""
    return Image.fromarray(quantise(planes))


def resize_array(planes: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Floats C×H×W resized as :func:`arbstyle.images.resize` does, by Pillow, whose filter is the same."""
    height, width = target_size(planes.shape[1], planes.shape[2], size)
    if planes.shape[1:] == (height, width):
        return planes
    return _bicubic(planes, height, width).clip(0, 1)


def resize_array_with_alpha(
    planes: np.ndarray, alpha: np.ndarray, size: int | tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """3×H×W with its transparency 1×H×W as :func:`arbstyle.images.resize_with_alpha` does."""
    height, width = target_size(planes.shape[1], planes.shape[2], size)
    if planes.shape[1:] != (height, width):
        seen = _bicubic(np.concatenate([planes * alpha, alpha]), height, width)
        planes, alpha = (seen[:3] / seen[3:].clip(1e-4)).clip(0, 1), seen[3:].clip(0, 1)
    return fill_hidden(planes, alpha), alpha


def _bicubic(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    method = Image.Resampling.BICUBIC
    resized = [Image.fromarray(plane).resize((width, height), method) for plane in planes]
    return np.stack([np.asarray(plane) for plane in resized])


def fill_hidden(planes: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Give what is fully transparent the colours of what is seen beside it, smoothly.

    A network looks at all of a picture. A hidden part of any other colour would change the rest of the
    painting, and leave a rim. By pull and push (Gortler et al. 1996, "The Lumigraph"): means of what
    is seen, twice as coarse each time, until nothing is left out.

    Args:
        planes: 3×H×W in [0,1].
        alpha: 1×H×W in [0,1].

    Returns:
        3×H×W; white where nothing at all is seen.
    """
    hidden = alpha <= 0
    if hidden.all():
        return np.ones_like(planes)
    return np.where(hidden, _extended(planes * alpha, alpha), planes) if hidden.any() else planes


def _extended(colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums of colours C×H×W over their weights 1×H×W, and what is around where these are 0."""
    missing = weights <= 0
    own = colours / np.where(missing, 1, weights)
    if not missing.any():
        return own
    coarse = _extended(_halved(colours), _halved(weights))
    size = 2 * coarse.shape[2], 2 * coarse.shape[1]
    wide = [Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR) for plane in coarse]
    height, width = weights.shape[1:]
    return np.where(missing, np.stack([np.asarray(plane)[:height, :width] for plane in wide]), own)


def _halved(planes: np.ndarray) -> np.ndarray:
    """Sums over squares of four; at an odd border, of fewer."""
    _, height, width = planes.shape
    even = np.pad(planes, ((0, 0), (0, height % 2), (0, width % 2)))
    return even.reshape(len(planes), even.shape[1] // 2, 2, even.shape[2] // 2, 2).sum(axis=(2, 4))
