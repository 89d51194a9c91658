"""What a job is cut into."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from arbstyle.errors import ArbstyleError
from arbstyle.images import READABLE_SUFFIXES

CHUNK = 100
"""Pictures that are read, painted and written at a time: what a worker holds in memory, and a row group."""


@dataclass(frozen=True)
class Part:
    """Pictures that one worker paints, and whose results appear together.

    Attributes:
        number: 0, 1, …
        name: of the part's table or shard of results, without suffix.
        count: of its pictures.
        file: the table or shard that holds them; "" for a folder.
        names: in a folder, relative to it.
        start: the first row of a table; the offset in bytes in a shard.
    """

    number: int
    name: str
    count: int
    file: str = ""
    names: tuple[str, ...] = ()
    start: int = 0


LONGEST_LIST = 1 << 28
"""Characters of JSON in a list of a job's files or styles."""


def part_of(stored: Mapping[str, Any], number: int) -> Part:
    """The part of that number, from what a job wrote down.

    Raises:
        ValueError: anything else.
    """
    names = stored.get("names")
    counts, texts = [stored.get("count"), stored.get("start")], [stored.get("name"), stored.get("file")]
    if (
        set(stored) != {field.name for field in fields(Part)}
        or stored["number"] != number
        or not all(type(count) is int and count >= 0 for count in counts)
        or not isinstance(names, list)
        or not all(isinstance(text, str) for text in (*texts, *names))
    ):
        raise ValueError(f"line {number + 1} of the plan is none")
    outside = [text for text in (*texts, *names) if Path(text).is_absolute() or ".." in Path(text).parts]
    if outside:
        raise ValueError(f"the plan names '{outside[0]}', which is outside of the data set")
    return Part(**{**stored, "names": tuple(names)})


def digest_of(lines: Iterable[str]) -> str:
    """Tells a list of names from others."""
    state = hashlib.blake2b(digest_size=8)
    for line in lines:
        state.update(f"{line}\0".encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def digest_of_files(root: Path, names: Iterable[str]) -> str:
    """Tells files from others by their names below a folder and their sizes."""
    return digest_of(f"{name}\0{os.path.getsize(root / name)}" for name in sorted(names))


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some pictures of a part.

    Attributes:
        keys: what each is called; the draws depend on it.
        names: what each is called as a file, with a suffix where it is known.
        images: encoded files, or what is wrong with them.
        columns: everything else there is about them, a row a picture.
    """

    keys: list[str]
    names: list[str]
    images: list[bytes | ArbstyleError]
    columns: pa.Table


@dataclass(frozen=True)
class Result:
    """A painted copy of a picture.

    Attributes:
        row: of the picture in its chunk.
        name: as a file, with its suffix.
        data: the encoded file.
    """

    row: int
    name: str
    data: bytes


def picture_suffix(name: str) -> str:
    """What the name of a picture ends in; "" for other names."""
    suffix = Path(name).suffix
    return suffix if suffix.lower() in READABLE_SUFFIXES else ""


def result_name(name: str, copy: int, copies: int, suffix: str) -> str:
    """What a copy of a picture is called, for the name of the picture."""
    stem = name.removesuffix(picture_suffix(name))
    return f"{stem}__{copy}{suffix}" if copies > 1 else f"{stem}{suffix}"


def numbered(name: str, index: int, total: int) -> str:
    """The name of one of several parts of a file; a single one keeps the file's."""
    return name if total == 1 else f"{name}-{index:05d}"
