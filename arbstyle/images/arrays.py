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
    bicubic = Image.Resampling.BICUBIC
    resized = [Image.fromarray(plane).resize((width, height), bicubic) for plane in planes]
    return np.stack([np.asarray(plane) for plane in resized]).clip(0, 1)
