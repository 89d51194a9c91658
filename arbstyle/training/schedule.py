"""How the learning rate and the averaged weights follow the steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arbstyle.training.settings import OptimizationSettings

Tensors = list[Tensor] | tuple[Tensor, ...]


def learning_rate_factor(step: int, settings: OptimizationSettings, total_steps: float = math.inf) -> float:
    """Factor on the learning rate at an optimiser step: a linear rise, times the schedule.

    Args:
        step: from 0.
        settings: ``schedule``, ``warmup_steps`` and ``inverse_decay``.
        total_steps: where ``cosine`` ends; without an end it stays at 1.
    """
    rise = min(1.0, (step + 1) / (settings.warmup_steps + 1))
    if settings.schedule == "inverse":
        return rise / (1 + settings.inverse_decay * step)
    if settings.schedule == "cosine" and math.isfinite(total_steps):
        done = min(1.0, step / max(1.0, total_steps))
        return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
    return rise


class WarmAverage:
    """Exponential moving average whose memory grows with the steps taken, up to its decay."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
        decay = min(self.decay, (1 + float(steps)) / (10 + float(steps)))
        torch._foreach_lerp_(averaged, current, 1 - decay)
