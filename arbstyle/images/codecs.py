"""Formats that not every installation has: HEIC through pillow-heif, AVIF where Pillow was built with it."""

from __future__ import annotations

import functools
import importlib.util

from arbstyle.errors import ArbstyleError

_MISSING = {
    "HEIF": "HEIC needs pillow-heif: pip install 'arbstyle[heif]'",
    "AVIF": "AVIF needs a Pillow that was built with it: pip install --upgrade 'pillow>=11.3'",
}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIF"
)


def format_of(header: bytes) -> str | None:
    """``HEIF`` or ``AVIF`` by a file's first 12 bytes (ISO/IEC 14496-12, file type box), else ``None``."""
    return _BRANDS.get(header[8:12]) if header[4:8] == b"ftyp" else None


def require_codec(image_format: str | None, task: str) -> None:
    """Make a format ready for use.

    Raises:
        ArbstyleError: it isn't there; the line says what to install.
    """
    there = (image_format != "HEIF" or register_heif()) and (image_format != "AVIF" or _has_avif())
    if image_format in _MISSING and not there:
        raise ArbstyleError(f"cannot {task}: {_MISSING[image_format]}")


@functools.cache
def register_heif() -> bool:
    """Let Pillow read and write HEIF, if `pillow_heif` is installed; whether it is."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def _has_avif() -> bool:
    from PIL import features

    return "avif" in features.modules and bool(features.check("avif"))
