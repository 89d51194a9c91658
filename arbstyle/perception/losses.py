"""What a stylised picture is judged by: the photo's content, the style's statistics, smoothness."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.perception.encoder import PerceptualEncoder
from arbstyle.perception.statistics import channel_moments, gram_matrix

StyleStatistic = Literal["gram", "moments", "both"]
Statistics = tuple[Tensor, ...]

_STATISTICS: dict[str, Callable[[Tensor], Statistics]] = {
    "gram": lambda features: (gram_matrix(features),),
    "moments": channel_moments,
    "both": lambda features: (gram_matrix(features), *channel_moments(features)),
}


@dataclass(frozen=True)
class Targets:
    """What the picture should match, computed once.

    Attributes:
        content: by layer, N×C×h×w features of the photo.
        style: by layer, the style's statistics (each N×… or 1×…).
    """

    content: dict[str, Tensor]
    style: dict[str, Statistics]


@dataclass(frozen=True)
class LossTerms:
    """The loss of one batch of pictures, as scalars that carry the gradient.

    Attributes:
        content, style, tv: weighted terms; zero where the term takes no part.
        layers: unweighted value by ``content/<layer>`` and ``style/<layer>``.
        weighted_layers: the same after all weights; they add up to ``content + style``.
    """

    content: Tensor
    style: Tensor
    tv: Tensor
    layers: dict[str, Tensor]
    weighted_layers: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        return self.content + self.style + self.tv

    def shares(self) -> dict[str, float]:
        """Each layer's part of its own term (the content layers add up to 1, and so do the style layers)."""
        terms = {"content": float(self.content) or 1.0, "style": float(self.style) or 1.0}
        layers = self.weighted_layers.items()
        return {name: float(value) / terms[name.split("/")[0]] for name, value in layers}


class PerceptualLoss(nn.Module):
    """Content, style and total-variation terms (Gatys et al. 2016, eq. 1–7; Johnson et al. 2016, 3.2).

    Content is the mean squared error of features, style that of Gram matrices (``gram``), of channel
    means and standard deviations (``moments``; Huang & Belongie 2017, eq. 13) or of both. All are means
    over the elements and the batch, so a weight keeps its meaning across picture and batch sizes.

    Args:
        encoder: must return all layers named below.
        content_layers, style_layers: layer → weight, 0 or more.
        content_weight, style_weight, tv_weight: weights of the three terms, 0 or more.
        style_statistic: ``gram``, ``moments`` or ``both``.
        relative_errors: divide each layer's error by the mean square of its target, so that a layer's
            weight is its share, whatever the scale of its features.
        style_bound: divide each picture's style errors by the most that they could be, the mean square of
            its own statistics plus that of the target's (Cheng et al. 2021, "Style-Aware Normalized Loss
            for Improving Arbitrary Style Transfer"). Styles then count alike, and each statistic of each
            layer adds a number in [0,1].

    Raises:
        ArbstyleError: a layer that the encoder does not return, or another statistic.
    """

    def __init__(
        self,
        encoder: PerceptualEncoder,
        content_layers: Mapping[str, float],
        style_layers: Mapping[str, float],
        *,
        content_weight: float = 1.0,
        style_weight: float = 1.0,
        tv_weight: float = 0.0,
        style_statistic: StyleStatistic = "gram",
        relative_errors: bool = False,
        style_bound: bool = False,
    ) -> None:
        super().__init__()
        for layer in (*content_layers, *style_layers):
            if layer not in encoder.channels:
                raise ArbstyleError(
                    f"the loss asks for layer '{layer}', but the encoder returns "
                    f"{', '.join(encoder.channels)}"
                )
        if style_statistic not in _STATISTICS:
            raise ArbstyleError(
                f"expected a style statistic among {', '.join(_STATISTICS)}, got '{style_statistic}'"
            )
        self.encoder = encoder
        self.content_layers: dict[str, float] = dict(content_layers)
        self.style_layers: dict[str, float] = dict(style_layers)
        self.content_weight = content_weight
        self.style_weight = style_weight
        self.tv_weight = tv_weight
        self.style_statistic = style_statistic
        self.relative_errors = relative_errors
        self.style_bound = style_bound

    @torch.no_grad()
    def targets(
        self,
        content: Tensor | None,
        style: Tensor | Sequence[Tensor] | None,
        style_weights: Sequence[float] | None = None,
    ) -> Targets:
        """Targets of a photo and a style.

        Args:
            content: N×3×H×W photos in [0,1], or ``None`` for no content term.
            style: N×3×h×w, one style a photo (or 1×3×h×w for all); or a sequence of 1×3×h×w pictures of
                any sizes whose statistics are averaged; or ``None`` for no style term.
            style_weights: one number a picture of the sequence, equal if left out; only ratios matter.

        Returns:
            features of the photo by content layer, N×C×h×w, and statistics of the style by style layer;
            none carries a gradient.

        Raises:
            ArbstyleError: not one weight a style, a negative one, or none positive.
        """
        content_features = {}
        if content is not None and self.content_layers:
            features = self.encoder(content)
            content_features = {layer: features[layer] for layer in self.content_layers}
        styles = [style] if isinstance(style, Tensor) else list(style or ())
        return Targets(content_features, self._mean_statistics(styles, style_weights))

    def _mean_statistics(
        self, styles: Sequence[Tensor], weights: Sequence[float] | None
    ) -> dict[str, Statistics]:
        if not styles or not self.style_layers:
            return {}
        weights = [1.0] * len(styles) if weights is None else list(weights)
        if len(weights) != len(styles) or min(weights) < 0 or sum(weights) <= 0:
            raise ArbstyleError(f"expected {len(styles)} style weights ≥ 0, one positive, got {weights}")
        per_style = [self.style_statistics(self.encoder(style)) for style in styles]
        return {
            layer: tuple(
                sum(w / sum(weights) * statistics for w, statistics in zip(weights, same, strict=True))
                for same in zip(*(statistics[layer] for statistics in per_style), strict=True)
            )
            for layer in self.style_layers
        }

    def style_statistics(self, features: Mapping[str, Tensor]) -> dict[str, Statistics]:
        """The statistics this loss compares, by style layer, from an encoder's features."""
        return {layer: _STATISTICS[self.style_statistic](features[layer]) for layer in self.style_layers}

    def layer_weights(self) -> dict[str, float]:
        """By ``content/<layer>`` and ``style/<layer>``: what a layer's error counts for in the total."""
        content = {
            f"content/{name}": self.content_weight * each for name, each in self.content_layers.items()
        }
        style = {f"style/{name}": self.style_weight * each for name, each in self.style_layers.items()}
        return content | style

    def without_features(self, targets: Targets) -> dict[str, Tensor]:
        """Each layer's error, unweighted, for a picture whose features are all zero: what errors compare to.

        By ``content/<layer>`` and ``style/<layer>``, as in :class:`LossTerms`.
        """
        contents = {f"content/{layer}": (target,) for layer, target in targets.content.items()}
        styles = {f"style/{layer}": statistics for layer, statistics in targets.style.items()}
        return {
            name: self._error(tuple(map(torch.zeros_like, each)), each)
            for name, each in (contents | styles).items()
        }

    def forward(self, image: Tensor, targets: Targets) -> LossTerms:
        """Compare pictures with their targets.

        Args:
            image: N×3×H×W in [0,1].
            targets: as made by :meth:`targets`, for a batch of N or of 1.

        Returns:
            the three terms and each layer's error, scalars averaged over the batch that carry the gradient.
        """
        features = self.encoder(image)
        layers: dict[str, Tensor] = {}
        weighted: dict[str, Tensor] = {}
        for layer, target in targets.content.items():
            layers[f"content/{layer}"] = self._error((features[layer],), (target,))
            weighted[f"content/{layer}"] = (
                self.content_weight * self.content_layers[layer] * layers[f"content/{layer}"]
            )
        for layer, statistics in targets.style.items():
            found = _STATISTICS[self.style_statistic](features[layer])
            error = (
                normalized_error(found, statistics) if self.style_bound else self._error(found, statistics)
            )
            layers[f"style/{layer}"] = error
            weighted[f"style/{layer}"] = self.style_weight * self.style_layers[layer] * error
        zero = image.new_zeros(())
        return LossTerms(
            content=sum((v for k, v in weighted.items() if k.startswith("content/")), zero),
            style=sum((v for k, v in weighted.items() if k.startswith("style/")), zero),
            tv=self.tv_weight * total_variation(image) if self.tv_weight else zero,
            layers=layers,
            weighted_layers=weighted,
        )

    def _error(self, values: Statistics, targets: Statistics) -> Tensor:
        total = values[0].new_zeros((), dtype=torch.promote_types(values[0].dtype, torch.float32))
        for value, target in zip(values, targets, strict=True):
            wide = torch.promote_types(value.dtype, torch.float32)
            value, target = value.to(wide), target.to(wide)
            error = (value - target).square().mean()
            total = total + (
                error / target.square().mean().clamp_min(1e-12) if self.relative_errors else error
            )
        return total


def normalized_error(values: Statistics, targets: Statistics) -> Tensor:
    """Squared differences over their bound, added over statistics, averaged over the batch.

    For statistics that are never negative, such as means, deviations and Gram matrices of features after a
    ReLU, ‖v − t‖² ≤ ‖v‖² + ‖t‖², so each lies in [0,1] (Cheng et al. 2021).

    Args:
        values: each N×….
        targets: the same, each N×… or 1×….

    Returns:
        a scalar, at most ``len(values)``.
    """
    errors = [error_over_bound(*pair).mean() for pair in zip(values, targets, strict=True)]
    return torch.stack(errors).sum()


def error_over_bound(value: Tensor, target: Tensor, floor: float = 1e-12) -> Tensor:
    """‖v − t‖² / (‖v‖² + ‖t‖²) of N×… each; N, in at least float32.

    Args:
        floor: of the bound, so that the gradient of statistics near 0 stays finite.
    """
    value, target = (
        each.to(torch.promote_types(each.dtype, torch.float32)).flatten(1) for each in (value, target)
    )
    bound = value.square().sum(dim=1) + target.square().sum(dim=1)
    return (value - target).square().sum(dim=1) / bound.clamp_min(floor)


def total_variation(image: Tensor) -> Tensor:
    """Mean squared difference of neighbours, vertical plus horizontal (Mahendran & Vedaldi 2015, β = 2).

    Args:
        image: N×C×H×W.

    Returns:
        a scalar; 0 for a picture of one colour or one pixel.
    """
    vertical = image[..., 1:, :] - image[..., :-1, :]
    horizontal = image[..., :, 1:] - image[..., :, :-1]
    return sum((d.square().mean() for d in (vertical, horizontal) if d.numel()), image.new_zeros(()))


def unevenness(image: Tensor, photo: Tensor, cell: int = 16, tolerance: float = 0.05) -> Tensor:
    """How much a picture's colour changes between places where the photo's does not: blotches and halos.

    Means over cells, half a cell apart, are compared with those one, two and four cells away, up and
    sideways. A pair counts exp(−‖Δphoto‖² / tolerance²), as in bilateral filtering (Tomasi & Manduchi 1998).
    Strokes narrower than a cell do not count.

    Args:
        image, photo: N×3×H×W in [0,1].
        cell: side in pixels; an even number.
        tolerance: distance in RGB at which two places of the photo are no longer alike.

    Returns:
        the mean squared difference of alike cells' colours in a picture, averaged over the pictures: a scalar
        that carries the gradient of ``image``; 0 for pictures without a pair of cells.
    """
    wide = torch.promote_types(image.dtype, torch.float32)
    errors = weights = image.new_zeros(len(image), dtype=wide)  # each picture's: batches are cut anywhere
    if min(image.shape[2:]) < cell:
        return errors.mean()
    painted, seen = (F.avg_pool2d(each.to(wide), cell, cell // 2) for each in (image, photo.detach()))
    for distance in (2, 4, 8):
        for axis in (2, 3):
            count = painted.shape[axis] - distance
            if count < 1:
                continue
            change, own = (
                each.narrow(axis, distance, count) - each.narrow(axis, 0, count) for each in (painted, seen)
            )
            weight = (-own.square().sum(dim=1, keepdim=True) / tolerance**2).exp()
            errors = errors + (weight * change.square()).mean(dim=1).sum(dim=(1, 2))
            weights = weights + weight.sum(dim=(1, 2, 3))
    return (errors / weights.clamp_min(1.0)).mean()


def stray_marks(image: Tensor, photo: Tensor) -> Tensor:
    """How much a picture is marked, at the width of a stroke, where the photo is plain: wrinkles, scratches.

    :func:`unevenness` between cells of 4 pixels that are at most 16 apart. Its tolerance of 0.02 is above the
    noise of a camera, so that walls and skies count as plain. Judges of pairs call these marks artefacts.

    Args:
        image, photo: N×3×H×W in [0,1].

    Returns:
        a scalar that carries the gradient of ``image``.
    """
    return unevenness(image, photo, cell=4, tolerance=0.02)


def parse_layers(entries: Sequence[str]) -> dict[str, float]:
    """Read ``["relu1_1", "relu2_1:0.5"]`` as layer → weight; a weight left out is 1.

    Raises:
        ArbstyleError: a weight that is no number or is negative, or a layer named twice.
    """
    layers: dict[str, float] = {}
    for entry in entries:
        name, _, weight = entry.partition(":")
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            value = -1.0
        if not name or not 0 <= value < float("inf"):
            raise ArbstyleError(f"expected LAYER or LAYER:WEIGHT with a weight ≥ 0, got '{entry}'")
        if name in layers:
            raise ArbstyleError(f"layer '{name}' is named twice; name it once, with its weight")
        layers[name] = value
    return layers
