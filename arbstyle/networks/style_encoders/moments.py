"""Our own, deeper: standardised statistics that tell the moments of VGG's features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.networks.described import check_widths
from arbstyle.networks.style_encoders.base import StyleEncoder
from arbstyle.networks.style_encoders.tools import at_least, patches, start_for_relu
from arbstyle.perception import channel_moments


class MomentsEncoder(StyleEncoder):
    """Our own, deeper than :class:`PooledStatisticsEncoder`, and made to tell the moments of VGG's features.

    Training with ``moments_weight`` teaches it to see what the loss judges by. The code is linear in its
    description: pooled statistics, standardised, and a hidden layer on them.

    Args:
        widths: channels at 1/2, 1/4, 1/8 … resolution.
        depths: convolutions at each of these.
        hidden: of the numbers in a description, those that are not linear in the statistics.
        code_size: numbers in a code.
    """

    patch_side: int = 256

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128, 192),
        depths: tuple[int, ...] = (1, 2, 3, 2),
        hidden: int = 1024,
        code_size: int = 256,
    ) -> None:
        super().__init__()
        check_widths(widths=widths, depths=depths, hidden=hidden, code_size=code_size)
        self.code_size = code_size
        layers: list[nn.Module] = []
        if len(depths) != len(widths):
            raise ArbstyleError(f"expected as many depths as widths ({len(widths)}), got {len(depths)}")
        for i, (inputs, outputs, depth) in enumerate(zip((12, *widths), widths, depths, strict=False)):
            layers.append(nn.Conv2d(inputs, outputs, 3, stride=1 if i == 0 else 2, padding=1))
            layers += [nn.Conv2d(outputs, outputs, 3, padding=1) for _ in range(depth - 1)]
        self.layers: nn.ModuleList = nn.ModuleList(layers)
        pooled = 2 * (3 + sum(width * depth for width, depth in zip(widths, depths, strict=True)))
        self.standardize: Standardize = Standardize(pooled)
        self.hidden: nn.Linear = nn.Linear(pooled, hidden)
        self.description_size: int = pooled + hidden
        self.to_code: nn.Linear = nn.Linear(self.description_size, code_size)
        nn.init.normal_(self.to_code.weight)
        self.smallest_side = 2 ** (len(widths) + 1)
        start_for_relu(self.layers)

    def prepare(self, styles: Sequence[Tensor]) -> None:
        pooled = torch.cat([self._pool(self._views(style), len(style)) for style in styles])
        if len(pooled) > 1:
            self.standardize.fit(pooled)

    def describe(self, style: Tensor) -> Tensor:
        """What a style N×3×h×w in [0,1] is coded from, N×description_size."""
        return self._describe(self._views(style), len(style))

    def _views(self, style: Tensor) -> Tensor:
        return patches(at_least(style, self.smallest_side), self.patch_side)

    def _describe(self, views: Tensor, number: int) -> Tensor:
        statistics = self.standardize(self._pool(views, number))
        return torch.cat([statistics, F.silu(self.hidden(statistics))], dim=1)

    def _pool(self, views: Tensor, number: int) -> Tensor:
        x = (views[..., : views.shape[2] // 2 * 2, : views.shape[3] // 2 * 2] - 0.5) * 4
        pooled = [*self._moments(x, number)]
        x = F.pixel_unshuffle(x, 2)
        for layer in self.layers:
            x = F.relu(layer(x))
            pooled += self._moments(x, number)
        return torch.cat(pooled, dim=1)

    @staticmethod
    def _moments(features: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Moments over all patches of each picture."""
        mean, deviation = (each.unflatten(0, (number, -1)) for each in channel_moments(features))
        means = mean.mean(dim=1)
        # That of a single patch comes out as it was, to the last bit.
        spread = (mean - means[:, None]).square()
        return means, (deviation.square() + spread).mean(dim=1).sqrt()

    def code_of(self, description: Tensor) -> Tensor:
        """Codes N×code_size of what :meth:`describe` gave."""
        # Of length 1 or so: else a step of the optimiser would throw codes about, the more the wider it is.
        return self.to_code(description * self.description_size**-0.5)

    def read(self, views: Tensor, number: int) -> Tensor:
        return self.code_of(self._describe(views, number))

    def forward(self, style: Tensor) -> Tensor:
        return self.code_of(self.describe(style))


class Standardize(nn.Module):
    """Shift and scale numbers to about mean 0 and deviation 1, by what they are for some examples.

    Found once, before training (as in data-dependent initialisation, Salimans & Kingma 2016, sec. 3), so it
    does the same in training as in use and batches may be of one.

    Args:
        size: how many numbers.
        limit: in deviations; what lies beyond is cut off.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int, limit: float = 5.0) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit(self, examples: Tensor) -> None:
        """Take mean and deviation of M×size examples, M at least 2."""
        deviation = examples.std(dim=0)
        self.mean.copy_(examples.mean(dim=0))
        # Numbers that hardly differ, or did not by chance, must not come out huge.
        self.deviation.copy_(deviation + 0.1 * deviation.mean() + 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """N×size to N×size."""
        return ((x - self.mean) / self.deviation).clamp(-self.limit, self.limit)
