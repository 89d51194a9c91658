"""Colour profiles: from a picture's own colour space to sRGB."""

from __future__ import annotations

import functools
import io
import struct
from typing import cast

import numpy as np
from PIL import Image, ImageCms


def through_profile(image: Image.Image) -> Image.Image | None:
    """RGB in sRGB, by way of the embedded profile; None where there is no profile that fits the picture."""
    embedded = image.info.get("icc_profile") or b""
    if image.mode != "LAB" and embedded in (b"", srgb_profile()):
        return None
    try:
        if image.mode == "LAB":  # needs no profile to say what its colours are
            lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
            return _profile_to_srgb(image, lab, ImageCms.Flags.NOOPTIMIZE)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        space = profile.profile.xcolor_space.strip()
        if space == "GRAY":
            return _grey_to_srgb(image, profile)
        if space == "RGB" and image.mode in ("1", "L", "P", "RGBX", "YCbCr", "HSV"):
            image = image.convert("RGB")
        return _profile_to_srgb(image, profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # broken, or of another kind than the pixels: most viewers show such a picture without it


def _profile_to_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile, flags: int = 0) -> Image.Image:
    """Relative colorimetric with black point compensation, as photo editors do; black and white stay."""
    converted = ImageCms.profileToProfile(
        image,
        profile,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | flags,
    )
    return cast(Image.Image, converted)  # None is for conversion in place


def _grey_to_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Look every grey up in the converted ramp: converted in one go, darks come out up to 10/255 wrong."""
    if image.mode not in ("1", "L") and not image.mode.startswith("I;16"):
        raise ValueError(f"a grey profile in a picture of mode {image.mode}")
    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    ramp = np.arange(2 ** (8 * values.itemsize), dtype=np.uint8 if values.itemsize == 1 else np.uint16)
    table = np.asarray(_profile_to_srgb(Image.fromarray(ramp[None]), profile, ImageCms.Flags.NOOPTIMIZE))[0]
    return Image.fromarray(table[values])


@functools.cache
def srgb_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # its date would make every run's files differ
    return bytes(profile)
