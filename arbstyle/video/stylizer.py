"""Painting frames one after the other, wherever they come from."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import PictureLike, as_bytes, as_float, as_mask, as_tensor, to_pil
from arbstyle.painting import StyleLike, Stylizer
from arbstyle.video.ahead import made_ahead
from arbstyle.video.frames import Frame
from arbstyle.video.library import load_cv2
from arbstyle.video.stability import DEFAULT_STABILITY, Look, Stabilizer

Weights = Sequence[float] | Callable[[float], Sequence[float]]
"""Of a blend; or as a function of the time in seconds."""

PIXELS_AT_A_TIME = 8_000_000
"""Of frames that are painted side by side at most: memory counts, and a large frame keeps all cores busy."""


class VideoStylizer:
    """Paints the frames of a clip in turn, steadied along the motion between them.

    The idea of carrying the painting along the film's motion is that of Ruder et al. 2016.

    Args:
        stylizer: the model.
        style: one style, or a sequence of them for a blend, a transition or masks.
        strength: as in :meth:`Stylizer.stylize`.
        weights: of the styles of a blend; a function of the time makes a transition.
        stability: 0 paints every frame for itself; up to 1 holds the painting still where the film is, with
            the motion of what moves.
        masks, options: as in :meth:`Stylizer.stylize`: ``keep_colors``, ``stroke``, ``seed`` and so on.

    Raises:
        ArbstyleError: a stability outside of [0,1], or no OpenCV for one above 0.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        style: StyleLike | Sequence[StyleLike],
        strength: float = 1.0,
        *,
        weights: Weights | None = None,
        masks: Sequence[PictureLike] | None = None,
        stability: float = DEFAULT_STABILITY,
        **options: Any,
    ) -> None:
        self.stylizer = stylizer
        self.style = style
        self.strength = strength
        self.weights = weights
        self.options = {"masks": None if masks is None else [as_mask(mask) for mask in masks], **options}
        steady = Stabilizer(stability)
        self.stabilizer = steady if stability and strength else None  # a film that stays as it is is still
        if self.stabilizer:
            load_cv2()

    def __call__(self, frames: Iterable[PictureLike], rate: float = 25.0) -> Iterator[Tensor | Image.Image]:
        """Paint frames as they come.

        Args:
            frames: of one size, each whatever :class:`Stylizer` takes for a photo.
            rate: frames a second, for transitions.

        Yields:
            painted frames: tensors of the same shape and type for tensors, else Pillow images.

        Raises:
            ArbstyleError: as :meth:`Stylizer.stylize` does.
        """
        self.reset()
        for number, frame in enumerate(frames):
            yield self.paint(frame, number / rate)

    def reset(self) -> None:
        """Forget all frames so far."""
        if self.stabilizer:
            self.stabilizer.reset()

    @overload
    def paint(self, frame: Tensor, time: float = 0.0) -> Tensor: ...

    @overload
    def paint(self, frame: str | Path | np.ndarray | Image.Image, time: float = 0.0) -> Image.Image: ...

    @overload
    def paint(self, frame: PictureLike, time: float = 0.0) -> Tensor | Image.Image: ...

    def paint(self, frame: PictureLike, time: float = 0.0) -> Tensor | Image.Image:
        """Paint the next frame.

        Args:
            frame: whatever :class:`Stylizer` takes for a photo.
            time: at which it is shown, in seconds.

        Returns:
            a tensor of the same shape and type for a tensor, else a Pillow image.
        """
        pixels = as_tensor(frame)
        look = self._look(pixels)
        painted = self._steadied(pixels, look, self._painted(pixels, look, time))
        if isinstance(frame, Tensor):
            return painted[0] if frame.dim() == 3 else painted
        return to_pil(as_float(painted))

    def paint_film(self, frames: Iterable[Frame]) -> Generator[Frame, None, None]:
        """Paint the frames of a film, several of them side by side, and so faster than one by one.

        Values may be one level of 255 away from those of :meth:`paint`: threads share the work in another
        way, and sums are rounded.
        """
        many = torch.get_num_threads() if self.stylizer.device.type == "cpu" else 1

        def side_by_side(item: tuple[Frame, Look | None]) -> int:
            return min(many, PIXELS_AT_A_TIME // (item[0].pixels.shape[2] * item[0].pixels.shape[3]))

        def painted(item: tuple[Frame, Look | None]) -> Tensor:
            return self._painted(item[0].pixels, item[1], float(item[0].time))

        looked = ((frame, self._look(frame.pixels)) for frame in frames)
        for (frame, look), painting in made_ahead(painted, looked, side_by_side):
            yield replace(frame, pixels=self._steadied(frame.pixels, look, painting))

    def _look(self, frame: Tensor) -> Look | None:
        return None if self.stabilizer is None else self.stabilizer.look(as_float(frame))

    def _painted(self, frame: Tensor, look: Look | None, time: float) -> Tensor:
        """A frame for itself; if it is to be steadied, as floats, with strokes that go with the camera."""
        weights = self.weights(time) if callable(self.weights) else self.weights
        options = {**self.options, "weights": weights}
        if look is None:
            return self.stylizer.stylize(frame, self.style, self.strength, **options)
        return self.stylizer.stylize(
            as_float(frame), self.style, self.strength, origin=look.origin, **options
        )

    def _steadied(self, frame: Tensor, look: Look | None, painted: Tensor) -> Tensor:
        if self.stabilizer is None or look is None:
            return painted
        steady = self.stabilizer.steady(look, painted).to(frame.device)
        return steady if frame.is_floating_point() else as_bytes(steady)

    def state(self) -> dict[str, Tensor]:
        """What painting goes on from, to be kept and given to :meth:`restore`."""
        return self.stabilizer.state() if self.stabilizer else {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on where :meth:`state` was taken."""
        if self.stabilizer:
            self.stabilizer.restore(state)


def crossfade(intervals: Sequence[tuple[float, float]]) -> Callable[[float], list[float]]:
    """Weights of styles in turn: one interval in seconds for each change from a style to the next.

    Raises:
        ArbstyleError: intervals that overlap, are not in order, or end before they begin.
    """
    ends = [moment for interval in intervals for moment in interval]
    if ends != sorted(ends):
        raise ArbstyleError("transitions must follow each other: each begins when the one before is over")

    def weights(time: float) -> list[float]:
        done = [_progress(time, *interval) for interval in intervals]
        # A style is there as far as it has come in and has not gone out.
        return [came - gone for came, gone in zip([1.0, *done], [*done, 0.0], strict=True)]

    return weights


def _progress(time: float, start: float, end: float) -> float:
    return float(time >= end) if end <= start else min(max((time - start) / (end - start), 0.0), 1.0)


def even_transition(styles: int, start: float, end: float) -> list[tuple[float, float]]:
    """Intervals that spread changes between so many styles evenly over a time in seconds."""
    step = (end - start) / max(1, styles - 1)
    return [(start + step * number, start + step * (number + 1)) for number in range(styles - 1)]
