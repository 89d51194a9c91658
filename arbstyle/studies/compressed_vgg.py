"""A VGG-19 sixteen times smaller, for training on a processor (Wang et al. 2020)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arbstyle.errors import ArbstyleError
from arbstyle.perception import FrozenNetwork
from arbstyle.stored import LARGEST_WEIGHT, are_within, open_tensors

_BLOCKS = (("11", "12"), ("21", "22"), ("31", "32", "33", "34"), ("41",))
_RETURNED = {"11": "relu1_1", "21": "relu2_1", "31": "relu3_1", "41": "relu4_1"}


class CompressedVGG(FrozenNetwork):
    """Features like those of VGG-19's relu1_1, relu2_1, relu3_1 and relu4_1, some twenty times cheaper.

    Args:
        weights: a `.safetensors` file with their names: `conv0`, `conv11` …, and `conv11_aux` …, which map to
            VGG-19's channels.

    Raises:
        ArbstyleError: not such a file.
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        try:
            with open_tensors(weights, "pt") as file:
                state = {name: file.read(name).float() for name in file.shapes}
            names = ["0", *(name for block in _BLOCKS for name in block)]
            names += [f"{name}_aux" for name in _RETURNED]
            self.convolutions = nn.ModuleDict({name: _convolution(state, f"conv{name}") for name in names})
        except (ArbstyleError, KeyError, ValueError, IndexError, RuntimeError) as error:
            raise ArbstyleError(
                f"{weights} can't be read as the weights of a compressed VGG-19 ({error}); "
                "leave them out to take VGG-19 itself"
            ) from error
        self.channels = {
            layer: self.convolutions[f"{name}_aux"].out_channels for name, layer in _RETURNED.items()
        }
        self.freeze()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features by layer, N×C×h×w, of pictures N×3×H×W in [0, 1]."""
        x = self.convolutions["0"](images)
        features = {}
        for number, block in enumerate(_BLOCKS):
            x = F.max_pool2d(x, 2) if number else x
            for name in block:
                x = self.convolutions[name](F.pad(x, (1, 1, 1, 1), mode="reflect")).relu()
                if name in _RETURNED:
                    features[_RETURNED[name]] = self.convolutions[f"{name}_aux"](x).relu()
        return features


def _convolution(state: dict[str, Tensor], name: str) -> nn.Conv2d:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    if weight.dim() != 4 or not all(are_within(each, LARGEST_WEIGHT) for each in (weight, bias)):
        raise ValueError(f"expected the finite weights of a convolution in {name}")
    with torch.device("meta"):
        module = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2])
    module.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return module
