"""The weights of a module without its frozen networks, which every machine loads for itself."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.perception import FrozenNetwork


def own_state(module: nn.Module) -> dict[str, Tensor]:
    """State of a module without its frozen networks, which every machine loads for itself."""
    frozen = frozen_prefixes(module)
    return {key: value for key, value in module.state_dict().items() if not key.startswith(frozen)}


def load_own_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what :func:`own_state` gave; any other missing or surplus key is an error, but a retired one.

    Raises:
        ArbstyleError: the state belongs to another architecture.
    """
    try:
        missing, unexpected = module.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        raise ArbstyleError(f"the weights are of another architecture: {reason_of(error, 300)}") from error
    missing = [key for key in missing if not key.startswith(frozen_prefixes(module))]
    unexpected = [key for key in unexpected if key not in retired_weights(module)]
    if missing or unexpected:
        raise ArbstyleError(
            f"the weights are of another architecture: {len(missing)} missing, {len(unexpected)} unknown, "
            f"such as '{[*missing, *unexpected][0]}'"
        )


def frozen_prefixes(module: nn.Module) -> tuple[str, ...]:
    """State-dict prefixes of the frozen networks inside a module."""
    return tuple(f"{name}." for name, part in module.named_modules() if isinstance(part, FrozenNetwork))


def retired_weights(module: nn.Module) -> dict[str, str]:
    """Names of weights without effect that only old files have → the name of the weight before each.

    See :attr:`arbstyle.networks.TransformerNetwork.retired`.
    """
    return {
        f"{name}.{retired}".lstrip("."): f"{name}.{before}".lstrip(".")
        for name, part in module.named_modules()
        for retired, before in getattr(part, "retired", {}).items()
    }
