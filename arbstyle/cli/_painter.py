"""One photo in one style, with the options of `arbstyle stylize`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import arbstyle

if TYPE_CHECKING:
    from torch import Tensor

    from arbstyle import Stylizer
    from arbstyle.cli.stylize import Machine, Painting, ResultFile
    from arbstyle.images import Picture
    from arbstyle.onnx.runtime import OnnxStylizer
    from arbstyle.painting import Style
    from arbstyle.painting.batch import Source, StyleChoice


class Painter:
    """The stylizer with the options of the command line."""

    def __init__(self, painting: Painting, machine: Machine, result: ResultFile) -> None:
        from arbstyle.images import as_mask

        self.painting = painting
        self.machine = machine
        self.result = result
        self.stylizer = machine.stylizer(machine.precision)
        self.masks = [as_mask(mask) for mask in painting.mask] or None

    def check_style(self, choice: StyleChoice) -> None:
        for source in choice.sources:
            self.stylizer.parameters_of(source.text, self.painting.style_size)

    def paint(
        self, photo: Picture, choice: StyleChoice, progress: Callable[[int, int], None] | None = None
    ) -> Tensor:
        """The photo in a style, 1×3×H×W."""
        stylize = partial(
            self.stylizer.stylize,
            photo.pixels,
            strength=self.painting.strength,
            keep_colors=self.painting.keep_colors,
            style_size=self.painting.style_size,
            stroke=self.painting.stroke,
            tile=self.machine.tile,
            seed=self.painting.seed,
            progress=progress,
        )
        styles = self._styles(photo, choice)
        if not self.painting.seamless:
            return stylize(styles, weights=choice.weights, masks=self.masks)
        from arbstyle.compositing import paint_regions
        from arbstyle.images import as_float

        return paint_regions(
            lambda style: as_float(stylize(style)), as_float(photo.pixels), styles, self.masks or []
        )

    def _styles(self, photo: Picture, choice: StyleChoice) -> list[str | Style]:
        texts = [source.text for source in choice.sources]
        if self.painting.refine is None:
            return list(texts)
        return [
            self.stylizer.refine(
                text,
                [photo.pixels],
                self.painting.refine,
                style_size=self.painting.style_size,
                vgg_weights=self.machine.vgg_weights,
            )
            for text in texts
        ]

    def description(self) -> dict[str, Any]:
        return {
            "model": {"name": self.stylizer.name, "fingerprint": self.stylizer.fingerprint},
            "device": str(self.stylizer.device),
            "precision": str(self.stylizer.dtype).removeprefix("torch."),
            "backend": "torch",
        }

    def read(self, content: Source, default_size: int | None = None) -> Picture:
        size = self.painting.size or default_size
        return _read_photo(content.text, size, keep_bytes=self.result.bits == 8)

    def write(
        self, painted: Tensor, output: Path, *choices: StyleChoice, photo: Picture | None = None
    ) -> None:
        """Save a picture with a photo's transparency and EXIF."""
        from arbstyle.images import write_image

        write_image(
            painted,
            output,
            alpha=photo.alpha if photo else None,
            exif=photo.exif if photo else None,
            quality=self.result.quality,
            bits=self.result.bits,
            text=notes(self.stylizer, *choices) if self.result.metadata else {},
        )

    def thumbnail(self, choice: StyleChoice, size: int) -> Tensor | None:
        """The style picture of a single style, for the head of a column."""
        from arbstyle.images import fit_into

        picture = self.stylizer.picture_of(choice.sources[0].text)
        if picture is None or len(choice.sources) > 1:
            return None
        return fit_into(picture, size, size * 3 // 2)


def notes(stylizer: Stylizer | OnnxStylizer, *choices: StyleChoice) -> dict[str, str]:
    """What a result says of how it was made."""
    return {
        "Software": f"arbstyle {arbstyle.__version__}",
        "Style": "; ".join(map(str, choices)),
        "Model": f"{stylizer.name} ({stylizer.fingerprint})",
    }


def _read_photo(path: str, size: int | None, *, keep_bytes: bool = False) -> Picture:
    """A photo with its transparency, at the size to work at."""
    from arbstyle.images import read_picture, resize_with_alpha, shrink

    photo = read_picture(path, background=None, keep_bytes=keep_bytes or size is not None)
    pixels, alpha = photo.pixels, photo.alpha
    if alpha is not None:  # what is hidden may be of any colour, and must not run into what is not
        pixels, alpha = resize_with_alpha(pixels, alpha, size or min(pixels.shape[2:]))
    elif size is not None:
        pixels = shrink(pixels, size)
    return replace(photo, pixels=pixels, alpha=alpha)
