"""Motion between a frame and the one before: where its pixels were, and which of them were not there."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from arbstyle.video.library import load_cv2

FLOW_SIZE = 240
"""Short side at which motion is found. Twice that takes four times as long and finds little more."""

SMALLEST = 24
"""Sides are kept above this, or there is nothing to search in."""

COLOR_TOLERANCE = 0.05
"""Difference of a place from where it came from, in [0,1] and beyond the film's noise, at which it is trusted
by half."""

MOST_NOISE = 0.1
"""Difference, in [0,1], put down to noise at most: texture that is not found looks like noise, too."""

SIMPLER = 0.002
"""How much worse, in [0,1], a simpler motion may fit and still be taken for the true one."""

ALIKE = 0.5
"""Pixels, at the size at which motion is found, by which two motions may differ and still be the same."""

RETURN_TOLERANCE = 1.0
"""How many pixels going there and back may miss by, at the size at which motion is found."""

LANCZOS = 5
"""Pixels to either side that a value between pixels is made of."""

STRETCHED = 0.6
"""Stretch or shear, in pixels a pixel, at which a place is trusted by half. Beside what moved something
comes into view; where it has the same colours, nothing else tells."""


class View:
    """A frame as motion is found in it: small, in colour and grey.

    Args:
        frame: H×W×3 floats in [0,1].
    """

    def __init__(self, frame: np.ndarray) -> None:
        cv2 = load_cv2()
        self.size: tuple[int, int] = frame.shape[:2]
        scale = min(1.0, FLOW_SIZE / min(self.size))
        width, height = (max(SMALLEST, round(side * scale)) for side in reversed(self.size))
        self.color = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        self.grey = (cv2.cvtColor(self.color, cv2.COLOR_RGB2GRAY) * 255).round().astype(np.uint8)

    def flow_to(self, other: View, guess: np.ndarray | float = 0.0) -> np.ndarray:
        """How far away the place of each pixel lies in another frame.

        Args:
            other: of the same size.
            guess: x and y in pixels; the search begins there.

        Returns:
            h×w×2, x and y in pixels.
        """
        x, y = np.broadcast_to(np.rint(guess).astype(np.float32), 2)
        return _search().calc(self.grey, _shifted(other.grey, -x, -y), None) + np.array([x, y], np.float32)


class Motion:
    """Where the pixels of a frame were in an earlier one.

    Dense inverse search blurs the border of what moves, and knows nothing of places without texture. So
    every place may also have moved as its wider surroundings did, as most of the frame did, or not at all,
    where that explains its colours as well.

    Args:
        now, before: the two frames.
        guess: x and y in pixels of the camera's motion, as far as it is known.
        both_ways: distrust places whose motion is not undone by the motion back.

    Attributes:
        places: H×W×2, x and y in the earlier frame of every pixel of this one.
        trust: H×W in [0,1]: whether what was there is what is here.
        pan: x and y in pixels by which the camera moved: the motion of most of the frame, if it explains the
            colours better than none.
    """

    def __init__(
        self, now: View, before: View, guess: np.ndarray | float = 0.0, *, both_ways: bool = False
    ) -> None:
        guess = guess / _scale(now.grey, now.size)
        flow = now.flow_to(before, guess)
        wide = _spread(flow, now.grey)
        still = np.zeros(2, np.float32)
        usual = np.array([np.median(axis) for axis in load_cv2().split(flow)], np.float32)
        as_still, as_usual = (
            _misfit(_change(now, before, np.broadcast_to(each, flow.shape))) for each in (still, usual)
        )
        moves = np.median(as_still) > np.median(as_usual) + SIMPLER / 4
        change = _change(now, before, flow)
        best, misfit = flow.copy(), _misfit(change)
        sure = _returns(flow, before.flow_to(now, -guess)) if both_ways else np.ones(misfit.shape, bool)
        # Where all fit, as in a clear sky, the last one is taken: what the camera does. But before a moving
        # camera things are near and far: there it must be about what the surroundings do.
        simpler = ((usual, as_usual), (still, as_still))
        wider = (wide, _misfit(_change(now, before, wide)))
        for simple, its_misfit in (wider, *(simpler[::-1] if moves else simpler)):
            better = its_misfit <= misfit + SIMPLER
            if moves and simple is not wide:
                better &= _alike(wide, simple)
            np.copyto(best, simple, where=better[..., None])
            np.copyto(misfit, its_misfit, where=better)
            sure |= better
        self.pan: np.ndarray = (usual if moves else still) * _scale(flow, now.size)
        trust = _trust(misfit - _noise(change), sure) * _unstretched(best)
        self.places, self.trust = _enlarged(best, trust, now.size)

    def warp(self, picture: np.ndarray, *, doubled: bool = False) -> np.ndarray:
        """A picture H×W×C of the earlier frame, as it would lie now.

        Args:
            picture: H×W×C, or what :func:`doubled` made of it.
            doubled: the picture comes from :func:`doubled`. The cubic kernel then keeps fine strokes.
        """
        cv2 = load_cv2()
        places = 2 * self.places if doubled else self.places
        return cv2.remap(picture, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def doubled(picture: np.ndarray) -> np.ndarray:
    """2H×2W×3 of H×W×3, with values between the pixels by Lanczos' kernel; pixel (x, y) lies at (2x, 2y)."""
    cv2 = load_cv2()
    height, width, channels = picture.shape
    between = np.arange(-LANCZOS, LANCZOS) + 0.5
    kernel = np.sinc(between) * np.sinc(between / LANCZOS)
    kernel, itself, at = kernel / kernel.sum(), np.ones(1), LANCZOS - 1
    border = {"borderType": cv2.BORDER_REPLICATE}
    right = cv2.sepFilter2D(picture, -1, kernel, itself, anchor=(at, 0), **border)
    # As channels or rows side by side: to write every other value takes several times as long.
    rows = cv2.merge((picture, right)).reshape(height, -1)
    below = cv2.sepFilter2D(rows, -1, itself, kernel, anchor=(0, at), **border)
    return np.stack((rows, below), axis=1).reshape(2 * height, 2 * width, channels)


def largest_channel(picture: np.ndarray) -> np.ndarray:
    """H×W of H×W×3; NumPy's maximum over the last axis takes 20 times as long."""
    cv2 = load_cv2()
    red, green, blue = cv2.split(picture)
    return cv2.max(cv2.max(red, green), blue)


def _change(now: View, before: View, flow: np.ndarray) -> np.ndarray:
    """h×w×3: how the colours of each place differ from those that it came from; much beyond the frame."""
    cv2 = load_cv2()
    places = _grid(*flow.shape[:2]) + flow
    outside = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (9, 9, 9)}
    return cv2.remap(before.color, places, None, cv2.INTER_LINEAR, **outside) - now.color


def _misfit(change: np.ndarray) -> np.ndarray:
    """h×w: the largest difference of a channel, around each place."""
    cv2 = load_cv2()
    return cv2.blur(largest_channel(np.abs(change)), (5, 5))


def _noise(change: np.ndarray) -> float:
    """How much of the misfit is noise in most places: what differs from pixel to pixel, unlike light."""
    cv2 = load_cv2()
    green = cv2.extractChannel(change, 1)
    # Of Gaussian noise, the largest of three channels is on the average twice the median of one.
    return min(2 * float(np.median(np.abs(green - cv2.blur(green, (5, 5))))), MOST_NOISE)


def _spread(flow: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """The flow of the surroundings: a mean in which near places count more, and where motion can be seen.

    How well it can be seen is the least eigenvalue of the structure tensor (Shi & Tomasi 1994).
    """
    cv2 = load_cv2()
    height, width = grey.shape
    seen = cv2.cornerMinEigenVal(grey, 5)
    seen = np.minimum(seen, 4 * float(seen.mean())) + 1e-9
    small = max(1, width // 4), max(1, height // 4)
    x, y = cv2.split(flow)
    known = cv2.resize(cv2.merge([x * seen, y * seen, seen]), small, interpolation=cv2.INTER_AREA)
    total = sum(share * cv2.blur(known, (side, side)) for side, share in ((3, 1.0), (15, 0.1), (61, 0.01)))
    x, y, seen = cv2.split(cv2.resize(total, (width, height), interpolation=cv2.INTER_LINEAR))
    return cv2.merge([x / seen, y / seen])


def _alike(flow: np.ndarray, other: np.ndarray) -> np.ndarray:
    cv2 = load_cv2()
    x, y = cv2.split(flow - other)
    return cv2.magnitude(x, y) < ALIKE


def _returns(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    cv2 = load_cv2()
    places = _grid(*flow.shape[:2]) + flow
    returned = cv2.remap(back, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.magnitude(*cv2.split(flow + returned)) < RETURN_TOLERANCE


def _trust(misfit: np.ndarray, sure: np.ndarray) -> np.ndarray:
    cv2 = load_cv2()
    trust = np.exp2(-((np.maximum(misfit, 0) / COLOR_TOLERANCE) ** 2)).astype(np.float32) * sure
    # Beside what is not to be trusted motion is wrong, too; and a soft border is not seen.
    return cv2.blur(cv2.erode(trust, np.ones((3, 3), np.uint8)), (3, 3))


def _unstretched(flow: np.ndarray) -> np.ndarray:
    """h×w in [0,1]: less where neighbours came from places farther apart, or nearer, than they are."""
    cv2 = load_cv2()
    squares = [
        cv2.Sobel(part, -1, *along, scale=1 / 8) ** 2
        for part in cv2.split(flow)
        for along in ((1, 0), (0, 1))
    ]
    return np.exp2(cv2.blur(sum(squares), (3, 3)) * (-1 / STRETCHED**2))


def _enlarged(flow: np.ndarray, trust: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    cv2 = load_cv2()
    height, width = size
    places = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
    places *= _scale(flow, size)  # in place: frames are large
    places += _grid(height, width)
    return places, _resized(trust, size)


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    cv2 = load_cv2()
    return cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR)


def _scale(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels of a frame of this height and width a pixel of the flow, x and y."""
    return np.array([size[1] / flow.shape[1], size[0] / flow.shape[0]], np.float32)


def _shifted(picture: np.ndarray, right: float, down: float) -> np.ndarray:
    """A picture h×w moved by whole pixels; its border is repeated."""
    if not (right or down):
        return picture
    cv2 = load_cv2()
    move = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(picture, move, picture.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


@functools.lru_cache(2)
def _grid(height: int, width: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=-1)


def _search() -> Any:
    """Dense inverse search (Kroeger et al. 2016, arXiv:1603.03590).

    Always a new one: after small pictures it goes on with other settings in large ones.
    """
    cv2 = load_cv2()
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
