"""The network of Johnson et al. 2016, with conditional norms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.networks.described import check_widths
from arbstyle.networks.norm import NormRule
from arbstyle.networks.transformers.base import TransformerNetwork
from arbstyle.networks.transformers.layers import StyledConv, StyledResidual, reflection_conv


class JohnsonTransformer(TransformerNetwork):
    """Johnson et al. 2016, with up-sampling and conditional norms as in Dumoulin et al. 2017, table 1.

    9×9 convolution, two with stride 2, residual blocks at 1/4 resolution, two nearest-neighbour
    up-samplings, 9×9 to a picture, sigmoid; reflection padding throughout.

    Args:
        width: channels at full resolution; twice and four times as many further down.
        blocks: residual blocks.
        styled_encoder: condition the first three layers too (Dumoulin); Ghiasi et al. 2017 leave them
            unstyled. Theirs are batch-normalised; here they are instance-normalised, so that
            training and use compute the same.
    """

    multiple = 4
    smallest = 8

    def __init__(self, width: int = 32, blocks: int = 5, styled_encoder: bool = True) -> None:
        super().__init__()
        check_widths(width=width)
        first = StyledConv if styled_encoder else _UnstyledConv
        self.encoder: nn.ModuleList = nn.ModuleList(
            [
                first(3, width, kernel=9),
                first(width, 2 * width, stride=2),
                first(2 * width, 4 * width, stride=2),
            ]
        )
        self.blocks: nn.ModuleList = nn.ModuleList(StyledResidual(4 * width) for _ in range(blocks))
        self.decoder: nn.ModuleList = nn.ModuleList(
            [StyledConv(4 * width, 2 * width), StyledConv(2 * width, width)]
        )
        self.to_picture: StyledConv = StyledConv(width, 3, kernel=9, relu=False)

    def repaint(self, content: Tensor, parameters: Tensor | NormRule, noise: Sequence[Tensor] = ()) -> Tensor:
        x = content
        for layer in (*self.encoder, *self.blocks):
            x = layer(x, parameters)
        for layer in self.decoder:
            x = layer(F.interpolate(x, scale_factor=2, mode="nearest"), parameters)
        return torch.sigmoid(self.to_picture(x, parameters).float())


class _UnstyledConv(nn.Module):
    """Stands where a StyledConv could, and ignores the style."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = reflection_conv(inputs, outputs, kernel, stride, bias=False)
        self.norm = nn.InstanceNorm2d(outputs, affine=True)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))
