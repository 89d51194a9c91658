"""Conditional sites, and instance normalisation whose scale and shift come from outside."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLAT = 1e-3
"""A channel is flat where its variance is below this part of a norm's eps: the norm makes it 3 % at most."""


def lies_in_rows(features: Tensor) -> bool:
    """Whether all channels of a position lie together in a CPU's memory, for work that needs no gradient.

    There are faster ways then; graphs that are traced keep to the plain ones.
    """
    return (
        features.device.type == "cpu"
        and features.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


class NormRule(ABC):
    """What sites do instead of normalising by the picture at hand, such as by statistics found before.

    Stands where a transformer otherwise gets its parameters.
    """

    @abstractmethod
    def apply(self, site: ConditionalInstanceNorm2d, x: Tensor) -> Tensor:
        """Output of a norm for its input N×C×H×W, of the same shape and type."""

    @abstractmethod
    def parameters_of(self, site: ConditionalSite, x: Tensor) -> Tensor:
        """Numbers of a site that does not normalise, 1×n×1×1 or 1×n×H×W, for its input N×C×H×W."""


class ConditionalSite(nn.Module, ABC):
    """A place in a transformer that is told by the style what to do.

    What it is told are its style parameters. It has no weights of its own: a
    :class:`~arbstyle.networks.TransformerNetwork` hands every site the style parameters of all sites, and the
    site takes its own, from ``offset`` on.
    """

    offset = 0

    @property
    @abstractmethod
    def num_style_parameters(self) -> int:
        """How many style parameters this site has."""

    @abstractmethod
    def neutral(self) -> Tensor:
        """The style parameters with which this site does nothing of its own."""

    def take(self, parameters: Tensor) -> Tensor:
        """This site's style parameters, N×n, out of those of all sites, N×P: a view."""
        return parameters.narrow(1, self.offset, self.num_style_parameters)

    def own(self, parameters: Tensor, x: Tensor) -> Tensor:
        """This site's style parameters out of N×P, as N×n×1×1, in float32 at least."""
        own = self.take(parameters)
        return own.to(torch.promote_types(x.dtype, torch.float32))[:, :, None, None]


class ConditionalInstanceNorm2d(ConditionalSite):
    """Normalise each sample's channels, then scale and shift them as the style says.

    z = γ (x - μ) / σ + β with μ, σ over the positions of one sample (Dumoulin et al. 2017, eq. 5).
    Its style parameters are the norm's affine parameters, scales and shifts: ``[γ_1 … γ_C, β_1 … β_C]``.

    Args:
        channels: C.
        eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels = channels
        self.eps = eps

    @property
    def num_style_parameters(self) -> int:
        return 2 * self.channels

    def neutral(self) -> Tensor:
        return torch.tensor([1.0, 0.0], device="cpu").repeat_interleave(self.channels)

    def forward(self, x: Tensor, parameters: Tensor | NormRule) -> Tensor:
        """Normalise and restyle.

        Args:
            x: N×C×H×W. In half precision the statistics and the arithmetic are still done in float32.
            parameters: N×P (or 1×P) style parameters of all sites; or a rule that takes their place.

        Returns:
            N×C×H×W of the type of ``x``.
        """
        if isinstance(parameters, NormRule):
            return parameters.apply(self, x)
        scale, shift = self.own(parameters, x).chunk(2, dim=1)
        # One channel a group is instance normalisation, and by far the fastest kernel for it on a CPU.
        if len(x) == 1 and x.device.type == "cpu" and not torch.is_grad_enabled():
            # It can also scale and shift, for one sample, and then takes half precision without copies.
            if _few_positions(x):
                return F.batch_norm(x, None, None, scale.flatten(), shift.flatten(), True, eps=self.eps)
            return F.group_norm(x, self.channels, scale.flatten(), shift.flatten(), self.eps)
        if not torch.is_grad_enabled():
            normalized = F.group_norm(x.to(scale.dtype), self.channels, eps=self.eps)
            return torch.addcmul(shift, normalized, scale).to(x.dtype)
        normalized, flat = self._normalize_and_find_flat(x.to(scale.dtype))
        return torch.addcmul(shift, normalized, scale.masked_fill(flat, 0)).to(x.dtype)

    def _normalize_and_find_flat(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised N×C×H×W, and which channels N×C×1×1 are flat, where gradients must not pass.

        Each norm of a flat picture multiplies gradients by 1/√eps: after a dozen of them they are infinite.
        """
        in_rows = x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last if in_rows else torch.contiguous_format)
        n, positions = len(x), x.shape[2] * x.shape[3]
        normalized, _, inverse = torch.native_group_norm(
            x, None, None, n, self.channels, positions, self.channels, self.eps
        )
        variance_floor = (1 + FLAT) * self.eps
        return normalized, inverse.detach().view(n, -1, 1, 1) > variance_floor**-0.5


def _few_positions(x: Tensor) -> bool:
    """Whether PyTorch's group norm would take its slow way: 15 to 50 times as long as a batch norm of one."""
    return not torch.compiler.is_compiling() and 1 < x.shape[2] * x.shape[3] < 1024
