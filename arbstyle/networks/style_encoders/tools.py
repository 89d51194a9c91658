"""What several encoders need: sizes they can take, patches of large pictures, a start for ReLUs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def start_for_relu(network: nn.Module) -> None:
    """Start convolutions so that activations keep their size through ReLUs (He et al. 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def patches(images: Tensor, side: int) -> Tensor:
    """The middles of a large picture's squares of twice the side: a quarter, with much the same statistics.

    Args:
        images: N×C×H×W.
        side: of a patch; pictures whose short side is less than four times as long stay whole.

    Returns:
        (N·patches)×C×side×side, each picture's patches in a row; or the images.
    """
    if min(images.shape[2:]) < 4 * side:
        return images
    inner = images[..., side // 2 :, side // 2 :]
    squares = inner.unfold(2, side, 2 * side).unfold(3, side, 2 * side)
    return squares.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def at_least(images: Tensor, side: int) -> Tensor:
    """Enlarge pictures whose short side is below what the network can take.

    Their shape is kept, except that strips thinner than 1 : 16 don't get longer than need be: one of a single
    row would grow to hundreds of millions of pixels.
    """
    short = min(images.shape[2:])
    if short >= side:
        return images
    height, width = (
        max(side, min(round(length * side / short), max(length, 16 * side))) for length in images.shape[2:]
    )
    return F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)
