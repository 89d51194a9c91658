"""Painting with a trained model: the stylizer, tiles, masks, colours, style files, refinement, batches."""

from arbstyle.painting.colors import KEEP_COLORS, KeepColors
from arbstyle.painting.style_file import Style, fingerprint
from arbstyle.painting.stylizer import StrengthWarning, StyleLike, Stylizer, check_options

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
