"""Which style, how strongly: drawn from the seed and the picture's key alone.

Neither the order of the pictures nor the number of workers, the engine or an interruption changes a draw.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Draw:
    """What one copy of a picture is painted with.

    Attributes:
        copy: 0, 1, … of the copies of one picture.
        style: the number of the style among the sorted ones.
        strength: as in :meth:`arbstyle.Stylizer.stylize`.
        seed: for whatever else is random about the painting; 32 bits.
    """

    copy: int
    style: int
    strength: float
    seed: int


def draw(key: str, *, seed: int, styles: int, copies: int, strength: tuple[float, float]) -> list[Draw]:
    """The draws of a picture's copies; their styles differ while there are enough.

    Args:
        key: what the picture is called.
        seed: of the whole data set.
        styles: how many there are to draw from, at least 1.
        copies: how many to draw.
        strength: lowest and highest, drawn uniformly between.
    """
    taken: list[int] = []
    draws = []
    low, high = strength
    for copy in range(copies):
        choice = _uniform(seed, key, copy, "style") * styles // 2**64
        attempt = 0
        while choice in taken and len(taken) < styles:
            attempt += 1
            choice = _uniform(seed, key, copy, f"style {attempt}") * styles // 2**64
        taken.append(choice)
        share = _uniform(seed, key, copy, "strength") / 2**64
        # Six digits, so that the manifest tells the very number.
        draws.append(
            Draw(copy, choice, round(low + (high - low) * share, 6), _uniform(seed, key, copy, "seed") >> 32)
        )
    return draws


def _uniform(seed: int, key: str, copy: int, purpose: str) -> int:
    """A number of 64 bits. BLAKE2 gives the same ones everywhere and always, unlike random generators."""
    text = f"{seed}\0{key}\0{copy}\0{purpose}"
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big"
    )
