"""Layers of transformation networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.networks.norm import ConditionalInstanceNorm2d, lies_in_rows


class StyledConv(nn.Module):
    """Reflection-padded convolution, conditional norm, optional ReLU.

    Args:
        inputs, outputs, kernel, stride: of the convolution.
        relu: whether one follows.
        eps: of the norm.
        unshuffle: above 1, the convolution is an :class:`UnshuffledConv` of this factor.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        relu: bool = True,
        eps: float = 1e-5,
        unshuffle: int = 1,
    ) -> None:
        super().__init__()
        # The norm that follows takes out any constant, so a bias would never do anything.
        self.conv: nn.Conv2d = (
            reflection_conv(inputs, outputs, kernel, stride, bias=False)
            if unshuffle == 1
            else UnshuffledConv(inputs, outputs, unshuffle)
        )
        self.norm: ConditionalInstanceNorm2d = ConditionalInstanceNorm2d(outputs, eps)
        self.relu = relu

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        x = self.norm(self.conv(x), parameters)
        return F.relu(x) if self.relu else x


class StyledResidual(nn.Module):
    """Two styled convolutions around a shortcut, no activation after the sum (Johnson et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first: StyledConv = StyledConv(channels, channels)
        self.second: StyledConv = StyledConv(channels, channels, relu=False)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        return x + self.second(self.first(x, parameters), parameters)


class UnshuffledConv(nn.Conv2d):
    """Pixel unshuffle and 3×3 convolution in one, which on a CPU is faster than one after the other.

    Args:
        inputs: channels C of the picture.
        outputs: channels of the result.
        factor: side of the blocks that become one position each.
    """

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__(inputs * factor**2, outputs, 3, padding=1, padding_mode="reflect", bias=False)
        self.factor = factor

    def forward(self, picture: Tensor) -> Tensor:
        """N×C×H×W to N×outputs×H/factor×W/factor."""
        if not lies_in_rows(picture):
            return super().forward(F.pixel_unshuffle(picture, self.factor))
        # Each row of a block is one piece of memory, and quick to copy as such. A block's values then have an
        # order of their own, and the weights are put into it.
        n, channels, height, width = picture.shape
        side = self.factor
        rows = picture.permute(0, 2, 3, 1).view(n, height // side, side, width // side, side * channels)
        blocks = rows.transpose(2, 3).reshape(n, height // side, width // side, -1).permute(0, 3, 1, 2)
        weight = self.weight.unflatten(1, (channels, side**2)).transpose(1, 2).flatten(1, 2)
        return self._conv_forward(blocks, weight.contiguous(memory_format=torch.channels_last), None)


class SubPixelConv(nn.Conv2d):
    """3×3 convolution before a pixel shuffle (Shi et al. 2016) that leaves no grid on flat areas.

    Where a flat input is answered by some sub-pixels with more than by others, every flat area shows the
    pattern. So the kernels of one output channel are shifted to have equal sums, and share a bias; all else
    about them is free. They start equal, as plain up-sampling (ICNR, Aitken et al. 2017).

    Args:
        inputs: channels.
        outputs: channels after the shuffle.
        factor: of the shuffle.
        bias: leave it out where a norm takes out any constant.
    """

    def __init__(self, inputs: int, outputs: int, factor: int = 2, bias: bool = True) -> None:
        self.sub_pixels: int = factor**2
        super().__init__(inputs, outputs * self.sub_pixels, 3, padding=1, padding_mode="reflect")
        if not bias:  # drawn all the same, so that a seed gives the weights that it always gave
            self.register_parameter("bias", None)
        with torch.no_grad():
            self.weight.copy_(self.weight[:: self.sub_pixels].repeat_interleave(self.sub_pixels, dim=0))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to N×(outputs·factor²)×H×W."""
        kernels = self.weight.unflatten(0, (-1, self.sub_pixels))
        means = kernels.mean(dim=(3, 4), keepdim=True)
        even = kernels - means + means.mean(dim=1, keepdim=True)
        bias = self.bias
        if bias is not None:
            shared = bias.unflatten(0, (-1, self.sub_pixels)).mean(dim=1)
            bias = shared.repeat_interleave(self.sub_pixels)
        return self._conv_forward(x, even.flatten(0, 1), bias)


def reflection_conv(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias, padding_mode="reflect")


def start_at_zero(conv: nn.Conv2d) -> nn.Conv2d:
    """Let a convolution add nothing at first, so that training decides how much it should."""
    nn.init.zeros_(conv.weight)
    return conv
