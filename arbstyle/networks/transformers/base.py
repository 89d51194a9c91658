"""What a transformation network is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.networks.described import Described
from arbstyle.networks.noise import kept_noise_maps, noise_maps
from arbstyle.networks.norm import ConditionalSite, NormRule


class TransformerNetwork(Described, ABC):
    """Photo and style parameters in, painted photo of the same size out.

    A subclass sets ``multiple`` and ``smallest``, builds its layers and has a :meth:`repaint`. Its
    conditional sites, in the order in which the modules were registered, share one flat vector of P style
    parameters: the scales and shifts of its norms (conditional instance normalisation, Dumoulin et al. 2017).

    Raises:
        ArbstyleError: from the constructor, where a subclass does not set ``multiple`` and ``smallest``.
    """

    multiple: int
    """Sides are padded to a multiple of this, on the right and at the bottom, and cropped again."""
    smallest: int
    """Sides shorter than this are padded up to it, so that reflection padding has something to reflect."""
    sites: list[ConditionalSite]
    num_style_parameters: int
    noise_inputs: Sequence[tuple[int, tuple[int, ...]]] = ()
    """The noise it paints from: (pixels of the photo a position, period of each map), a line a resolution."""
    retired: Mapping[str, str] = MappingProxyType({})
    """Weights without effect that only old files have: name → name of the weight that stood before it."""

    def finish(self) -> None:
        for name in ("multiple", "smallest"):
            if not isinstance(getattr(self, name, None), int):
                raise ArbstyleError(
                    f"{type(self).__name__} does not say which sizes of picture it takes: set {name} in the "
                    "class, to a whole number of pixels"
                )
        self._collect_sites()

    def _collect_sites(self) -> None:
        """Derive the sites from the modules and give each its place in the parameter vector."""
        self.sites = [m for m in self.modules() if isinstance(m, ConditionalSite)]
        offset = 0
        for site in self.sites:
            site.offset = offset
            offset += site.num_style_parameters
        self.num_style_parameters = offset

    def neutral_parameters(self) -> Tensor:
        """Scale 1, shift 0 and no noise at every site, as a vector of ``num_style_parameters``."""
        pieces = [site.neutral() for site in self.sites]
        return torch.cat(pieces) if pieces else torch.empty(0)

    def make_noise(
        self, height: int, width: int, seed: int | Tensor = 0, top: int = 0, left: int = 0
    ) -> list[Tensor]:
        """The noise that :meth:`repaint` takes for a picture, or for a part of one.

        Args:
            height, width: of the part, in pixels; multiples of ``multiple``.
            seed: any whole number; another one gives other noise.
            top, left: where in the picture the part begins; multiples of ``multiple``.

        Returns:
            for each of ``noise_inputs``, 1×K×height/stride×width/stride.
        """
        # The size and the seed of an exported graph are not numbers.
        fixed = isinstance(height, int) and isinstance(seed, int) and not torch.compiler.is_compiling()
        make = kept_noise_maps if fixed else noise_maps
        return [
            make(height // stride, width // stride, periods, seed, top // stride, left // stride)
            for stride, periods in self.noise_inputs
        ]

    def forward(
        self, content: Tensor, parameters: Tensor, seed: int = 0, origin: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """Repaint.

        Args:
            content: N×3×H×W in [0,1], of any size.
            parameters: N×P or 1×P.
            seed: of the noise, for transformers that paint from some.
            origin: top and left of the picture in a larger one, of which it gets its part of the noise;
                multiples of ``multiple``.

        Returns:
            N×3×H×W in [0,1].
        """
        height, width = content.shape[2:]
        padded = self.pad(content)
        noise = self.make_noise(padded.shape[2], padded.shape[3], seed, *origin)
        return self.repaint(padded, parameters, noise)[..., :height, :width]

    @abstractmethod
    def repaint(self, content: Tensor, parameters: Tensor | NormRule, noise: Sequence[Tensor] = ()) -> Tensor:
        """As :meth:`forward`, for sides that are multiples of ``multiple``, at least ``smallest``.

        Args:
            content: N×3×H×W in [0,1].
            parameters: N×P or 1×P; or a rule that normalises in another way, as tiles need it.
            noise: what :meth:`make_noise` gives; left out, it is that of seed 0.

        Returns:
            N×3×H×W in [0,1].
        """

    def pad(self, content: Tensor) -> Tensor:
        """Extend pictures N×3×H×W on the right and at the bottom to a size that :meth:`repaint` takes."""
        height, width = content.shape[2:]
        down, right = (
            max(self.smallest, math.ceil(side / self.multiple) * self.multiple) - side
            for side in (height, width)
        )
        if not (down or right):
            return content
        mode = "reflect" if down < height and right < width else "replicate"
        return F.pad(content, (0, right, 0, down), mode=mode)
