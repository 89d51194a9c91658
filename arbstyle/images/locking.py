"""One process at a time in a folder of results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

from arbstyle.errors import ArbstyleError
from arbstyle.images.files import check_output_path

LOCK = ".lock"
"""The file that is locked, in the folder."""


@contextmanager
def locked(folder: Path, work: str) -> Iterator[None]:
    """Keep other processes out of a folder meanwhile. The system frees it however this one ends.

    Args:
        folder: exists.
        work: what is at work there: ``evaluation``.

    Raises:
        ArbstyleError: another one is at work in the folder, or the folder can't be written.
    """
    path = check_output_path(folder / LOCK, suffixes=None)  # a pipe there would be waited for
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise ArbstyleError(f"cannot write in '{folder}' ({error.strerror}): choose another") from error
    with file:
        try:
            _lock(file)
        except OSError as error:
            raise ArbstyleError(
                f"another {work} is at work in {folder}: wait for its end, or choose another folder"
            ) from error
        yield


@contextmanager
def claimed(folder: Path, work: str) -> Iterator[None]:
    """Make a folder and keep other processes out of it; it is gone again if nothing was put into it.

    Raises:
        ArbstyleError: as :func:`locked`, or the folder can't be made.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArbstyleError(
            f"the folder {folder} can't be made ({error.strerror}): choose another"
        ) from error
    try:
        with locked(folder, work):
            yield
    finally:
        with suppress(OSError):
            if made and [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
                folder.rmdir()


def _lock(file: TextIOWrapper) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
