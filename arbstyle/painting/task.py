"""One picture to paint: what is repainted, by which parameters, and what is done to the painted pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import as_bytes, as_float
from arbstyle.networks.transformers.drafts import half_size, mix_draft
from arbstyle.painting.colors import transfer_luminance
from arbstyle.painting.options import NOT_FINITE, KeepColors


@dataclass(frozen=True, eq=False)
class Task:
    """One picture to paint.

    Attributes:
        photo: 1×3×H×W, what the result is finished with.
        start: 1×3×H×W, what is repainted: the photo, or the photo mixed with a draft.
        rows: R×P, a row of parameters a region.
        regions: 1×R×H×W weights that add up to 1, or ``None`` for R = 1.
        cover: 1×1×H×W, what the masks cover, or ``None`` for everything.
        finish: what is done to painted pixels.
        seed: of the noise.
        origin: top and left of the photo in a larger picture.
        margin: rows and columns before the photo that are painted and then cut off, as are those behind it.
    """

    photo: Tensor
    start: Tensor
    rows: Tensor
    regions: Tensor | None
    cover: Tensor | None
    finish: Finish
    seed: int
    origin: tuple[int, int] = (0, 0)
    margin: tuple[int, int] = (0, 0)

    def on_grid(self, step: int) -> Task:
        """The same with margins, mirrored, so that it begins and ends at multiples of a network's step.

        A network that works at a part of the resolution paints a picture otherwise when it is moved by less.
        """
        margin = self.origin[0] % step, self.origin[1] % step
        if margin == (0, 0):
            return self

        return replace(
            self,
            photo=_extended(self.photo, margin, step),
            start=_extended(self.start, margin, step),
            regions=None if self.regions is None else _extended(self.regions, margin, step),
            cover=None if self.cover is None else _extended(self.cover, margin, step),
            origin=(self.origin[0] - margin[0], self.origin[1] - margin[1]),
            margin=margin,
        )

    def for_draft(self) -> Task:
        """The same at half the size, its pixels left as they are painted."""
        small = half_size(as_float(self.photo))
        regions = None if self.regions is None else half_size(self.regions)
        return replace(
            self,
            photo=small,
            start=small,
            regions=regions,
            cover=None,
            finish=Finish(1.0, True, "none"),
            origin=(self.origin[0] // 2, self.origin[1] // 2),
        )

    def with_draft(self, draft: Tensor) -> Task:
        """Repaint the photo and a painting of it at half the size, mixed."""
        mixed = mix_draft(as_float(self.photo), draft)
        return replace(self, start=mixed if self.photo.is_floating_point() else as_bytes(mixed))


def _extended(image: Tensor, margin: tuple[int, int], step: int) -> Tensor:
    """1×C×H×W of any type with its mirror image around it: a margin before, and behind up to full steps."""
    for axis, before in zip((2, 3), margin, strict=True):
        last = image.shape[axis] - 1
        behind = -(before + image.shape[axis]) % step
        places = torch.arange(-before, last + 1 + behind, device=image.device)
        mirrored = last - (last - places.abs()).abs()
        image = image.index_select(axis, mirrored.clamp(0, last))
    return image


class Finish:
    """What is done to painted pixels: colours, strength, what lies outside all masks."""

    def __init__(self, strength: float, own: bool, keep_colors: KeepColors) -> None:
        # The parameters have gone from the photo's own to the style's; the pixels only make 0 exact. Where
        # the photo has none of its own (a bank), the pixels go all the way.
        self.amount: float = strength if not own else 1.0 if strength >= 1 else strength * (2 - strength)
        self.keep_colors = keep_colors

    def __call__(self, painted: Tensor, photo: Tensor, cover: Tensor | None) -> Tensor:
        """Painted part 1×3×h×w in [0,1], the same part of the photo, and of what the masks cover 1×1×h×w.

        Raises:
            ArbstyleError: painted numbers that are not finite.
        """
        painted = painted.to(photo.dtype if photo.is_floating_point() else torch.float32)
        if not all(bool(extreme.isfinite()) for extreme in painted.aminmax()):
            raise ArbstyleError(NOT_FINITE)
        if self.keep_colors == "luminance":
            painted = transfer_luminance(painted, as_float(photo))
        if self.amount != 1 or cover is not None:
            original = as_float(photo)
            amount = self.amount if cover is None else self.amount * cover.to(original)
            painted = (original + (painted - original) * amount).clamp(0, 1)
        return painted if photo.is_floating_point() else as_bytes(painted)
