"""A small network trained end to end (Desai 2017)."""

from __future__ import annotations

from torch import Tensor, nn

from arbstyle.networks.described import check_widths
from arbstyle.networks.style_encoders.base import StyleEncoder
from arbstyle.networks.style_encoders.tools import start_for_relu


class NormalizationNetwork(StyleEncoder):
    """A small network trained end to end with the transformer (Desai 2017).

    His published code took scale and shift through ``.data``, so no gradient ever reached the network; here
    it does. Strided convolutions, average pooling so that any size goes, one linear layer to all parameters.

    Args:
        widths: channels of the stride-2 convolutions, 1/2 resolution first.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256, 256)) -> None:
        super().__init__()
        check_widths(widths=widths)
        self.code_size = widths[-1]
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
        self.layers: nn.Sequential = nn.Sequential(*layers)
        start_for_relu(self.layers)

    def forward(self, style: Tensor) -> Tensor:
        return self.layers((style - 0.5) * 4).mean(dim=(2, 3))
