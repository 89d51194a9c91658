"""Between a forward pass and Gatys' optimisation: improve the parameters of a style for given photos.

The networks stay as they are; some thousand numbers, the scales and shifts of the conditional norms, descend
the loss that training used. What comes out is a style like any other: instant to paint with, and to save.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.networks import TransformerNetwork
from arbstyle.perception import LossTerms, PerceptualEncoder, PerceptualLoss, Targets

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
CONTENT_LAYER = "relu4_1"
LEARNING_RATE = 0.05
CONTENT_ALLOWANCE = 1.08
"""Content loss that costs nothing, over that of the start."""

CONTENT_BARRIER = 10.0
"""Price of content loss beyond the allowance, over that of style loss."""

StepCallback = Callable[[int, LossTerms], object]
"""Called with the number of a step and its loss."""


class Refiner:
    """Improves parameters for photos by the loss of features' means and deviations.

    Args:
        transformer: in evaluation mode and float32; its weights do not change.
        dtype: bfloat16 computes features in it, the rest, and everything with other formats, in float32.
        vgg_weights: as for :class:`~arbstyle.perception.PerceptualEncoder`.
    """

    def __init__(
        self,
        transformer: TransformerNetwork,
        dtype: torch.dtype = torch.float32,
        vgg_weights: str | Path | None = None,
    ) -> None:
        self.transformer = transformer
        self.dtype = dtype
        device = next(transformer.parameters()).device
        encoder = PerceptualEncoder("vgg19", STYLE_LAYERS, weights=vgg_weights).to(device)
        content = {CONTENT_LAYER: 1.0}
        self.loss: PerceptualLoss = PerceptualLoss(
            encoder, content, dict.fromkeys(STYLE_LAYERS, 1.0), style_statistic="moments"
        )

    def __call__(
        self,
        parameters: Tensor,
        photos: Sequence[Tensor],
        style: Tensor,
        steps: int,
        callback: StepCallback | None = None,
    ) -> Tensor:
        """Descend.

        The style loss falls while the content loss is kept about where it was at the start: a
        weighted sum would trade one for the other at a rate that is right for few pictures.

        Args:
            parameters: 1×P to start from.
            photos: 1×3×H×W each, in [0,1]; they take turns.
            style: 1×3×h×w in [0,1].
            steps: of Adam, one photo each.
            callback: called with the number of the step and its loss.

        Returns:
            1×P.

        Raises:
            ArbstyleError: fewer than one step, or no photo.
        """
        if steps < 1 or not photos:
            raise ArbstyleError(
                f"expected a photo and 1 or more steps to refine, got {len(photos)} and {steps}"
            )
        device = next(self.transformer.parameters()).device
        refined = parameters.detach().to(device, torch.float32, copy=True).requires_grad_()
        optimizer = torch.optim.Adam([refined], lr=LEARNING_RATE)
        photos = [photo.to(device) for photo in photos]
        with self._precision(device):
            targets = [self.loss.targets(photo, style.to(device)) for photo in photos]
        starts: dict[int, tuple[float, float]] = {}
        for step in range(steps):
            turn = step % len(photos)
            with self._precision(device):
                terms = self._terms(photos[turn], refined, targets[turn])
            style_start, content_start = starts.setdefault(turn, (terms.style.item(), terms.content.item()))
            excess = (terms.content / max(content_start, 1e-12) - CONTENT_ALLOWANCE).clamp_min(0)
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
            optimizer.zero_grad()
            (terms.style / max(style_start, 1e-12) + CONTENT_BARRIER * excess).backward()
            optimizer.step()
            if callback:
                callback(step + 1, terms)
        return refined.detach()

    def _precision(self, device: torch.device) -> torch.autocast:
        # In float16 small gradients would vanish.
        return torch.autocast(device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def _terms(self, photo: Tensor, parameters: Tensor, targets: Targets) -> LossTerms:
        return self.loss(self.transformer(photo, parameters), targets)
