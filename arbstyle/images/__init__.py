"""Pictures: files to tensors and back, sizes, colours, transparency.

The one invariant of the project begins here: a picture is a float tensor N×3×H×W, RGB, encoded as sRGB,
with values in [0, 1]. Whatever a file holds (orientation, colour profile, palette, transparency, bit depth)
is resolved on the way in; what should survive a round trip travels in a `Picture`.
"""

from arbstyle.images.color import composite, parse_color
from arbstyle.images.conversion import PictureLike, as_bytes, as_float, as_tensor, check_picture
from arbstyle.images.files import (
    READABLE_SUFFIXES,
    WRITABLE_SUFFIXES,
    atomic_path,
    check_output_path,
    find_images,
)
from arbstyle.images.reading import Picture, from_pil, read_image, read_picture
from arbstyle.images.resizing import MAX_PIXELS, fit_into, reduced, resize
from arbstyle.images.sheet import contact_sheet
from arbstyle.images.writing import to_pil, write_image

__all__ = [
    "MAX_PIXELS",
    "READABLE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Picture",
    "PictureLike",
    "as_bytes",
    "as_float",
    "as_tensor",
    "atomic_path",
    "check_output_path",
    "check_picture",
    "composite",
    "contact_sheet",
    "find_images",
    "fit_into",
    "from_pil",
    "parse_color",
    "read_image",
    "read_picture",
    "reduced",
    "resize",
    "to_pil",
    "write_image",
]
