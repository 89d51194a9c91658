"""Our own: pooled statistics of a small network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.networks.described import check_widths
from arbstyle.networks.style_encoders.base import StyleEncoder
from arbstyle.networks.style_encoders.tools import at_least, start_for_relu
from arbstyle.perception import channel_moments


class PooledStatisticsEncoder(StyleEncoder):
    """Our own: mean and standard deviation of a small convolutional network's channels at every depth.

    A style is in the statistics of its features, shallow ones for palette and grain, deep ones for strokes
    and motifs; pooling them over positions makes the code independent of the picture's size and
    of what stands where. No normalisation inside: it would remove what is being measured.

    Args:
        widths: channels at 1/2, 1/4, 1/8 … resolution.
        hidden: width of the perceptron that reads the pooled statistics.
        code_size: numbers in a code.
    """

    def __init__(
        self, widths: tuple[int, ...] = (32, 64, 128, 192), hidden: int = 512, code_size: int = 256
    ) -> None:
        super().__init__()
        check_widths(widths=widths, hidden=hidden, code_size=code_size)
        self.code_size = code_size
        first, *rest = widths
        stages = [nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, first, 3, padding=1))]
        for inputs, outputs in zip(widths, rest, strict=False):
            stages.append(nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)))
        self.stages: nn.ModuleList = nn.ModuleList(stages)
        self.perceptron: nn.Sequential = nn.Sequential(
            nn.LayerNorm(2 * (3 + sum(widths))),
            nn.Linear(2 * (3 + sum(widths)), hidden),
            nn.SiLU(),
            nn.Linear(hidden, code_size),
            nn.SiLU(),
        )
        self.smallest_side = 2 ** (len(widths) + 1)
        start_for_relu(self.stages)

    def forward(self, style: Tensor) -> Tensor:
        x = at_least(style, self.smallest_side)
        x = x[..., : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
        x = (x - 0.5) * 4
        pooled = [*channel_moments(x)]
        for stage in self.stages:
            x = F.relu(stage(x))
            pooled += channel_moments(x)
        return self.perceptron(torch.cat(pooled, dim=1))
