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

SMALL_CHANGE = 0.008
"""Difference from what was painted before, in [0,1], at which half as much of that is carried on where the
camera moves: there strokes come out alike, and moving them a little every frame only wears them away."""

OTHER_PAINT = 0.15
"""Difference from what was painted before, in [0,1], of a whole neighbourhood, at which half of it is carried
on: strokes come out differently, but not whole areas, unless the film shows something else there."""

MOST_CONTRAST = 1.25
"""How much contrast is given back at most in one frame."""

_LUMA = np.array(LUMA, np.float32)
_FLAT = 2e-3


@dataclass(frozen=True, eq=False)
class Look:
    """What a frame of the film shows, compared with the one before.

    Attributes:
        frame: H×W×3 in [0,1].
        view: as motion is found in it.
        motion: from the frame before; ``None`` where a shot begins.
        place: x and y in pixels of where the camera has gone since then.
        cuts: state of the :class:`CutDetector`.
    """

    frame: np.ndarray
    view: View
    motion: Motion | None
    place: np.ndarray
    cuts: dict[str, Tensor]

    @property
    def origin(self) -> tuple[int, int]:
        """Top and left of the frame in all that the camera passes by, in whole pixels."""
        left, top = np.rint(self.place)
        return int(top), int(left)


class Stabilizer:
    """Blends each painted frame with the one before, moved as the film moved.

    Where the film's pixels cannot be found in the frame before, the painting is as it comes: no ghosts. A
    cut begins anew. Frames may be looked at some ahead of those that are steadied.

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
        self._seen: Look | None = None
        self._shown: tuple[Look, np.ndarray] | None = None
        self._cuts = CutDetector()

    def look(self, frame: Tensor) -> Look:
        """Look at the next frame of the film, 1×3×H×W of floats in [0,1]."""
        begins = self._cuts(frame)
        now = _array(frame)
        view, before, motion, place = View(now), self._seen, None, np.zeros(2)
        if before is not None and before.frame.shape == now.shape and not begins:
            motion = Motion(view, before.view, both_ways=self.both_ways)
            place = before.place + motion.pan
        self._seen = Look(now, view, motion, place, self._cuts.state())
        return self._seen

    def steady(self, look: Look, painted: Tensor) -> Tensor:
        """The painting of the next frame that was looked at, steadied.

        Args:
            look: what :meth:`look` gave.
            painted: 1×3×H×W floats in [0,1], the painting.

        Returns:
            1×3×H×W floats in [0,1].
        """
        result = _array(painted)
        if self._shown is not None and look.motion is not None:
            change = look.motion.warp(self._shown[1]) - result
            share = self.carried * look.motion.trust * _worth_carrying(change, look.motion.panned)
            result = _with_contrast_of(result, result + share[..., None] * change)
        self._shown = look, result
        return torch.from_numpy(result).permute(2, 0, 1)[None].clamp(0, 1)

    def __call__(self, frame: Tensor, painted: Tensor) -> Tensor:
        """Look at the next frame and steady its painting."""
        return self.steady(self.look(frame), painted)

    def state(self) -> dict[str, Tensor]:
        """What the frames after the one that was steadied last depend on."""
        if self._shown is None:
            return {}
        look, painted = self._shown
        return {
            "frame": torch.from_numpy(look.frame),
            "painted": torch.from_numpy(painted),
            "place": torch.from_numpy(look.place),
            **look.cuts,
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave."""
        self.reset()
        if state:
            frame, place = state["frame"].numpy(), state["place"].numpy()
            self._cuts.restore(state)
            self._seen = Look(frame, View(frame), None, place, self._cuts.state())
            self._shown = self._seen, state["painted"].numpy()


def _worth_carrying(change: np.ndarray, panned: np.ndarray) -> np.ndarray:
    """H×W in [0,1]: less where whole areas changed, and where the camera passes and strokes hardly did."""
    cv2 = load_cv2()
    window = (NEIGHBOURHOOD, NEIGHBOURHOOD)
    square = cv2.blur(change * change, window) @ np.full(3, 1 / 3, np.float32)
    strokes = 1 - panned * SMALL_CHANGE**2 / (square + SMALL_CHANGE**2)
    area = (cv2.blur(change, window) ** 2).max(axis=2)
    return strokes * np.exp2(-((area / OTHER_PAINT**2) ** 2))


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
