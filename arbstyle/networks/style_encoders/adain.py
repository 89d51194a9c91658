"""The style's own moments (Huang & Belongie 2017)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.networks.style_encoders.base import StyleEncoder
from arbstyle.networks.style_encoders.tools import at_least
from arbstyle.perception import PerceptualEncoder, channel_moments


class AdaINEncoder(StyleEncoder):
    """Deviation and mean of the style's own VGG features (Huang & Belongie 2017, eq. 8); nothing to train.

    Fits a transformer with one site at that layer, and no other.

    Args:
        layer: VGG-19 layer.
        weights: VGG weights as for :class:`~arbstyle.perception.PerceptualEncoder`.
    """

    def __init__(self, layer: str = "relu4_1", weights: str | Path | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.encoder: PerceptualEncoder = PerceptualEncoder("vgg19", [layer], weights=weights)
        self.smallest_side = 16
        self.code_size = 2 * self.encoder.channels[layer]

    def forward(self, style: Tensor) -> Tensor:
        mean, deviation = channel_moments(self.encoder(at_least(style, self.smallest_side))[self.layer])
        return torch.cat([deviation, mean], dim=1)

    def make_head(self, neutral: Tensor) -> nn.Module:
        if len(neutral) != self.code_size:
            raise ArbstyleError(
                f"AdaINEncoder gives the {self.code_size} moments of {self.layer}, but the transformer's "
                f"sites need {len(neutral)} numbers; use it with AdaINTransformer"
            )
        return nn.Identity()
