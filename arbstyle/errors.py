"""The one exception a user is meant to see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class ArbstyleError(Exception):
    """A mistake in the input or the environment that the user can put right.

    The message is one line: what was expected, what came, what to do. The command line prints it
    without a traceback and exits with code 2.
    """


def one_line(text: str) -> str:
    """The words of a text on one line, with escapes for what would steer a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda match: f"\\x{ord(match[0]):02x}", " ".join(text.split()))


def reason_of(error: BaseException, limit: int | None = None) -> str:
    """What an error of another library says, on one line and in at most ``limit`` characters."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return one_line(str(error))[:limit] or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out; on the CPU, PyTorch raises a plain RuntimeError."""
    told = re.search("out of memory|not enough memory|can't allocate memory", str(error))
    of_gpu = type(error).__name__ == "OutOfMemoryError"  # PyTorch's, which is not imported here
    return of_gpu or isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and told is not None)


@contextmanager
def memory_for(task: str) -> Iterator[None]:
    """Inside, running out of memory becomes one line: ``not enough memory to {task}``.

    Raises:
        ArbstyleError: instead of whatever PyTorch or NumPy raise.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ArbstyleError(f"not enough memory to {task}; choose a smaller size") from error
