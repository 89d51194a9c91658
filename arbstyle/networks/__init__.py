"""The networks that paint: conditional norm, transformers, style encoders, and the styler that joins them."""

from arbstyle.networks.noise import ConditionalNoise
from arbstyle.networks.norm import ConditionalInstanceNorm2d, ConditionalSite, NormRule
from arbstyle.networks.style_encoders import (
    AdaINEncoder,
    MomentsEncoder,
    NormalizationNetwork,
    PooledStatisticsEncoder,
    StyleBank,
    StyleEncoder,
    StylePredictor,
)
from arbstyle.networks.styler import ArbitraryStyler, blend, interpolate, load_styler, save_styler
from arbstyle.networks.transformer import (
    AdaINTransformer,
    FastTransformer,
    JohnsonTransformer,
    TransformerNetwork,
)

__all__ = [
    "AdaINEncoder",
    "AdaINTransformer",
    "ArbitraryStyler",
    "ConditionalInstanceNorm2d",
    "ConditionalNoise",
    "ConditionalSite",
    "FastTransformer",
    "JohnsonTransformer",
    "MomentsEncoder",
    "NormRule",
    "NormalizationNetwork",
    "PooledStatisticsEncoder",
    "StyleBank",
    "StyleEncoder",
    "StylePredictor",
    "TransformerNetwork",
    "blend",
    "interpolate",
    "load_styler",
    "save_styler",
]
