"""Many pictures on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def contact_sheet(rows: Sequence[Sequence[Tensor | None]], gap: int = 8) -> Tensor:
    """Pictures in rows and columns on white.

    Args:
        rows: of equal length, 1×3×h×w or ``None`` for an empty place; each picture is fitted into its
            place, whose size is that of the largest picture in the row and in the column.
        gap: pixels between places and around.

    Returns:
        1×3×H×W.
    """
    heights = [max((cell.shape[2] for cell in row if cell is not None), default=0) for row in rows]
    columns = list(zip(*rows, strict=True))
    widths = [max((cell.shape[3] for cell in column if cell is not None), default=0) for column in columns]
    sheet = torch.ones(1, 3, sum(heights) + gap * (len(heights) + 1), sum(widths) + gap * (len(widths) + 1))
    top = gap
    for row, height in zip(rows, heights, strict=True):
        left = gap
        for cell, width in zip(row, widths, strict=True):
            if cell is not None:
                y, x = top + (height - cell.shape[2]) // 2, left + (width - cell.shape[3]) // 2
                sheet[..., y : y + cell.shape[2], x : x + cell.shape[3]] = cell
            left += width + gap
        top += height + gap
    return sheet
