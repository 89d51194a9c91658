"""Any photograph in the style of any picture.

The names below are imported when they are first asked for, so that `import arbstyle` stays quick:
PyTorch is loaded with the first of them that needs it.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {  # public name → module that defines it
    "ArbstyleError": "arbstyle.errors",
    "Stylizer": "arbstyle.painting",
    "optimize": "arbstyle.optimization",
}

__all__ = ["ArbstyleError", "Stylizer", "__version__", "optimize"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'arbstyle' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
