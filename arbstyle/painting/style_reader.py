"""A style, however it is given, as the numbers that the transformer paints by."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from arbstyle.devices import choose_layout
from arbstyle.errors import ArbstyleError
from arbstyle.images import (
    PictureLike,
    as_float,
    as_tensor,
    from_pil,
    read_style,
    reduced,
    resize,
    style_view,
)
from arbstyle.images.files import time_of_change
from arbstyle.networks import ArbitraryStyler
from arbstyle.painting.colors import match_coral, match_histogram
from arbstyle.painting.gallery import check_name, gallery_file
from arbstyle.painting.options import KeepColors
from arbstyle.painting.style_contents import check_model, check_numbers
from arbstyle.painting.style_file import Style, fingerprint

StyleLike = PictureLike | int | Style

_COLOUR_SAMPLE = 512
_CACHED_STYLES = 256


class StyleReader:
    """Turns styles into the parameters of one model.

    Args:
        styler: in evaluation mode, on the device it computes on.
        model_name: what messages call the model.
        dtype: that the style encoder computes in.
    """

    def __init__(self, styler: ArbitraryStyler, model_name: str, dtype: torch.dtype) -> None:
        self.styler = styler
        self.model_name = model_name
        self.dtype = dtype
        self.device: torch.device = next(styler.transformer.parameters()).device
        self._parameters_of_file = functools.lru_cache(_CACHED_STYLES)(self._encode_file)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the model."""
        return fingerprint(self.styler)

    def from_gallery(self, style: StyleLike, picture: bool = False) -> StyleLike:
        """What a name of the gallery stands for; anything else stays as it is.

        Args:
            style: as for :meth:`Stylizer.stylize`.
            picture: take the style's picture even if its code is of this model.
        """
        file = gallery_file(style)
        if file is None:
            if isinstance(style, str):
                check_name(style)
            return style
        known = Style.load(file)
        return known.thumbnail if picture or known.model != self.fingerprint else known

    def parameters(
        self, style: StyleLike, style_size: int, keep_colors: KeepColors = "none", photo: Tensor | None = None
    ) -> Tensor:
        """Parameters N×P of one style, or of one style a photo.

        Args:
            style, style_size, keep_colors: as for :meth:`Stylizer.stylize`.
            photo: N×3×H×W, whose colours the style picture takes where ``keep_colors`` says so.

        Raises:
            ArbstyleError: a style of another kind than the model takes.
        """
        if isinstance(style, int | np.integer) or (
            self.styler.style_encoder.takes_index and not isinstance(style, Style)
        ):
            return self._parameters_of_number(style)
        match = {"histogram": match_histogram, "coral": match_coral}.get(keep_colors)
        style = self.from_gallery(style, picture=match is not None)
        stored = stored_style(style)
        if stored is not None:
            if match:
                raise ArbstyleError(
                    f"keeping colours by '{keep_colors}' changes the style picture, and a style file holds "
                    "none; use 'luminance', or the picture itself"
                )
            checked = self.checked(stored)
            if checked.parameters is not None:
                return checked.parameters.to(self.device)
            return self.styler.parameters_of(checked.code.to(self.device))
        if match is None and isinstance(style, str | os.PathLike):
            return self._parameters_of_file(str(style), time_of_change(style), style_size)
        picture = seen(as_float(as_tensor(cast(PictureLike, style))), style_size)
        if match is not None and photo is not None:
            picture = _each(match, picture, reduced(photo, _COLOUR_SAMPLE))
        return self._encode(picture)

    def own_parameters(self, photo: Tensor, style_size: int) -> Tensor | None:
        """Parameters that paint the photo as itself; none for a bank, which knows its styles only."""
        if self.styler.style_encoder.takes_index:
            return None
        return self._encode(reduced(photo, min(style_view(photo.shape[2], photo.shape[3], style_size))))

    def picture_of(self, style: StyleLike) -> Tensor | None:
        """A style as a picture 1×3×h×w to look at, as large as there is; none for a number."""
        style = self.from_gallery(style, picture=True)
        stored = stored_style(style)
        if stored is not None:
            return from_pil(stored.thumbnail)
        if isinstance(style, int | np.integer) or self.styler.style_encoder.takes_index:
            return None
        return as_float(as_tensor(cast(PictureLike, style)))

    def code_of(self, picture: Tensor) -> Tensor:
        """The encoder's code N×K of style pictures N×3×h×w."""
        reduced_precision = self.dtype != torch.float32
        # One layout, so that the same picture gives the same bits.
        picture = picture.to(self.device).contiguous(memory_format=choose_layout(self.device))
        with torch.autocast(self.device.type, self.dtype, enabled=reduced_precision):
            return self.styler.encode(picture).float()

    def checked(self, style: Style) -> Style:
        """The same style.

        Raises:
            ArbstyleError: it is of another model, or holds no such numbers.
        """
        check_model(style, self.fingerprint, self.model_name)
        used, size = style.parameters, self.styler.transformer.num_style_parameters
        if used is None:
            used, size = style.code, self.styler.style_encoder.code_size
        check_numbers(style, used, size)
        return style

    def _encode(self, picture: Tensor) -> Tensor:
        return self.styler.parameters_of(self.code_of(picture))

    def _encode_file(self, path: str, modified: int, style_size: int) -> Tensor:
        """As a function of the file's time too, so that a cached result never outlives the file."""
        return self._encode(read_style(path, style_size))

    def _parameters_of_number(self, style: StyleLike) -> Tensor:
        encoder = self.styler.style_encoder
        known = isinstance(style, int | np.integer) or (isinstance(style, str) and style.isdecimal())
        number = int(style) if known else None  # type: ignore[arg-type]
        if not encoder.takes_index:
            raise ArbstyleError(f"style number {style} needs a model that is a bank of styles; use a picture")
        if number is None:
            raise ArbstyleError(
                f"this model knows {encoder.code_size} styles by number; give one from 0 to "
                f"{encoder.code_size - 1} instead of a picture"
            )
        if not 0 <= number < encoder.code_size:
            raise ArbstyleError(f"this model knows styles 0 to {encoder.code_size - 1}, got {number}")
        return self.styler.parameters_of(self.styler.encode(torch.tensor([number], device=self.device)))


def name_of(style: StyleLike) -> str:
    """What to call a style: as in the gallery, or by its file's name."""
    if gallery_file(style):
        return str(style)
    return Path(style).stem if isinstance(style, str | os.PathLike) else "style"


def stored_style(style: StyleLike) -> Style | None:
    """A style, or the one in a style file; none for a picture or a number."""
    if isinstance(style, Style):
        return style
    if isinstance(style, str | os.PathLike) and str(style).lower().endswith(".safetensors"):
        return Style.load(str(style))
    return None


def seen(style: Tensor, size: int) -> Tensor:
    """A style picture as it is looked at."""
    return resize(style, style_view(style.shape[2], style.shape[3], size))


def _each(match: Callable[[Tensor, Tensor], Tensor], style: Tensor, photo: Tensor) -> Tensor:
    """Match each style to its photo; a single one of either goes with all of the other."""
    count = max(len(style), len(photo))
    pairs = ((style[i % len(style)][None], photo[i % len(photo)][None]) for i in range(count))
    return torch.cat([match(one, reference) for one, reference in pairs])
