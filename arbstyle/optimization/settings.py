"""How a picture is optimised: every setting, its default and its range.

Loads no PyTorch: the options of `arbstyle optimize` are read off `Settings`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, get_args

from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from torch import Tensor

    from arbstyle.perception import Network, Pooling, StyleStatistic

    Source = Tensor | str | Path
else:
    Source = str | Path  # what a command line can say

logger = logging.getLogger(__name__)

Basis = Literal["fourier", "pixels"]
Optimizer = Literal["lbfgs", "adam"]
Precision = Literal["auto", "fp32", "bf16"]
Layers = Mapping[str, float] | Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a picture is optimised.

    Attributes:
        steps: loss evaluations in all, over all scales; line searches spend them too.
        size: longer side of the result in pixels (default: that of the content or, without one, of the
            first style; of pictures read from files at most 512).
        scales: sizes from coarse to fine, each double the one before; steps are shared out evenly.
        init: where to start: content, style, a picture, noise (clouds, with the spectrum of natural
            pictures) or white-noise (uniform in every pixel, as published) (default: content for a
            transfer, else noise).
        optimizer: L-BFGS searches along a line at every step; Adam takes steps of the learning rate.
        learning_rate: of Adam.
        basis: what is optimised: a Fourier transform in decorrelated colours, or the pixels.
        seed: of the noise; the same seed gives the same picture on the same machine.
        content_layers, style_layers: layers with their weights; named conv4_2, relu4_2, pool4 or block4.
        content_weight: of the content loss.
        style_weight: of the style loss.
        tv_weight: of total variation, for smoothness.
        style_weights: one a style picture; only their ratios matter.
        style_scale: longer side of the style pictures over that of the result; they are never enlarged.
        style_statistic: Gram matrices, moments (channel means and standard deviations), or both.
        relative_errors: divide each layer's error by the mean square of its target; without it, weights that
            suit a bright style are wrong for a dull one.
        vgg: the network whose features are compared.
        vgg_weights: its weights, .safetensors or .pth (default: ARBSTYLE_VGG19 or ARBSTYLE_VGG16, else
            torchvision's download).
        pooling: between its blocks; Gatys et al. recommend avg.
        normalize_filters: rescale its filters to mean activations of 1.
        device: auto, cpu, cuda or mps; auto takes a GPU where there is one.
        precision: of all evaluations but each scale's last tenth, which is in float32; auto is bf16 on a CPU
            made for it.
    """

    steps: int = 300
    size: Annotated[int | None, "PIXELS"] = None
    scales: int = 1
    init: Annotated[Source | None, "content|noise|white-noise|style|FILE"] = None
    optimizer: Optimizer = "lbfgs"
    learning_rate: float = 0.05
    basis: Basis = "fourier"
    seed: int = 0
    content_layers: Annotated[Layers, "LAYER[:WEIGHT]"] = field(default_factory=lambda: {"relu4_2": 1.0})
    style_layers: Annotated[Layers, "LAYER[:WEIGHT]"] = field(
        default_factory=lambda: dict.fromkeys(("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), 1.0)
    )
    content_weight: float = 1.0
    style_weight: float = 1.0
    tv_weight: float = 0.0
    style_weights: Sequence[float] | None = field(default=None, metadata={"flag": False})  # as FILE:WEIGHT
    style_scale: float = 1.0
    style_statistic: Literal["gram", "moments", "both"] = "gram"
    relative_errors: bool = field(default=True, metadata={"earlier_name": "balance"})
    vgg: Literal["vgg19", "vgg16"] = field(default="vgg19", metadata={"earlier_name": "encoder"})
    vgg_weights: Annotated[str | Path | None, "FILE"] = None
    pooling: Literal["max", "avg"] = "max"
    normalize_filters: bool = True
    device: Annotated[str, "DEVICE"] = "auto"
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", Optimizer), ("basis", Basis), ("precision", Precision)):
            if getattr(self, name) not in get_args(choices):
                raise ArbstyleError(
                    f"expected {name} {' or '.join(get_args(choices))}, got '{getattr(self, name)}'"
                )
        for name in ("steps", "size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArbstyleError(f"expected {name} of 1 or more, got {value}")
        if self.size is not None and self.size > 2**20:  # beyond what any memory holds, and then any integer
            raise ArbstyleError(f"expected a size of {2**20} pixels at most, got {self.size}")
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


class SettingsChanges(TypedDict, total=False):
    """Fields of `Settings`, all optional: the keywords of `optimize`, for type checkers and editors."""

    steps: int
    size: int | None
    scales: int
    init: Source | None
    optimizer: Optimizer
    content_layers: Layers
    style_layers: Layers
    content_weight: float
    style_weight: float
    tv_weight: float
    style_weights: Sequence[float] | None
    style_scale: float
    style_statistic: StyleStatistic
    relative_errors: bool
    basis: Basis
    learning_rate: float
    vgg: Network
    vgg_weights: str | Path | None
    pooling: Pooling
    normalize_filters: bool
    seed: int
    device: str
    precision: Precision


def with_new_names(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of `optimize` by the names of today's `Settings`; a line names each new one.

    Raises:
        ArbstyleError: the same setting by both names.
    """
    new = {
        each.metadata["earlier_name"]: each.name
        for each in fields(Settings)
        if "earlier_name" in each.metadata
    }
    renamed = dict(changes)
    for old in changes.keys() & new.keys():
        if new[old] in changes:
            raise ArbstyleError(f"{old} is the earlier name of {new[old]}: give one of them")
        logger.warning("optimize: the keyword %s is now %s", old, new[old])
        renamed[new[old]] = renamed.pop(old)
    return renamed
