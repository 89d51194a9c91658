"""One evaluation at a time in a report folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from arbstyle.errors import ArbstyleError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other evaluations out of a folder meanwhile. The system frees it however this process ends.

    Raises:
        ArbstyleError: another evaluation is at work in the folder, or the folder can't be written.
    """
    try:
        file = (folder / ".lock").open("w", encoding="utf-8")
    except OSError as error:
        raise ArbstyleError(
            f"the report folder {folder} can't be written ({error.strerror}): choose another"
        ) from error
    with file:
        try:
            _lock(file)
        except OSError as error:
            raise ArbstyleError(
                f"another evaluation is at work in {folder}: wait for its end, or choose another folder"
            ) from error
        yield


def _lock(file: TextIOWrapper) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
