"""What conditional norms do in a tile: normalise by statistics of the whole picture, found before."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from arbstyle.networks import ConditionalInstanceNorm2d, ConditionalSite, NormRule
from arbstyle.painting.box import Box


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and variance of a site's channels over so many positions, in float64."""

    count: int
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Moments:
        """Moments of N×C×H×W over samples and positions."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        return cls(x.numel() // x.shape[1], _double(mean), _double(variance))

    def joined(self, other: Moments) -> Moments:
        """Moments of both sets together (Chan, Golub & LeVeque 1983)."""
        count = self.count + other.count
        share = other.count / count
        step = other.mean - self.mean
        variance = self.variance + share * (other.variance - self.variance) + share * (1 - share) * step**2
        return Moments(count, self.mean + share * step, variance)

    def deviation(self, eps: float) -> Tensor:
        return (self.variance + eps).sqrt()


SiteMoments = dict[ConditionalInstanceNorm2d, Moments]


@dataclass(frozen=True, eq=False)
class LocalRule(NormRule):
    """z = scale·x + shift, with the picture's statistics already taken into scale and shift.

    Attributes:
        values: R×P, a row a region, laid out like a transformer's parameters.
        regions: 1×R×H×W weights that add up to 1 at every position of the padded picture; ``None`` for R = 1.
        measured: filled with the moments of each site's input over the part ``core``, where that is given.
    """

    values: Tensor
    regions: Tensor | None = None
    core: Box | None = None
    measured: SiteMoments = field(default_factory=dict)
    height: int = 0

    def apply(self, site: ConditionalInstanceNorm2d, x: Tensor) -> Tensor:
        if self.core is not None:
            self.measured[site] = Moments.of(self.core.scaled(self.height // x.shape[2]).cut(x))
        scale, shift = self.parameters_of(site, x).chunk(2, dim=1)
        return torch.addcmul(shift, x.to(scale.dtype), scale).to(x.dtype)

    def parameters_of(self, site: ConditionalSite, x: Tensor) -> Tensor:
        own = site.take(self.values).to(x.device)
        if self.regions is None:
            return own[:, :, None, None]
        weights = F.interpolate(self.regions.to(own), size=x.shape[2:], mode="area")
        return torch.einsum("rp,nrhw->nphw", own, weights)


class SampleRule(NormRule):
    """Normalise all crops of a sample together, by their own statistics with a correction.

    Args:
        parameters: 1×P of the style.
        corrections: by site, what to add to the sample's mean, in its deviations, and what to multiply
            its deviation by.
    """

    def __init__(
        self,
        parameters: Tensor,
        corrections: dict[ConditionalInstanceNorm2d, tuple[Tensor, Tensor]],
    ) -> None:
        self.parameters: Tensor = parameters.float()
        self.corrections = corrections
        self.own: SiteMoments = {}
        self.used: SiteMoments = {}
        self.values: Tensor = self.parameters.to("cpu", copy=True)
        """1×P: after a forward pass, scale and shift have the statistics taken in."""

    def apply(self, site: ConditionalInstanceNorm2d, x: Tensor) -> Tensor:
        moments = self.own[site] = Moments.of(x)
        if site in self.corrections:
            step, ratio = self.corrections[site]
            deviation = moments.deviation(site.eps)
            variance = (deviation * ratio) ** 2 - site.eps
            moments = Moments(moments.count, moments.mean + step * deviation, variance)
        self.used[site] = moments
        own = self.parameters[0, site.offset : site.offset + site.num_style_parameters].to(moments.mean)
        scale, shift = own.chunk(2)
        scale = scale / moments.deviation(site.eps)
        piece = torch.cat([scale, shift - scale * moments.mean])[None].float()
        site.take(self.values).copy_(piece)
        scale, shift = piece[:, :, None, None].to(x.device).chunk(2, dim=1)
        return torch.addcmul(shift, x.float(), scale).to(x.dtype)

    def parameters_of(self, site: ConditionalSite, x: Tensor) -> Tensor:
        return site.take(self.parameters)[:, :, None, None].to(x.device)


def _double(values: Tensor) -> Tensor:
    return values.to("cpu", torch.float64)
