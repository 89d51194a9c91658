"""Modules that remember how they were built, and are checked once they are."""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from arbstyle.errors import ArbstyleError


class _FinishedAfterConstruction(ABCMeta):
    """Calls ``finish`` after the constructor of the class that was asked for."""

    if not TYPE_CHECKING:  # or constructors would lose their signatures

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            module = super().__call__(*args, **kwargs)
            bound = inspect.signature(cls.__init__).bind(module, *args, **kwargs)
            bound.apply_defaults()
            _, *arguments = bound.arguments.items()
            module.hyperparameters = dict(arguments)
            module.finish()
            return module


class Described(nn.Module, metaclass=_FinishedAfterConstruction):
    """A module whose constructor arguments, defaults included, stay readable in ``hyperparameters``.

    A model file holds them, so they are plain values: numbers, strings, booleans, lists, ``None``.
    """

    hyperparameters: dict[str, Any]

    def finish(self) -> None:
        """Complete and check the module; called once, after its constructor."""


def check_widths(**widths: int | Sequence[int]) -> None:
    """Raise an ArbstyleError for a layer that would have no channels; each width goes by its name."""
    for name, value in widths.items():
        each = [value] if isinstance(value, int) else value
        if not each or min(each) < 1:
            raise ArbstyleError(f"expected {name} of at least 1, got {value}")
