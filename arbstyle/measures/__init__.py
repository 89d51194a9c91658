"""Further measures of a stylised picture, one idea a file; `arbstyle.perception.metrics` has the basic ones.

Every measure returns one number per picture of the batch.
"""

from arbstyle.measures.color import color_histogram_distance
from arbstyle.measures.content import cfsd, ms_ssim
from arbstyle.measures.lpips import LPIPS
from arbstyle.measures.style import normalized_style_losses

__all__ = ["LPIPS", "cfsd", "color_histogram_distance", "ms_ssim", "normalized_style_losses"]
