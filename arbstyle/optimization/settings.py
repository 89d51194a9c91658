"""How a picture is optimised: every setting, its default and its range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.perception import Network, Pooling, StyleStatistic

Basis = Literal["fourier", "pixels"]
Optimizer = Literal["lbfgs", "adam"]
Layers = Mapping[str, float] | Sequence[str]
Source = Tensor | str | Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a picture is optimised.

    Attributes:
        steps: loss evaluations in all, over all scales; line searches spend them too.
        size: longer side of the result in pixels; `None` keeps the content's (without content, the first
            style's), for pictures read from files up to `DEFAULT_LONGEST_SIDE`.
        scales: sizes from coarse to fine, each double the one before; steps are shared out evenly.
        init: `content`, `style`, a picture, `noise` (clouds, with the spectrum of natural pictures) or
            `white-noise` (uniform in every pixel, as published); `None` is `content` for transfers, else
            `noise`.
        content_layers, style_layers: layer → weight, or names such as `relu4_1` and `relu4_1:0.5`.
        content_weight, style_weight, tv_weight: of the three terms.
        style_weights: one a style picture; only their ratios matter.
        style_scale: longer side of the style pictures over that of the result; they are never enlarged.
        style_statistic: see `PerceptualLoss`.
        balance: see `PerceptualLoss`; without it, weights that suit a bright style are wrong for a dull one.
        basis: of the `Canvas`.
        learning_rate: of Adam; L-BFGS has a line search instead.
        encoder, vgg_weights, pooling, normalize_filters: see `PerceptualEncoder`.
        seed: of the noise; the same seed gives the same picture on the same machine.
        device: `auto` takes a GPU where there is one.
    """

    steps: int = 300
    size: int | None = None
    scales: int = 1
    init: Source | None = None
    optimizer: Optimizer = "lbfgs"
    content_layers: Layers = field(default_factory=lambda: {"relu4_2": 1.0})
    style_layers: Layers = field(
        default_factory=lambda: dict.fromkeys(("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), 1.0)
    )
    content_weight: float = 1.0
    style_weight: float = 1.0
    tv_weight: float = 0.0
    style_weights: Sequence[float] | None = None
    style_scale: float = 1.0
    style_statistic: StyleStatistic = "gram"
    balance: bool = True
    basis: Basis = "fourier"
    learning_rate: float = 0.05
    encoder: Network = "vgg19"
    vgg_weights: str | Path | None = None
    pooling: Pooling = "max"
    normalize_filters: bool = True
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", Optimizer), ("basis", Basis)):
            if getattr(self, name) not in get_args(choices):
                raise ArbstyleError(
                    f"expected {name} {' or '.join(get_args(choices))}, got '{getattr(self, name)}'"
                )
        for name in ("steps", "size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArbstyleError(f"expected {name} of 1 or more, got {value}")
        if not 1 <= self.scales <= 16:
            raise ArbstyleError(f"expected scales from 1 to 16, got {self.scales}")
        for name in ("style_scale", "learning_rate"):
            if not 0 < getattr(self, name) <= 1000:
                raise ArbstyleError(f"expected {name} above 0 and up to 1000, got {getattr(self, name)}")
        for name in ("content_weight", "style_weight", "tv_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ArbstyleError(f"expected {name} to be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**63:
            raise ArbstyleError(f"expected a seed from 0 to 2⁶³ - 1, got {self.seed}")
