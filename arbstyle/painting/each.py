"""Several photos in one pass, each in a style of its own: for GPUs, which a small photo alone leaves idle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from arbstyle.painting.options import KeepColors
from arbstyle.painting.style_file import Style
from arbstyle.painting.stylizer import Stylizer
from arbstyle.painting.task import Finish
from arbstyle.painting.tiling import network_input


@torch.inference_mode()
def stylize_each(
    stylizer: Stylizer,
    photos: Tensor,
    styles: Sequence[Style],
    strengths: Sequence[float],
    seeds: Sequence[int],
    *,
    keep_colors: KeepColors = "none",
    style_size: int = 256,
) -> Tensor:
    """What :meth:`Stylizer.stylize` paints of each photo alone, but for rounding.

    Args:
        stylizer: paints.
        photos: N×3×H×W, floats in [0,1] or bytes.
        styles, strengths, seeds: one a photo.
        keep_colors, style_size: as for :meth:`Stylizer.stylize`.

    Returns:
        N×3×H×W of the photos' type and device.
    """
    transformer = stylizer.painter.transformer
    rows = torch.cat([stylizer.parameters_of(style, style_size) for style in styles])
    own = None if set(strengths) == {1.0} else stylizer.styles.own_parameters(photos, style_size)
    if own is not None:
        amounts = torch.tensor(strengths, device=rows.device)[:, None]
        rows = torch.where(amounts == 1, rows, own + amounts * (rows - own))
    height, width = photos.shape[2:]
    padded = transformer.pad(network_input(photos, transformer))
    high, wide = padded.shape[2:]
    each_noise = [transformer.make_noise(high, wide, seed) for seed in seeds]
    noise = [torch.cat(maps) for maps in zip(*each_noise, strict=True)]
    painted = transformer.repaint(padded, rows, noise)[..., :height, :width].to(photos.device)
    return torch.cat(
        [
            Finish(strength, own is not None, keep_colors)(one[None], photo[None], None)
            for one, photo, strength in zip(painted, photos, strengths, strict=True)
        ]
    )
