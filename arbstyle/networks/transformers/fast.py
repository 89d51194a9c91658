"""Our own, for CPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.networks.described import check_widths
from arbstyle.networks.noise import ConditionalNoise, NoiseGate, grey_of
from arbstyle.networks.norm import NormRule
from arbstyle.networks.transformers.base import TransformerNetwork
from arbstyle.networks.transformers.layers import (
    StyledConv,
    StyledResidual,
    SubPixelConv,
    UnshuffledConv,
    reflection_conv,
    start_at_zero,
)

# White maps make grain and the edges of strokes, coarse ones what is wider than a stroke, such as clouds.
_FAST_NOISE = ((4, (1, 1, 1, 2)), (8, (1, 1, 2, 4)))


class FastTransformer(TransformerNetwork):
    """Our own: every convolution at half resolution or below, most at a quarter and an eighth.

    Space-to-depth brings the photo to 1/4 resolution without losing a pixel; residual blocks work
    there and, for strokes wider than a few pixels, at 1/8 with a shortcut around; sub-pixel convolutions
    bring it back (Shi et al. 2016). No norm follows the last one, which keeps checkerboards away, as
    :class:`SubPixelConv` does. At 1/2 resolution the photo comes in once more: edges finer than four pixels
    hardly survive the way through the quarter.

    Args:
        width: channels at 1/4 resolution.
        deep_width: channels at 1/8 resolution.
        blocks: residual blocks at 1/4 before and after the deep part, each.
        deep_blocks: residual blocks at 1/8.
        fine_width: channels at 1/2 resolution.
        noise: let styles paint flat areas from seeded noise.
        norm_floor: added to the variances of the first norm. Photos that vary less than this have their grain
            left as it is instead of blown up; 0.02 is about ten levels of 255 in the packaged model.
    """

    multiple = 8
    smallest = 16
    retired: Mapping[str, str] = MappingProxyType({"to_fine.bias": "to_fine.weight"})

    def __init__(
        self,
        width: int = 64,
        deep_width: int = 128,
        blocks: int = 1,
        deep_blocks: int = 4,
        fine_width: int = 32,
        noise: bool = False,
        norm_floor: float = 1e-5,
    ) -> None:
        super().__init__()
        check_widths(width=width, deep_width=deep_width, fine_width=fine_width)
        self.stem: StyledConv = StyledConv(3, width, unshuffle=4, eps=norm_floor)
        self.before: nn.ModuleList = nn.ModuleList(StyledResidual(width) for _ in range(blocks))
        self.down: StyledConv = StyledConv(width, deep_width, stride=2)
        self.deep: nn.ModuleList = nn.ModuleList(StyledResidual(deep_width) for _ in range(deep_blocks))
        self.up: nn.Conv2d = reflection_conv(deep_width, width, 3, bias=False)
        self.merge: StyledConv = StyledConv(width, width)
        self.after: nn.ModuleList = nn.ModuleList(StyledResidual(width) for _ in range(blocks))
        # The norm of `fine` takes out any constant, so a bias would never do anything.
        self.to_fine: SubPixelConv = SubPixelConv(width, fine_width, bias=False)
        self.detail: nn.Conv2d = start_at_zero(UnshuffledConv(3, fine_width, 2))
        self.fine: StyledConv = StyledConv(fine_width, fine_width)
        self.to_picture: SubPixelConv = SubPixelConv(fine_width, 3)
        if noise:
            self.noise_inputs = _FAST_NOISE
            self.gates: nn.ModuleList = nn.ModuleList(
                NoiseGate(len(periods), stride) for stride, periods in _FAST_NOISE
            )
            (_, fine_periods), (_, deep_periods) = _FAST_NOISE
            self.stem_noise: ConditionalNoise = ConditionalNoise(width, len(fine_periods))
            self.deep_noise: ConditionalNoise = ConditionalNoise(deep_width, len(deep_periods))
            self.merge_noise: ConditionalNoise = ConditionalNoise(width, len(fine_periods))

    def repaint(self, content: Tensor, parameters: Tensor | NormRule, noise: Sequence[Tensor] = ()) -> Tensor:
        gated = self._gated_noise(content, noise)
        centred = content - 0.5
        x = self.stem(centred, parameters)
        if gated:
            x = self.stem_noise(x, gated[0], parameters)
        for block in self.before:
            x = block(x, parameters)
        deep = self.down(x, parameters)
        if gated:
            deep = self.deep_noise(deep, gated[1], parameters)
        for block in self.deep:
            deep = block(deep, parameters)
        deep = F.interpolate(self.up(deep), scale_factor=2, mode="bilinear", align_corners=False)
        x = self.merge(x + deep, parameters)
        if gated:
            x = self.merge_noise(x, gated[0], parameters)
        for block in self.after:
            x = block(x, parameters)
        x = F.pixel_shuffle(self.to_fine(x), 2) + self.detail(centred)
        x = self.fine(x, parameters)
        return torch.sigmoid(F.pixel_shuffle(self.to_picture(x), 2).float())

    def _gated_noise(self, content: Tensor, noise: Sequence[Tensor]) -> list[Tensor]:
        if not self.noise_inputs:
            return []
        maps = noise or self.make_noise(*content.shape[2:])
        grey = grey_of(content)
        return [gate(grey) * each.to(content.device) for gate, each in zip(self.gates, maps, strict=True)]
