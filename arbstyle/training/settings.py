"""What training is told besides its two networks: the loss, the optimisation, the starting point, the logs.

In a config each class is a group of keys: ``model.loss``, ``model.optimization``, ``model.start``,
``model.logging``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from arbstyle.errors import ArbstyleError
from arbstyle.perception import Network, Pooling, StyleStatistic

Schedule = Literal["constant", "cosine", "inverse"]


def _check_numbers(settings: object, largest: dict[str, float]) -> None:
    """Raise an ArbstyleError unless numbers, alone or in a group, go from 0 to their largest value.

    Args:
        settings: with the numbers as attributes.
        largest: by name; itself allowed, unless it is infinite.
    """
    for name, limit in largest.items():
        value = getattr(settings, name)
        numbers = (
            value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
        )
        if not all(0 <= number <= limit and number < math.inf for number in numbers):
            upper = "up" if limit == math.inf else f"to {limit:g}"
            raise ArbstyleError(f"expected {name} from 0 {upper}, got {value}")


@dataclass(frozen=True)
class LossSettings:
    """What a painted photo is judged by.

    Args:
        content_layers, style_layers: layer → weight.
        content_weight, style_weight, tv_weight: weights of the terms.
        identity_weight: weight of the mean squared error between photos and the same photos painted in
            their own style; taken on one photo in eight. Not for banks.
        evenness_weight: weight of :func:`~arbstyle.perception.unevenness`, against blotches and halos.
        evenness_tolerance: distance in RGB at which two places of a photo are no longer alike; a small one
            leaves skies free and holds for graphics.
        marks_weight: weight of :func:`~arbstyle.perception.stray_marks`, against scratches on plain ground.
        noise_weight: weight of the mean square of the noise's amplitudes, for transformers that paint from
            noise: losses like more of it than eyes do.
        moments_weight: weight of the error with which a linear layer predicts the style's moments from the
            description of a :class:`~arbstyle.networks.MomentsEncoder`, in the units of the unweighted
            style term. It teaches the encoder to see what the loss will judge by.
        style_statistic: ``moments`` (Huang & Belongie 2017), ``gram`` (Gatys et al. 2016) or ``both``.
        content_target: ``photo``, or ``adain``: the transformer's own restyled features (Huang & Belongie
            2017, eq. 12), for :class:`~arbstyle.networks.AdaINTransformer`.
        relative_errors, style_bound: see :class:`~arbstyle.perception.PerceptualLoss`.
        vgg, vgg_weights, pooling, normalize_filters: the network whose features are compared; see
            :class:`~arbstyle.perception.PerceptualEncoder`.
        cache_targets: compute what a crop is compared with once and keep it in memory: half the loss's time
            saved where ``data.crops_per_picture`` is small. Stops growing where 2 GiB of memory are left.
    """

    content_layers: dict[str, float] = field(default_factory=lambda: {"relu4_1": 1.0})
    style_layers: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("relu1_1", "relu2_1", "relu3_1", "relu4_1"), 1.0)
    )
    content_weight: float = 1.0
    style_weight: float = 1.0
    tv_weight: float = 0.0
    identity_weight: float = 0.0
    evenness_weight: float = 0.0
    evenness_tolerance: float = 0.05
    marks_weight: float = 0.0
    noise_weight: float = 0.0
    moments_weight: float = 0.0
    style_statistic: StyleStatistic = "moments"
    content_target: Literal["photo", "adain"] = "photo"
    relative_errors: bool = False
    style_bound: bool = False
    vgg: Network = "vgg19"
    vgg_weights: str | None = None
    pooling: Pooling = "max"
    normalize_filters: bool = True
    cache_targets: bool = False

    def __post_init__(self) -> None:
        weights = (
            *("content_layers", "style_layers", "content_weight", "style_weight", "tv_weight"),
            *("identity_weight", "evenness_weight", "marks_weight", "noise_weight", "moments_weight"),
        )
        _check_numbers(self, dict.fromkeys(weights, math.inf))
        if not 0 < self.evenness_tolerance < math.inf:
            raise ArbstyleError(f"expected evenness_tolerance above 0, got {self.evenness_tolerance}")


@dataclass(frozen=True)
class OptimizationSettings:
    """How the weights are found.

    Args:
        optimizer: ``adam``, or ``muon``, which learns more from each step and takes a little longer over it;
            see :class:`~arbstyle.training.muon.Muon`.
        learning_rate: of the optimiser, at its highest.
        encoder_rate: the style encoder's learning rate over that of all else.
        betas: of Adam; below 1.
        schedule: ``constant``; ``cosine`` to 2 % at the last step; ``inverse``:
            1 / (1 + inverse_decay · step).
        warmup_steps: the learning rate rises linearly over these.
        inverse_decay: see ``schedule``; 5e-5 is AdaIN's.
        average_decay: of the exponential moving average of the weights, which is what is exported; early
            steps count less. 0: no averaging.
        encoder_only: train the style encoder by ``loss.moments_weight`` alone and paint nothing: many times
            as fast.
        draft_every: every so many steps the photos are mixed with paintings of themselves at half the size,
            as for wider strokes in use (:func:`~arbstyle.networks.transformers.drafts.mix_draft`). 0: never.
        compile: compile networks and loss with ``torch.compile``.
    """

    optimizer: Literal["adam", "muon"] = "adam"
    learning_rate: float = 1e-3
    encoder_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Schedule = "cosine"
    warmup_steps: int = 0
    inverse_decay: float = 5e-5
    average_decay: float = 0.999
    encoder_only: bool = False
    draft_every: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        free = ("learning_rate", "encoder_rate", "warmup_steps", "inverse_decay", "draft_every")
        _check_numbers(self, dict.fromkeys(free, math.inf) | dict.fromkeys(("betas", "average_decay"), 1.0))
        if max(self.betas) == 1:
            raise ArbstyleError(f"expected betas below 1, got {self.betas}")


@dataclass(frozen=True)
class StartSettings:
    """Where training starts from.

    Args:
        model: exported model whose weights to take; it may lack conditional sites, such as noise, that the
            new one has. ``None`` starts from random weights.
        new_styles_only: with a bank as ``model``: keep all it has learned and train only the rows that are
            new.
    """

    model: str | None = None
    new_styles_only: bool = False

    def __post_init__(self) -> None:
        if self.new_styles_only and self.model is None:
            raise ArbstyleError(
                "new_styles_only adds styles to a trained bank: name its file with model.start.model"
            )


@dataclass(frozen=True)
class LoggingSettings:
    """What is logged besides the curves.

    Args:
        picture_every: steps between grids of pictures; 0: none.
    """

    picture_every: int = 500

    def __post_init__(self) -> None:
        _check_numbers(self, {"picture_every": math.inf})
