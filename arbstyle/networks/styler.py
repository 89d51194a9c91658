"""The whole system: style encoder and transformer joined, and arithmetic on codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.networks.style_encoders.base import StyleEncoder
from arbstyle.networks.transformers.base import TransformerNetwork


class ArbitraryStyler(nn.Module):
    """A style encoder, a transformer, and the head that turns codes into the transformer's parameters.

    A photo and a style picture go in, the painted photo comes out (Ghiasi et al. 2017, for the division).

    Args:
        style_encoder: style pictures N×3×h×w → codes N×code_size.
        transformer: photos N×3×H×W and their P parameters each, N×P → painted photos N×3×H×W.
    """

    def __init__(self, style_encoder: StyleEncoder, transformer: TransformerNetwork) -> None:
        super().__init__()
        self.style_encoder = style_encoder
        self.transformer = transformer
        self.head: nn.Module = style_encoder.make_head(transformer.neutral_parameters())
        # Of an old file. They do nothing, but tell models apart, and are saved again with the model.
        self.retired_weights: dict[str, Tensor] = {}

    def forward(self, content: Tensor, style: Tensor, seed: int = 0) -> Tensor:
        """Paint each photo in its style.

        Args:
            content: N×3×H×W in [0,1].
            style: N×3×h×w or 1×3×h×w in [0,1]; for a bank N or 1 whole numbers from 0 on.
            seed: of the transformer's noise; any whole number.

        Returns:
            N×3×H×W in [0,1].
        """
        return self.paint(content, self.encode(style), seed)

    def encode(self, style: Tensor) -> Tensor:
        """Codes N×code_size of style pictures N×3×h×w in [0,1], or of N numbers of styles for a bank."""
        return self.style_encoder(style)

    def parameters_of(self, code: Tensor) -> Tensor:
        """Parameters of all conditional sites, N×P, from codes N×code_size; P is ``num_style_parameters``."""
        return self.head(code)

    def paint(self, content: Tensor, code: Tensor, seed: int = 0) -> Tensor:
        """Paint photos N×3×H×W in [0,1] with codes N×code_size, or 1×code_size for all; N×3×H×W in [0,1]."""
        return self.transformer(content, self.parameters_of(code), seed)


def blend(codes: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Weighted mean of codes (or of parameters): only the ratios of the weights matter.

    Raises:
        ArbstyleError: not one weight a code, a negative one, or none positive.
    """
    if len(codes) != len(weights) or not all(w >= 0 for w in weights) or not 0 < sum(weights) < math.inf:
        raise ArbstyleError(
            f"expected {len(codes)} weights ≥ 0, at least one of them positive, got {list(weights)}"
        )
    if sum(weight > 0 for weight in weights) == 1:  # exactly the one style, free of rounding
        return next(code for code, weight in zip(codes, weights, strict=True) if weight > 0)
    total = sum(weights)
    shares = [code * (weight / total) for code, weight in zip(codes, weights, strict=True)]
    return torch.stack(torch.broadcast_tensors(*shares)).sum(0)


def interpolate(start: Tensor, end: Tensor, strength: float) -> Tensor:
    """Point on the line from one code to another: 0 is the start, 1 the end, beyond 1 exaggerates."""
    return end if strength == 1 else start + strength * (end - start)
