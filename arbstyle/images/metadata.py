"""What a file says besides its pixels: EXIF, notes, the colour profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from arbstyle.images.files import printable
from arbstyle.images.profiles import srgb_profile

_FORMATS_WITH_EXIF = {"JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"}
_MAX_JPEG_EXIF = 65_533

# A TIFF file's EXIF tags are also its directory of strips and bit depths; only these describe the picture.
_DESCRIPTIVE_TAGS = {
    ExifTags.Base.DocumentName,
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Rating,
    ExifTags.Base.Copyright,
    ExifTags.Base.ExifOffset,
    ExifTags.Base.GPSInfo,
}


def portable_exif(image: Image.Image) -> bytes | None:
    """The EXIF block for the picture that is written later: upright, sRGB, maybe of another size and format.

    Pillow leaves the thumbnail out, which would show the unpainted photo.
    """
    try:
        exif = image.getexif()
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            for tag in set(exif) - _DESCRIPTIVE_TAGS:
                del exif[tag]
        if not exif:
            return None
        exif[ExifTags.Base.Orientation] = 1
        if ExifTags.Base.ExifOffset in exif:
            details = exif.get_ifd(ExifTags.IFD.Exif)
            details.pop(ExifTags.Base.ExifImageWidth, None)
            details.pop(ExifTags.Base.ExifImageHeight, None)
            if ExifTags.Base.ColorSpace in details:
                details[ExifTags.Base.ColorSpace] = 1  # sRGB
        return _with_text_as_bytes(exif).tobytes()
    except Exception:  # a broken EXIF block must not cost the picture
        return None


def _with_text_as_bytes(exif: Image.Exif) -> Image.Exif:
    """Make text ready for writing: Pillow reads it as Latin-1 but writes ASCII, which spoils UTF-8."""
    details = exif.get_ifd(ExifTags.IFD.Exif) if ExifTags.Base.ExifOffset in exif else {}
    for directory in (exif, details):
        for tag, value in dict(directory).items():
            if isinstance(value, str) and not value.isascii():
                directory[tag] = value.encode("latin-1")
    return exif


def _with_notes(exif: bytes | None, notes: Mapping[str, str]) -> Image.Exif:
    """An EXIF block with notes added: `Software` as itself, the others behind the photo's own description."""
    block = Image.Exif()
    block.load(exif or b"")
    lines = [f"{key}: {value}".encode() for key, value in notes.items() if key != "Software"]
    if "Software" in notes:
        block[ExifTags.Base.Software] = notes["Software"].encode()
    if lines:
        own_words = str(block.get(ExifTags.Base.ImageDescription, "")).encode("latin-1")
        block[ExifTags.Base.ImageDescription] = b"; ".join(filter(None, [own_words, *lines]))
    return _with_text_as_bytes(block)


def format_metadata(image_format: str, exif: bytes | None, text: Mapping[str, str]) -> dict[str, Any]:
    """Keyword arguments for `Image.save`: colour profile, EXIF and notes, as far as the format holds them."""
    if image_format not in _FORMATS_WITH_EXIF:
        return {}
    options: dict[str, Any] = {"icc_profile": srgb_profile()}
    text = {key: printable(value) for key, value in text.items()}
    if image_format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        for key, value in text.items():
            options["pnginfo"].add_text(key, value)
    elif image_format == "TIFF":
        options["tiffinfo"] = _with_notes(exif, text)
        return options
    elif text:
        exif = _with_notes(exif, text).tobytes()
    if exif and not (image_format == "JPEG" and len(exif) > _MAX_JPEG_EXIF):
        options["exif"] = exif
    return options
