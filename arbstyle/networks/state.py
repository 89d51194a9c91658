"""The weights of a module without its frozen networks, which every machine loads for itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.perception import FrozenNetwork


def own_state(module: nn.Module) -> dict[str, Tensor]:
    """State of a module without its frozen networks, which every machine loads for itself."""
    frozen = frozen_prefixes(module)
    return {key: value for key, value in module.state_dict().items() if not key.startswith(frozen)}


def load_own_state(module: nn.Module, state: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Load what :func:`own_state` gave; any other missing or surplus key is an error.

    Args:
        assign: make the tensors those of the module, which may have none yet, instead of copying numbers.

    Raises:
        ArbstyleError: the state belongs to another architecture.
    """
    try:
        missing, unexpected = module.load_state_dict(dict(state), strict=False, assign=assign)
    except RuntimeError as error:
        raise ArbstyleError(f"the weights are of another architecture: {reason_of(error, 300)}") from error
    missing = [key for key in missing if not key.startswith(frozen_prefixes(module))]
    if missing or unexpected:
        raise ArbstyleError(
            f"the weights are of another architecture: {len(missing)} missing, {len(unexpected)} unknown, "
            f"such as '{[*missing, *unexpected][0]}'"
        )


def frozen_prefixes(module: nn.Module) -> tuple[str, ...]:
    """State-dict prefixes of the frozen networks inside a module."""
    return tuple(f"{name}." for name, part in module.named_modules() if isinstance(part, FrozenNetwork))


def check_fits(module: nn.Module, dtype: torch.dtype) -> None:
    """Refuse to compute in a number format in which some weights would be infinite.

    Raises:
        ArbstyleError: the largest weight is beyond the format's largest number.
    """
    largest = max(
        (float(each.detach().abs().max()) for each in module.parameters() if each.numel()), default=0.0
    )
    if largest > torch.finfo(dtype).max:
        raise ArbstyleError(
            f"the model has weights up to {largest:.3g}, and half precision ends at "
            f"{torch.finfo(dtype).max:g}: choose the precision fp32"
        )
