"""What the page does, without the page: it paints for strangers, within limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from arbstyle.errors import ArbstyleError
from arbstyle.images import from_pil, read_upload, resize, to_pil
from arbstyle.painting import KeepColors, Style, StyleLike, Stylizer

PAINTED_PIXELS = 2_000_000
"""Of a picture that is painted, unless the page is told otherwise; larger photos are reduced to it."""

STYLE_PIXELS = 1024 * 1024
"""Of a style picture, before the model looks at it."""

Wish = tuple[str | None, str | None, float]
"""Name of a style, or path of a picture, and its weight."""


class Painter:
    """A :class:`Stylizer` for strangers.

    Args:
        stylizer: paints.
        pixels: of a picture that is painted, at most.
    """

    def __init__(self, stylizer: Stylizer, pixels: int = PAINTED_PIXELS) -> None:
        self.stylizer = stylizer
        self.pixels = pixels
        is_bank = stylizer.styler.style_encoder.takes_index  # whose styles are numbers
        self.styles: Mapping[str, Style] = {} if is_bank else stylizer.gallery

    def paint(
        self,
        photo: str | None,
        wishes: Sequence[Wish],
        strength: float = 1.0,
        size: int = 720,
        keep_colors: KeepColors = "none",
        mask: Image.Image | None = None,
        progress: Callable[[float, str], Any] = lambda done, what: None,
    ) -> tuple[Image.Image, Image.Image]:
        """Paint a photo.

        Args:
            photo: its path.
            wishes: the styles; those without name and picture, or of weight 0, are passed over.
            strength, keep_colors: as in :meth:`Stylizer.stylize`.
            size: short side in pixels at most; never more than the photo's own, or than the limit allows.
            mask: transparent where the photo stays.
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
        before = read_upload(photo, size=size, pixels=self.pixels)
        progress(0.2, "Painting")
        after = self.stylizer.stylize(before, styles, strength, weights=weights, keep_colors=keep_colors)
        brushed = mask and (mask.getchannel("A") if "A" in mask.getbands() else mask.convert("L"))
        if brushed and brushed.getbbox():
            inside = resize(from_pil(brushed)[:, :1], (before.shape[2], before.shape[3]))
            after = torch.lerp(before, after, inside / inside.max())  # one sees through the page's brush
        return to_pil(before), to_pil(after)

    def _style(self, name: str | None, path: str | None, keep_colors: KeepColors) -> StyleLike:
        if not name:
            return read_upload(str(path), pixels=STYLE_PIXELS)
        if name not in self.styles:
            raise ArbstyleError(f"there is no style '{name[:40]}' here; choose one of the gallery")
        style = self.styles[name]
        return style.thumbnail if keep_colors in ("histogram", "coral") else style  # they change the picture
