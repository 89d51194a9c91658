"""Where VGG's weights come from: a file, an environment variable, torchvision's download, or chance."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images.files import why_no_file
from arbstyle.perception.vgg import Network
from arbstyle.stored import LARGEST_WEIGHT, are_within, open_tensors


def weights_source(network: Network, weights: str | Path | None) -> str | Path | None:
    """Where a network's weights come from: as named, else by ``ARBSTYLE_VGG19``/``ARBSTYLE_VGG16``.

    Returns:
        a file, ``random``, or ``None`` for torchvision's download.
    """
    return weights if weights is not None else os.environ.get(_variable(network)) or None


def _variable(network: Network) -> str:
    return f"ARBSTYLE_{network.upper()}"


def load_weights(features: nn.Sequential, network: Network, weights: str | Path | None) -> None:
    variable, source = _variable(network), weights_source(network, weights)
    if source == "random":
        state = _random_weights(features)
    elif source is None:
        state = _download_weights(network, variable)
    else:
        state = read_weights(Path(source), network, variable)
    state = {key.removeprefix("features."): value for key, value in state.items()}
    expected = features.state_dict()
    unknown = sorted(key for key in state if key not in expected and not key.startswith("classifier."))
    wrong = sorted(key for key in expected if key not in state or state[key].shape != expected[key].shape)
    if unknown or wrong:
        blame = f"'{(wrong or unknown)[0]}' is {'missing or of another shape' if wrong else 'not part of it'}"
        raise ArbstyleError(
            f"expected {network} weights in torchvision's names, but in {source} {blame}; "
            f"point --vgg-weights or {variable} to a file of {network} features"
        )
    state = {key: state[key].float() for key in expected}
    if not all(are_within(value, LARGEST_WEIGHT) for value in state.values()):
        raise ArbstyleError(
            f"expected finite numbers up to {LARGEST_WEIGHT:g} in {source}; get the {network} weights anew"
        )
    features.load_state_dict(state, strict=True, assign=True)


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
            f"could not download torchvision's {network} weights ({reason_of(error, 200)}); "
            f"connect to the network, or point --vgg-weights or {variable} to a .safetensors or .pth file"
        ) from error


def read_weights(path: Path, network: Network, variable: str) -> dict[str, Tensor]:
    remedy = f"point --vgg-weights or {variable} to a .safetensors or .pth file of {network}"
    if reason := why_no_file(path):
        raise ArbstyleError(f"expected {network} weights in {path}, but {reason}; {remedy}")
    try:
        state = (
            _read_safetensors(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as error:  # torch's own words advise to read it unsafely
        raise ArbstyleError(
            f"{path} is not a safe weights file (it is damaged, or could run code when read); {remedy}"
        ) from error
    except Exception as error:  # a damaged file fails in any way
        raise ArbstyleError(f"{path} can't be read as weights ({reason_of(error, 200)}); {remedy}") from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) and value.is_floating_point()
        for key, value in state.items()
    ):
        raise ArbstyleError(f"expected a flat table of tensors in {path}, got something else; {remedy}")
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with open_tensors(path, "pt") as file:
        return {name: file.read(name) for name in file.shapes}
