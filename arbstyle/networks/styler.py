"""The whole system: style encoder and transformer joined, and the one file it lives in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path
from arbstyle.networks.norm import ConditionalSite
from arbstyle.networks.style_encoders import StyleEncoder, StyleTable
from arbstyle.networks.transformer import TransformerNetwork
from arbstyle.perception import FrozenNetwork

FILE_FORMAT = "arbstyle-styler-1"


class ArbitraryStyler(nn.Module):
    """A style encoder, a transformer, and the head that turns codes into the transformer's parameters.

    Args:
        style_encoder: style picture → code.
        transformer: photo and parameters → painted photo.
    """

    def __init__(self, style_encoder: StyleEncoder, transformer: TransformerNetwork) -> None:
        super().__init__()
        self.style_encoder = style_encoder
        self.transformer = transformer
        self.head = style_encoder.make_head(transformer.neutral_parameters())

    def forward(self, content: Tensor, style: Tensor, seed: int = 0) -> Tensor:
        """Paint each photo in its style.

        Args:
            content: N×3×H×W in [0,1].
            style: N×3×h×w or 1×3×h×w in [0,1] (numbers of styles for a bank).
            seed: of the transformer's noise.

        Returns:
            N×3×H×W in [0,1].
        """
        return self.paint(content, self.encode(style), seed)

    def encode(self, style: Tensor) -> Tensor:
        """Code of each style, N×code_size."""
        return self.style_encoder(style)

    def parameters_of(self, code: Tensor) -> Tensor:
        """Parameters of all conditional sites, N×P, from codes N×code_size."""
        return self.head(code)

    def paint(self, content: Tensor, code: Tensor, seed: int = 0) -> Tensor:
        """Paint photos N×3×H×W with codes N×code_size (or one for all)."""
        return self.transformer(content, self.parameters_of(code), seed)


def blend(codes: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Weighted mean of codes (or of parameters): only the ratios of the weights matter.

    Raises:
        ArbstyleError: not one weight a code, a negative one, or none positive.
    """
    if len(codes) != len(weights) or not all(w >= 0 for w in weights) or not 0 < sum(weights) < math.inf:
        raise ArbstyleError(
            f"expected {len(codes)} weights ≥ 0, at least one of them positive, got {list(weights)}"
        )
    if sum(weight > 0 for weight in weights) == 1:  # exactly the one style, free of rounding
        return next(code for code, weight in zip(codes, weights, strict=True) if weight > 0)
    total = sum(weights)
    return torch.stack([code * (weight / total) for code, weight in zip(codes, weights, strict=True)]).sum(0)


def interpolate(start: Tensor, end: Tensor, strength: float) -> Tensor:
    """Point on the line from one code to another: 0 is the start, 1 the end, beyond 1 exaggerates."""
    return end if strength == 1 else start + strength * (end - start)


# --- state and file -----------------------------------------------------------------------------


def own_state(module: nn.Module) -> dict[str, Tensor]:
    """State of a module without its frozen networks, which every machine loads for itself."""
    frozen = frozen_prefixes(module)
    return {key: value for key, value in module.state_dict().items() if not key.startswith(frozen)}


def load_own_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what :func:`own_state` gave; any other missing or surplus key is an error.

    Raises:
        ArbstyleError: the state belongs to another architecture.
    """
    try:
        missing, unexpected = module.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ArbstyleError(f"the weights are of another architecture: {reason}") from error
    missing = [key for key in missing if not key.startswith(frozen_prefixes(module))]
    if missing or unexpected:
        raise ArbstyleError(
            f"the weights are of another architecture: {len(missing)} missing, {len(unexpected)} unknown, "
            f"such as '{[*missing, *unexpected][0]}'"
        )


def frozen_prefixes(module: nn.Module) -> tuple[str, ...]:
    """State-dict prefixes of the frozen networks inside a module."""
    return tuple(f"{name}." for name, part in module.named_modules() if isinstance(part, FrozenNetwork))


def describe_styler(styler: ArbitraryStyler) -> dict[str, Any]:
    """Classes and hyper-parameters of a styler, in plain JSON values."""
    parts = {"style_encoder": styler.style_encoder, "transformer": styler.transformer}
    return {
        part: {"class": type(module).__name__, "arguments": _portable(module.hyperparameters)}
        for part, module in parts.items()
    }


def build_styler(description: Mapping[str, Any], weights: str | Path | None = None) -> ArbitraryStyler:
    """A styler as :func:`describe_styler` describes it, untrained.

    Args:
        description: classes and hyper-parameters.
        weights: of pretrained parts; see :func:`load_styler`.
    """
    return ArbitraryStyler(
        _construct(StyleEncoder, description["style_encoder"], weights),
        _construct(TransformerNetwork, description["transformer"], weights),
    )


@torch.no_grad()
def graft(trained: ArbitraryStyler, styler: ArbitraryStyler) -> None:
    """Start a styler from a trained one that is the same but for sites it lacks, such as noise.

    New sites start with small random numbers, nearly the same for every style.

    Raises:
        ArbstyleError: they differ in more than that.
    """
    load_own_state(styler.style_encoder, own_state(trained.style_encoder))
    state = trained.transformer.state_dict()
    unknown = state.keys() - styler.transformer.state_dict().keys()
    known = {
        site: place
        for place, site in trained.transformer.named_modules()
        if isinstance(site, ConditionalSite)
    }
    places = {known[site]: site for site in trained.transformer.sites}
    if unknown or not isinstance(trained.head, nn.Linear) or not isinstance(styler.head, nn.Linear):
        raise ArbstyleError("the model to start from is of another architecture, not one with fewer sites")
    styler.transformer.load_state_dict(state, strict=False)
    for place, site in styler.transformer.named_modules():
        if not isinstance(site, ConditionalSite):
            continue
        weight, bias = site.take(styler.head.weight.T).T, site.take(styler.head.bias[None])[0]
        if place in places:
            weight.copy_(places[place].take(trained.head.weight.T).T)
            bias.copy_(places[place].take(trained.head.bias[None])[0])
        else:
            weight.normal_(std=0.01)
            bias.copy_(site.neutral()).add_(0.05 * torch.randn_like(bias))


def extend_bank(trained: ArbitraryStyler, larger: ArbitraryStyler) -> int:
    """Give a trained bank the rows that a larger one has more; returns how many it had.

    Raises:
        ArbstyleError: one of them is not a bank, or there is no row to add.
    """
    if not isinstance(trained.head, StyleTable) or not isinstance(larger.head, StyleTable):
        raise ArbstyleError(
            "styles can only be added to a model trained as a StyleBank, by a StyleBank config"
        )
    had, wanted = len(trained.head.rows), len(larger.head.rows)
    if wanted <= had:
        raise ArbstyleError(
            f"the trained bank has {had} styles already: set num_styles above that, not {wanted}"
        )
    for _ in range(wanted - had):
        trained.head.add_row()
    return had


def save_styler(
    styler: ArbitraryStyler, path: str | Path, information: Mapping[str, Any] | None = None
) -> Path:
    """Write a styler as a safetensors file that says how to build it again.

    Weights are stored in half precision. The metadata holds ``format``, ``architecture`` (classes
    and hyper-parameters) and ``information`` (free, such as version, data and recipe), as JSON.

    Args:
        styler: the networks; frozen parts are not written.
        path: a ``.safetensors`` file.
        information: anything JSON can hold.
    """
    return save_state(own_state(styler), describe_styler(styler), path, information)


def save_state(
    state: Mapping[str, Tensor],
    architecture: Mapping[str, Any],
    path: str | Path,
    information: Mapping[str, Any] | None = None,
) -> Path:
    """:func:`save_styler` for a styler that need not be built: its own state and its description."""
    path = Path(path)
    metadata = {
        "format": FILE_FORMAT,
        "architecture": json.dumps(dict(architecture)),
        "information": json.dumps(dict(information or {})),
    }
    stored = {
        key: value.half().contiguous() if value.is_floating_point() else value.contiguous()
        for key, value in state.items()
    }
    with atomic_path(path) as temporary:
        save_file(stored, temporary, metadata)
    return path


def load_styler(
    path: str | Path, weights: str | Path | None = None
) -> tuple[ArbitraryStyler, dict[str, Any]]:
    """Build a styler from its file.

    Args:
        path: a file written by :func:`save_styler`.
        weights: VGG weights for architectures that contain a VGG; ``None`` as in
            :class:`~arbstyle.perception.PerceptualEncoder`.

    Returns:
        the styler in evaluation mode, float32, and the file's information.

    Raises:
        ArbstyleError: no such file, not a styler, or of a version this program does not know.
    """
    metadata, state = _read(Path(path))
    try:
        information = json.loads(metadata["information"])
        styler = build_styler(json.loads(metadata["architecture"]), weights)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ArbstyleError(
            f"{path} does not describe a model that this version of arbstyle can build ({reason}); update it"
        ) from error
    load_own_state(styler, {key: value.float() for key, value in state.items()})
    return styler.eval(), information


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    remedy = "give a file that 'arbstyle train' exported"
    if not path.is_file():
        raise ArbstyleError(f"expected a model in {path}, but there is no such file; {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ArbstyleError(f"{path} is not a safetensors file ({error}); {remedy}") from error
    if metadata.get("format") != FILE_FORMAT:
        found = metadata.get("format", "none")
        raise ArbstyleError(f"expected a model of format {FILE_FORMAT} in {path}, got {found}; {remedy}")
    return metadata, state


def _construct(base: type[Any], description: Mapping[str, Any], weights: str | Path | None) -> Any:
    name, arguments = description["class"], dict(description["arguments"])
    known = {each.__name__: each for each in _subclasses(base)}
    if name not in known:
        raise ArbstyleError(
            f"the model asks for a {base.__name__} '{name}', which this version of arbstyle does not have; "
            "update it"
        )
    # The weights are a VGG's, and not every backbone is one.
    if weights is not None and "weights" in arguments and arguments.get("backbone", "vgg19") == "vgg19":
        arguments["weights"] = str(weights)
    return known[name](**arguments)


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _portable(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments without paths of the machine that trained."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}
    return plain if plain.get("weights") in (None, "random") else plain | {"weights": None}
