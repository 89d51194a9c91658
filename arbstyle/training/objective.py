"""What a batch of training is judged by: the painting's loss, the identity error, the error of moments."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from arbstyle.devices import available_bytes
from arbstyle.networks.noise import ConditionalNoise
from arbstyle.networks.style_encoders.moments import MomentsEncoder
from arbstyle.networks.styler import ArbitraryStyler
from arbstyle.networks.transformers.adain import AdaINTransformer
from arbstyle.networks.transformers.drafts import half_size, mix_draft
from arbstyle.perception import LossTerms, PerceptualLoss, Targets, stray_marks, unevenness
from arbstyle.perception.cached_targets import CachedTargets
from arbstyle.training.batches import StyleBatch
from arbstyle.training.loss import MomentsHead
from arbstyle.training.settings import LossSettings


@dataclass(frozen=True)
class Judged:
    """A batch of painted photos.

    Attributes:
        painted: N×3×H×W.
        targets: what they are compared with.
        terms: the loss.
    """

    painted: Tensor
    targets: Targets
    terms: LossTerms


class Objective:
    """Paints batches and judges what comes out.

    Args:
        loss: the perceptual loss.
        moments_head: see :class:`~arbstyle.training.loss.MomentsHead`; ``None`` where it is not trained.
        settings: weights of the terms.
        first_style: row of a style bank that the data's style 0 has.
        draft_every: see :class:`~arbstyle.training.settings.OptimizationSettings`.
    """

    def __init__(
        self,
        loss: PerceptualLoss,
        moments_head: MomentsHead | None,
        settings: LossSettings,
        first_style: int = 0,
        draft_every: int = 0,
    ) -> None:
        self.loss = loss
        self.moments_head = moments_head
        self.settings = settings
        self.first_style = first_style
        self.draft_every = draft_every
        self.training_targets: Callable[..., Targets] = (
            CachedTargets(loss, available_bytes) if settings.cache_targets else loss.targets
        )

    def style_input(self, styler: ArbitraryStyler, batch: StyleBatch) -> Tensor:
        """A batch's styles as the style encoder takes them: pictures, or numbers of a bank."""
        if styler.style_encoder.takes_index:
            return batch.style_index + self.first_style
        return batch.style

    def encode(self, styler: ArbitraryStyler, batch: StyleBatch) -> tuple[Tensor, Tensor | None]:
        """Codes of a batch's styles, and the descriptions that the head of moments reads, if there is one."""
        encoder = styler.style_encoder
        if self.moments_head is None or not isinstance(encoder, MomentsEncoder):
            return styler.encode(self.style_input(styler, batch)), None
        description = encoder.describe(batch.style)
        return encoder.code_of(description), description

    def judge_painting(self, styler: ArbitraryStyler, code: Tensor, batch: StyleBatch, step: int) -> Judged:
        """Paint a batch's photos and compare them with the photos and the styles.

        Args:
            styler: in training mode, the noise changes from step to step; otherwise it is always the same.
            code: of the batch's styles.
            batch: photos and styles.
            step: of the training.
        """
        content = batch.content.contiguous(memory_format=torch.channels_last)
        style = batch.style.contiguous(memory_format=torch.channels_last)
        parameters = styler.parameters_of(code)
        if self.settings.content_target == "adain" and isinstance(styler.transformer, AdaINTransformer):
            painted, targets = self._paint_adain(styler.transformer, content, style, parameters)
        else:
            seed = noise_seed(styler, step)
            start = self._with_draft(styler, content, parameters, step) if styler.training else content
            painted = styler.transformer(start, parameters, seed=seed)
            make_targets = self.training_targets if styler.training else self.loss.targets
            targets = make_targets(content, style)
        return Judged(painted, targets, self.loss(painted, targets))

    def _paint_adain(
        self, transformer: AdaINTransformer, content: Tensor, style: Tensor, parameters: Tensor
    ) -> tuple[Tensor, Targets]:
        """The content target is what the decoder gets: the photo goes through VGG once, not three times."""
        restyled = transformer.adain(content, parameters)
        targets = replace(
            self.loss.targets(None, style),
            content=dict.fromkeys(self.loss.content_layers, restyled.detach()),
        )
        return transformer.decode(restyled), targets

    @torch.no_grad()
    def _with_draft(self, styler: ArbitraryStyler, content: Tensor, parameters: Tensor, step: int) -> Tensor:
        """Photos to repaint: at some steps, mixed with a draft."""
        if not self.draft_every or step % self.draft_every:
            return content
        draft = styler.transformer(half_size(content), parameters, noise_seed(styler, step))
        return mix_draft(content, draft)

    def identity_error(self, styler: ArbitraryStyler, photos: Tensor, step: int) -> Tensor:
        """Mean squared error of one photo in eight painted in its own style; 0 where that has no weight."""
        if not self.settings.identity_weight or styler.style_encoder.takes_index:
            return photos.new_zeros(())
        some = photos[: math.ceil(len(photos) / 8)].contiguous(memory_format=torch.channels_last)
        same = styler(some, some, seed=noise_seed(styler, step))
        return (same - some).square().mean()

    def evenness_error(self, painted: Tensor, photos: Tensor) -> Tensor:
        """See :func:`~arbstyle.perception.unevenness`; 0 where that has no weight."""
        if not self.settings.evenness_weight:
            return photos.new_zeros(())
        return unevenness(painted, photos, tolerance=self.settings.evenness_tolerance)

    def marks_error(self, painted: Tensor, photos: Tensor) -> Tensor:
        """See :func:`~arbstyle.perception.stray_marks`; 0 where that has no weight."""
        if not self.settings.marks_weight:
            return photos.new_zeros(())
        return stray_marks(painted, photos)

    def noise_power(self, styler: ArbitraryStyler, code: Tensor) -> Tensor:
        """Mean square of the amplitudes of noise; 0 where that has no weight, or there is no noise."""
        sites = [site for site in styler.transformer.sites if isinstance(site, ConditionalNoise)]
        if not self.settings.noise_weight or not sites:
            return code.new_zeros(())
        parameters = styler.parameters_of(code).float()
        return torch.stack([site.amplitudes(parameters).square().mean() for site in sites]).mean()

    def moments_error(self, description: Tensor | None, targets: Targets) -> Tensor:
        """Error of the moments predicted from descriptions of styles; 0 without a head."""
        if self.moments_head is None or description is None:
            return torch.zeros((), device=next(self.loss.parameters()).device)
        return self.moments_head.error(description, targets)


def noise_seed(styler: ArbitraryStyler, step: int) -> int:
    """Another noise every step of training; always the same where results are compared."""
    return step if styler.training else 0
