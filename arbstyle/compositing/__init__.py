"""Poisson blending: a part of one picture set into another without a visible border."""

from arbstyle.compositing.blend import GRADIENTS, Gradients, blend_seamlessly
from arbstyle.compositing.compose import read_and_composite
from arbstyle.compositing.placing import place
from arbstyle.compositing.regions import paint_regions

__all__ = ["GRADIENTS", "Gradients", "blend_seamlessly", "paint_regions", "place", "read_and_composite"]
