"""Frames of animated pictures (GIF, WebP, PNG) and of pictures in a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import as_bytes, as_float, find_images, find_matches, is_pattern, read_picture
from arbstyle.images.decoding import decode_file, decoding, open_picture, orientation, turned
from arbstyle.images.files import quoted
from arbstyle.video.frames import NUMBER_PLACE, Clip, ClipInfo, Frame, resized

ANIMATION_SUFFIXES = (".gif", ".webp", ".png", ".apng")
PICTURE_RATE = Fraction(25)
"""Frames a second of a folder of pictures, which does not say."""

_MILLISECOND = Fraction(1, 1000)
_SHORTEST = Fraction(1, 100)
_DEFAULT_DELAY = Fraction(1, 10)
"""What browsers wait where an animation says nothing or less than two hundredths of a second."""


class Animation(Clip):
    """An animated GIF, WebP or PNG.

    Args:
        path: of the file.
        size: short side of the frames; ``None`` leaves them as they are.

    Raises:
        ArbstyleError: no such file, or not a picture that Pillow can read.
    """

    def __init__(self, path: str | Path, size: int | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        self._size = size
        first = decode_file(self.path, of_film=True)  # tells whatever is wrong with the file
        pixels = _sized(as_bytes(torch.from_numpy(first.pixels)), size)
        with decoding(quoted(self.path)), open_picture(self.path) as image:
            delays = [_delay(image, number) for number in range(getattr(image, "n_frames", 1))]
            if len(delays) == 1:
                raise ArbstyleError(f"'{self.path}' is one picture: paint it with 'arbstyle stylize'")
            self._orientation = orientation(image)
            transparent = image.has_transparency_data or image.mode in ("RGBA", "LA")
        starts = [Fraction(0)]
        for delay in delays:
            starts.append(starts[-1] + delay)
        self._times = starts
        self.info = ClipInfo(
            width=pixels.shape[3],
            height=pixels.shape[2],
            rate=len(delays) / starts[-1],
            time_base=_MILLISECOND,
            duration=starts[-1],
            alpha=transparent,
        )

    def frames(self, start: Fraction = Fraction(0), end: Fraction | None = None) -> Iterator[Frame]:
        with open_picture(self.path) as image:
            for number, (time, until) in enumerate(pairwise(self._times)):
                if end is not None and time >= end:
                    return
                if time < start:
                    continue
                try:
                    image.seek(number)
                    # Pillow puts frames together from their parts; what is left is a palette.
                    whole = image.convert("RGBA" if self.info.alpha else "RGB")
                    array = np.asarray(turned(whole, self._orientation))
                except (EOFError, OSError, SyntaxError, ValueError) as error:
                    self.warnings.append(f"the file ends early: {error}")
                    return
                picture = _sized(torch.from_numpy(array.copy()).permute(2, 0, 1)[None], self._size)
                alpha = picture[:, 3:] if self.info.alpha else None
                yield Frame(picture[:, :3], time, until - time, alpha)


class PictureSequence(Clip):
    """Pictures that are frames: a folder, ``frames/%05d.png``, or a pattern such as ``frames/*.png``.

    Args:
        text: which pictures; they come in the order of the numbers in their names.
        size: short side of the frames; ``None`` leaves them as they are.
        rate: frames a second.

    Raises:
        ArbstyleError: no such picture, or one that cannot be read.
    """

    def __init__(self, text: str, size: int | None = None, rate: Fraction = PICTURE_RATE) -> None:
        super().__init__()
        self.path = Path(text)
        self._size = size
        self._files = _files_of(text)
        first = self._read(self._files[0], background=None)
        self.info = ClipInfo(
            width=first.shape[3],
            height=first.shape[2],
            rate=rate,
            time_base=1 / rate,
            duration=len(self._files) / rate,
            alpha=first.shape[1] == 4,
        )

    @property
    def files(self) -> Sequence[Path]:
        return self._files

    def frames(self, start: Fraction = Fraction(0), end: Fraction | None = None) -> Iterator[Frame]:
        for number, file in enumerate(self._files):
            time = number / self.info.rate
            if end is not None and time >= end:
                return
            if time < start:
                continue
            picture = self._read(file, background=None if self.info.alpha else "white")
            if picture.shape[2:] != (self.info.height, self.info.width):
                raise ArbstyleError(
                    f"frames must have one size: '{self._files[0]}' is {self.info.width}×{self.info.height}, "
                    f"'{file}' is {picture.shape[3]}×{picture.shape[2]}"
                )
            alpha = None
            if self.info.alpha:
                alpha = picture[:, 3:] if picture.shape[1] == 4 else torch.full_like(picture[:, :1], 255)
            yield Frame(picture[:, :3], time, 1 / self.info.rate, alpha)

    def _read(self, file: Path, background: str | None) -> Tensor:
        read = read_picture(file, background=background, keep_bytes=True)
        parts = (
            [read.pixels] if read.alpha is None else [as_bytes(as_float(read.pixels)), as_bytes(read.alpha)]
        )
        return as_bytes(_sized(torch.cat(parts, dim=1), self._size))


def is_sequence(text: str) -> bool:
    """Whether a name stands for many pictures, and not for a film that is really called so."""
    path = Path(text)
    return path.is_dir() or is_pattern(text) or (bool(NUMBER_PLACE.search(text)) and not path.is_file())


def _files_of(text: str) -> Sequence[Path]:
    if Path(text).is_dir():
        return sorted(find_images(text), key=_in_order)
    pattern = str(Path(NUMBER_PLACE.sub("*", text)))
    found = find_matches(pattern)
    if NUMBER_PLACE.search(text):  # %05d stands for a number
        number = re.compile(re.escape(pattern).replace(r"\*", r"\d+"))
        found = [path for path in found if number.fullmatch(str(path))]
    if not found:
        raise ArbstyleError(f"no pictures match '{text}'")
    return sorted(found, key=_in_order)


def _in_order(path: Path) -> tuple[str, list[int], str]:
    """frame-9 before frame-10."""
    numbers = [int(digits) for digits in re.findall(r"\d+", path.stem)]
    return re.sub(r"\d+", "", path.stem), numbers, path.name


def _sized(picture: Tensor, size: int | None) -> Tensor:
    return picture if size is None else resized(picture, size)


def _delay(image: Image.Image, number: int) -> Fraction:
    image.seek(number)
    image.load()  # before, WebP tells the delay of another frame
    milliseconds = Fraction(image.info.get("duration") or 0).limit_denominator(1000)
    delay = milliseconds * _MILLISECOND
    return Fraction(round(delay / _MILLISECOND)) * _MILLISECOND if delay > _SHORTEST else _DEFAULT_DELAY
