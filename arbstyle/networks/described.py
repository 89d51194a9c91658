"""Modules that remember how they were built, so that a model file can say it."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn


class Described(nn.Module):
    """A module whose constructor arguments, defaults included, stay readable in ``hyperparameters``."""

    hyperparameters: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Described:
        self = super().__new__(cls)
        # bind_partial: copying and unpickling create the object without arguments and fill it afterwards.
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        bound.apply_defaults()
        self.__dict__["hyperparameters"] = {k: v for k, v in bound.arguments.items() if k != "self"}
        return self
