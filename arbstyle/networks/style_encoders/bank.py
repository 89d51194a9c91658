"""A table of styles known by number (Dumoulin et al. 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.networks.style_encoders.base import StyleEncoder


class StyleBank(StyleEncoder):
    """A table of styles known by number (Dumoulin et al. 2017); a bank of one is Johnson et al. 2016.

    A code is the style's one-hot vector, so blends of styles are blends of rows.

    Args:
        num_styles: rows.
    """

    takes_index = True

    def __init__(self, num_styles: int = 1) -> None:
        super().__init__()
        if num_styles < 1:
            raise ArbstyleError(f"expected a style bank of at least 1 style, got {num_styles}")
        self.code_size = num_styles

    def forward(self, style: Tensor) -> Tensor:
        # On a GPU the look would be a wait at every step of training.
        if style.is_cpu and style.numel() and not 0 <= int(style.min()) <= int(style.max()) < self.code_size:
            raise ArbstyleError(
                f"the bank holds styles 0 to {self.code_size - 1}, got {int(style.min())} to "
                f"{int(style.max())}; set num_styles to the number of style pictures, or limit the pictures"
            )
        return F.one_hot(style, self.code_size).float()

    def make_head(self, neutral: Tensor) -> StyleTable:
        return StyleTable(self.code_size, neutral)


class StyleTable(nn.Module):
    """One row of parameters a style, each a parameter of its own so that it can be trained alone."""

    def __init__(self, num_styles: int, neutral: Tensor) -> None:
        super().__init__()
        # Equal rows would all get the same gradient direction from the shared network at first.
        rows = (neutral + 0.1 * torch.randn_like(neutral) for _ in range(num_styles))
        self.rows: nn.ParameterList = nn.ParameterList(nn.Parameter(row) for row in rows)

    def forward(self, code: Tensor) -> Tensor:
        table = torch.stack(list(self.rows))
        return code.to(table.dtype) @ table

    def add_row(self) -> None:
        """Append a style that starts as the mean of the others."""
        self.rows.append(nn.Parameter(torch.stack(list(self.rows)).detach().mean(dim=0)))
