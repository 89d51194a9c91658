"""Transformation networks: they repaint a photo as the parameters of their conditional norms say."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.networks.described import Described
from arbstyle.networks.noise import ConditionalNoise, NoiseGate, noise_maps
from arbstyle.networks.norm import ConditionalInstanceNorm2d, ConditionalSite, NormRule
from arbstyle.perception import PerceptualEncoder


class TransformerNetwork(Described, ABC):
    """Photo and style parameters in, painted photo of the same size out.

    A subclass builds its layers and calls :meth:`collect_sites` last: the conditional sites, in
    the order in which the modules were registered, then share out one flat vector of parameters.
    """

    multiple: int
    """Sides are padded to a multiple of this, on the right and at the bottom, and cropped again."""
    smallest: int
    """Sides shorter than this are padded up to it, so that reflection padding has something to reflect."""
    sites: list[ConditionalSite]
    num_parameters: int
    noise_inputs: Sequence[tuple[int, tuple[int, ...]]] = ()
    """The noise it paints from: (pixels of the photo a position, period of each map), a line a resolution."""

    def collect_sites(self) -> None:
        """Derive the sites from the modules and give each its place in the parameter vector."""
        self.sites = [m for m in self.modules() if isinstance(m, ConditionalSite)]
        offset = 0
        for site in self.sites:
            site.offset = offset
            offset += site.num_parameters
        self.num_parameters = offset

    def neutral_parameters(self) -> Tensor:
        """Scale 1, shift 0 and no noise at every site, as a vector of ``num_parameters``."""
        pieces = [site.neutral() for site in self.sites]
        return torch.cat(pieces) if pieces else torch.empty(0)

    def make_noise(
        self, height: int, width: int, seed: int | Tensor = 0, top: int = 0, left: int = 0
    ) -> list[Tensor]:
        """The noise that :meth:`repaint` takes for a picture, or for a part of one.

        Args:
            height, width: of the part, in pixels; multiples of ``multiple``.
            seed: another seed, another hand.
            top, left: where in the picture the part begins; multiples of ``multiple``.

        Returns:
            for each of ``noise_inputs``, 1×K×height/stride×width/stride.
        """
        return [
            noise_maps(height // stride, width // stride, periods, seed, top // stride, left // stride)
            for stride, periods in self.noise_inputs
        ]

    def forward(self, content: Tensor, parameters: Tensor, seed: int = 0) -> Tensor:
        """Repaint.

        Args:
            content: N×3×H×W in [0,1], of any size.
            parameters: N×P or 1×P, or N×P×h×w for styles that vary over the picture, whatever its size.
            seed: of the noise, for transformers that paint from some.

        Returns:
            N×3×H×W in [0,1].
        """
        height, width = content.shape[2:]
        padded = self.pad(content)
        if parameters.dim() == 4:
            parameters = _extend_map(parameters, padded.shape[2] / height, padded.shape[3] / width)
        noise = self.make_noise(padded.shape[2], padded.shape[3], seed)
        return self.repaint(padded, parameters, noise)[..., :height, :width]

    @abstractmethod
    def repaint(self, content: Tensor, parameters: Tensor | NormRule, noise: Sequence[Tensor] = ()) -> Tensor:
        """As :meth:`forward`, for sides that are multiples of ``multiple``, at least ``smallest``.

        ``noise`` is what :meth:`make_noise` gives; left out, it is that of seed 0.
        """

    def pad(self, content: Tensor) -> Tensor:
        """Extend on the right and at the bottom to a size that :meth:`repaint` takes."""
        height, width = content.shape[2:]
        down, right = (
            max(self.smallest, math.ceil(side / self.multiple) * self.multiple) - side
            for side in (height, width)
        )
        if not (down or right):
            return content
        mode = "reflect" if down < height and right < width else "replicate"
        return F.pad(content, (0, right, 0, down), mode=mode)


def mix_draft(content: Tensor, draft: Tensor) -> Tensor:
    """What a second pass repaints: half the photo, half a smaller painting of it, enlarged.

    The strokes of the draft come out as many times wider as it was smaller; the photo's half brings back what
    the draft has lost.

    Args:
        content: N×3×H×W in [0,1].
        draft: N×3×h×w in [0,1].

    Returns:
        N×3×H×W in [0,1].
    """
    enlarged = F.interpolate(draft.to(content), size=content.shape[2:], mode="bicubic", align_corners=False)
    return torch.lerp(content, enlarged.clamp(0, 1), 0.5)


def half_size(image: Tensor) -> Tensor:
    """N×3×H×W at half the size, rounded up: what a draft is painted from."""
    size = [-(-side // 2) for side in image.shape[2:]]
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


class StyledConv(nn.Module):
    """Reflection-padded convolution, conditional norm, optional ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        relu: bool = True,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        # The norm that follows takes out any constant, so a bias would never do anything.
        self.conv = _conv(inputs, outputs, kernel, stride, bias=False)
        self.norm = ConditionalInstanceNorm2d(outputs, eps)
        self.relu = relu

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        x = self.norm(self.conv(x), parameters)
        return F.relu(x) if self.relu else x


class StyledResidual(nn.Module):
    """Two styled convolutions around a shortcut, no activation after the sum (Johnson et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = StyledConv(channels, channels)
        self.second = StyledConv(channels, channels, relu=False)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        return x + self.second(self.first(x, parameters), parameters)


class SubPixelConv(nn.Conv2d):
    """3×3 convolution before a pixel shuffle (Shi et al. 2016) that leaves no grid on flat areas.

    Where a flat input is answered by some sub-pixels with more than by others, every flat area shows the
    pattern. So the kernels of one output channel are shifted to have equal sums, and share a bias; all else
    about them is free. They start equal, as plain up-sampling (ICNR, Aitken et al. 2017).

    Args:
        inputs: channels.
        outputs: channels after the shuffle.
        factor: of the shuffle.
    """

    def __init__(self, inputs: int, outputs: int, factor: int = 2) -> None:
        self.sub_pixels = factor**2
        super().__init__(inputs, outputs * self.sub_pixels, 3, padding=1, padding_mode="reflect")
        with torch.no_grad():
            self.weight.copy_(self.weight[:: self.sub_pixels].repeat_interleave(self.sub_pixels, dim=0))
        nn.init.zeros_(self._bias)

    @property
    def _bias(self) -> Tensor:
        return cast(Tensor, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs×H×W to N×(outputs·factor²)×H×W."""
        kernels = self.weight.unflatten(0, (-1, self.sub_pixels))
        means = kernels.mean(dim=(3, 4), keepdim=True)
        even = kernels - means + means.mean(dim=1, keepdim=True)
        bias = self._bias.unflatten(0, (-1, self.sub_pixels)).mean(dim=1).repeat_interleave(self.sub_pixels)
        return self._conv_forward(x, even.flatten(0, 1), bias)


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
        self.stem = StyledConv(3 * 4 * 4, width, eps=norm_floor)
        self.before = nn.ModuleList(StyledResidual(width) for _ in range(blocks))
        self.down = StyledConv(width, deep_width, stride=2)
        self.deep = nn.ModuleList(StyledResidual(deep_width) for _ in range(deep_blocks))
        self.up = _conv(deep_width, width, 3, bias=False)
        self.merge = StyledConv(width, width)
        self.after = nn.ModuleList(StyledResidual(width) for _ in range(blocks))
        self.to_fine = SubPixelConv(width, fine_width)
        self.detail = _zero_conv(3 * 2 * 2, fine_width)
        self.fine = StyledConv(fine_width, fine_width)
        self.to_picture = SubPixelConv(fine_width, 3)
        if noise:
            self.noise_inputs = _FAST_NOISE
            self.gates = nn.ModuleList(NoiseGate(len(periods), stride) for stride, periods in _FAST_NOISE)
            (_, fine_periods), (_, deep_periods) = _FAST_NOISE
            self.stem_noise = ConditionalNoise(width, len(fine_periods))
            self.deep_noise = ConditionalNoise(deep_width, len(deep_periods))
            self.merge_noise = ConditionalNoise(width, len(fine_periods))
        self.collect_sites()

    def repaint(self, content: Tensor, parameters: Tensor | NormRule, noise: Sequence[Tensor] = ()) -> Tensor:
        gated = self._gated_noise(content, noise)
        x = self.stem(F.pixel_unshuffle(content - 0.5, 4), parameters)
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
        x = F.pixel_shuffle(self.to_fine(x), 2) + self.detail(F.pixel_unshuffle(content - 0.5, 2))
        x = self.fine(x, parameters)
        return torch.sigmoid(F.pixel_shuffle(self.to_picture(x), 2).float())

    def _gated_noise(self, content: Tensor, noise: Sequence[Tensor]) -> list[Tensor]:
        if not self.noise_inputs:
            return []
        maps = noise or self.make_noise(*content.shape[2:])
        return [gate(content) * each.to(content.device) for gate, each in zip(self.gates, maps, strict=True)]


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
        first = StyledConv if styled_encoder else _UnstyledConv
        self.encoder = nn.ModuleList(
            [
                first(3, width, kernel=9),
                first(width, 2 * width, stride=2),
                first(2 * width, 4 * width, stride=2),
            ]
        )
        self.blocks = nn.ModuleList(StyledResidual(4 * width) for _ in range(blocks))
        self.decoder = nn.ModuleList([StyledConv(4 * width, 2 * width), StyledConv(2 * width, width)])
        self.to_picture = StyledConv(width, 3, kernel=9, relu=False)
        self.collect_sites()

    def repaint(self, content: Tensor, parameters: Tensor | NormRule, noise: Sequence[Tensor] = ()) -> Tensor:
        x = content
        for layer in (*self.encoder, *self.blocks):
            x = layer(x, parameters)
        for layer in self.decoder:
            x = layer(F.interpolate(x, scale_factor=2, mode="nearest"), parameters)
        return torch.sigmoid(self.to_picture(x, parameters).float())


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
        self.encoder = PerceptualEncoder("vgg19", [self.layer], weights=weights)
        self.norm = ConditionalInstanceNorm2d(self.encoder.channels[self.layer])
        self.decoder = nn.Sequential(
            *_decoder_block([512, 256], upsample=True),
            *_decoder_block([256, 256, 256, 256, 128], upsample=True),
            *_decoder_block([128, 128, 64], upsample=True),
            *_decoder_block([64, 64], upsample=False),
            _conv(64, 3, 3),
        )
        self.collect_sites()

    def adain(self, content: Tensor, parameters: Tensor | NormRule) -> Tensor:
        """The photo's features with the style's moments: what the decoder is trained to invert."""
        return self.norm(self.encoder(content)[self.layer], parameters)

    def repaint(self, content: Tensor, parameters: Tensor | NormRule, noise: Sequence[Tensor] = ()) -> Tensor:
        return self.decode(self.adain(content, parameters))

    def decode(self, features: Tensor) -> Tensor:
        """Picture N×3×8h×8w of features N×512×h×w, such as :meth:`adain` gives."""
        picture = self.decoder(features).float()
        return picture if self.training else picture.clamp(0, 1)


class _UnstyledConv(nn.Module):
    """Stands where a StyledConv could, and ignores the style."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = _conv(inputs, outputs, kernel, stride, bias=False)
        self.norm = nn.InstanceNorm2d(outputs, affine=True)

    def forward(self, x: Tensor, parameters: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


def _extend_map(parameters: Tensor, down: float, right: float) -> Tensor:
    """Continue a map over a picture that was padded to ``down`` × ``right`` its size.

    Stretched over the padding instead, styles would lie up to ``multiple`` pixels beside what they are for.
    """
    if down == right == 1:
        return parameters
    height, width = parameters.shape[2:]
    y, x = (
        (torch.arange(size, device=parameters.device, dtype=parameters.dtype) + 0.5) / size * factor * 2 - 1
        for size, factor in ((round(height * down), down), (round(width * right), right))
    )
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).expand(len(parameters), -1, -1, -1)
    return F.grid_sample(parameters, grid, padding_mode="border", align_corners=False)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias, padding_mode="reflect")


def _zero_conv(inputs: int, outputs: int) -> nn.Conv2d:
    """Convolution that adds nothing at first, so that training decides how much it should."""
    conv = _conv(inputs, outputs, 3, bias=False)
    nn.init.zeros_(conv.weight)
    return conv


def _decoder_block(channels: list[int], upsample: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [_conv(inputs, outputs, 3), nn.ReLU(inplace=True)]
    return [*layers, nn.Upsample(scale_factor=2, mode="nearest")] if upsample else layers
