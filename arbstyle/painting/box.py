"""A rectangle of a picture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Box:
    """Rows and columns of a picture."""

    top: int
    bottom: int
    left: int
    right: int

    def cut(self, picture: Tensor) -> Tensor:
        """This part of N×C×H×W, as a view."""
        return picture[..., self.top : self.bottom, self.left : self.right]

    def grown(self, margin: int, height: int, width: int) -> Box:
        """With a margin around, as far as the picture goes."""
        return Box(
            max(0, self.top - margin),
            min(height, self.bottom + margin),
            max(0, self.left - margin),
            min(width, self.right + margin),
        )

    def within(self, outer: Box) -> Box:
        """The same part in coordinates of an outer box."""
        return Box(
            self.top - outer.top, self.bottom - outer.top, self.left - outer.left, self.right - outer.left
        )

    def scaled(self, stride: int) -> Box:
        """The same part on a map of ``stride`` times fewer rows and columns."""
        return Box(*(-(-edge // stride) for edge in (self.top, self.bottom, self.left, self.right)))
