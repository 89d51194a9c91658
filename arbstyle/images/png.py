"""PNG files that Pillow reads wrongly, or not at all: their transparent colour, and very long notes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

from PIL import Image, PngImagePlugin

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LARGE_TEXT = 2**20
"""Bytes, unpacked: from here on Pillow refuses (`PngImagePlugin.MAX_TEXT_CHUNK`)."""

LARGEST_PROFILE = 2**24
"""Bytes, unpacked, of a colour profile that is used."""

_STEPS = {"L;2": 85, "L;4": 17}
"""From one grey to the next after decoding, by Pillow's name for the depth."""

_HEADER = struct.Struct(">I4s")
_CHECKSUM_BYTES = 4


def without_large_notes(file: BinaryIO) -> BinaryIO | None:
    """The same PNG without texts of a megabyte and more, and profiles that are much larger still.

    Returns:
        None where there is nothing to leave out. The file is left at its beginning.
    """
    try:
        large = _large_notes(file)
    finally:
        file.seek(0)
    if not large:
        return None
    rest = io.BytesIO()
    for start, end in large:
        rest.write(file.read(start - file.tell()))
        file.seek(end)
    rest.write(file.read())
    rest.seek(0)
    file.seek(0)
    return rest


def transparent_colour(image: Image.Image) -> int | tuple[int, ...] | None:
    """The colour that is transparent, in the 8 bits to which Pillow decodes greys of 2 and 4 and RGB of 16.

    Pillow leaves it as the file has it. To be asked before the picture is loaded. What differs from it in the
    lower 8 of 16 bits only is transparent, too.

    Returns:
        None where it needs no change, or there is none.
    """
    key = image.info.get("transparency")
    if not isinstance(image, PngImagePlugin.PngImageFile) or not image.tile:
        return None
    depth = image.tile[0].args
    if isinstance(key, int) and depth in _STEPS:
        return key * _STEPS[depth]
    if isinstance(key, tuple) and depth == "RGB;16B":
        return tuple(level >> 8 for level in key)
    return None


def _large_notes(file: BinaryIO) -> list[tuple[int, int]]:
    """Where large chunks of text and profiles begin and end; of texts beyond a megabyte in all, the later."""
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        return []
    found = []
    texts = 0
    while len(header := file.read(_HEADER.size)) == _HEADER.size:
        length, kind = _HEADER.unpack(header)
        start = file.tell() - _HEADER.size
        end = start + _HEADER.size + length + _CHECKSUM_BYTES
        if kind in _TEXTS or kind == b"iCCP":
            limit = _LARGE_TEXT if kind in _TEXTS else LARGEST_PROFILE
            size = _unpacked_size(kind, file.read(length), limit)
            texts += size if kind in _TEXTS else 0
            if size >= limit or (kind in _TEXTS and texts >= limit):
                found.append((start, end))
        file.seek(end)
    return found


def _unpacked_size(kind: bytes, data: bytes, limit: int) -> int:
    """Bytes after decompression, counted up to the limit; of what is damaged, as it is."""
    name, _, rest = data.partition(b"\0")
    if kind == b"tEXt" or (kind == b"iTXt" and rest[:1] == b"\0"):
        return len(data)
    if kind == b"iTXt":
        _, _, rest = rest[2:].partition(b"\0")
        _, _, rest = rest.partition(b"\0")
    else:
        rest = rest[1:]
    try:
        return len(name) + len(zlib.decompressobj().decompress(rest, limit))
    except zlib.error:
        return len(data)
