"""LPIPS, where the weights that it needs are on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.perception import FrozenNetwork, PerceptualEncoder

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")


class LPIPS(FrozenNetwork):
    """Learned perceptual image patch similarity with VGG-16 (Zhang et al. 2018, version 0.1).

    The backbone is `PerceptualEncoder`, whose input normalisation is theirs; the weights of the channels
    are those that torchmetrics carries.

    Args:
        weights: of VGG-16, as `PerceptualEncoder` takes them.

    Raises:
        ArbstyleError: no weights, or torchmetrics is not installed.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        self.encoder: PerceptualEncoder = PerceptualEncoder(
            "vgg16", LAYERS, weights=weights, normalize_filters=False
        )
        self.channel_weights: nn.ParameterList = nn.ParameterList(_channel_weights())
        self.freeze()

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        """Distance of pictures N×3×H×W in [0, 1], at least 16×16 pixels; N, 0 for equal pictures."""
        ours, theirs = self.encoder(image), self.encoder(reference)
        total = image.new_zeros(len(image))
        for layer, weight in zip(LAYERS, self.channel_weights, strict=True):
            difference = (_unit_length(ours[layer]) - _unit_length(theirs[layer])).square()
            total = total + (difference * weight).sum(dim=1).mean(dim=(1, 2))
        return total


def find_vgg16_weights() -> Path | None:
    """VGG-16 weights on this machine: `ARBSTYLE_VGG16`, else what torchvision has downloaded before."""
    named = os.environ.get("ARBSTYLE_VGG16")
    downloads = sorted(Path(torch.hub.get_dir(), "checkpoints").glob("vgg16-*.pth"))
    return Path(named) if named else next(iter(downloads), None)


def _unit_length(features: Tensor) -> Tensor:
    return features / features.square().sum(dim=1, keepdim=True).add(1e-8).sqrt()


def _channel_weights() -> list[nn.Parameter]:
    """By layer, 1×C×1×1."""
    try:
        from torchmetrics.functional.image import lpips
    except ImportError as error:
        raise ArbstyleError("LPIPS needs torchmetrics: pip install torchmetrics") from error
    path = Path(lpips.__file__).parent / "lpips_models" / "vgg.pth"
    state = torch.load(path, weights_only=True, map_location="cpu")
    return [nn.Parameter(state[f"lin{index}.model.1.weight"]) for index in range(len(LAYERS))]
