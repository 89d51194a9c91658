"""The search for the picture of lowest loss: PyTorch's L-BFGS or Adam, counted and recorded."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arbstyle.optimization.canvas import Canvas
from arbstyle.optimization.history import LossRecord, RecordCallback
from arbstyle.optimization.settings import Settings
from arbstyle.perception import LossTerms, PerceptualLoss, Targets

HISTORY_SIZE = 20
"""Steps that L-BFGS remembers."""

LOSS_AT_START = 1e3
"""Whatever the weights, the loss starts here: PyTorch's L-BFGS compares curvatures with a fixed number."""

SMALLEST_START = 1e-6
"""A start nearer to the optimum than this, relative to a picture without features, is not scaled up so far:
the line search computes in float32, which would overflow."""

ROUNDING = 1e-10
"""A layer's error over that of a picture without features, below which it is rounding in float32."""


def minimize(objective: Objective, settings: Settings) -> bool:
    """Spend the scale's budget; true if there was no way down any more."""
    try:
        if settings.optimizer == "adam":
            adam = torch.optim.Adam([objective.canvas.values], lr=settings.learning_rate)
            while True:
                adam.step(objective)
        return _minimize_lbfgs(objective)
    except BudgetSpentError:
        return False
    except ConvergedError:
        return True


def _minimize_lbfgs(objective: Objective) -> bool:
    while True:
        lowest, left = objective.lowest, objective.left
        lbfgs = torch.optim.LBFGS(
            [objective.canvas.values],
            max_iter=left,
            max_eval=left,
            history_size=HISTORY_SIZE,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )
        lbfgs.step(objective)
        # Its model of the curvature may be what misled it: only if a fresh start fails too is this a minimum.
        if objective.lowest >= lowest:
            return True


class BudgetSpentError(Exception):
    """Ends PyTorch's optimisers from inside: a line search asks for as many evaluations as it likes."""


class ConvergedError(Exception):
    """All that is left of the loss is rounding."""


class NonFiniteLossError(Exception):
    """The loss is infinite or not a number."""


class Objective:
    """The loss at the canvas, as the closure of PyTorch's optimisers; counts, records and keeps the best."""

    def __init__(
        self, loss: PerceptualLoss, steps: int, full_size: tuple[int, int], callback: RecordCallback | None
    ) -> None:
        self.loss = loss
        self.steps = steps
        self.full_size = full_size
        self.callback = callback
        self.history: list[LossRecord] = []
        self.best: tuple[LossRecord, Tensor] | None = None

    @property
    def left(self) -> int:
        return self.steps - len(self.history)

    def begin(
        self, canvas: Canvas, targets: Targets, budget: int, dtype: torch.dtype = torch.float32
    ) -> None:
        """Turn to another scale or precision, with a budget of evaluations; `best` stays until the first."""
        self.canvas = canvas
        self.targets = targets
        self.dtype = dtype
        self.last = len(self.history) + budget
        self.lowest = math.inf
        self.factor: float | None = None
        self.without_features = {
            name: float(error) for name, error in self.loss.without_features(targets).items()
        }

    def __call__(self) -> Tensor:
        if len(self.history) == self.last:
            raise BudgetSpentError
        self.canvas.zero_grad()
        image = self.canvas()
        with torch.autocast(image.device.type, self.dtype, enabled=self.dtype != torch.float32):
            terms = self.loss(image, self.targets)
        evaluation = self._read_off(terms, image)
        if self.factor is None:
            self.factor = self._factor(evaluation)
        objective = terms.total * self.factor
        objective.backward()
        self.history.append(evaluation)
        if evaluation.total < self.lowest:
            self.lowest = evaluation.total
            self.best = evaluation, image.detach()
            self.best_values = self.canvas.values.detach().clone()
        if self.callback is not None:
            self.callback(evaluation, image.detach())
        if self._is_rounding(evaluation):
            raise ConvergedError
        return objective.detach()

    def _factor(self, start: LossRecord) -> float:
        weights = self.loss.layer_weights()
        scale = sum(weights[name] * error for name, error in self.without_features.items())
        at_least = max(start.total, SMALLEST_START * scale)
        return LOSS_AT_START / at_least if at_least else 1.0

    def _is_rounding(self, found: LossRecord) -> bool:
        return found.tv == 0 and all(
            found.weighted_layers[name] == 0 or found.layers[name] <= ROUNDING * error
            for name, error in self.without_features.items()
        )

    def _read_off(self, terms: LossTerms, image: Tensor) -> LossRecord:
        names = list(terms.layers)
        scalars = [
            terms.content,
            terms.style,
            terms.tv,
            *terms.layers.values(),
            *terms.weighted_layers.values(),
        ]
        content, style, tv, *layers = torch.stack(scalars).tolist()  # at once: a GPU waits for every read
        total = content + style + tv
        if not math.isfinite(total):
            raise NonFiniteLossError
        return LossRecord(
            number=len(self.history) + 1,
            total=total,
            content=content,
            style=style,
            tv=tv,
            layers=dict(zip(names, layers[: len(names)], strict=True)),
            weighted_layers=dict(zip(names, layers[len(names) :], strict=True)),
            size=(image.shape[-2], image.shape[-1]),
            full_size=self.full_size,
        )
