"""Colours by name, pictures over a background."""

from __future__ import annotations

import torch
from PIL import ImageColor
from torch import Tensor

from arbstyle.errors import ArbstyleError


def composite(pixels: Tensor, alpha: Tensor, background: str) -> Tensor:
    """Pixels N×3×H×W over a background colour, by alpha N×1×H×W; in sRGB values, as browsers do."""
    colour = torch.tensor(parse_color(background), dtype=pixels.dtype, device=pixels.device)
    return torch.lerp(colour.view(1, 3, 1, 1), pixels, alpha)


def parse_color(name: str) -> tuple[float, float, float]:
    """Red, green and blue in [0, 1] from a CSS colour: a name, "#rrggbb", "rgb(…)" or "hsl(…)"."""
    expectation = f"expected an opaque colour such as 'white' or '#ff8800', got {name!r}"
    try:
        red, green, blue, *opacity = ImageColor.getrgb(name)
    except (ValueError, AttributeError, TypeError) as error:
        raise ArbstyleError(expectation) from error
    if opacity:
        raise ArbstyleError(expectation)
    return red / 255, green / 255, blue / 255
