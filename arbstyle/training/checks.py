"""What is checked before and while training, and said in one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.networks import AdaINTransformer, TransformerNetwork
from arbstyle.training.data import StyleTransferData
from arbstyle.training.settings import LossSettings

Pairs = list[tuple[str, str]]
"""Content and style file names."""


def check_adain_target(transformer: TransformerNetwork, loss: LossSettings) -> None:
    """Raise an ArbstyleError where the content target ``adain`` does not fit transformer or loss."""
    if not isinstance(transformer, AdaINTransformer):
        raise ArbstyleError(
            f"content_target 'adain' needs AdaINTransformer, got {type(transformer).__name__}: use 'photo'"
        )
    if list(loss.content_layers) != [transformer.layer]:
        raise ArbstyleError(
            f"content_target 'adain' is features of {transformer.layer}: expected content_layers of it only, "
            f"got {', '.join(loss.content_layers)}"
        )
    if (loss.vgg, loss.normalize_filters, loss.pooling) != ("vgg19", True, "max"):
        raise ArbstyleError(
            "content_target 'adain' is features of VGG-19 with normalised filters and max pooling: leave "
            "vgg, normalize_filters and pooling of the loss at these"
        )


def check_bank(rows: int, first_row: int, data: StyleTransferData) -> None:
    """Raise an ArbstyleError where a style bank cannot learn the data's styles.

    Args:
        rows: of the bank that train.
        first_row: how many rows before these are left as they are.
        data: whose styles are numbered from 0.
    """
    styles = data.num_styles
    if styles is None:
        raise ArbstyleError(
            "a style bank needs numbered styles, and a stream's have none: set data.streaming to false"
        )
    if data.hold_out_styles and data.validation_pairs:
        raise ArbstyleError("a style bank knows no held-out styles: set data.hold_out_styles to false")
    if styles > rows:
        raise ArbstyleError(
            f"the bank has {rows} rows to train, the set {styles} style pictures: set "
            f"model.style_encoder.init_args.num_styles to {styles + first_row}"
        )


@dataclass(frozen=True)
class NotFinite:
    """A number that is infinite or not a number.

    Attributes:
        what: such as ``loss is nan``.
        step: the optimiser's, in which it came up.
        pairs: content and style file names of the batch, or batches, it is from.
    """

    what: str
    step: int
    pairs: Pairs


@dataclass(frozen=True)
class _Step:
    number: int
    values: Tensor
    """The losses of the batches, and then the gradient's norm, if that counts."""
    pairs: list[Pairs]


class FiniteWatch:
    """Whether losses and gradients are finite: asked at every step, read now and then.

    Reading waits for the device, asking does not: the answers stay there until :meth:`what_is_not_finite`.
    """

    most_unread = 100
    """Steps after which the answers should be read in any case."""

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Pairs]] = []
        self._steps: list[_Step] = []

    @property
    def is_within_a_step(self) -> bool:
        """Whether there were batches since the last step's end."""
        return bool(self._batches)

    @property
    def is_full(self) -> bool:
        return len(self._steps) >= self.most_unread

    def add(self, loss: Tensor, pairs: Pairs) -> None:
        """Note a batch's loss, a scalar."""
        self._batches.append((loss.detach(), pairs))

    def end_step(self, number: int, gradients: Sequence[Tensor], norm: Tensor | None) -> None:
        """Set a step's gradients to 0, in place and on their device, if it has a number that is not finite.

        So nothing wrong gets into weights, the optimiser's state or an average before the answer is read.

        Args:
            number: of the step.
            gradients: all of them.
            norm: theirs, if it counts.
        """
        values = torch.stack([loss for loss, _ in self._batches])
        if norm is not None:
            values = torch.cat([values, norm.detach().to(values).view(1)])
        self._steps.append(_Step(number, values, [pairs for _, pairs in self._batches]))
        self._batches.clear()
        is_wrong = values.isfinite().all().logical_not()
        for gradient in gradients:
            gradient.masked_fill_(is_wrong.to(gradient.device), 0)

    def what_is_not_finite(self) -> NotFinite | None:
        """The first number of the steps since the last reading; forgets them if everything is finite."""
        if not self._steps:
            return None
        values = torch.cat([step.values for step in self._steps]).cpu()
        sizes = [len(step.values) for step in self._steps]
        for step, own in zip(self._steps, values.split(sizes), strict=True):
            for place, value in enumerate(own.tolist()):
                if math.isfinite(value):
                    continue
                if place < len(step.pairs):
                    return NotFinite(f"loss is {value}", step.number, step.pairs[place])
                everything = [pair for pairs in step.pairs for pair in pairs]
                return NotFinite(f"gradient's norm is {value}", step.number, everything)
        self._steps.clear()
        return None
