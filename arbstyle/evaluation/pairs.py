"""Pairs of a photo and a style."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

from arbstyle.errors import ArbstyleError
from arbstyle.images import find_images, find_matches, is_pattern
from arbstyle.painting.gallery import gallery_file

AnyPair = TypeVar("AnyPair")


@dataclass(frozen=True)
class Pair:
    """A photo and a style, as files."""

    content: Path
    style: Path

    @property
    def name(self) -> str:
        return f"{self.content.stem}__{self.style.stem}"


def all_pairs(contents: Sequence[Path], styles: Sequence[Path]) -> list[Pair]:
    """Every photo with every style.

    Raises:
        ArbstyleError: two pairs of one name, whose pictures would be one file.
    """
    pairs: dict[str, Pair] = {}
    for content, style in product(contents, styles):
        pair = Pair(content, style)
        other = pairs.setdefault(pair.name.casefold(), pair)  # some file systems don't tell case apart
        if other is not pair:
            raise ArbstyleError(
                f"'{other.content.name}' with '{other.style.name}' and '{content.name}' with '{style.name}' "
                f"would both be called '{pair.name}': rename one of the four"
            )
    return list(pairs.values())


def spread_pairs(pairs: Sequence[AnyPair], number: int) -> list[AnyPair]:
    """So many of the pairs, drawn over all photos and styles: the same ones every time, more hold fewer.

    Raises:
        ArbstyleError: fewer than one pair.
    """
    if number < 1:
        raise ArbstyleError(f"at least one pair is needed, got {number}: raise it")
    order = list(range(len(pairs)))
    random.Random(0).shuffle(order)
    return [pairs[index] for index in sorted(order[:number])]


def pictures_by_name(folder: str | Path, limit: int | None, kind: str) -> list[Path]:
    """The first pictures of a folder or pattern, or a single one.

    Raises:
        ArbstyleError: no picture, a limit below 1, or two of one name: a report names them by that.
    """
    if limit is not None and limit < 1:
        raise ArbstyleError(f"at least one of the {kind} is needed, got a limit of {limit}: raise it")
    if gallery_file(folder):
        raise ArbstyleError(
            f"'{folder}' names a style of the gallery, but what is painted is compared with a picture: give "
            "a picture's file, or a folder of them"
        )
    # A pattern that matches nothing is reported as a folder that is not there.
    paths = find_matches(str(folder)) if is_pattern(str(folder)) else []
    paths = paths or ([Path(folder)] if Path(folder).is_file() else find_images(folder))
    stems = [path.stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice:
        raise ArbstyleError(f"{folder} holds several pictures named '{twice}': rename all but one")
    return paths[:limit]
