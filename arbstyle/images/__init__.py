"""Pictures: files to tensors and back, sizes, colours, transparency.

The one invariant of the project begins here: a picture is a float tensor N×3×H×W, RGB, encoded as sRGB,
with values in [0, 1]. Whatever a file holds (orientation, colour profile, palette, transparency, bit depth)
is resolved on the way in; what should survive a round trip travels in a `Picture`.

Names are imported when they are first asked for: whoever needs no tensors loads no PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arbstyle.images.color import composite, parse_color
    from arbstyle.images.conversion import PictureLike, as_bytes, as_float, as_mask, as_tensor, check_picture
    from arbstyle.images.files import (
        READABLE_SUFFIXES,
        WRITABLE_SUFFIXES,
        InRole,
        atomic_path,
        check_output_path,
        check_outputs,
        printable,
    )
    from arbstyle.images.finding import find_images, find_matches, is_pattern, natural_order
    from arbstyle.images.reading import Picture, from_pil, read_image, read_picture, read_style
    from arbstyle.images.resizing import fit_into, reduced, resize, resize_with_alpha, shrink
    from arbstyle.images.sheet import contact_sheet
    from arbstyle.images.sizes import MAX_PIXELS, style_view
    from arbstyle.images.uploads import read_upload, restrict_pillow
    from arbstyle.images.writing import to_pil, write_image

_HOMES = {  # name → module of this package
    "InRole": "files",
    "MAX_PIXELS": "sizes",
    "READABLE_SUFFIXES": "files",
    "WRITABLE_SUFFIXES": "files",
    "Picture": "reading",
    "PictureLike": "conversion",
    "as_bytes": "conversion",
    "as_float": "conversion",
    "as_mask": "conversion",
    "as_tensor": "conversion",
    "atomic_path": "files",
    "check_output_path": "files",
    "check_outputs": "files",
    "check_picture": "conversion",
    "composite": "color",
    "contact_sheet": "sheet",
    "find_images": "finding",
    "find_matches": "finding",
    "fit_into": "resizing",
    "from_pil": "reading",
    "is_pattern": "finding",
    "natural_order": "finding",
    "parse_color": "color",
    "printable": "files",
    "read_image": "reading",
    "read_picture": "reading",
    "read_style": "reading",
    "read_upload": "uploads",
    "reduced": "resizing",
    "resize": "resizing",
    "resize_with_alpha": "resizing",
    "restrict_pillow": "uploads",
    "shrink": "resizing",
    "style_view": "sizes",
    "to_pil": "writing",
    "write_image": "writing",
}

__all__ = [
    "MAX_PIXELS",
    "READABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "InRole",
    "Picture",
    "PictureLike",
    "as_bytes",
    "as_float",
    "as_mask",
    "as_tensor",
    "atomic_path",
    "check_output_path",
    "check_outputs",
    "check_picture",
    "composite",
    "contact_sheet",
    "find_images",
    "find_matches",
    "fit_into",
    "from_pil",
    "is_pattern",
    "natural_order",
    "parse_color",
    "printable",
    "read_image",
    "read_picture",
    "read_style",
    "read_upload",
    "reduced",
    "resize",
    "resize_with_alpha",
    "restrict_pillow",
    "shrink",
    "style_view",
    "to_pil",
    "write_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
