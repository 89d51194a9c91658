"""The one file a styler lives in: weights, and how to build the networks again."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError, one_line
from arbstyle.networks.outline import check_architecture, check_shapes, shapes_only
from arbstyle.networks.packing import pack, read_weight, strange_weight, weight_shapes
from arbstyle.networks.state import load_own_state, own_state, retired_weights
from arbstyle.networks.style_encoders.base import StyleEncoder
from arbstyle.networks.styler import ArbitraryStyler
from arbstyle.networks.transformers.base import TransformerNetwork
from arbstyle.stored import (
    LARGEST_WEIGHT,
    StoredTensors,
    are_within,
    open_tensors,
    read_json_object,
    write_tensors,
)

FILE_FORMAT = "arbstyle-styler-1"


def describe_styler(styler: ArbitraryStyler) -> dict[str, Any]:
    """Classes and hyper-parameters of a styler, in plain JSON values.

    A class of this package is called by its name, any other ``module:Class``.
    """
    parts = {"style_encoder": styler.style_encoder, "transformer": styler.transformer}
    return {
        part: {"class": _class_name(type(module)), "arguments": _portable(module.hyperparameters)}
        for part, module in parts.items()
    }


def is_described_by(styler: ArbitraryStyler, description: Mapping[str, Any]) -> bool:
    """Whether a styler is of this description, which may be of a version that knew fewer arguments."""
    for part, own in describe_styler(styler).items():
        given = description.get(part)
        if not isinstance(given, dict) or given.get("class") != own["class"]:
            return False
        parameters = inspect.signature(type(getattr(styler, part)).__init__).parameters
        defaults = {key: each.default for key, each in parameters.items() if each.default is not each.empty}
        if _portable(defaults | dict(given.get("arguments") or {})) != own["arguments"]:
            return False
    return True


def build_styler(
    description: Mapping[str, Any], weights: str | Path | None = None, *, trust_code: bool = False
) -> ArbitraryStyler:
    """A styler as :func:`describe_styler` describes it, untrained.

    Args:
        description: classes and hyper-parameters.
        weights, trust_code: see :func:`load_styler`.
    """
    return ArbitraryStyler(
        _construct(StyleEncoder, description["style_encoder"], weights, trust_code),
        _construct(TransformerNetwork, description["transformer"], weights, trust_code),
    )


def save_styler(
    styler: ArbitraryStyler,
    path: str | Path,
    information: Mapping[str, Any] | None = None,
    *,
    packed: bool = False,
) -> Path:
    """Write a styler as a safetensors file that says how to build it again.

    Weights are stored in half precision, or packed. The metadata holds ``format``, ``architecture`` (classes
    and hyper-parameters) and ``information`` (free, such as version, data and recipe), as JSON.

    Args:
        styler: the networks; frozen parts are not written.
        path: a ``.safetensors`` file.
        information: anything JSON can hold.
        packed: store large weights as whole numbers of eight bits with a scale a row: half the size, and
            pictures that hardly differ.

    Raises:
        ArbstyleError: weights that are not finite, also in half precision; a place that can't be written.
    """
    state = own_state(styler) | styler.retired_weights
    return save_state(state, describe_styler(styler), path, information, packed=packed)


def save_state(
    state: Mapping[str, Tensor],
    architecture: Mapping[str, Any],
    path: str | Path,
    information: Mapping[str, Any] | None = None,
    *,
    packed: bool = False,
) -> Path:
    """:func:`save_styler` for a styler that need not be built: its own state and its description."""
    path = Path(path)
    metadata = {
        "format": FILE_FORMAT,
        "architecture": json.dumps(dict(architecture)),
        "information": json.dumps(dict(information or {})),
    }
    halves = {
        key: value.half().contiguous() if value.is_floating_point() else value.contiguous()
        for key, value in state.items()
    }
    _check_finite(halves, path)
    write_tensors(path, pack(halves) if packed else halves, metadata)
    return path


def load_styler(
    path: str | Path, weights: str | Path | None = None, *, trust_code: bool = False
) -> tuple[ArbitraryStyler, dict[str, Any]]:
    """Build a styler from its file.

    Args:
        path: a file written by :func:`save_styler`.
        weights: VGG weights for architectures that contain a VGG; ``None`` as in
            :class:`~arbstyle.perception.PerceptualEncoder`.
        trust_code: import the module of an encoder or transformer from outside this package, if the file
            names one. Importing runs that module's code, so allow it only for code that you trust.

    Returns:
        the styler in evaluation mode, float32, and the file's information.

    Raises:
        ArbstyleError: no such file, not a styler, or of a version this program does not know.
    """
    path = Path(path)
    remedy = "give a file that 'arbstyle train' exported"
    try:
        with open_tensors(path, "pt") as file:
            information, architecture = _described(file, path, remedy)
            return _load(file, path, architecture, weights, trust_code), information
    except ArbstyleError as error:
        if str(error).startswith(("it is ", "there is ")):  # of the file itself
            raise ArbstyleError(f"expected a model in {path}, but {error}; {remedy}") from error
        raise


def _described(file: StoredTensors, path: Path, remedy: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Information and architecture in a file's metadata."""
    found = file.metadata.get("format", "none")
    if found != FILE_FORMAT:
        raise ArbstyleError(f"expected a model of format {FILE_FORMAT} in {path}, got {found}; {remedy}")
    try:
        information = read_json_object(file.metadata["information"])
        architecture = read_json_object(file.metadata["architecture"])
        check_architecture(architecture, weight_shapes(file))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _not_buildable(path, error) from error
    return information, architecture


def _load(
    file: StoredTensors,
    path: Path,
    architecture: Mapping[str, Any],
    weights: str | Path | None,
    trust_code: bool,
) -> ArbitraryStyler:
    strange = strange_weight(file)
    if strange is not None:
        raise ArbstyleError(f"expected numbers with a point in {path}, but '{strange}' has other ones")
    try:
        with torch.random.fork_rng(devices=[]):  # building draws random numbers
            _check_fit(architecture, weight_shapes(file))
        styler = build_styler(architecture, weights, trust_code=trust_code)
    except ArbstyleError:
        raise
    except Exception as error:  # a stranger's description can make a constructor fail in any way
        raise _not_buildable(path, error) from error
    state = {name: read_weight(file, name) for name in weight_shapes(file)}
    _check_finite(state, path)
    load_own_state(styler, state)
    styler.retired_weights = {name: state[name] for name in retired_weights(styler) if name in state}
    return styler.eval()


def _check_fit(architecture: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse shapes that are not the architecture's, without memory for either.

    Parts with a frozen network or from outside this package are passed over: they may need real numbers.
    """
    built: dict[str, Any] = {}
    for part, base in (("style_encoder", StyleEncoder), ("transformer", TransformerNetwork)):
        description = architecture[part]
        if "weights" in description["arguments"] or ":" in description["class"]:
            continue
        with shapes_only():
            built[part] = _construct(base, description, None, False)
    if len(built) == 2:
        with shapes_only():
            check_shapes(ArbitraryStyler(**built), "", shapes)
    else:
        for part, module in built.items():
            check_shapes(module, f"{part}.", shapes)


def _check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    broken = next((name for name, value in state.items() if not are_within(value, LARGEST_WEIGHT)), None)
    if broken is not None:
        raise ArbstyleError(
            f"the weights '{broken}' for {path} are not finite numbers (or too large for half precision): "
            "export an earlier checkpoint, or get the file anew"
        )


def _not_buildable(path: Path, error: Exception) -> ArbstyleError:
    reason = one_line(f"{type(error).__name__}: {error}")[:300]
    return ArbstyleError(
        f"{path} does not describe a model that this version of arbstyle can build ({reason}); update it"
    )


def check_state(architecture: object, state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that the architecture does not have, before they become a model file.

    Raises:
        ArbstyleError: no weights, of other shapes, or not a description of a model.
    """
    if not state:
        raise ArbstyleError(f"there are no trained weights in {path}: give a checkpoint of 'arbstyle train'")
    try:
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        _check_fit(check_architecture(architecture, shapes), shapes)
    except ArbstyleError:
        raise
    except Exception as error:  # as in `_load`
        raise _not_buildable(path, error) from error


def _construct(
    base: type[Any], description: Mapping[str, Any], weights: str | Path | None, trust_code: bool
) -> Any:
    kind, arguments = _find_class(base, description["class"], trust_code), dict(description["arguments"])
    # The weights are a VGG's, and not every backbone is one.
    if weights is not None and "weights" in arguments and arguments.get("backbone", "vgg19") == "vgg19":
        arguments["weights"] = str(weights)
    return kind(**arguments)


def _find_class(base: type[Any], name: str, trust_code: bool) -> type[Any]:
    known = {_class_name(each): each for each in _subclasses(base)}
    if name in known:
        return known[name]
    module, colon, class_name = name.partition(":")
    if not colon:
        raise ArbstyleError(
            f"the model asks for a {base.__name__} '{name}', which this version of arbstyle does not have; "
            "update it"
        )
    if not trust_code:
        raise ArbstyleError(
            f"the model asks for the {base.__name__} '{class_name}' of the module '{module}', and importing "
            "that would run its code; import it yourself, or allow it with trust_code=True"
        )
    try:
        found = getattr(importlib.import_module(module), class_name, None)
    except ImportError as error:
        raise ArbstyleError(
            f"the model asks for '{name}', and the module can't be imported ({error}); put its folder on "
            "PYTHONPATH"
        ) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ArbstyleError(f"the model asks for '{name}', and that is no {base.__name__}")
    return found


def _class_name(kind: type[Any]) -> str:
    outside = kind.__module__.split(".")[0] != "arbstyle"
    return f"{kind.__module__}:{kind.__qualname__}" if outside else kind.__name__


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _portable(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments without paths of the machine that trained."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}
    return plain if plain.get("weights") in (None, "random") else plain | {"weights": None}
