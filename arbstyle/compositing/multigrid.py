"""Poisson's equation on any set of pixels: conjugate gradients, preconditioned by a multigrid cycle.

The equation is that of a network of resistors: pixels are nodes, neighbours are joined by conductances, and
pixels at the border of the set are also joined to the known values outside it. Four nodes make one node of
the next coarser level; the sums of their conductances are its own, so that every shape of set, and every
number of pieces, is treated alike. One cycle costs a few passes over the pixels, and a handful of cycles is
enough for any size (Braess 1995; McAdams, Sifakis & Teran 2010, who also precondition with such a cycle).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from arbstyle.errors import ArbstyleError

_SMOOTHING_STEPS = 2
_DAMPING = 0.8  # of Jacobi's method in two dimensions (Briggs, Henson & McCormick 2000, chapter 2)
_COARSEST_SIDE = 8
_COARSEST_STEPS = 30
_MOST_ITERATIONS = 200

# The sum of two parallel conductances belongs to cells of half the distance; known values lie half a cell
# nearer to a coarse cell than its neighbours do.
_COARSE_LINK = 1 / 2
_COARSE_BORDER = 3 / 4


@dataclass(frozen=True)
class Level:
    """The equations of one level, H×W; nodes outside the set have a diagonal of 0.

    Attributes:
        right: conductances between each node and the one to its right, H×(W−1).
        down: between each node and the one below, (H−1)×W.
        diagonal: the sum of all conductances of each node, those to known values included.
    """

    right: Tensor
    down: Tensor
    diagonal: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, right: Tensor, down: Tensor, diagonal: Tensor) -> Level:
        inverse = torch.where(diagonal > 0, 1 / diagonal.clamp_min(torch.finfo(diagonal.dtype).tiny), 0)
        return cls(right, down, diagonal, inverse)

    def add_neighbours(self, total: Tensor, values: Tensor) -> Tensor:
        """Add to ``total``, in place, every node's neighbours times their conductances."""
        total[:, 1:].addcmul_(self.right, values[:, :-1])
        total[:, :-1].addcmul_(self.right, values[:, 1:])
        total[1:].addcmul_(self.down, values[:-1])
        total[:-1].addcmul_(self.down, values[1:])
        return total

    def apply(self, values: Tensor) -> Tensor:
        """The matrix of the level times ``values``."""
        return self.add_neighbours(self.diagonal * -values, values).neg_()

    def residual(self, right_side: Tensor, values: Tensor) -> Tensor:
        return self.add_neighbours(torch.addcmul(right_side, self.diagonal, values, value=-1), values)

    def smooth(self, right_side: Tensor, values: Tensor) -> Tensor:
        """One step of damped Jacobi, in place."""
        step = self.add_neighbours(right_side.clone(), values).mul_(self.inverse).sub_(values)
        return values.add_(step, alpha=_DAMPING)


def levels_from(finest: Level) -> list[Level]:
    """The finest level and all coarser ones."""
    levels = [finest]
    while max(levels[-1].diagonal.shape) > _COARSEST_SIDE:
        levels.append(_coarser(levels[-1]))
    return levels


def _coarser(fine: Level) -> Level:
    border = fine.add_neighbours(fine.diagonal.clone().neg_(), torch.ones_like(fine.diagonal)).neg_()
    border = _sum_of_four(border) * _COARSE_BORDER
    height, width = border.shape
    # Every second link joins two blocks, the others lie within one.
    right = _padded(fine.right[:, 1::2], 2 * height, width - 1)
    down = _padded(fine.down[1::2], height - 1, 2 * width)
    right = (right[::2] + right[1::2]) * _COARSE_LINK
    down = (down[:, ::2] + down[:, 1::2]) * _COARSE_LINK
    coarse = Level(right, down, border, border)
    return Level.of(right, down, coarse.add_neighbours(border.clone(), torch.ones_like(border)))


def _padded(plane: Tensor, height: int, width: int) -> Tensor:
    return F.pad(plane, (0, width - plane.shape[1], 0, height - plane.shape[0]))


def _sum_of_four(plane: Tensor) -> Tensor:
    height, width = (-(-side // 2) for side in plane.shape)
    return F.avg_pool2d(_padded(plane, 2 * height, 2 * width)[None], 2, divisor_override=1)[0]


def _cycle(levels: list[Level], right_side: Tensor) -> Tensor:
    """One V-cycle from zero: about the solution, and a symmetric function of the right side."""
    level, *coarser = levels
    values = right_side * (level.inverse * _DAMPING)
    for _ in range(_SMOOTHING_STEPS - 1):
        level.smooth(right_side, values)
    if coarser:
        correction = _cycle(coarser, _sum_of_four(level.residual(right_side, values)))
        height, width = values.shape
        correction = correction.repeat_interleave(2, 0)[:height].repeat_interleave(2, 1)[:, :width]
        values.addcmul_(correction, (level.diagonal > 0).to(values))
    else:
        for _ in range(_COARSEST_STEPS):
            level.smooth(right_side, values)
    for _ in range(_SMOOTHING_STEPS):
        level.smooth(right_side, values)
    return values


def solve(levels: list[Level], right_side: Tensor, tolerance: float) -> Tensor:
    """The values H×W whose product with the finest level's matrix is ``right_side``.

    Args:
        tolerance: iterate until the preconditioned residual, an estimate of the error, is nowhere larger.

    Raises:
        ArbstyleError: not reached, as with values that are not finite.
    """
    values = torch.zeros_like(right_side)
    residual = right_side.clone()
    direction = torch.zeros_like(right_side)
    before = torch.ones((), dtype=right_side.dtype, device=right_side.device)
    for _ in range(_MOST_ITERATIONS):
        step = _cycle(levels, residual)
        if float(step.abs().max()) <= tolerance:
            return values.add_(step)
        now = torch.vdot(residual.flatten(), step.flatten())
        direction.mul_(now / before).add_(step)
        image = levels[0].apply(direction)
        length = now / torch.vdot(direction.flatten(), image.flatten())
        values.addcmul_(direction, length)
        residual.addcmul_(image, length, value=-1)
        before = now
    raise ArbstyleError("the blending did not converge: are the pictures' values finite?")
