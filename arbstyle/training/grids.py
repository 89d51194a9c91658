"""Pictures of a run: photos down, styles across."""

from __future__ import annotations

import torch
from torch import Tensor

from arbstyle.images import resize
from arbstyle.networks import ArbitraryStyler


@torch.no_grad()
def picture_grid(styler: ArbitraryStyler, contents: Tensor, styles: Tensor, style_inputs: Tensor) -> Tensor:
    """Styles along the top, photos down the left, every photo in every style.

    Args:
        styler: in evaluation mode.
        contents: M×3×S×S in [0,1].
        styles: N×3×T×T in [0,1], to be shown.
        style_inputs: the same as the style encoder takes them.

    Returns:
        1×3×(M+1)S×(N+1)S.
    """
    size = contents.shape[-1]
    codes = styler.encode(style_inputs)
    header = [torch.ones_like(contents[:1]), *resize(styles.float(), (size, size)).split(1)]
    rows = [torch.cat(header, dim=3)]
    for content in contents.split(1):
        painted = styler.paint(content.expand(len(codes), -1, -1, -1), codes).float().clamp(0, 1)
        rows.append(torch.cat([content, *painted.split(1)], dim=3))
    return torch.cat(rows, dim=2)
