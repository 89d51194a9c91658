"""Files: which names are pictures, where results may be written, and writing them whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from arbstyle.errors import ArbstyleError

FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
}
WRITABLE_SUFFIXES = tuple(FORMATS)
READABLE_SUFFIXES = (*WRITABLE_SUFFIXES, ".jfif", ".jpe", ".jp2", ".avif", ".ppm", ".pgm", ".pnm", ".tga")
"""What `find_images` takes for a picture; a file named outright may be anything that Pillow reads."""


def check_input_file(path: Path) -> None:
    name = quoted(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise ArbstyleError(f"cannot read {name}: {reason_of(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise ArbstyleError(f"cannot read {name}: it is a folder; give a picture file")
    if not stat.S_ISREG(status.st_mode):
        raise ArbstyleError(f"cannot read {name}: it is not a regular file")
    if status.st_size == 0:
        raise ArbstyleError(f"cannot read {name}: the file is empty (0 bytes)")


def check_output_path(path: str | Path, suffixes: Collection[str] | None = WRITABLE_SUFFIXES) -> Path:
    """Check, before a long job, that a file can be written there; nothing is created.

    Args:
        suffixes: what the (lower-case) name may end in; None for anything.

    Raises:
        ArbstyleError: another suffix, a folder or device in its place, or a folder that cannot be written.
    """
    path = Path(path)
    name = quoted(path)
    if suffixes is not None and path.suffix.lower() not in suffixes:
        raise ArbstyleError(f"cannot write {name}: expected a file name that ends in {', '.join(suffixes)}")
    try:
        mode = _existing_mode(path)
        folder = path.parent
        while (folder_mode := _existing_mode(folder)) is None:
            folder = folder.parent
    except (OSError, ValueError) as error:
        raise ArbstyleError(f"cannot write {name}: {reason_of(error)}") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise ArbstyleError(f"cannot write {name}: it is a folder; give a file name")
    if mode is not None and not stat.S_ISREG(mode):
        raise ArbstyleError(f"cannot write {name}: it exists and is not a regular file")
    if mode is not None and not os.access(path, os.W_OK):
        raise ArbstyleError(f"cannot write {name}: the file there is write-protected")
    if not stat.S_ISDIR(folder_mode):
        raise ArbstyleError(f"cannot write {name}: {quoted(folder)} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ArbstyleError(f"cannot write {name}: no permission to write in the folder {quoted(folder)}")
    return path


def _existing_mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file to write instead of `path`, in its folder and with its suffix; then rename it.

    The temporary name is unique, so processes that share a folder don't meet. On any error, Ctrl-C included,
    the file is removed and what was at `path` stays. Missing folders are made; a symbolic link is followed.

    Raises:
        ArbstyleError: the folder cannot be written, or an OSError in the body, such as a full disk.
    """
    path = check_output_path(path, suffixes=None)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".arbstyle-{secrets.token_hex(8)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile: its files are private to the user, whatever the umask says.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise ArbstyleError(f"cannot write {quoted(path)}: {reason_of(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def find_images(folder: str | Path, *, recursive: bool = False) -> list[Path]:
    """The pictures in a folder by their suffix, sorted; hidden files and folders are passed over.

    Raises:
        ArbstyleError: not a folder, one that cannot be read, or no picture in it.
    """
    folder = Path(folder)
    name = quoted(folder)

    def fail(error: OSError) -> None:
        raise ArbstyleError(f"cannot read the folder {name}: {reason_of(error)}") from error

    found: list[Path] = []
    for root, subfolders, files in os.walk(folder, onerror=fail):
        subfolders[:] = [sub for sub in subfolders if recursive and not sub.startswith(".")]
        candidates = (Path(root, file) for file in files if not file.startswith("."))
        found.extend(path for path in candidates if path.suffix.lower() in READABLE_SUFFIXES)
    if not found:
        where = "in or below" if recursive else "directly in"
        raise ArbstyleError(f"no pictures found: expected .jpg, .png, .webp or the like {where} {name}")
    return sorted(found)


def quoted(path: Path) -> str:
    return repr(str(path))  # escapes line breaks and the like, so that a message stays one line


def reason_of(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
