"""Pictures inside a page, so that it is one file."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

from arbstyle.images import read_image, to_pil


def data_url(path: Path, side: int) -> str:
    """A picture as WebP in a URL, its short side at so many pixels; nothing else of the file goes with it."""
    file = BytesIO()
    to_pil(read_image(path, size=side)).save(file, "WEBP", quality=75)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
