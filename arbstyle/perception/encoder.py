"""The frozen network whose features say what a picture shows and how it is painted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.perception.filters import normalize_filters_in_place
from arbstyle.perception.frozen import IMAGENET_MEAN, IMAGENET_STD, FrozenNetwork
from arbstyle.perception.vgg import Network, Pooling, channels_of, empty_features, layer_names, pooling_layer
from arbstyle.perception.weights import load_weights


class PerceptualEncoder(FrozenNetwork):
    """VGG features by layer name, frozen.

    Names are derived from the network: ``conv4_2`` is the convolution's output before its
    activation, ``relu4_2`` the output after it, ``pool4`` the output of the pooling, and
    ``block3`` the output just before the third pooling (an alias of the block's last ``relu``).
    Nothing deeper than the deepest layer asked for is kept in memory.

    With ``normalize_filters`` the filters are rescaled so that each one's activation after the ReLU has
    mean 1 over pictures and positions (Gatys et al. 2016, section 2). No later layer's direction changes:
    the next layer divides the scale out again. Loss weights then carry over between sets of VGG weights.

    Args:
        network: ``vgg19`` or ``vgg16``.
        layers: names of the layers to return.
        weights: a ``.safetensors`` or ``.pth`` file in torchvision's names (``features.0.weight`` …);
            ``None`` takes the file named in ``ARBSTYLE_VGG19``/``ARBSTYLE_VGG16``, else torchvision's
            own download; ``"random"`` draws seeded random weights.
        pooling: ``max`` as trained, or ``avg`` (Gatys et al. 2016 found it to give smoother results).
        normalize_filters: rescale filters to mean activation 1.

    Raises:
        ArbstyleError: unknown layer, or weights that are missing, unreadable or of another network.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: Network = "vgg19",
        layers: Sequence[str] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1"),
        *,
        weights: str | Path | None = None,
        pooling: Pooling = "max",
        normalize_filters: bool = True,
    ) -> None:
        super().__init__()
        features = empty_features(network)
        names = layer_names(features)
        aliases = _block_aliases(names)
        self._returned = _resolve_layers(layers, names, aliases, network)
        depth = 1 + max(names.index(name) for name in self._returned.values())
        self.smallest_side: int = 2 ** sum(name.startswith("pool") for name in names[:depth])

        load_weights(features, network, weights)
        self.capped_filters: dict[str, int] = {}
        if normalize_filters:
            self.capped_filters = normalize_filters_in_place(features, names, pooling)

        self.channels: dict[str, int] = {
            name: channels_of(features, names.index(at)) for name, at in self._returned.items()
        }
        self.layers: nn.Sequential = nn.Sequential()
        kept = set(self._returned.values())
        for index, name in enumerate(names[:depth]):
            module = pooling_layer(pooling) if name.startswith("pool") else features[index]
            if isinstance(module, nn.ReLU):
                # In place saves a third of the memory, and is only safe where nobody asked for the input.
                module = nn.ReLU(inplace=names[index - 1] not in kept)
            self.layers.add_module(name, module)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last).freeze()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of the layers asked for.

        Args:
            images: N×3×H×W in [0,1].

        Returns:
            by layer name, N×C×h×w.

        Raises:
            ArbstyleError: pictures with a side below `smallest_side`, of which pooling leaves nothing.
        """
        height, width = images.shape[2:]
        if min(height, width) < self.smallest_side:
            raise ArbstyleError(
                f"pictures need {self.smallest_side} pixels a side for these layers, got {width}×{height}; "
                "choose a larger size or shallower layers"
            )
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        outputs: dict[str, Tensor] = {}
        kept = set(self._returned.values())
        for name, layer in self.layers.named_children():
            x = layer(x)
            if name in kept:
                outputs[name] = x
        return {asked: outputs[at] for asked, at in self._returned.items()}


def _block_aliases(names: list[str]) -> dict[str, str]:
    return {
        name.replace("pool", "block"): names[i - 1] for i, name in enumerate(names) if name.startswith("pool")
    }


def _resolve_layers(
    layers: Sequence[str], names: list[str], aliases: dict[str, str], network: str
) -> dict[str, str]:
    if not layers:
        raise ArbstyleError("expected at least one layer, such as relu4_1, got none")
    resolved = {}
    for layer in layers:
        at = aliases.get(layer, layer)
        if at not in names:
            raise ArbstyleError(f"{network} has no layer '{layer}'; it has {', '.join([*names, *aliases])}")
        resolved[layer] = at
    return resolved
