"""Keeping a painting still where the film is: what was painted before is carried along and blended in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images.arrays import LUMA
from arbstyle.video.cuts import CutDetector
from arbstyle.video.flow import Motion, View
from arbstyle.video.library import load_cv2

DEFAULT_STABILITY = 0.8
MOST_CARRIED = 0.99
"""Share of what was painted before at stability 1: something must come in, or nothing ever mends."""

STROKE = 3
"""Side in pixels of the window in which contrast is that of strokes."""

NEIGHBOURHOOD = 9
"""Side of the window over which contrasts are compared."""

MOST_CONTRAST = 1.25
"""How much contrast is given back at most in one frame."""

_LUMA = np.array(LUMA, np.float32)
_FLAT = 2e-3


@dataclass(frozen=True, eq=False)
class _Before:
    """The frame before: the film's, H×W×3 in [0,1], as motion is found in it, and painted."""

    frame: np.ndarray
    view: View
    painted: np.ndarray


class Stabilizer:
    """Blends each painted frame with the one before, moved as the film moved.

    Where the film's pixels cannot be found in the frame before, the painting is as it comes: no ghosts. A
    cut begins anew.

    Args:
        stability: 0 changes nothing; 1 carries the most. 1 - (1 - stability)² of a painting is carried on.
        both_ways: see :class:`Motion`.

    Raises:
        ArbstyleError: a stability outside of [0,1].
    """

    def __init__(self, stability: float = DEFAULT_STABILITY, *, both_ways: bool = True) -> None:
        if not 0 <= stability <= 1:
            raise ArbstyleError(f"expected a stability from 0 to 1, got {stability}")
        self.carried = min(1 - (1 - stability) ** 2, MOST_CARRIED)
        self.both_ways = both_ways
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._before: _Before | None = None
        self._cuts = CutDetector()

    def __call__(self, frame: Tensor, painted: Tensor) -> Tensor:
        """The next painted frame, steadied.

        Args:
            frame, painted: 1×3×H×W floats in [0,1], of the film and of the painting.

        Returns:
            1×3×H×W floats in [0,1].
        """
        begins = self._cuts(frame)
        now, result = _array(frame), _array(painted)
        view = View(now)
        before = self._before
        if before is not None and before.frame.shape == now.shape and not begins:
            motion = Motion(view, before.view, both_ways=self.both_ways)
            share = self.carried * motion.trust[..., None]
            blend = result + share * (motion.warp(before.painted) - result)
            result = _with_contrast_of(result, blend)
        self._before = _Before(now, view, result)
        return torch.from_numpy(result).permute(2, 0, 1)[None].clamp(0, 1)

    def state(self) -> dict[str, Tensor]:
        """What the next frames depend on."""
        if self._before is None or self._cuts.thumbnail is None:
            return {}
        return {
            "frame": torch.from_numpy(self._before.frame),
            "painted": torch.from_numpy(self._before.painted),
            "thumbnail": self._cuts.thumbnail,
            "usual": torch.tensor(self._cuts.usual, dtype=torch.float64),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave."""
        self.reset()
        if state:
            frame = state["frame"].numpy()
            self._before = _Before(frame, View(frame), state["painted"].numpy())
            self._cuts.thumbnail, self._cuts.usual = state["thumbnail"], float(state["usual"])


def _with_contrast_of(painted: np.ndarray, blend: np.ndarray) -> np.ndarray:
    """The blend with no less contrast than the painting has around the same place.

    Strokes that do not move with the film wear each other away in a mean.
    """
    cv2 = load_cv2()
    mean = cv2.blur(blend, (STROKE, STROKE))
    gain = np.clip(_contrast(painted) / _contrast(blend), 1, MOST_CONTRAST)
    return np.clip(mean + gain[..., None] * (blend - mean), 0, 1)


def _contrast(picture: np.ndarray) -> np.ndarray:
    """H×W: deviation of the luma within a stroke, over a neighbourhood."""
    cv2 = load_cv2()
    luma = picture @ _LUMA
    mean = cv2.blur(luma, (STROKE, STROKE))
    variance = cv2.blur(luma * luma, (STROKE, STROKE)) - mean * mean
    return cv2.blur(np.sqrt(np.maximum(variance, 0)), (NEIGHBOURHOOD, NEIGHBOURHOOD)) + _FLAT


def _array(picture: Tensor) -> np.ndarray:
    """H×W×3 of 1×3×H×W."""
    return np.ascontiguousarray(picture[0].permute(1, 2, 0).float().cpu().numpy())
