"""Painting with a trained model: the stylizer, tiles, masks, colours, style files, refinement, batches.

Names are imported when they are first asked for: whoever needs no tensors loads no PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arbstyle.painting.options import KEEP_COLORS, KeepColors, StrengthWarning, check_options
    from arbstyle.painting.style_file import Style, fingerprint
    from arbstyle.painting.style_reader import StyleLike
    from arbstyle.painting.stylizer import Stylizer

_HOMES = {  # name → module of this package
    "KEEP_COLORS": "options",
    "KeepColors": "options",
    "StrengthWarning": "options",
    "Style": "style_file",
    "StyleLike": "style_reader",
    "Stylizer": "stylizer",
    "check_options": "options",
    "fingerprint": "style_file",
}

__all__ = [
    "KEEP_COLORS",
    "KeepColors",
    "StrengthWarning",
    "Style",
    "StyleLike",
    "Stylizer",
    "check_options",
    "fingerprint",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
