"""Keeping a painting still where the film is: what was painted before is carried along and blended in.

A picture that is moved a little in every frame is worn away. So strokes come from an *anchor*, a frame
painted some time ago, moved once to where its pixels are now. Only what the anchor does not show comes from
the frame before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images.arrays import LUMA
from arbstyle.video.cuts import CutDetector
from arbstyle.video.flow import Motion, View, doubled, largest_channel
from arbstyle.video.library import load_cv2

DEFAULT_STABILITY = 0.8
MOST_CARRIED = 0.99
"""Share of what was painted before at stability 1: something must come in, or nothing ever mends."""

STROKE = 3
"""Side in pixels of the window in which contrast is that of strokes."""

NEIGHBOURHOOD = 9
"""Side of the window over which contrasts are compared."""

LOST = 0.05
"""Share of a frame that an anchor may lose, of the most it ever had, before another one is taken."""

LEAST_FOUND = 0.5
"""Share of a frame that must be found in an anchor: below, its motion says nothing; another one is taken."""

NOT_ANCHORED = 0.9
"""How much of what only the frame before shows is carried on, compared with what the anchor shows."""

LIGHT_CARRIED = 0.8
"""Share that is carried on of how much lighter or darker large areas were in the frame before: light may
change slowly, as in a fade, and is not to be that of an anchor."""

OTHER_PAINT = 0.15
"""Difference from what was painted before, in [0,1], of a whole neighbourhood, at which half of it is carried
on: strokes come out differently, but not whole areas, unless the film shows something else there."""

MOST_CONTRAST = 1.5
"""How much contrast is given back at most in one frame."""

_LUMA = np.array(LUMA, np.float32)
_FLAT = 2e-3


@dataclass(frozen=True, eq=False)
class Anchor:
    """A frame that later ones are compared with.

    Attributes:
        frame: H×W×3 in [0,1].
        view: as motion is found in it.
        place: x and y in pixels of where the camera was, since the shot began.
        pan: by how much the latest frame lies away from it.
        most: share of a later frame that was found in it, at most so far.
    """

    frame: np.ndarray
    view: View
    place: np.ndarray
    pan: np.ndarray
    most: float = 0.0


@dataclass(frozen=True, eq=False)
class Strokes:
    """H×W×3 in [0,1], the painting of an anchor."""

    painted: np.ndarray

    @cached_property
    def doubled(self) -> np.ndarray:
        return doubled(self.painted)


@dataclass(frozen=True, eq=False)
class Look:
    """What a frame of the film shows, compared with earlier ones.

    Attributes:
        frame: H×W×3 in [0,1].
        view: as motion is found in it.
        motion: from the frame before; ``None`` where a shot begins.
        anchored: from the anchor that was; ``None`` where a shot begins.
        place: x and y in pixels of where the camera has gone since the shot began.
        anchor: what the next frame is compared with; maybe this one.
        cuts: state of the :class:`CutDetector`.
    """

    frame: np.ndarray
    view: View
    motion: Motion | None
    anchored: Motion | None
    place: np.ndarray
    anchor: Anchor
    cuts: dict[str, Tensor]

    @property
    def origin(self) -> tuple[int, int]:
        """Top and left of the frame in all that the camera passes by, in whole pixels."""
        left, top = np.rint(self.place)
        return int(top), int(left)

    @property
    def is_anchor(self) -> bool:
        return self.anchor.view is self.view


class Stabilizer:
    """Blends each painted frame with earlier ones, moved as the film moved.

    Where the film's pixels cannot be found in earlier frames, the painting is as it comes: no ghosts. A
    cut begins anew. Frames may be looked at some ahead of those that are steadied.

    Args:
        stability: 0 changes nothing; 1 carries the most. 1 - (1 - stability)² of a painting is carried on.
        both_ways: see :class:`Motion`.

    Raises:
        ArbstyleError: a stability outside of [0,1].
    """

    def __init__(self, stability: float = DEFAULT_STABILITY, *, both_ways: bool = False) -> None:
        if not 0 <= stability <= 1:
            raise ArbstyleError(f"expected a stability from 0 to 1, got {stability}")
        self.carried = min(1 - (1 - stability) ** 2, MOST_CARRIED)
        self.both_ways = both_ways
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._seen: Look | None = None
        self._shown: tuple[Look, np.ndarray, Strokes] | None = None  # shown, and the anchor's
        self._cuts = CutDetector()

    def look(self, frame: Tensor) -> Look:
        """Look at the next frame of the film, 1×3×H×W of floats in [0,1]."""
        begins = self._cuts(frame)
        now = _array(frame)
        view, before = View(now), self._seen
        if before is None or before.frame.shape != now.shape or begins:
            place = np.zeros(2)
            anchor = Anchor(now, view, place, np.zeros(2))
            self._seen = Look(now, view, None, None, place, anchor, self._cuts.state())
        else:
            self._seen = self._look_on(now, view, before)
        return self._seen

    def _look_on(self, now: np.ndarray, view: View, before: Look) -> Look:
        motion = Motion(view, before.view, both_ways=self.both_ways)
        old, anchored = before.anchor, motion
        if not before.is_anchor:
            anchored = Motion(view, old.view, old.pan + motion.pan, both_ways=self.both_ways)
        found, place = float(anchored.trust.mean()), old.place + anchored.pan
        if found < max(old.most - LOST, LEAST_FOUND):
            anchor = Anchor(now, view, place, np.zeros(2))
        else:
            anchor = replace(old, pan=anchored.pan, most=max(old.most, found))
        return Look(now, view, motion, anchored, place, anchor, self._cuts.state())

    def steady(self, look: Look, painted: Tensor) -> Tensor:
        """The painting of the next frame that was looked at, steadied.

        Args:
            look: what :meth:`look` gave.
            painted: 1×3×H×W floats in [0,1], the painting.

        Returns:
            1×3×H×W floats in [0,1].
        """
        result = _array(painted)
        strokes = None
        if self._shown is not None and look.motion is not None and look.anchored is not None:
            _, shown, strokes = self._shown
            result = self._blended(result, (look.motion, shown), (look.anchored, strokes))
        self._shown = look, result, Strokes(result) if look.is_anchor or strokes is None else strokes
        return torch.from_numpy(result).permute(2, 0, 1)[None].clamp(0, 1)

    def _blended(
        self, painted: np.ndarray, last: tuple[Motion, np.ndarray], anchored: tuple[Motion, Strokes]
    ) -> np.ndarray:
        """A painting with what the last frame and the anchor have of it; each with the motion from there."""
        motion, shown = last
        far, strokes = anchored
        before = motion.warp(shown)
        before -= painted  # in place where it can be: frames are large
        change, trust = before, motion.trust * _same_area(before)
        if far is not motion:
            change = far.warp(strokes.doubled, doubled=True)
            change -= painted
            found = far.trust * _same_area(change)
            trust = found + NOT_ANCHORED * trust * (1 - found)
            change -= before
            _multiply(change, found)
            change += before
        share = self.carried * trust
        blend = _local_mean(LIGHT_CARRIED * before - change, share)
        blend += change
        _multiply(blend, share)
        blend += painted
        return _with_contrast_of(painted, blend)

    def __call__(self, frame: Tensor, painted: Tensor) -> Tensor:
        """Look at the next frame and steady its painting."""
        return self.steady(self.look(frame), painted)

    def state(self) -> dict[str, Tensor]:
        """What the frames after the one that was steadied last depend on."""
        if self._shown is None:
            return {}
        look, painted, strokes = self._shown
        kept = {"frame": look.frame, "painted": painted, "place": look.place}
        if not look.is_anchor:
            anchor = {name: getattr(look.anchor, name) for name in ("frame", "place", "pan")}
            anchor |= {"painted": strokes.painted, "most": np.array(look.anchor.most)}
            kept |= {f"anchor.{name}": value for name, value in anchor.items()}
        return {**{name: torch.from_numpy(value) for name, value in kept.items()}, **look.cuts}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave."""
        self.reset()
        if not state:
            return
        self._cuts.restore(state)
        frame, painted, place = (state[name].numpy() for name in ("frame", "painted", "place"))
        view = View(frame)
        anchor, strokes = Anchor(frame, view, place, np.zeros(2)), Strokes(painted)
        if "anchor.frame" in state:
            old, then, pan = (state[f"anchor.{name}"].numpy() for name in ("frame", "place", "pan"))
            anchor = Anchor(old, View(old), then, pan, float(state["anchor.most"]))
            strokes = Strokes(state["anchor.painted"].numpy())
        self._seen = Look(frame, view, None, None, place, anchor, self._cuts.state())
        self._shown = self._seen, painted, strokes


def _same_area(change: np.ndarray) -> np.ndarray:
    """H×W in [0,1]: less where not only strokes changed, but whole areas."""
    cv2 = load_cv2()
    area = largest_channel(cv2.blur(change, (NEIGHBOURHOOD, NEIGHBOURHOOD)) ** 2)
    return np.exp2(-((area / OTHER_PAINT**2) ** 2))


def _local_mean(change: np.ndarray, share: np.ndarray) -> np.ndarray:
    """H×W×3: mean of the change where it is carried, over a fourth of the short side."""
    cv2 = load_cv2()
    side = max(NEIGHBOURHOOD, min(change.shape[:2]) // 4)
    shared = cv2.multiply(change, cv2.merge((share, share, share)))
    mean, weight = (cv2.blur(each, (side, side)) for each in (shared, share))
    weight += _FLAT
    return cv2.divide(mean, cv2.merge((weight, weight, weight)), dst=mean)


def _with_contrast_of(painted: np.ndarray, blend: np.ndarray) -> np.ndarray:
    """The blend with as much contrast as the painting has around the same place, gained by at most 1.5.

    Strokes that do not move with the film wear each other away in a mean.
    """
    cv2 = load_cv2()
    mean = cv2.blur(blend, (STROKE, STROKE))
    gain = np.clip(_contrast(painted) / _contrast(blend), 1, MOST_CONTRAST)
    detail = cv2.subtract(blend, mean)
    _multiply(detail, gain)
    detail += mean
    return np.clip(detail, 0, 1, out=detail)


def _multiply(picture: np.ndarray, by: np.ndarray) -> None:
    """Multiply H×W×3 by H×W in place; NumPy takes five times as long."""
    cv2 = load_cv2()
    cv2.multiply(picture, cv2.merge((by, by, by)), dst=picture)


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
