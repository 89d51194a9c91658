"""The networks that paint: conditional sites, transformers, style encoders, the styler and its file."""

from arbstyle.networks.model_file import load_styler, save_styler
from arbstyle.networks.noise import ConditionalNoise
from arbstyle.networks.norm import ConditionalInstanceNorm2d, ConditionalSite, NormRule
from arbstyle.networks.style_encoders.adain import AdaINEncoder
from arbstyle.networks.style_encoders.bank import StyleBank
from arbstyle.networks.style_encoders.base import StyleEncoder
from arbstyle.networks.style_encoders.moments import MomentsEncoder
from arbstyle.networks.style_encoders.normalization import NormalizationNetwork
from arbstyle.networks.style_encoders.pooled import PooledStatisticsEncoder
from arbstyle.networks.style_encoders.predictor import StylePredictor
from arbstyle.networks.styler import ArbitraryStyler, blend, interpolate
from arbstyle.networks.transformers.adain import AdaINTransformer
from arbstyle.networks.transformers.base import TransformerNetwork
from arbstyle.networks.transformers.fast import FastTransformer
from arbstyle.networks.transformers.johnson import JohnsonTransformer

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
