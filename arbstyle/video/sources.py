"""A clip by its name: a film, an animated picture, or pictures in a folder."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from arbstyle.errors import ArbstyleError
from arbstyle.video.frames import Clip
from arbstyle.video.pictures import ANIMATION_SUFFIXES, PICTURE_RATE, Animation, PictureSequence, is_sequence
from arbstyle.video.reading import Film

_TIME = re.compile(r"(?:(?:(\d{1,9}):)?(\d{1,2}):)?(\d{1,9}(?:\.\d{0,99})?)")
_TOO_LATE = 10**9
"""Seconds; a film's own ticks are counted in 64 bits."""


def open_clip(text: str, size: int | None = None, rate: Fraction | None = None) -> Clip:
    """What is to be painted.

    Args:
        text: a film, an animated picture, a folder, ``frames/%05d.png`` or ``frames/*.png``.
        size: short side of the frames; ``None`` leaves them as they are.
        rate: frames a second, of pictures only.

    Raises:
        ArbstyleError: nothing there, or not a clip; or a rate for what has its own.
    """
    if is_sequence(text):
        return PictureSequence(text, size, rate or PICTURE_RATE)
    if rate is not None:
        raise ArbstyleError(f"--rate is for pictures in a folder; '{text}' has its own times")
    if Path(text).suffix.lower() in ANIMATION_SUFFIXES:
        return Animation(text, size)
    return Film(text, size)


def parse_time(text: str) -> Fraction:
    """Seconds of ``12.5``, ``1:02.5`` or ``1:00:02``.

    Raises:
        ArbstyleError: something else.
    """
    match = _TIME.fullmatch(text.strip())
    if match is not None:
        hours, minutes, seconds = (Fraction(part or 0) for part in match.groups())
        time = hours * 3600 + minutes * 60 + seconds
        if time < _TOO_LATE:
            return time
    raise ArbstyleError(
        f"expected a time such as 12.5, 1:02.5 or 1:00:02, below {_TOO_LATE} seconds, got '{text[:40]}'"
    )
