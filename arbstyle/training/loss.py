"""What training descends: the perceptual loss, and the error of the moments that the encoder predicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.networks.style_encoders.base import StyleEncoder
from arbstyle.networks.style_encoders.moments import MomentsEncoder
from arbstyle.perception import PerceptualEncoder, PerceptualLoss, Targets
from arbstyle.training.settings import LossSettings


def build_loss(settings: LossSettings) -> PerceptualLoss:
    """The loss, with its frozen network."""
    encoder = PerceptualEncoder(
        settings.vgg,
        sorted({*settings.content_layers, *settings.style_layers}),
        weights=settings.vgg_weights,
        pooling=settings.pooling,
        normalize_filters=settings.normalize_filters,
    )
    return PerceptualLoss(
        encoder,
        settings.content_layers,
        settings.style_layers,
        content_weight=settings.content_weight,
        style_weight=settings.style_weight,
        tv_weight=settings.tv_weight,
        style_statistic=settings.style_statistic,
        relative_errors=settings.relative_errors,
        style_bound=settings.style_bound,
    )


class MomentsHead(nn.Linear):
    """Predicts a style's moments from the encoder's description of it.

    Args:
        style_encoder: whose descriptions are read.
        loss: whose style layers' means and deviations are predicted.

    Raises:
        ArbstyleError: the encoder describes nothing, or the loss compares no moments.
    """

    def __init__(self, style_encoder: StyleEncoder, loss: PerceptualLoss) -> None:
        if not isinstance(style_encoder, MomentsEncoder) or loss.style_statistic == "gram":
            raise ArbstyleError(
                "loss.moments_weight needs a MomentsEncoder, and style_statistic moments or both, got "
                f"{type(style_encoder).__name__} and {loss.style_statistic}"
            )
        channels = sum(loss.encoder.channels[layer] for layer in loss.style_layers)
        super().__init__(style_encoder.description_size, 2 * channels)
        nn.init.ones_(self.bias)  # with normalised filters every channel has mean 1

    def error(self, description: Tensor, targets: Targets) -> Tensor:
        """The style term, a scalar, of pictures whose moments are the predicted ones.

        Args:
            description: the encoder's, N×description_size.
            targets: of the same pictures.
        """
        moments = [each for layer in targets.style.values() for each in layer[-2:]]
        predicted = self(description).float()
        parts = predicted.split([each.shape[1] for each in moments], dim=1)
        errors = [(part - each).square().mean() for part, each in zip(parts, moments, strict=True)]
        return torch.stack(errors).sum()
