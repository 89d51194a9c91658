"""VGG-16 and VGG-19 and the names of their layers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from arbstyle.errors import ArbstyleError

Network = Literal["vgg19", "vgg16"]
Pooling = Literal["max", "avg"]


def empty_features(network: Network) -> nn.Sequential:
    if network not in ("vgg19", "vgg16"):
        raise ArbstyleError(f"expected an encoder 'vgg19' or 'vgg16', got '{network}'")
    import torchvision.models  # here, because it takes longer than painting a picture

    with torch.device("meta"):
        features = getattr(torchvision.models, network)().features
    return features


def layer_names(features: nn.Sequential) -> list[str]:
    names, block, index = [], 1, 0
    for module in features:
        if isinstance(module, nn.Conv2d):
            index += 1
            names.append(f"conv{block}_{index}")
        elif isinstance(module, nn.ReLU):
            names.append(f"relu{block}_{index}")
        else:
            names.append(f"pool{block}")
            block, index = block + 1, 0
    return names


def channels_of(features: nn.Sequential, index: int) -> int:
    convolutions = [module for module in features[: index + 1] if isinstance(module, nn.Conv2d)]
    return convolutions[-1].out_channels


def pooling_layer(pooling: Pooling) -> nn.Module:
    if pooling == "max":
        return nn.MaxPool2d(2)
    if pooling == "avg":
        return nn.AvgPool2d(2)
    raise ArbstyleError(f"expected pooling 'max' or 'avg', got '{pooling}'")
