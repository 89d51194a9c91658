"""Any photograph in the style of any picture.

The names below are imported when they are first asked for, so that `import arbstyle` stays quick:
PyTorch is loaded with the first of them that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arbstyle.errors import ArbstyleError
    from arbstyle.networks import ArbitraryStyler, StyleEncoder, TransformerNetwork, load_styler
    from arbstyle.optimization import optimize
    from arbstyle.painting import Style, Stylizer
    from arbstyle.perception import PerceptualLoss
    from arbstyle.video import VideoStylizer

__version__ = "0.1.0"

__all__ = [
    "ArbitraryStyler",
    "ArbstyleError",
    "PerceptualLoss",
    "Style",
    "StyleEncoder",
    "Stylizer",
    "TransformerNetwork",
    "VideoStylizer",
    "__version__",
    "load_styler",
    "optimize",
]

_EXPORTS = {  # public name → package that defines it
    "ArbitraryStyler": "networks",
    "ArbstyleError": "errors",
    "PerceptualLoss": "perception",
    "Style": "painting",
    "StyleEncoder": "networks",
    "Stylizer": "painting",
    "TransformerNetwork": "networks",
    "VideoStylizer": "video",
    "load_styler": "networks",
    "optimize": "optimization",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'arbstyle' has no attribute {name!r}")
    return getattr(importlib.import_module(f"arbstyle.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
