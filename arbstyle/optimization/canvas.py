"""The picture that is optimised, in numbers that suit an optimiser.

A picture's loss is badly conditioned in its pixels: VGG's first layers hardly see slow changes and saturated
colours, so L-BFGS spends its evaluations on noise. A `Canvas` is the picture in decorrelated colours and in a
Fourier basis scaled like natural pictures (Olah, Mordvintsev & Schubert 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arbstyle.optimization.settings import Basis

NOISE_STD = 0.2
"""Of the canvas values that a run from noise starts with."""

SPECTRAL_DECAY = 0.75
"""Natural pictures fall with about frequency⁻¹; a little less converges faster (docs/optimization.md)."""

_NATURAL_COLORS = (
    # Square root of ImageNet's colour covariance, largest column of length 1 (lucid, `param/color.py`).
    (0.5628, 0.1948, 0.0433),
    (0.5845, 0.0000, -0.1082),
    (0.5845, -0.1948, 0.0649),
)


class Canvas(nn.Module):
    """A picture as the numbers that an optimiser changes; calling it gives the picture, in (0,1).

    In the `fourier` basis the values are the picture's Fourier coefficients in decorrelated colours, divided
    by the typical amplitudes of natural pictures (Olah et al. 2017, "Feature visualization"). They are held
    in the space domain, which an orthonormal transform makes equivalent. In the `pixels` basis they are
    the pixels. In both a sigmoid of slope 1 at mid-grey keeps the picture in range: clamping would cut
    gradients off, and give a line search a kink at every pixel that touches black or white.

    Args:
        height, width: of the picture.
        basis: `fourier` or `pixels`.
        unit: what the parameter's values are counted in.
    """

    colors: Tensor
    amplitudes: Tensor

    def __init__(self, height: int, width: int, *, basis: Basis = "fourier", unit: float = 1.0) -> None:
        super().__init__()
        self.values: nn.Parameter = nn.Parameter(torch.zeros(1, 3, height, width))
        self.basis = basis
        self.unit = unit
        self.register_buffer("colors", torch.tensor(_NATURAL_COLORS))
        self.register_buffer("amplitudes", _natural_amplitudes(height, width))

    def forward(self) -> Tensor:
        """The picture, 1×3×H×W in (0,1)."""
        values = self.values * self.unit
        if self.basis == "fourier":
            values = self._mix(self._filter(values, self.amplitudes), self.colors)
        return torch.sigmoid(4 * values)

    @torch.no_grad()
    def set_picture(self, image: Tensor) -> None:
        """Set the values to a picture, 1×3×H×W; black and white move in to where the sigmoid has a slope."""
        values = torch.logit(image.clamp(0.01, 0.99)) / 4
        if self.basis == "fourier":
            values = self._filter(self._mix(values, self.colors.inverse()), 1 / self.amplitudes)
        self.values.copy_(values / self.unit)

    @torch.no_grad()
    def restore(self, values: Tensor) -> None:
        """Set the values to what they once were."""
        self.values.copy_(values)

    @torch.no_grad()
    def randomize(self, seed: int) -> None:
        """Set the values to noise, which is white in the `pixels` basis and cloudy in the `fourier` one."""
        noise = torch.randn(self.values.shape, generator=torch.Generator().manual_seed(seed))
        self.values.copy_(noise * (NOISE_STD / self.unit))

    def _filter(self, values: Tensor, gains: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(values) * gains
        return torch.fft.irfft2(spectrum, s=values.shape[-2:])

    def _mix(self, values: Tensor, matrix: Tensor) -> Tensor:
        return torch.einsum("ij,njhw->nihw", matrix, values)


def _natural_amplitudes(height: int, width: int) -> Tensor:
    vertical = torch.fft.fftfreq(height).unsqueeze(1)
    horizontal = torch.fft.rfftfreq(width).unsqueeze(0)
    frequency = torch.hypot(vertical, horizontal).clamp_min(1 / max(height, width))
    amplitudes = frequency**-SPECTRAL_DECAY
    return amplitudes / amplitudes.square().mean().sqrt()
