"""Finding pictures: the files in a folder, and those that a pattern such as ``photos/**/*.jpg`` names."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images.files import READABLE_SUFFIXES, quoted

_MAGIC = re.compile(r"[*?\[]")


def find_images(folder: str | Path, *, recursive: bool = False) -> list[Path]:
    """The pictures in a folder by their suffix, in natural order; hidden files and folders are passed over.

    Args:
        recursive: look into subfolders too, also where they are links; each is visited once.

    Raises:
        ArbstyleError: not a folder, one that cannot be read, or no picture in it.
    """
    folder = Path(folder)
    name = quoted(folder)

    def fail(error: OSError) -> None:
        raise ArbstyleError(f"cannot read the folder {name}: {reason_of(error)}") from error

    folders = list(_folders_below(folder, fail)) if recursive else [folder]
    found = [
        path
        for each in folders
        for path in _entries(each, fail)
        if path.suffix.lower() in READABLE_SUFFIXES and _is_file(path)
    ]
    if not found:
        where = "in or below" if recursive else "directly in"
        raise ArbstyleError(f"no pictures found: expected .jpg, .png, .webp or the like {where} {name}")
    return sorted(found, key=natural_order)


def is_pattern(text: str) -> bool:
    """Whether a text is meant as a pattern: it has ``*``, ``?`` or ``[``, and no file is really called so."""
    return bool(_MAGIC.search(text)) and not os.path.lexists(text)


def find_matches(pattern: str) -> list[Path]:
    """The files that a pattern names, in natural order; ``**`` stands for any folders, links included.

    Folders at its beginning that are really called so are taken as they are: ``[a]b`` in ``[a]b/*.jpg``.
    Hidden files need a dot in the pattern. Folders that can't be read are passed over.
    """
    parts = Path(pattern).parts
    start = next(count for count in reversed(range(len(parts))) if os.path.lexists(Path(*parts[:count])))
    places = [Path(*parts[:start])]
    for part in (*parts[start:], *(["*"] if parts[-1] == "**" else [])):
        if part == "**":
            places = [below for place in places for below in _folders_below(place)]
        elif _MAGIC.search(part):
            places = [
                path
                for place in places
                for path in _entries(place, hidden=part.startswith("."))
                if fnmatch.fnmatch(path.name, part)
            ]
        else:
            places = [place / part for place in places]
    return sorted({path for path in places if _is_file(path)}, key=natural_order)


def named_files(path: Path) -> list[Path]:
    """The file of that name, else those that it names as a pattern, by name; none where there are none."""
    return [path] if path.is_file() else sorted(find_matches(str(path)), key=str)


def files_below(folder: Path, *suffixes: str) -> list[Path]:
    """The files in or below a folder that have the first of these suffixes that any has, by name."""
    found = (sorted(find_matches(str(folder / "**" / f"*{suffix}"))) for suffix in suffixes)
    return next((files for files in found if files), [])


def natural_order(path: str | Path) -> tuple[list[list[int | str]], str]:
    """Sorts ``frame_2`` before ``frame_10``."""
    parts = [re.split(r"(\d+)", part) for part in Path(path).parts]
    # Words and numbers take turns, so that like meets like.
    return [[int(piece) if piece.isdecimal() else piece for piece in part] for part in parts], str(path)


def _folders_below(folder: Path, fail: Callable[[OSError], object] = lambda error: None) -> Iterator[Path]:
    """A folder and those below it, each once, however links run in circles; hidden ones are passed over."""
    waiting, seen = [folder], set()
    while waiting:
        place = waiting.pop()
        try:
            status = place.stat()
        except (OSError, ValueError):  # a broken link; a name with a null byte
            continue
        identity = status.st_dev, status.st_ino
        if stat.S_ISDIR(status.st_mode) and identity not in seen:
            seen.add(identity)
            yield place
            waiting.extend(reversed(list(_entries(place, fail))))


def _entries(
    folder: Path, fail: Callable[[OSError], object] = lambda error: None, hidden: bool = False
) -> Iterator[Path]:
    try:
        names = os.listdir(folder)
    except OSError as error:
        fail(error)
        return
    except ValueError:  # a null byte
        return
    shown = (name for name in names if hidden or not name.startswith("."))
    yield from (folder / name for name in sorted(shown, key=natural_order))


def _is_file(path: Path) -> bool:
    """A regular file or a link to one; opening a pipe would wait for ever."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False
