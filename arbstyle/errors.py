"""The one exception a user is meant to see."""

from __future__ import annotations


class ArbstyleError(Exception):
    """A mistake in the input or the environment that the user can put right.

    The message is one line: what was expected, what came, what to do. The command line prints it
    without a traceback and exits with code 2.
    """
