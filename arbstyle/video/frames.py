"""What the parts of this package hand to each other."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from arbstyle.images import as_bytes, as_float, resize, resize_with_alpha

NUMBER_PLACE = re.compile(r"%0?\d*d")
"""Where the number stands in a name for many pictures, such as ``%05d.png``."""

SWSCALE_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""Matrices of H.273 that FFmpeg's scaler knows, by its own numbers."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a clip.

    Attributes:
        pixels: 1×3×H×W bytes, RGB, upright.
        time: in seconds from the start of the clip, exact.
        duration: in seconds, exact; 0 if unknown.
        alpha: 1×1×H×W bytes, or None for an opaque frame.
    """

    pixels: Tensor
    time: Fraction
    duration: Fraction
    alpha: Tensor | None = None


@dataclass(frozen=True)
class Colors:
    """How a file stores colours: the numbers of ITU-T H.273, as FFmpeg uses them.

    Attributes:
        matrix: from RGB to luma and chroma; 1 is BT.709, 5 and 6 BT.601, 9 BT.2020; never unspecified.
        primaries, transfer: 2 is unspecified.
        full_range: luma of 8 bits goes from 0 to 255, not from 16 to 235.
    """

    matrix: int = 1
    primaries: int = 2
    transfer: int = 2
    full_range: bool = False


@dataclass(frozen=True)
class ClipInfo:
    """What is known of a clip before its frames are decoded.

    Attributes:
        width, height: of the frames, upright and at the size asked for.
        rate: average frames a second.
        time_base: of which every frame's time is a multiple.
        duration: in seconds, as far as the file says.
        aspect: width of a pixel over its height.
        colors: None for pictures, which are sRGB.
        alpha: whether frames are transparent.
    """

    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    duration: Fraction | None
    aspect: Fraction = Fraction(1)
    colors: Colors | None = None
    alpha: bool = False


def resized(picture: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Bytes 1×3×H×W, or 1×4×H×W with alpha, in another size, see :func:`arbstyle.images.resize`.

    What is transparent lends no colour to what is not.
    """
    colour, alpha = as_float(picture[:, :3]), as_float(picture[:, 3:])
    if alpha.shape[1] == 0:
        return as_bytes(resize(colour, size))
    return as_bytes(torch.cat(resize_with_alpha(colour, alpha, size), dim=1))


class Clip(ABC):
    """A source of frames.

    Attributes:
        path: where it is read from.
        info: what is known before decoding.
        warnings: what a user should hear of, filled while decoding.
    """

    path: Path
    info: ClipInfo

    def __init__(self) -> None:
        self.warnings: list[str] = []

    @property
    def files(self) -> Sequence[Path]:
        """Every file that is read."""
        return [self.path]

    @abstractmethod
    def frames(self, start: Fraction = Fraction(0), end: Fraction | None = None) -> Iterator[Frame]:
        """Frames with ``start`` ≤ time < ``end``, in seconds; their times are those of the whole clip."""

    def sample(self, count: int, start: Fraction, end: Fraction | None) -> list[Frame]:
        """About so many frames, evenly spread over a part of the clip."""
        last = end if end is not None else self.info.duration
        if last is None or count == 1:
            return [frame for frame, _ in zip(self.frames(start, end), range(1), strict=False)]
        found = []
        for number in range(count):
            moment = start + (last - start) * (2 * number + 1) / (2 * count)
            found += [frame for frame, _ in zip(self.frames(moment, end), range(1), strict=False)]
        return found or self.sample(1, start, end)
