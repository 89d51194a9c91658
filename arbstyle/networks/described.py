"""Modules that remember how they were built, and are checked once they are."""

from __future__ import annotations

import inspect
from abc import ABCMeta
from typing import TYPE_CHECKING, Any

from torch import nn


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
