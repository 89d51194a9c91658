"""Painting by optimisation: change a picture until its features match (Gatys, Ecker & Bethge 2015, 2016).

One engine does three jobs: with a content and a style it transfers the style, with a style alone it
synthesises a texture, with a content alone it reconstructs what the chosen layers keep of it.

    from arbstyle import optimize
    result = optimize("photo.jpg", "painting.jpg", steps=300)
    result.save("result.png")
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from arbstyle.devices import choose_dtype
from arbstyle.errors import ArbstyleError, memory_for
from arbstyle.images import resize
from arbstyle.optimization.canvas import Canvas
from arbstyle.optimization.history import Optimized, RecordCallback, Stop
from arbstyle.optimization.inputs import Inputs, build_loss, read_inputs, style_at
from arbstyle.optimization.search import NonFiniteLossError, Objective, minimize
from arbstyle.optimization.settings import Optimizer, Settings, SettingsChanges, Source, with_new_names
from arbstyle.perception import Targets

if TYPE_CHECKING:
    from typing_extensions import Unpack

FULL_PRECISION_PART = 0.1
"""Of the evaluations, at the end of each scale, where they are faster in a reduced precision."""

FIRST_STEP = 0.02
"""Mean change of a canvas value in L-BFGS' first step."""


def optimize(
    content: Source | None = None,
    style: Source | Sequence[Source] | None = None,
    settings: Settings | None = None,
    *,
    callback: RecordCallback | None = None,
    **changes: Unpack[SettingsChanges],
) -> Optimized:
    """Optimise a picture towards the content of one picture and the style of others (Gatys et al. 2016).

    Args:
        content: photo, a file or 1×3×H×W in [0,1]; without it, a texture is synthesised.
        style: one or several pictures likewise; without any, the content is reconstructed.
        settings: `Settings()` if left out.
        callback: called after every evaluation with the `LossRecord` and the picture, 1×3×h×w. It ends the
            run, and keeps the best picture, by raising `KeyboardInterrupt`.
        changes: fields of `Settings` that differ, such as `steps=100`.

    Returns:
        the best picture (`image`, 1×3×H×W in [0,1]) and the loss of every evaluation; also where Ctrl-C or a
        loss that is no longer finite ended the run early.

    Raises:
        ArbstyleError: wrong settings or pictures (before the long work), too little memory, or a loss that is
            not finite from the start.
    """
    settings = replace(settings or Settings(), **with_new_names(changes))
    started = time.monotonic()
    styles = [] if style is None else [style] if isinstance(style, (Tensor, str, Path)) else list(style)
    inputs = read_inputs(content, styles, settings)
    loss = build_loss(inputs, settings)
    objective = Objective(loss, settings.steps, inputs.sizes[-1], callback)
    stopped: Stop
    height, width = inputs.sizes[-1]
    with _exact_convolutions(), memory_for(f"optimise a picture of {width}×{height}"):
        try:
            stopped = _paint(inputs, objective, settings)
        except KeyboardInterrupt:
            stopped = "interrupted"
        except NonFiniteLossError:
            stopped = "non-finite"
    if objective.best is None:
        if stopped == "interrupted":
            raise KeyboardInterrupt
        raise ArbstyleError("the loss is not a finite number from the start; choose smaller weights")
    best, image = objective.best
    seconds = time.monotonic() - started
    return Optimized(resize(image.cpu(), inputs.sizes[-1]), objective.history, best, stopped, seconds)


@contextmanager
def _exact_convolutions() -> Iterator[None]:
    """On a GPU, the same result every time, and losses exact enough for a line search to compare."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def _paint(inputs: Inputs, objective: Objective, settings: Settings) -> Stop:
    """Paint from coarse to fine; each scale starts from the best picture of the one before."""
    converged = False
    for done, size in enumerate(inputs.sizes):
        budget = objective.left // (len(inputs.sizes) - done)
        if budget == 0:
            continue
        canvas = Canvas(*size, basis=settings.basis, unit=_unit(size, settings.optimizer)).to(inputs.device)
        start = inputs.init if objective.best is None else objective.best[1]
        if start is None:
            canvas.randomize(settings.seed)
        else:
            canvas.set_picture(resize(start, size))
        content = None if inputs.content is None else resize(inputs.content, size)
        styles = [style_at(style, size, inputs, settings) for style in inputs.styles]
        targets = objective.loss.targets(content, styles, settings.style_weights)
        converged = _search(objective, canvas, targets, budget, settings)
    return "converged" if converged else "finished"


def _search(objective: Objective, canvas: Canvas, targets: Targets, budget: int, settings: Settings) -> bool:
    """Spend a scale's budget, most of it in the reduced precision; true if there was no way down any more.

    Losses of different precision don't compare, so the search in float32 begins anew, where the other's best
    picture is.
    """
    dtype = choose_dtype(settings.precision, canvas.values.device)
    last = len(objective.history) + budget
    if dtype != torch.float32 and budget > 1:
        objective.begin(canvas, targets, budget - math.ceil(budget * FULL_PRECISION_PART), dtype)
        minimize(objective, settings)
        canvas.restore(objective.best_values)
    objective.begin(canvas, targets, last - len(objective.history))
    return minimize(objective, settings)


def _unit(size: tuple[int, int], optimizer: Optimizer) -> float:
    """PyTorch's first L-BFGS step has an L1 length of at most 1: shared out over all values, next to nothing.

    Values counted in a unit that large make it a step of `FIRST_STEP` each.
    """
    return FIRST_STEP * 3 * math.prod(size) if optimizer == "lbfgs" else 1.0
