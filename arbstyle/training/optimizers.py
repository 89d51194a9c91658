"""The optimiser of a training, and the schedule of its learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim.lr_scheduler import LambdaLR

from arbstyle.training.muon import Muon
from arbstyle.training.schedule import learning_rate_factor
from arbstyle.training.settings import OptimizationSettings

Group = dict[str, Any]
"""Parameters that share a learning rate, as PyTorch's optimisers take them."""


def parameter_groups(
    settings: OptimizationSettings, encoder: Sequence[Parameter], others: Sequence[Parameter]
) -> list[Group]:
    """What trains of the style encoder, and of all else; a group in which nothing trains is left out."""
    rates = ((encoder, settings.encoder_rate * settings.learning_rate), (others, settings.learning_rate))
    trained = [([each for each in parameters if each.requires_grad], rate) for parameters, rate in rates]
    return [{"params": parameters, "lr": rate} for parameters, rate in trained if parameters]


def build_scheduler(groups: Sequence[Group], settings: OptimizationSettings, steps: float) -> LambdaLR:
    """The schedule, and in it the optimiser.

    Args:
        groups: of :func:`parameter_groups`.
        settings: kind, rates and schedule.
        steps: of the whole training; may be infinite.
    """
    kind = Muon if settings.optimizer == "muon" else torch.optim.Adam
    optimizer = kind(groups, lr=settings.learning_rate, betas=settings.betas)
    # A function leaves no state in the checkpoint: a run resumed with more steps follows the new curve.
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, settings, steps))


def use_rates(scheduler: LambdaLR, groups: Sequence[Group], settings: OptimizationSettings) -> None:
    """Go on with the configuration's learning rates and betas, not with those a checkpoint restored."""
    scheduler.base_lrs = [group["lr"] for group in groups]
    for group, base, factor in zip(
        scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
    ):
        rate = base * factor(scheduler.last_epoch)
        group |= {"initial_lr": base, "lr": rate, "betas": settings.betas}
