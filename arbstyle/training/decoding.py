"""A training picture before and after decoding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import fsspec
import numpy as np
from PIL import Image

from arbstyle.errors import reason_of
from arbstyle.images import from_pil, to_pil
from arbstyle.images.decoding import check_memory, open_picture

RESAMPLED_MODES = {"RGB", "RGBA", "L", "LA", "CMYK", "YCbCr"}


@dataclass(frozen=True)
class Record:
    """A picture that has not been decoded yet.

    Attributes:
        name: for messages: its path, or the source and its row.
        index: its number in the set, or ``NO_INDEX``.
        data: the encoded file, or its path or URL, or H×W×3 uint8 pixels where they are kept in memory.
    """

    name: str
    index: int
    data: bytes | str | np.ndarray | None


def decodable(
    records: Iterable[Record], short_side: int, skipped: dict[str, str]
) -> Iterator[tuple[Record, Image.Image]]:
    """Decode records one after the other; the broken ones go into ``skipped``, by name, with the reason."""
    for record in records:
        try:
            image = decode(record, short_side)
        except Exception as error:  # broken files make Pillow's plug-ins raise nearly anything
            skipped[record.name] = reason_of(error)
        else:
            yield record, image


def decode(record: Record, short_side: int) -> Image.Image:
    """Decode a picture; a JPEG much larger than ``short_side`` at a fraction of its size.

    Returns:
        An image that can be resampled. Its orientation, colour profile and transparency are still to be
        resolved, by ``from_pil``: after cropping and reducing, that costs a fraction.

    Raises:
        Exception: whatever Pillow raises for a broken file.
    """
    if isinstance(record.data, np.ndarray):
        return Image.fromarray(record.data)
    if record.data is None:
        raise ValueError("the record is empty")
    with open_picture(_open_file(record.data)) as image:
        image.draft(None, (short_side, short_side))
        check_memory(image, record.name)
        image.load()
        # Palettes and the like don't resample; a TIFF's orientation gets lost when it is resampled.
        resolved_later = image.mode in RESAMPLED_MODES and image.format != "TIFF"
        if resolved_later and "transparency" not in image.info:
            return image
        return to_pil(from_pil(image))


def _open_file(data: bytes | str) -> bytes | str:
    if isinstance(data, bytes) or "://" not in data:
        return data
    with fsspec.open(data, "rb") as file:
        return file.read()


def reduce_image(image: Image.Image, short_side: int) -> Image.Image:
    scale = short_side / min(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
