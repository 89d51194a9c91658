"""A style loss that means the same for every style picture."""

from __future__ import annotations

from torch import Tensor

from arbstyle.perception import StyleStatistics
from arbstyle.perception.losses import error_over_bound


def normalized_style_losses(image: StyleStatistics, style: StyleStatistics) -> dict[str, Tensor]:
    """Squared distance of the Gram matrices over its upper bound, by layer; each N, in [0, 1].

    Cheng et al. 2021 (arXiv 2104.10064): ‖G − S‖² ≤ ‖G‖² + ‖S‖² where no entry of G and S is negative, as
    after a ReLU. A plain style loss grows with the fourth power of a style's contrast, so that few styles
    decide its mean; this one is 0 for equal statistics and 1 for statistics without anything in common.
    Two Gram matrices of zeros are equal.
    """
    return {
        layer: error_over_bound(image.grams[layer], target, floor=1e-30)
        for layer, target in style.grams.items()
    }
