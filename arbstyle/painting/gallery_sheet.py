"""A photo in many styles on one sheet, each with its name."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 8
"""Pixels between pictures and around."""


def gallery_sheet(pictures: Mapping[str, Image.Image]) -> np.ndarray:
    """Pictures of one size in rows, on white, each over its name.

    Args:
        pictures: by name.

    Returns:
        3×H×W bytes.
    """
    width, height = next(iter(pictures.values())).size
    text = max(12, height // 14)
    columns = math.ceil(math.sqrt(len(pictures) * (height + text) / width * 1.4))
    rows = math.ceil(len(pictures) / columns)
    size = columns * (width + GAP) + GAP, rows * (height + 2 * text + GAP) + GAP
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for place, (name, picture) in enumerate(pictures.items()):
        row, column = divmod(place, columns)
        left, top = GAP + column * (width + GAP), GAP + row * (height + 2 * text + GAP)
        sheet.paste(picture, (left, top))
        middle = left + width / 2, top + height + text
        draw.text(middle, name, fill="black", font=ImageFont.load_default(text), anchor="mm")
    return np.asarray(sheet).transpose(2, 0, 1)
