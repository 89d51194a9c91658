"""`-` for a picture from standard input or to standard output."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from arbstyle.errors import ArbstyleError

LARGEST_INPUT = 1 << 32
"""Bytes: what the largest picture that is read takes uncompressed, in 16 bits."""
_PIECE = 1 << 20


@contextmanager
def piped(words: Sequence[str], output: str | None) -> Iterator[tuple[list[str], str | None]]:
    """Inside, `-` is a temporary file: among the words, what came in; as the output, a PNG that will go out.

    Nothing else goes to standard output then.

    Raises:
        ArbstyleError: `-` more than once, nothing to read, or a picture for a terminal.
    """
    if "-" not in words and output != "-":
        yield list(words), output
        return
    if list(words).count("-") > 1:
        raise ArbstyleError("standard input holds one picture; give '-' once")
    if output == "-" and sys.stdout.isatty():
        raise ArbstyleError("'-o -' writes a picture: send it to a file or another program")
    with tempfile.TemporaryDirectory(prefix="arbstyle-") as folder:
        if "-" in words:
            incoming = Path(folder, "stdin")
            _receive(incoming)
            words = [str(incoming) if word == "-" else word for word in words]
        if output != "-":
            yield list(words), output
            return
        outgoing = Path(folder, "stdout.png")
        with redirect_stdout(io.StringIO()):
            yield list(words), str(outgoing)
        if outgoing.exists():
            sys.stdout.flush()
            sys.stdout.buffer.write(outgoing.read_bytes())
            sys.stdout.buffer.flush()


def _receive(file: Path) -> None:
    """Standard input into a file, piece by piece: it may have no end."""
    if sys.stdin is None or sys.stdin.isatty():
        raise ArbstyleError("'-' reads a picture from standard input: send one, as with '< photo.jpg'")
    received = 0
    with file.open("wb") as target:
        while piece := sys.stdin.buffer.read(_PIECE):
            received += target.write(piece)
            if received > LARGEST_INPUT:
                raise ArbstyleError(
                    f"expected a picture on standard input, got more than {LARGEST_INPUT >> 30} GiB"
                )
    if not received:
        raise ArbstyleError("expected a picture on standard input, got nothing")
