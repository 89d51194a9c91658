"""VGG and a decoder (Huang & Belongie 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

from arbstyle.networks.norm import ConditionalInstanceNorm2d, NormRule
from arbstyle.networks.transformers.base import TransformerNetwork
from arbstyle.networks.transformers.layers import reflection_conv
from arbstyle.perception import PerceptualEncoder


class AdaINTransformer(TransformerNetwork):
    """Frozen VGG-19 to ``relu4_1``, one site, mirrored decoder (Huang & Belongie 2017, section 5).

    With the style's own feature moments as parameters the site *is* AdaIN (eq. 8). The decoder has no norm
    layers; its output is clamped only when training is over, so that gradients reach over the border.

    Args:
        weights: VGG weights as for :class:`~arbstyle.perception.PerceptualEncoder`.
    """

    multiple = 8
    smallest = 16
    layer = "relu4_1"

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        self.encoder: PerceptualEncoder = PerceptualEncoder("vgg19", [self.layer], weights=weights)
        self.norm: ConditionalInstanceNorm2d = ConditionalInstanceNorm2d(self.encoder.channels[self.layer])
        self.decoder: nn.Sequential = nn.Sequential(
            *_decoder_block([512, 256], upsample=True),
            *_decoder_block([256, 256, 256, 256, 128], upsample=True),
            *_decoder_block([128, 128, 64], upsample=True),
            *_decoder_block([64, 64], upsample=False),
            reflection_conv(64, 3, 3),
        )

    def adain(self, content: Tensor, parameters: Tensor | NormRule) -> Tensor:
        """The photo's features with the style's moments: what the decoder is trained to invert."""
        return self.norm(self.encoder(content)[self.layer], parameters)

    def repaint(self, content: Tensor, parameters: Tensor | NormRule, noise: Sequence[Tensor] = ()) -> Tensor:
        return self.decode(self.adain(content, parameters))

    def decode(self, features: Tensor) -> Tensor:
        """Picture N×3×8h×8w of features N×512×h×w, such as :meth:`adain` gives."""
        picture = self.decoder(features).float()
        return picture if self.training else picture.clamp(0, 1)


def _decoder_block(channels: list[int], upsample: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [reflection_conv(inputs, outputs, 3), nn.ReLU(inplace=True)]
    return [*layers, nn.Upsample(scale_factor=2, mode="nearest")] if upsample else layers
