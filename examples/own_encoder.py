"""A style encoder of your own: written here, trained, exported, loaded again.

Train it. PYTHONPATH says where Python finds this file; the config names the class:

    PYTHONPATH=examples arbstyle train fit --config configs/default.yaml --config examples/own_encoder.yaml \
        --data.content PHOTOS --data.style PAINTINGS

Training writes `model.safetensors`, which says `own_encoder:PaletteEncoder`. Loading it means importing this
file, that is running its code. So that happens only where you allow it:

    PYTHONPATH=examples python examples/own_encoder.py runs/default/model.safetensors \
        examples/photo-cat.jpg examples/painting-storm.jpg cat.png
"""

from __future__ import annotations

import sys

import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle import StyleEncoder, Stylizer


class PaletteEncoder(StyleEncoder):
    """Sees a style's colours and where they stand, and nothing finer.

    Args:
        cells: the picture is reduced to so many cells a side.
        code_size: numbers in a code.
    """

    def __init__(self, cells: int = 8, code_size: int = 64) -> None:
        super().__init__()
        self.cells = cells
        self.code_size = code_size  # every encoder has to say how long its codes are
        self.layers = nn.Sequential(
            nn.Linear(3 * cells**2, 128),
            nn.SiLU(),
            nn.Linear(128, code_size),
        )

    def forward(self, style: Tensor) -> Tensor:
        """Code of N×3×h×w style pictures in [0,1], of any size: N×code_size."""
        colours = F.interpolate(style, size=(self.cells, self.cells), mode="area")
        return self.layers(4 * (colours - 0.5).flatten(1))


def main(model: str, photo: str, style: str, result: str) -> None:
    stylizer = Stylizer.from_pretrained(model, trust_code=True)
    stylizer(photo, style).save(result)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit("expected: own_encoder.py MODEL PHOTO STYLE RESULT")
    main(*sys.argv[1:])
