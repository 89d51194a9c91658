"""Where one shot ends and the next begins."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

THUMBNAIL = 24, 32
"""Height and width at which frames are compared: motion hardly shows, another scene does."""

LEAST_CHANGE = 0.06
"""Mean difference of the thumbnails' values, in [0,1], below which nothing is a cut."""

OVER_USUAL = 4.0
"""How much more than the shot's usual change a cut must be."""

_MEMORY = 0.8


class CutDetector:
    """Tells the first frame of a shot from the others, one frame after the other.

    A frame begins a shot when it differs much from the one before, in itself and compared with how much
    frames have differed lately: fast motion changes every frame, a cut only one.
    """

    def __init__(self) -> None:
        self.thumbnail: Tensor | None = None
        self.usual = 0.0

    def state(self) -> dict[str, Tensor]:
        """What the answer for the next frame depends on."""
        if self.thumbnail is None:
            return {}
        return {"thumbnail": self.thumbnail, "usual": torch.tensor(self.usual, dtype=torch.float64)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what :meth:`state` gave."""
        self.thumbnail, self.usual = state["thumbnail"], float(state["usual"])

    def __call__(self, frame: Tensor) -> bool:
        """Whether 1×3×H×W of floats in [0,1] begins a shot; the first frame does."""
        thumbnail = F.adaptive_avg_pool2d(frame, THUMBNAIL)
        before, self.thumbnail = self.thumbnail, thumbnail
        if before is None:
            return True
        change = float((thumbnail - before).abs().mean())
        is_cut = change > LEAST_CHANGE and change > OVER_USUAL * self.usual
        # What a cut changes says nothing about the motion in the shot that it begins.
        self.usual = 0.0 if is_cut else _MEMORY * self.usual + (1 - _MEMORY) * change
        return is_cut
