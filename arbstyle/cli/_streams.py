"""Standard output and error that can't stop the work: whatever encoding they have, whoever hangs up."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class _Lasting:
    """A text stream that never raises: an unknown character becomes its code, a failure ends the output."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self.failure is None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                encoding = self._stream.encoding or "ascii"
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except OSError as error:
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        if self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failure = error
        if self._stream in (sys.__stdout__, sys.__stderr__):
            # Python flushes once more at its end, and would then complain and change the exit code.
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Inside, nothing that is printed raises. A reader that hung up (`| head`) is no mistake; a full disk is.

    Raises:
        OSError: at the end, what went wrong with standard output, besides a reader that hung up.
    """
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    output, error = (_Lasting(stream) for stream in before)
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, error)
    try:
        yield
    finally:
        output.flush()
        error.flush()
        sys.stdout, sys.stderr = before
    if output.failure is not None and not isinstance(output.failure, BrokenPipeError):
        output.failure.filename = "standard output"
        raise output.failure


def _open_closed_descriptors() -> None:
    """Where a standard stream is closed (`2>&-`, daemons), the next file opened would take its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


ENDINGS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""What ends a program from outside: to be told to, and the end of its terminal."""


@contextmanager
def endings_as_interrupt() -> Iterator[Callable[[], int | None]]:
    """Inside, `ENDINGS` end the work as Ctrl-C does; what is yielded tells which one came.

    What is ignored, as SIGHUP is under nohup, stays so.
    """
    came: int | None = None

    def interrupt(number: int, *_: object) -> None:
        nonlocal came
        came = number
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # signals reach the main thread only
        listened = [sign for sign in ENDINGS if signal.getsignal(sign) is not signal.SIG_IGN]
        before = {sign: signal.signal(sign, interrupt) for sign in listened}
    try:
        yield lambda: came
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


@contextmanager
def log_lines() -> Iterator[None]:
    """Inside, what the package logs is told on standard error like all other lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("arbstyle: %(message)s"))
    logger = logging.getLogger("arbstyle")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
