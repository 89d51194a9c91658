"""How the learning rate and the averaged weights follow the steps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from arbstyle.training.settings import OptimizationSettings


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


class WarmAverage(AveragedModel):
    """Exponential moving average of a module whose memory grows with the steps taken, up to its decay.

    PyTorch's own asks the device for the number of steps at each of them, and waits for the answer.

    Args:
        module: copied.
        decay: what is left of the average at a step, once it is warm, from 0 to 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(module)
        self.decay = decay
        self._steps: int | None = None

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move towards the module's parameters, and take over its buffers."""
        if self._steps is None:  # at the beginning, and after loading
            self._steps = int(self.n_averaged)
        decay = min(self.decay, (1 + self._steps) / (10 + self._steps)) if self._steps else 0.0
        averaged: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(averaged, current, 1 - decay)
        for ours, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)
        self._steps += 1
        self.n_averaged.fill_(self._steps)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._steps = None
