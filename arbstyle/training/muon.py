"""Muon, an optimiser for training beside PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_STEPS = 5
_LARGEST_SIDE = 1024
_QUINTIC = 3.4445, -4.7750, 2.0315


class Muon(torch.optim.Optimizer):
    """Muon for weights, Adam for biases and the like, at one learning rate.

    Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks") steps along a
    weight's momentum made orthogonal: as far in its weak directions as in its strong ones. Scaled as by Liu
    et al. (2025, "Muon is Scalable for LLM Training", sec. 2.2), so that learning rates found for Adam carry
    over. For matrices ``torch.optim.Muon`` is the same, with ``adjust_lr_fn="match_rms_adamw"`` and without
    weight decay; it takes nothing else. Adam also takes matrices whose shorter side is over 1,024: making
    those orthogonal would take seconds a step on a CPU.

    Args:
        params: to be optimised, or groups of them as PyTorch's optimisers take. Of those with 2 dimensions or
            more, such as a convolution's weights, the first counts as the matrix's rows and all others as
            its columns.
        lr: learning rate.
        betas: of Adam.
        momentum: of Muon, in Nesterov's form.
        eps: of Adam.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        momentum: float = 0.95,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "momentum": momentum, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; ``closure`` computes the loss and its gradients first, if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    take_step = self._muon_step if _is_for_muon(parameter) else self._adam_step
                    take_step(parameter, parameter.grad, group)
        return loss

    def _muon_step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(state["momentum"], group["momentum"])
        update = orthogonalize(ahead.flatten(1)).to(parameter).reshape(parameter.shape)
        rows, columns = parameter.shape[0], parameter[0].numel()
        parameter.add_(update, alpha=-0.2 * group["lr"] * max(rows, columns) ** 0.5)

    def _adam_step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].lerp_(gradient.square(), 1 - beta2)
        deviation = (state["square"] / (1 - beta2 ** state["step"])).sqrt().add_(group["eps"])
        parameter.addcdiv_(state["mean"], deviation, value=-group["lr"] / (1 - beta1 ** state["step"]))


def _is_for_muon(parameter: Tensor) -> bool:
    return parameter.dim() > 1 and min(parameter.shape[0], parameter[0].numel()) <= _LARGEST_SIDE


def orthogonalize(matrix: Tensor) -> Tensor:
    """A matrix of the same singular vectors whose singular values are all near 1 (0.7 to 1.2).

    Five steps of a Newton–Schulz iteration in bfloat16, as published: fast, and near enough for a step.

    Args:
        matrix: m×n.

    Returns:
        m×n in bfloat16.
    """
    a, b, c = _QUINTIC
    wide = matrix.bfloat16()
    wide = wide.T if wide.shape[0] > wide.shape[1] else wide
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(_STEPS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
