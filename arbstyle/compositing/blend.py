"""Poisson image editing (Pérez, Gangnet & Blake 2003): one picture's gradients, the border of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from arbstyle.compositing.multigrid import Level, levels_from, solve
from arbstyle.errors import ArbstyleError

Gradients = Literal["normal", "mixed"]
GRADIENTS: tuple[str, ...] = get_args(Gradients)

_Side = Callable[[Tensor], Tensor]
_NEIGHBOURS: tuple[tuple[_Side, _Side], ...] = (
    (lambda plane: plane[:, :-1], lambda plane: plane[:, 1:]),  # left and right
    (lambda plane: plane[:-1], lambda plane: plane[1:]),  # above and below
)

_TOLERANCE = 1e-4
"""Largest error of a value in [0,1]: a fortieth of a grey level of 8 bits."""


def blend_seamlessly(
    foreground: Tensor,
    background: Tensor,
    mask: Tensor,
    gradients: Gradients = "normal",
    *,
    foreground_known: Tensor | None = None,
    background_known: Tensor | None = None,
) -> Tensor:
    """Set the masked part of the foreground into the background so that no border shows.

    Inside the mask the result has the foreground's gradients, in the least-squares sense, and meets the
    background at the border (Pérez et al. 2003, equation 7); outside it is the background, unchanged. Where
    the mask touches the frame, the result is free there. A piece of the mask that touches no known pixel of
    the background keeps the foreground's own brightness.

    Args:
        foreground, background: 1×3×H×W of floats in [0,1].
        mask: 1×1×H×W; inside where it is above one half.
        gradients: ``normal`` takes the foreground's; ``mixed`` takes, for each pair of neighbours, the larger
            difference of the two pictures (equation 13), so that the background's texture stays visible.
        foreground_known, background_known: 1×1×H×W, above one half where the pictures have a colour (not
            transparent, not outside); everywhere if left out. Differences that are not known count as zero.

    Returns:
        1×3×H×W of the background's type, clamped to [0,1].

    Raises:
        ArbstyleError: shapes that do not fit, unknown ``gradients``, or an empty mask.
    """
    _check(foreground, background, mask, gradients)
    inside = mask[0, 0] > 0.5
    if foreground_known is not None:
        inside = inside & (foreground_known[0, 0] > 0.5)
    if not inside.any():
        raise ArbstyleError("nothing to blend: the mask is black where the foreground lies on the background")
    rows, columns = (_extent(inside.any(dim=axis)) for axis in (1, 0))
    box = (..., rows, columns)
    known = torch.ones_like(inside) if background_known is None else background_known[0, 0] > 0.5
    has_gradient = torch.ones_like(inside) if foreground_known is None else foreground_known[0, 0] > 0.5
    problem = _Problem(inside[box], known[box], has_gradient[box])
    result = background.clone()
    for source, target in zip(foreground[0][box], result[0][box], strict=True):
        values = problem.solve(source.float(), target.float(), gradients)
        target.copy_(torch.where(problem.inside, values.clamp(0, 1).to(target), target))
    return result


class _Problem:
    """The pixels to find and the pairs of neighbours that speak of them; the same for all channels."""

    def __init__(self, inside: Tensor, known: Tensor, has_gradient: Tensor) -> None:
        self.inside = inside
        self.known = known
        self.has_gradient = has_gradient
        # Pairs of which one is to be found and the other is to be found or known; as in the paper, others
        # (beyond the frame, for example) do not count.
        valued = inside | known
        self.pairs = [
            (first(inside) | second(inside)) & first(valued) & second(valued) for first, second in _NEIGHBOURS
        ]
        right, down = ((first(inside) & second(inside)).float() for first, second in _NEIGHBOURS)
        counts = torch.zeros_like(inside, dtype=torch.float32)
        for (first, second), pairs in zip(_NEIGHBOURS, self.pairs, strict=True):
            first(counts).add_(pairs)
            second(counts).add_(pairs)
        self.levels = levels_from(Level.of(right, down, counts * inside))

    def solve(self, source: Tensor, target: Tensor, gradients: Gradients) -> Tensor:
        """One channel H×W; only what is inside counts."""
        # Starting from the source, what is left to find is smooth; it also settles pieces without a border.
        start = torch.where(self.inside, source, torch.where(self.known, target, 0))
        right_side = torch.zeros_like(source)
        for (first, second), pairs in zip(_NEIGHBOURS, self.pairs, strict=True):
            step = self._guidance(second(source) - first(source), first, second, target, gradients)
            excess = (step - (second(start) - first(start))) * pairs
            first(right_side).sub_(excess)
            second(right_side).add_(excess)
        return start + solve(self.levels, right_side * self.inside, _TOLERANCE)

    def _guidance(
        self, step: Tensor, first: _Side, second: _Side, target: Tensor, gradients: Gradients
    ) -> Tensor:
        """Differences between neighbours that the result is to have."""
        step = step * (first(self.has_gradient) & second(self.has_gradient))
        if gradients == "normal":
            return step
        other = (second(target) - first(target)) * (first(self.known) & second(self.known))
        return torch.where(other.abs() > step.abs(), other, step)


def _extent(used: Tensor) -> slice:
    """From the first to the last position that is used, and one more on either side."""
    positions = used.nonzero()
    return slice(max(0, int(positions[0]) - 1), int(positions[-1]) + 2)


def _check(foreground: Tensor, background: Tensor, mask: Tensor, gradients: str) -> None:
    if gradients not in GRADIENTS:
        raise ArbstyleError(f"expected gradients {' or '.join(GRADIENTS)}, got '{gradients}'")
    size = tuple(background.shape[2:])
    expected = ((foreground, (1, 3, *size)), (background, (1, 3, *size)), (mask, (1, 1, *size)))
    for tensor, shape in expected:
        if tuple(tensor.shape) != shape or not tensor.is_floating_point():
            raise ArbstyleError(
                f"expected floats of shape {'×'.join(map(str, shape))}, got {tensor.dtype} of shape "
                f"{'×'.join(map(str, tensor.shape))}"
            )
