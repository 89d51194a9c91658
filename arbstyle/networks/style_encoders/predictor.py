"""A frozen pretrained network and a bottleneck (Ghiasi et al. 2017)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.networks.described import check_widths
from arbstyle.networks.style_encoders.base import StyleEncoder
from arbstyle.networks.style_encoders.tools import at_least, start_for_relu
from arbstyle.perception import IMAGENET_MEAN, IMAGENET_STD, FrozenNetwork, PerceptualEncoder


class StylePredictor(StyleEncoder):
    """A frozen pretrained backbone, averaged over positions, then a bottleneck (Ghiasi et al. 2017).

    Args:
        backbone: ``inception_v3`` (its ``Mixed_6e``, as published), ``vgg19`` (``relu4_1``) or
            ``mobilenet_v3`` (large, the features' output).
        weights: ``None`` for torchvision's download; ``"random"``, the same each time; for ``vgg19`` also a
            file.
        code_size: the bottleneck, 100 as published.
    """

    def __init__(
        self,
        backbone: Literal["inception_v3", "vgg19", "mobilenet_v3"] = "inception_v3",
        weights: str | Path | None = None,
        code_size: int = 100,
    ) -> None:
        super().__init__()
        check_widths(code_size=code_size)
        self.code_size = code_size
        self.backbone: _VggBackbone | _TorchvisionBackbone = (
            _VggBackbone(weights) if backbone == "vgg19" else _TorchvisionBackbone(backbone, weights)
        )
        self.smallest_side = self.backbone.smallest_side
        self.bottleneck: nn.Linear = nn.Linear(self.backbone.channels, code_size)

    def forward(self, style: Tensor) -> Tensor:
        features = self.backbone(at_least(style, self.smallest_side))
        return self.bottleneck(features.to(self.bottleneck.weight).mean(dim=(2, 3)))


class _TorchvisionBackbone(FrozenNetwork):
    """A torchvision classifier up to one of its layers."""

    _CUTS: ClassVar = {  # torchvision's name, last layer, mean and deviation that its weights expect
        "inception_v3": ("inception_v3", "Mixed_6e", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "mobilenet_v3": ("mobilenet_v3_large", "features", IMAGENET_MEAN, IMAGENET_STD),
    }
    smallest_side = 96
    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str | Path | None) -> None:
        super().__init__()
        if name not in self._CUTS:
            raise ArbstyleError(f"expected a backbone among {', '.join(self._CUTS)} and vgg19, got '{name}'")
        if weights not in (None, "random"):
            raise ArbstyleError(f"backbone {name} takes torchvision's weights or 'random', not {weights}")
        builder, last, mean, std = self._CUTS[name]
        self.network: nn.Sequential = _until(
            last, _pretrained(builder) if weights is None else _random(builder)
        ).eval()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        with torch.no_grad():
            self.channels: int = self.network(
                torch.zeros(1, 3, self.smallest_side, self.smallest_side)
            ).shape[1]
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean) / self.std)


class _VggBackbone(FrozenNetwork):
    smallest_side = 16

    def __init__(self, weights: str | Path | None) -> None:
        super().__init__()
        self.encoder: PerceptualEncoder = PerceptualEncoder("vgg19", ["relu4_1"], weights=weights)
        self.channels: int = self.encoder.channels["relu4_1"]
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(images)["relu4_1"]


def _until(last: str, model: nn.Module) -> nn.Sequential:
    """The model's layers in their order, which is that of its forward pass, up to the one named."""
    names = [name for name, _ in model.named_children()]
    layers = nn.Sequential()
    for name in names[: names.index(last) + 1]:
        layers.add_module(name, model.get_submodule(name))
    return layers


def _pretrained(builder: str) -> nn.Module:
    import torchvision.models  # here, because it takes longer than painting a picture

    try:
        return torchvision.models.get_model(builder, weights="DEFAULT")
    except (OSError, RuntimeError) as error:
        raise ArbstyleError(
            f"could not download torchvision's {builder} weights ({' '.join(str(error).split())}); "
            "connect to the network, or choose backbone vgg19 with a weights file"
        ) from error


def _random(builder: str) -> nn.Module:
    """The same random weights every time, since frozen networks are in no checkpoint and no model file."""
    import torchvision.models

    options = {"init_weights": False} if builder == "inception_v3" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision.models.get_model(builder, weights=None, **options)
        start_for_relu(model)  # torchvision's own start fades to nothing over Inception's depth
    return model
