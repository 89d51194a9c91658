"""Painting a picture part by part with the statistics of the whole: bounded memory, and no seams.

What a conditional norm does to a position depends on the whole picture only through a mean and a deviation
a channel. With these found beforehand a transformer looks no further than its receptive field: tiles that
overlap by that much give the untiled picture, and regions can have styles of their own.

A site's input depends on the statistics of all sites before it, so finding them takes as many passes over
the picture as there are sites, or few if each corrects a good guess. The guess is a sample of crops that is
small enough to be normalised in one piece. A pass over all tiles measures by how much the statistics of the
whole differ from those of the sample, site by site; the next guess is the sample's with that correction
(defect correction, Brandt 1984; Stetter 1978). It stops when a pass measures what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.devices import choose_layout
from arbstyle.errors import ArbstyleError
from arbstyle.networks import ConditionalInstanceNorm2d, NormRule, TransformerNetwork
from arbstyle.painting.box import Box
from arbstyle.painting.site_rules import LocalRule, Moments, SampleRule, SiteMoments

DEFAULT_TILE = 1024
TOLERANCE = 0.03
"""Largest change of a mean (in deviations) or a deviation (relative) at which statistics count as found."""
MAX_PASSES = 8
SAMPLE_CROPS = 4
"""Crops a side of the sample."""
PEAK_OVER_ACTIVATION = 8
"""Peak memory of a forward pass over the largest activation at a site: convolutions need copies."""

Progress = Callable[[int, int], None]
"""Called with the number of tiles done and the number of tiles known to be to do."""


class TiledPainter:
    """Paints parts of pictures of any size by one transformer.

    Args:
        transformer: in evaluation mode; its type and device are those of the computation.
        tile: side of a tile without its overlap, in pixels.
        seed, origin: of the transformer's noise; see :meth:`TransformerNetwork.forward`.
    """

    def __init__(
        self,
        transformer: TransformerNetwork,
        tile: int = DEFAULT_TILE,
        seed: int = 0,
        origin: tuple[int, int] = (0, 0),
    ) -> None:
        self.transformer = transformer
        self.seed = seed
        self.origin = origin
        self.tile: int = max(transformer.multiple, tile // transformer.multiple * transformer.multiple)
        self._overlap: int | None = None

    @property
    def overlap(self) -> int:
        """The transformer's reach: how far a pixel of the photo can change the painting, as a multiple of it.

        Found by painting a picture with one block of NaN and looking how far it has spread.
        """
        if self._overlap is None:
            self._overlap = _reach(self.transformer, side=32 * self.transformer.multiple)
        return self._overlap

    def bytes_per_pixel(self) -> float:
        """About what painting in one piece takes at its peak, a pixel of the photo."""
        side = 8 * max(self.transformer.multiple, self.transformer.smallest)
        rule = SampleRule(self.transformer.neutral_parameters()[None], {})
        picture = network_input(torch.zeros(1, 3, side, side), self.transformer)
        self.transformer.repaint(picture, rule)
        largest = max(moments.count * site.channels for site, moments in rule.own.items())
        return PEAK_OVER_ACTIVATION * largest * picture.element_size() / side**2

    def fits(self, photo: Tensor) -> bool:
        """Whether the picture is no larger than one tile."""
        return max(photo.shape[2:]) <= self.tile

    def find_values(self, photo: Tensor, parameters: Tensor, progress: Progress | None = None) -> Tensor:
        """Scale and shift of all sites with the statistics of the whole photo taken in.

        Args:
            photo: 1×3×H×W, floats in [0,1] or bytes.
            parameters: 1×P.

        Returns:
            1×P for :class:`LocalRule`.

        Raises:
            ArbstyleError: the picture needs tiles, and the transformer has norms besides its sites.
        """
        if self.fits(photo):
            return self._sample(self._input(photo), parameters, {}).values
        if any(isinstance(module, nn.InstanceNorm2d) for module in self.transformer.modules()):
            raise ArbstyleError(
                "this model's first layers normalise by the whole picture, so it cannot paint in tiles; "
                "paint a smaller picture (--size)"
            )
        sample = self._sample_crops(photo)
        boxes = self._boxes(photo)
        corrections: dict[ConditionalInstanceNorm2d, tuple[Tensor, Tensor]] = {}
        for _ in range(MAX_PASSES):
            guess = self._sample(sample, parameters, corrections)
            whole = self._measure(photo, guess.values, boxes, progress)
            corrections = {site: _correction(site, guess.own[site], whole[site]) for site in whole}
            if all(_change(site, guess.used[site], whole[site]) < TOLERANCE for site in whole):
                break
        return self._sample(sample, parameters, corrections).values

    def paint(
        self, photo: Tensor, values: Tensor, regions: Tensor | None = None
    ) -> Iterator[tuple[Box, Tensor]]:
        """Paint tile by tile.

        Args:
            photo: 1×3×H×W, floats in [0,1] or bytes.
            values: R×P from :meth:`find_values`, a row a region.
            regions: 1×R×H×W weights that add up to 1.

        Yields:
            where, and what: 1×3×h×w in [0,1].
        """
        for box in self._boxes(photo):
            outer, inner = self._with_overlap(box, photo)
            part = self._input(outer.cut(photo))
            weights = None if regions is None else _extended(outer.cut(regions), part)
            painted = self._repaint(part, LocalRule(values, weights), outer)
            yield box, inner.cut(painted)

    def _repaint(self, part: Tensor, rule: NormRule, place: Box) -> Tensor:
        height, width = part.shape[2:]
        top, left = (here + start for here, start in zip((place.top, place.left), self.origin, strict=True))
        noise = self.transformer.make_noise(height, width, self.seed, top, left)
        return self.transformer.repaint(part, rule, noise)

    def _measure(
        self, photo: Tensor, values: Tensor, boxes: Sequence[Box], progress: Progress | None
    ) -> SiteMoments:
        total: SiteMoments = {}
        height, width = photo.shape[2:]
        for done, box in enumerate(boxes, start=1):
            outer, inner = self._with_overlap(box, photo)
            part = self._input(outer.cut(photo))
            # What is padded at the right and bottom counts where the whole is normalised, so it does here.
            core = Box(
                inner.top,
                inner.bottom if box.bottom < height else part.shape[2],
                inner.left,
                inner.right if box.right < width else part.shape[3],
            )
            rule = LocalRule(values, core=core, height=part.shape[2])
            self._repaint(part, rule, outer)
            for site, moments in rule.measured.items():
                total[site] = total[site].joined(moments) if site in total else moments
            if progress:
                progress(done, len(boxes))
        return total

    def _sample(
        self,
        sample: Tensor,
        parameters: Tensor,
        corrections: dict[ConditionalInstanceNorm2d, tuple[Tensor, Tensor]],
    ) -> SampleRule:
        rule = SampleRule(parameters, corrections)
        self._repaint(sample, rule, Box(0, 0, 0, 0))
        return rule

    def _sample_crops(self, photo: Tensor) -> Tensor:
        """Crops on a regular grid, together about a tile, N×3×h×w."""
        height, width = photo.shape[2:]
        multiple = self.transformer.multiple
        side = max(self.transformer.smallest, self.tile // SAMPLE_CROPS // multiple * multiple)
        tops, lefts = (
            sorted({(length - side) * i // (SAMPLE_CROPS - 1) for i in range(SAMPLE_CROPS)})
            if length > side
            else [0]
            for length in (height, width)
        )
        crops = [
            self._input(Box(top, top + side, left, left + side).cut(photo)) for top in tops for left in lefts
        ]
        return torch.cat(crops)

    def _boxes(self, photo: Tensor) -> list[Box]:
        height, width = photo.shape[2:]
        rows, columns = (self._spans(length) for length in (height, width))
        return [Box(*row, *column) for row in rows for column in columns]

    def _spans(self, length: int) -> list[tuple[int, int]]:
        """Cut a length into equal parts of at most a tile, at multiples of what the transformer takes."""
        parts = -(-length // self.tile)
        multiple = self.transformer.multiple
        step = -(-length // (parts * multiple)) * multiple
        return [(start, min(start + step, length)) for start in range(0, length, step)]

    def _with_overlap(self, box: Box, photo: Tensor) -> tuple[Box, Box]:
        height, width = photo.shape[2:]
        outer = box if self.fits(photo) else box.grown(self.overlap, height, width)
        return outer, box.within(outer)

    def _input(self, part: Tensor) -> Tensor:
        return self.transformer.pad(network_input(part, self.transformer))


def network_input(photo: Tensor, network: nn.Module) -> Tensor:
    """Floats in [0,1] or bytes as the floats that a network computes in, where it computes."""
    weights = next(p for p in network.parameters() if p.is_floating_point())
    picture = photo.to(weights.device)
    picture = picture.float().div_(255) if photo.dtype == torch.uint8 else picture
    return picture.to(weights.dtype).contiguous(memory_format=choose_layout(weights.device))


def _correction(site: ConditionalInstanceNorm2d, sample: Moments, whole: Moments) -> tuple[Tensor, Tensor]:
    deviation = sample.deviation(site.eps)
    return (whole.mean - sample.mean) / deviation, whole.deviation(site.eps) / deviation


def _change(site: ConditionalInstanceNorm2d, used: Moments, found: Moments) -> float:
    deviation = found.deviation(site.eps)
    step = ((found.mean - used.mean) / deviation).abs().max()
    ratio = (used.deviation(site.eps) / deviation - 1).abs().max()
    return float(torch.maximum(step, ratio))


def _reach(transformer: TransformerNetwork, side: int) -> int:
    multiple = transformer.multiple
    middle = side // 2 // multiple * multiple
    picture = torch.zeros(1, 3, side, side)
    picture[..., middle : middle + multiple, middle : middle + multiple] = torch.nan
    neutral = LocalRule(transformer.neutral_parameters()[None])
    painted = transformer.repaint(network_input(picture, transformer), neutral)
    touched = painted.isnan()[0].any(dim=0).nonzero()
    low, high = int(touched.min()), int(touched.max())
    if low == 0 or high == side - 1:
        return _reach(transformer, 2 * side)
    return -(-max(middle - low, high + 1 - middle - multiple) // multiple) * multiple


def _extended(regions: Tensor, part: Tensor) -> Tensor:
    """Regions over what was padded to the part, too."""
    down, right = (whole - own for whole, own in zip(part.shape[2:], regions.shape[2:], strict=True))
    return F.pad(regions, (0, right, 0, down), mode="replicate")
