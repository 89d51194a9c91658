"""Filter normalisation: rescale VGG so that every filter's mean activation is 1 (Gatys et al. 2016)."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images import find_images, read_image
from arbstyle.perception.frozen import IMAGENET_MEAN, IMAGENET_STD
from arbstyle.perception.vgg import Pooling, pooling_layer
from arbstyle.stored import LARGEST_WEIGHT, are_within, open_tensors, write_tensors

logger = logging.getLogger(__name__)

MAX_SCALE_OVER_MEDIAN = 20.0
"""A filter that hardly ever fires would get an unbounded scale and drown the others in noise."""


def cache_directory() -> Path:
    """Folder for what can be computed again: ``ARBSTYLE_CACHE``, else the user's cache folder."""
    if "ARBSTYLE_CACHE" in os.environ:
        return Path(os.environ["ARBSTYLE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "arbstyle"


def normalize_filters_in_place(features: nn.Sequential, names: list[str], pooling: Pooling) -> dict[str, int]:
    """Rescale filters to mean activation 1, in place; returns how many scales were capped, by layer."""
    means = cached_mean_activations(features, names, pooling)
    capped = {}
    previous = torch.ones(3)
    for name, module in zip(names, features, strict=True):
        if not isinstance(module, nn.Conv2d) or module.bias is None:
            continue
        scale, capped[name] = filter_scales(means[name])
        with torch.no_grad():
            module.weight.mul_(scale.view(-1, 1, 1, 1) / previous.view(1, -1, 1, 1))
            module.bias.mul_(scale)
        previous = scale
    capped = {name: count for name, count in capped.items() if count}
    if capped:
        logger.info("filters that hardly ever fire, their scale capped: %s", capped)
    return capped


def filter_scales(means: Tensor) -> tuple[Tensor, int]:
    """Scales of a layer's filters, and how many of them are capped, from mean activations pictures×filters.

    The inverse of a mean over few pictures comes out too large, most of all for filters that fire rarely: on
    other pictures the layer's mean would be above 1. Leaving each picture out in turn shows by how much.
    """
    scales = _capped_inverse(means.mean(dim=0))
    capped = int((scales < 1 / means.mean(dim=0)).sum())
    if len(means) == 1:
        return scales, capped
    others = (means.sum(dim=0) - means).clamp_min(0) / (len(means) - 1)
    held_out = torch.stack(
        [(own * _capped_inverse(rest)).mean() for own, rest in zip(means, others, strict=True)]
    )
    return scales / held_out.mean(), capped


def _capped_inverse(means: Tensor) -> Tensor:
    inverse = 1 / means.clamp_min(torch.finfo(torch.float32).tiny)
    return inverse.clamp_max(MAX_SCALE_OVER_MEDIAN * inverse.median())


def cached_mean_activations(features: nn.Sequential, names: list[str], pooling: Pooling) -> dict[str, Tensor]:
    """What :func:`mean_activations` gives, computed once and kept in :func:`cache_directory`."""
    digest = hashlib.sha256(pooling.encode())
    for tensor in features.state_dict().values():
        digest.update(tensor.contiguous().numpy())
    for picture in calibration_files():
        digest.update(picture.read_bytes())
    path = cache_directory() / f"activations-{digest.hexdigest()[:20]}.safetensors"
    known = known_activations(path, features, names)
    if known is not None:
        return known
    means = mean_activations(features, names, pooling)
    try:
        write_tensors(path, means)
    except ArbstyleError as error:
        logger.warning("mean activations were not cached in %s: %s", path, reason_of(error, 200))
    return means


def known_activations(path: Path, features: nn.Sequential, names: list[str]) -> dict[str, Tensor] | None:
    """What the cache holds, if it can be what :func:`mean_activations` gave."""
    pictures = len(list(calibration_files()))
    channels = {
        name: module.out_channels
        for name, module in zip(names, features, strict=True)
        if isinstance(module, nn.Conv2d) and name.replace("conv", "relu") in names
    }
    try:
        with open_tensors(path, "pt") as file:
            fits = file.shapes == {name: (pictures, number) for name, number in channels.items()}
            if not fits or set(file.dtypes.values()) != {"F32"}:
                return None
            means: dict[str, Tensor] = {name: file.read(name) for name in file.shapes}
    except ArbstyleError:
        return None
    good = all(are_within(each, LARGEST_WEIGHT) and bool((each >= 0).all()) for each in means.values())
    return means if good else None


@torch.no_grad()
def mean_activations(features: nn.Sequential, names: list[str], pooling: Pooling) -> dict[str, Tensor]:
    """Mean over positions of each filter's output after its ReLU: by convolution name, pictures×filters."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    per_picture: dict[str, list[Tensor]] = {}
    for path in calibration_files():
        x = (read_image(path) - mean) / std
        for name, module in zip(names, features, strict=True):
            x = pooling_layer(pooling)(x) if name.startswith("pool") else module(x.clone())
            if name.startswith("relu"):
                per_picture.setdefault(name.replace("relu", "conv"), []).append(x.mean(dim=(0, 2, 3)))
    return {name: torch.stack(rows) for name, rows in per_picture.items()}


def calibration_files() -> Iterator[Path]:
    """The pictures on which mean activations are taken."""
    with as_file(files("arbstyle") / "assets" / "calibration") as folder:
        yield from find_images(folder)
