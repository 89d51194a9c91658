"""`arbstyle train`: LightningCLI over the training module and its data."""

from __future__ import annotations


def train(*words: str) -> None:
    """Train a model on your own pictures."""
    from arbstyle.training.command_line import train as run

    run(words)
