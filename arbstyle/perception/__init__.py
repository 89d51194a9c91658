"""What a picture shows and how it is painted, in numbers: the frozen VGG, statistics, losses, measures."""

from arbstyle.perception.encoder import PerceptualEncoder
from arbstyle.perception.frozen import IMAGENET_MEAN, IMAGENET_STD, FrozenNetwork
from arbstyle.perception.losses import (
    LossTerms,
    PerceptualLoss,
    StyleStatistic,
    Targets,
    normalized_error,
    parse_layers,
    stray_marks,
    total_variation,
    unevenness,
)
from arbstyle.perception.metrics import (
    StyleStatistics,
    content_loss,
    gram_style_losses,
    luminance,
    moment_style_losses,
    psnr,
    ssim,
    style_statistics,
)
from arbstyle.perception.statistics import channel_moments, gram_matrix
from arbstyle.perception.vgg import Network, Pooling

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "FrozenNetwork",
    "LossTerms",
    "Network",
    "PerceptualEncoder",
    "PerceptualLoss",
    "Pooling",
    "StyleStatistic",
    "StyleStatistics",
    "Targets",
    "channel_moments",
    "content_loss",
    "gram_matrix",
    "gram_style_losses",
    "luminance",
    "moment_style_losses",
    "normalized_error",
    "parse_layers",
    "psnr",
    "ssim",
    "stray_marks",
    "style_statistics",
    "total_variation",
    "unevenness",
]
