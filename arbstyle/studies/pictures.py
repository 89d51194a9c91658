"""Reading the pictures of a study."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from arbstyle.images import read_image, resize

Source = str | Path | Tensor


def load(picture: Source, longest: int) -> Tensor:
    """A file with its longer side at `longest` pixels, or a picture 1×3×H×W as it is."""
    if isinstance(picture, Tensor):
        return picture
    pixels = read_image(picture)
    height, width = pixels.shape[2:]
    scale = longest / max(height, width)
    return resize(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))
