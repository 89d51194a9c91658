"""Seeded noise that a transformer can paint flat areas from: the same at the same place of every picture.

A flat input gives a convolution nothing to build strokes from. Noise does (Ulyanov et al. 2016, sec. 4.1;
Karras et al. 2019, sec. 3.2). It is a hash of the position and a seed, not a random stream, so that tiles,
frames of a video and other runtimes see the same values.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.networks.norm import ConditionalSite, NormRule, lies_in_rows

_MASK = 0xFFFFFFFF


def position_noise(
    height: int, width: int, channel: int, seed: int | Tensor = 0, top: int = 0, left: int = 0
) -> Tensor:
    """White noise of mean 0 and variance 1, uniform, as a hash of position, channel and seed.

    The hash is the finaliser of MurmurHash3 in 32-bit arithmetic, which every runtime has.

    Args:
        height, width: in positions.
        channel: which of several independent maps.
        seed: another seed, another pattern; a tensor without axes where it is an input of an exported graph.
        top, left: position of the first value, for a part of a larger picture.

    Returns:
        height×width in [-√3, √3], float32, on the CPU.
    """
    start = _hash_number(_hash_number(seed & _MASK) ^ (channel & _MASK))
    top, left = top & _MASK, left & _MASK
    rows = start ^ (torch.arange(top, top + height) & _MASK)
    columns = torch.arange(left, left + width) & _MASK
    mixed = _hash(_hash(rows)[:, None] ^ columns)
    return ((mixed >> 8).float() * 2**-23 - 1) * 3**0.5


def _hash(x: Tensor) -> Tensor:
    x = (x ^ (x >> 16)) * 0x85EBCA6B & _MASK
    x = (x ^ (x >> 13)) * 0xC2B2AE35 & _MASK
    return x ^ (x >> 16)


def _hash_number(x: int | Tensor) -> Tensor:
    return _hash(torch.as_tensor((x + 0x9E3779B9) & _MASK))


def noise_maps(
    height: int, width: int, periods: tuple[int, ...], seed: int | Tensor = 0, top: int = 0, left: int = 0
) -> Tensor:
    """Maps of noise, some of them coarse: values a period apart, linear in between, variance about 1.

    Args:
        height, width: in positions.
        periods: a map each; 1 is white noise, 4 has waves of some eight positions and longer.
        seed, top, left: see :func:`position_noise`.

    Returns:
        1×len(periods)×height×width.
    """
    maps = [
        position_noise(height, width, i, seed, top, left)
        if period == 1
        else _coarse_noise(height, width, period, i, seed, top, left)
        for i, period in enumerate(periods)
    ]
    return torch.stack(maps)[None]


@functools.lru_cache(4)
@torch.inference_mode(False)  # it may be kept for training
def kept_noise_maps(
    height: int, width: int, periods: tuple[int, ...], seed: int, top: int, left: int
) -> Tensor:
    """The same, made once for all frames of a film and all photos of a size; not to be written into."""
    return noise_maps(height, width, periods, seed, top, left)


def _coarse_noise(
    height: int, width: int, period: int, channel: int, seed: int | Tensor, top: int, left: int
) -> Tensor:
    first_row, first_column = top // period, left // period
    rows = (top + height - 1) // period - first_row + 2
    columns = (left + width - 1) // period - first_column + 2
    grid = position_noise(rows, columns, channel, seed, first_row, first_column)
    down, right = (
        _linear_weights(length, count, period, start % period)
        for length, count, start in ((height, rows, top), (width, columns, left))
    )
    return down @ grid @ right.T


def _linear_weights(length: int, count: int, period: int, start: int) -> Tensor:
    """length×count weights of linear interpolation, each row of norm 1 so that variance stays 1."""
    place = (torch.arange(length) + start).float() / period
    distance = (place[:, None] - torch.arange(count)).abs()
    weights = (1 - distance).clamp(min=0)
    return weights / weights.norm(dim=1, keepdim=True)


def grey_of(content: Tensor) -> Tensor:
    """Means of the pixels' three values, N×1×H×W in float32, of photos N×3×H×W."""
    # Plane by plane: a mean over pixels' three values in a row takes five times as long.
    return content.float().contiguous().mean(dim=1, keepdim=True)


class NoiseGate(nn.Module):
    """How much noise a place of the photo takes: less where there is something to see.

    Local contrast is the logarithm of the photo's variance within each ``stride``×``stride`` block. Each
    map's gate is a logistic function of it, learned: at first 0.96 on flat areas, 0.13 on strong edges.

    Args:
        maps: number of noise maps.
        stride: pixels of the photo a position.
    """

    def __init__(self, maps: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.slope: nn.Parameter = nn.Parameter(torch.full((maps,), -0.7))
        self.offset: nn.Parameter = nn.Parameter(torch.full((maps,), -3.2))

    def forward(self, grey: Tensor) -> Tensor:
        """Gates in [0,1], N×maps×h×w, of photos' greys N×1×H×W in [0,1]."""
        mean, square = (F.avg_pool2d(x, self.stride) for x in (grey, grey * grey))
        contrast = ((square - mean * mean).clamp(min=0) + 1e-4).log()
        slope, offset = self.slope[:, None, None], self.offset[:, None, None]
        return torch.sigmoid(slope * contrast + offset)


class ConditionalNoise(ConditionalSite):
    """Adds gated noise to features, as much of each map to each channel as the style says.

    Args:
        channels: C of the features.
        maps: K of the noise.
        limit: the amplitude a map has in a channel stays within ± this.
    """

    def __init__(self, channels: int, maps: int, limit: float = 2.0) -> None:
        super().__init__()
        self.channels = channels
        self.maps = maps
        self.limit = limit

    @property
    def num_style_parameters(self) -> int:
        return self.channels * self.maps

    def neutral(self) -> Tensor:
        return torch.zeros(self.num_style_parameters, device="cpu")

    def amplitudes(self, parameters: Tensor) -> Tensor:
        """How much of each map goes into each channel, N×C×K, by the style parameters of all sites, N×P."""
        return self._within_limit(self.take(parameters))

    def _within_limit(self, own: Tensor) -> Tensor:
        """N×C×K… from N×CK…."""
        return (self.limit * torch.tanh(own / self.limit)).unflatten(1, (self.channels, self.maps))

    def forward(self, x: Tensor, noise: Tensor, parameters: Tensor | NormRule) -> Tensor:
        """Add noise.

        Args:
            x: N×C×H×W.
            noise: N×K×H×W (or 1×K×H×W), gated.
            parameters: numbers of all sites, as for
                :class:`~arbstyle.networks.norm.ConditionalInstanceNorm2d`.

        Returns:
            N×C×H×W of the type of ``x``.
        """
        own = (
            parameters.parameters_of(self, x) if isinstance(parameters, NormRule) else self.own(parameters, x)
        )
        amplitudes = self._within_limit(own)
        if amplitudes.shape[3:] != (1, 1):
            return x + (noise[:, None] * amplitudes).sum(dim=2).to(x.dtype)
        weights = amplitudes[..., 0, 0].transpose(1, 2)
        maps = noise.permute(0, 2, 3, 1)
        if len(noise) == len(weights) == len(x) == 1 and lies_in_rows(x):
            # Sum and product at once: what is added never takes memory of its own.
            positions, added_to = maps.flatten(0, 2).to(x.dtype), x.permute(0, 2, 3, 1)
            total = torch.addmm(added_to.flatten(0, 2), positions, weights[0].to(x.dtype))
            return total.view_as(added_to).permute(0, 3, 1, 2)
        added = maps.to(amplitudes.dtype) @ weights[:, None]
        return x + added.permute(0, 3, 1, 2).to(x.dtype)  # channel by channel, as the features are
