"""`arbstyle train`: LightningCLI over the training module and its data."""

from __future__ import annotations

from collections.abc import Sequence

HELP = "train a model on your own pictures"


def run_argv(argv: Sequence[str]) -> int:
    """Run ``fit``, ``validate`` or ``--help`` of the training command line."""
    from arbstyle.training.command_line import train

    train(argv)
    return 0
