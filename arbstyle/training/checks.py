"""What is checked before and while training, and said in one line."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.networks import AdaINTransformer, TransformerNetwork
from arbstyle.training.data import StyleTransferData
from arbstyle.training.settings import LossSettings


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
        pairs: content and style file names of the batch, or batches, it is from.
    """

    what: str
    pairs: list[tuple[str, str]]


class UncheckedLosses:
    """The losses since the last optimiser step, and the pictures they are of.

    All are looked at together once a step, since each look waits for the device.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[Tensor, list[tuple[str, str]]]] = []

    def __bool__(self) -> bool:
        return bool(self._losses)

    def add(self, loss: Tensor, pairs: list[tuple[str, str]]) -> None:
        """Note a batch's loss, a scalar."""
        self._losses.append((loss.detach(), pairs))

    def what_is_not_finite(self, gradient_norm: Tensor | None) -> NotFinite | None:
        """The first loss that is not finite, or else the gradient's norm; forgets all if everything is."""
        losses = torch.stack([loss for loss, _ in self._losses])
        values = (
            losses
            if gradient_norm is None
            else torch.cat([losses, gradient_norm.detach().to(losses).view(1)])
        )
        if bool(torch.isfinite(values).all()):
            self._losses.clear()
            return None
        for loss, pairs in self._losses:
            if not torch.isfinite(loss):
                return NotFinite(f"loss is {float(loss)}", pairs)
        everything = [pair for _, pairs in self._losses for pair in pairs]
        return NotFinite(f"gradient's norm is {float(values[-1])}", everything)
