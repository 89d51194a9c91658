"""What the page does, without the page: uploads are checked, photos painted, limits kept."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import as_float, from_pil, read_picture, reduced, resize, to_pil
from arbstyle.painting import KeepColors, StrengthWarning, Style, StyleLike, Stylizer

FORMATS = "JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"
"""Uploads may be, by their content; others that Pillow knows start other programs, or are rarely tested."""

LONGEST_STYLE = 1024
"""Of a style picture, in pixels, before the model looks at it."""

GREATEST_RATIO = 8


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for.

    Attributes:
        upload_pixels: of a picture that is read.
        upload_megabytes: of its file.
        painted_pixels: of a picture that is painted; larger photos are reduced to it.
        queue: visitors who may wait.
        concurrency: pictures painted at a time.
    """

    upload_pixels: int = 40_000_000
    upload_megabytes: int = 20
    painted_pixels: int = 2_000_000
    queue: int = 64
    concurrency: int = 1


Wish = tuple[str | None, str | None, float]
"""Name of a style, or path of a picture, and its weight."""


class Painter:
    """A :class:`Stylizer` for strangers.

    Args:
        stylizer: paints.
        limits: that every call keeps.
    """

    def __init__(self, stylizer: Stylizer, limits: Limits | None = None) -> None:
        self.stylizer = stylizer
        self.limits: Limits = limits or Limits()
        is_bank = stylizer.styler.style_encoder.takes_index  # whose styles are numbers
        self.styles: Mapping[str, Style] = {} if is_bank else stylizer.gallery

    def paint(
        self,
        photo: str | None,
        wishes: Sequence[Wish],
        *,
        size: int = 720,
        mask: Image.Image | None = None,
        keep_colors: KeepColors = "none",
        strength: float = 1.0,
        progress: Callable[[float, str], Any] = lambda done, what: None,
    ) -> tuple[Image.Image, Image.Image]:
        """Paint a photo.

        Args:
            photo: its path.
            wishes: the styles; those without name and picture, or of weight 0, are passed over.
            size: short side in pixels at most; never more than the photo's own, or than the limit allows.
            mask: transparent where the photo stays.
            keep_colors, strength: as in :meth:`Stylizer.stylize`.
            progress: told what is done, from 0 to 1.

        Returns:
            the photo as it was painted, and the painting.

        Raises:
            ArbstyleError: no photo, no style, or one that cannot be read or is too large.
        """
        if not photo:
            raise ArbstyleError("give a photo first")
        chosen = [wish for wish in wishes if (wish[0] or wish[1]) and wish[2] > 0]
        if not chosen:
            raise ArbstyleError("choose a style from the gallery, or give a picture of your own")
        progress(0, "Reading")
        styles = [self._style(name, path, keep_colors) for name, path, _ in chosen]
        weights = [weight for *_, weight in chosen]
        before = self._photo(photo, size)
        progress(0.2, "Painting")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StrengthWarning)  # the slider ends where it looks odd
            after = self.stylizer.stylize(before, styles, strength, weights=weights, keep_colors=keep_colors)
        opacity = mask.getchannel("A") if mask is not None else None
        if opacity is not None and opacity.getbbox():  # something is brushed over
            inside = resize(from_pil(opacity)[:, :1], (before.shape[2], before.shape[3]))
            after = torch.lerp(before, after, inside / inside.max())  # one sees through the page's brush
        return to_pil(before), to_pil(after)

    def preview(self, photo: str | None, side: int) -> Image.Image | None:
        """A photo, as large as fits a square of that side, to be brushed over; none without a photo."""
        return to_pil(self._read(photo, side)) if photo else None

    def _style(self, name: str | None, path: str | None, keep_colors: KeepColors) -> StyleLike:
        if not name:
            return self._read(str(path), LONGEST_STYLE)
        if name not in self.styles:
            raise ArbstyleError(f"there is no style '{name[:40]}' here; choose one of the gallery")
        style = self.styles[name]
        return style.thumbnail if keep_colors in ("histogram", "coral") else style  # they change the picture

    def _photo(self, path: str, size: int) -> Tensor:
        picture = self._read(path)
        short, long = sorted(picture.shape[2:])
        wanted = min(size, short, math.floor(math.sqrt(self.limits.painted_pixels * short / long)))
        if wanted < 16:
            raise ArbstyleError(f"expected at least 16 pixels a side, got {short}; give a larger photo")
        return as_float(picture) if wanted == short else reduced(picture, wanted)

    def _read(self, path: str, longest: int | None = None) -> Tensor:
        """An uploaded picture 1×3×H×W, measured before it is decoded; bytes, or floats of a longest side."""
        most = f"{self.limits.upload_pixels / 1e6:g} megapixels"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path, formats=FORMATS) as image:
                    width, height = image.size
        except Exception as error:  # decoders raise anything
            kinds = ", ".join(FORMATS)
            raise ArbstyleError(f"this file is no picture of {kinds} of at most {most}") from error
        if width * height > self.limits.upload_pixels:
            raise ArbstyleError(f"this picture is too large here: at most {most}")
        if max(width, height) > GREATEST_RATIO * min(width, height):
            raise ArbstyleError(f"{width}×{height} is too narrow: at most {GREATEST_RATIO} to 1")
        try:
            picture = read_picture(path, keep_bytes=True).pixels
        except ArbstyleError as error:
            reason = str(error).replace(path, Path(path).name)  # where it lies here is nobody's business
            raise ArbstyleError(reason) from error
        scale = min(1.0, longest / max(width, height)) if longest else None
        return reduced(picture, max(1, round(min(picture.shape[2:]) * scale))) if scale else picture


def restrict_pillow(limits: Limits) -> None:
    """Let Pillow open our formats and sizes only, in this whole process: Gradio opens uploads, too."""
    Image.init()
    Image.ID[:] = [name for name in Image.ID if name in FORMATS]
    Image.MAX_IMAGE_PIXELS = limits.upload_pixels // 2  # it warns there, and refuses the double
