"""Files: which names are pictures, where results may be written, and writing them whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images.codecs import require_codec

FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
WRITABLE_SUFFIXES = tuple(FORMATS)
READABLE_SUFFIXES = (*WRITABLE_SUFFIXES, ".jfif", ".jpe", ".jp2", ".ppm", ".pgm", ".pnm", ".tga")
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


def time_of_change(path: str | os.PathLike[str]) -> int:
    """In nanoseconds, or 0 for what is not there: reading says so better."""
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return 0


def why_no_file(path: str | Path) -> str | None:
    """Why a path is not a file to be read: ``there is no such file``; None if it is one.

    A pipe or a device would be waited for, for ever.
    """
    try:
        mode = _existing_mode(Path(path))
    except (OSError, ValueError) as error:
        return reason_of(error)
    if mode is None:
        return "there is no such file"
    if stat.S_ISDIR(mode):
        return "it is a folder"
    return None if stat.S_ISREG(mode) else "it is not a regular file"


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
    if suffixes is not None:
        require_codec(FORMATS.get(path.suffix.lower()), f"write {name}")
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
        allowed = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(allowed)  # safetensors puts a private file in its place
        os.replace(temporary, target)
    except OSError as error:
        raise ArbstyleError(f"cannot write {quoted(path)}: {reason_of(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


InRole = tuple[str, str | Path]
"""What a file is for, and its path: ``("--output", "out.png")``."""


def check_outputs(outputs: Iterable[InRole], inputs: Iterable[InRole]) -> None:
    """Check that no output of a command is one of its inputs, under any name or link, and none stands twice.

    Args:
        outputs: what a command will write.
        inputs: what it reads; those that don't exist are no matter. Files that the environment names
            (``ARBSTYLE_VGG19``) are read, too.

    Raises:
        ArbstyleError: an output that would replace an input or another output.
    """
    taken: dict[object, str] = {}
    named = [(name, path) for name, path in os.environ.items() if name.startswith("ARBSTYLE_") and path]
    for role, path in [*inputs, *named]:
        for identity in _identities(path):
            taken.setdefault(identity, f"is an input ({role}) and would be replaced; give another file")
    for role, path in outputs:
        identities = _identities(path)
        conflict = next((taken[identity] for identity in identities if identity in taken), None)
        if conflict:
            raise ArbstyleError(f"{role} {quoted(Path(path))} {conflict}")
        taken |= dict.fromkeys(identities, f"is already the {role.lstrip('-')}; give another file")


def _identities(path: str | Path) -> list[object]:
    """What a path stands for: its place with all links followed, and the file there."""
    identities: list[object] = []
    with suppress(OSError, ValueError):  # not there (yet); a null byte, which opening will complain of
        identities.append(os.path.realpath(path))
        status = os.stat(path)
        identities.append((status.st_dev, status.st_ino))
    return identities


def quoted(path: Path) -> str:
    return repr(str(path))  # escapes line breaks and the like, so that a message stays one line


def printable(text: str) -> str:
    """Text that any UTF-8 file can hold: a file name's bytes that are no UTF-8 become their codes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
