"""The frozen network whose features say what a picture shows and how it is painted."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path, find_images, read_image

logger = logging.getLogger(__name__)

Network = Literal["vgg19", "vgg16"]
Pooling = Literal["max", "avg"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_SCALE_OVER_MEDIAN = 20.0
"""A filter that hardly ever fires would get an unbounded scale and drown the others in noise."""


class FrozenNetwork(nn.Module):
    """Used and never trained: always in evaluation mode, without gradients, not in checkpoints."""

    def freeze(self) -> None:
        """To be called at the end of a subclass's constructor."""
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FrozenNetwork:
        """Stay in evaluation mode: a frozen network has no other."""
        return super().train(False)


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
        features = _empty_features(network)
        names = _layer_names(features)
        aliases = _block_aliases(names)
        self._returned = _resolve_layers(layers, names, aliases, network)
        depth = 1 + max(names.index(name) for name in self._returned.values())

        _load_weights(features, network, weights)
        self.capped_filters: dict[str, int] = {}
        if normalize_filters:
            self.capped_filters = _normalize_filters(features, names, pooling)

        self.channels = {name: _channels_of(features, names.index(at)) for name, at in self._returned.items()}
        self.layers = nn.Sequential()
        kept = set(self._returned.values())
        for index, name in enumerate(names[:depth]):
            module = _pooling_layer(pooling) if name.startswith("pool") else features[index]
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
        """
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        outputs: dict[str, Tensor] = {}
        kept = set(self._returned.values())
        for name, layer in self.layers.named_children():
            x = layer(x)
            if name in kept:
                outputs[name] = x
        return {asked: outputs[at] for asked, at in self._returned.items()}


def cache_directory() -> Path:
    """Folder for what can be computed again: ``ARBSTYLE_CACHE``, else the user's cache folder."""
    if "ARBSTYLE_CACHE" in os.environ:
        return Path(os.environ["ARBSTYLE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "arbstyle"


# --- the network and its names ------------------------------------------------------------------


def _empty_features(network: Network) -> nn.Sequential:
    if network not in ("vgg19", "vgg16"):
        raise ArbstyleError(f"expected an encoder 'vgg19' or 'vgg16', got '{network}'")
    import torchvision.models  # here, because it takes longer than painting a picture

    with torch.device("meta"):
        features = getattr(torchvision.models, network)().features
    return features


def _layer_names(features: nn.Sequential) -> list[str]:
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


def _channels_of(features: nn.Sequential, index: int) -> int:
    convolutions = [module for module in features[: index + 1] if isinstance(module, nn.Conv2d)]
    return convolutions[-1].out_channels


def _pooling_layer(pooling: Pooling) -> nn.Module:
    if pooling == "max":
        return nn.MaxPool2d(2)
    if pooling == "avg":
        return nn.AvgPool2d(2)
    raise ArbstyleError(f"expected pooling 'max' or 'avg', got '{pooling}'")


# --- weights ------------------------------------------------------------------------------------


def _load_weights(features: nn.Sequential, network: Network, weights: str | Path | None) -> None:
    variable = f"ARBSTYLE_{network.upper()}"
    source = weights if weights is not None else os.environ.get(variable) or None
    if source == "random":
        state = _random_weights(features)
    elif source is None:
        state = _download_weights(network, variable)
    else:
        state = _read_weights(Path(source), network, variable)
    state = {key.removeprefix("features."): value.float() for key, value in state.items()}
    expected = features.state_dict()
    unknown = sorted(key for key in state if key not in expected and not key.startswith("classifier."))
    wrong = sorted(key for key in expected if key not in state or state[key].shape != expected[key].shape)
    if unknown or wrong:
        blame = f"'{(wrong or unknown)[0]}' is {'missing or of another shape' if wrong else 'not part of it'}"
        raise ArbstyleError(
            f"expected {network} weights in torchvision's names, but in {source} {blame}; "
            f"point --vgg-weights or {variable} to a file of {network} features"
        )
    features.load_state_dict({key: state[key] for key in expected}, strict=True, assign=True)


def _random_weights(features: nn.Sequential) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, like in features.state_dict().items():
        fan_in = like[0].numel()
        std = (2.0 / fan_in) ** 0.5 if like.dim() == 4 else 0.0
        state[key] = torch.randn(like.shape, generator=generator) * std
    return state


def _download_weights(network: Network, variable: str) -> dict[str, Tensor]:
    import torchvision.models

    published = torchvision.models.get_model_weights(network).DEFAULT  # type: ignore[attr-defined]
    try:
        return published.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise ArbstyleError(
            f"could not download torchvision's {network} weights ({_one_line(error)}); "
            f"connect to the network, or point --vgg-weights or {variable} to a .safetensors or .pth file"
        ) from error


def _read_weights(path: Path, network: Network, variable: str) -> dict[str, Tensor]:
    remedy = f"point --vgg-weights or {variable} to a .safetensors or .pth file of {network}"
    if not path.is_file():
        raise ArbstyleError(f"expected {network} weights in {path}, but there is no such file; {remedy}")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, ImportError, KeyError) as error:
        raise ArbstyleError(f"{path} can't be read as weights ({_one_line(error)}); {remedy}") from error
    except Exception as error:  # torch.load refuses unsafe pickles with pickle.UnpicklingError among others
        raise ArbstyleError(f"{path} is not a safe weights file ({_one_line(error)}); {remedy}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArbstyleError(f"expected a flat table of tensors in {path}, got something else; {remedy}")
    return state


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


# --- filter normalisation -----------------------------------------------------------------------


def _normalize_filters(features: nn.Sequential, names: list[str], pooling: Pooling) -> dict[str, int]:
    """Rescale filters to mean activation 1, in place; returns how many scales were capped, by layer."""
    means = _cached_mean_activations(features, names, pooling)
    capped = {}
    previous = torch.ones(3)
    for name, module in zip(names, features, strict=True):
        if not isinstance(module, nn.Conv2d) or module.bias is None:
            continue
        scale, capped[name] = _filter_scales(means[name])
        with torch.no_grad():
            module.weight.mul_(scale.view(-1, 1, 1, 1) / previous.view(1, -1, 1, 1))
            module.bias.mul_(scale)
        previous = scale
    capped = {name: count for name, count in capped.items() if count}
    if capped:
        logger.info("filters that hardly ever fire, their scale capped: %s", capped)
    return capped


def _filter_scales(means: Tensor) -> tuple[Tensor, int]:
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


def _cached_mean_activations(
    features: nn.Sequential, names: list[str], pooling: Pooling
) -> dict[str, Tensor]:
    digest = hashlib.sha256(pooling.encode())
    for tensor in features.state_dict().values():
        digest.update(tensor.contiguous().numpy())
    for picture in _calibration_files():
        digest.update(picture.read_bytes())
    path = cache_directory() / f"activations-{digest.hexdigest()[:20]}.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        means = _mean_activations(features, names, pooling)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            save_file(means, temporary)
    except (OSError, ArbstyleError) as error:
        logger.warning("mean activations were not cached in %s: %s", path, _one_line(error))
    return means


@torch.no_grad()
def _mean_activations(features: nn.Sequential, names: list[str], pooling: Pooling) -> dict[str, Tensor]:
    """Mean over positions of each filter's output after its ReLU: by convolution name, pictures×filters."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    per_picture: dict[str, list[Tensor]] = {}
    for path in _calibration_files():
        x = (read_image(path) - mean) / std
        for name, module in zip(names, features, strict=True):
            x = _pooling_layer(pooling)(x) if name.startswith("pool") else module(x.clone())
            if name.startswith("relu"):
                per_picture.setdefault(name.replace("relu", "conv"), []).append(x.mean(dim=(0, 2, 3)))
    return {name: torch.stack(rows) for name, rows in per_picture.items()}


def _calibration_files() -> Iterator[Path]:
    with as_file(files("arbstyle") / "assets" / "calibration") as folder:
        yield from find_images(folder)
