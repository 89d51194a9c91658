"""What a checkpoint holds beside Lightning's own, and whether a run can go on from one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

from torch import Tensor, nn

import arbstyle
from arbstyle.errors import ArbstyleError
from arbstyle.networks.model_file import describe_styler, is_described_by
from arbstyle.networks.state import retired_weights
from arbstyle.networks.styler import ArbitraryStyler
from arbstyle.perception import PerceptualLoss
from arbstyle.training.data import StyleTransferData
from arbstyle.training.machine import git_revision
from arbstyle.training.optimizers import Group


def check_resumable(checkpoint: Mapping[str, Any], styler: ArbitraryStyler, optimizer: str) -> None:
    """Raise an ArbstyleError where a checkpoint is of other networks or of another optimiser."""
    here, there = describe_styler(styler), checkpoint["architecture"]
    if not is_described_by(styler, there):
        raise ArbstyleError(
            "the checkpoint is of another architecture than the configuration's: use the config it was "
            f"trained with (checkpoint {json.dumps(there)}, configuration {json.dumps(here)})"
        )
    trained_with = checkpoint.get("optimizer", "adam")
    if trained_with != optimizer:
        raise ArbstyleError(
            f"the checkpoint was trained with model.optimizer {trained_with}, the configuration says "
            f"{optimizer}: give the checkpoint's, or begin a new run from its weights "
            "('arbstyle export', then model.start.model)"
        )


def state_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """A checkpoint's tensors by the names of today; earlier ones had others."""
    state: Mapping[str, Tensor] = checkpoint["state_dict"]
    return {key.replace("moments_reader.", "moments_head."): value for key, value in state.items()}


def drop_retired_weights(
    checkpoint: dict[str, Any],
    module: nn.Module,
    groups: Sequence[Group],
    parameters: Sequence[nn.Parameter],
) -> None:
    """Take what only old versions had out of a checkpoint: weights, and what their optimisers held of them.

    An optimiser numbers its parameters: those after a dropped one move up. Where only the style encoder
    trains, old versions gave the optimiser the other parameters, too.

    Args:
        checkpoint: changed in place.
        module: what is trained.
        groups: of its parameters, as the optimiser has them.
        parameters: all of them in the same order, also those that don't train.
    """
    retired = {
        name: before for name, before in retired_weights(module).items() if name in checkpoint["state_dict"]
    }
    checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in retired}
    name_of = {id(parameter): name for name, parameter in module.named_parameters()}
    trained = [name_of[id(parameter)] for group in groups for parameter in group["params"]]
    numbered = (
        _with_retired(names, retired) for names in (trained, [name_of[id(each)] for each in parameters])
    )
    by_count = {len(names): names for names in reversed(list(numbered))}
    states = []
    for state in checkpoint.get("optimizer_states", []):
        names = by_count.get(_num_parameters(state), trained)
        states.append(_without(state, {i for i, name in enumerate(names) if name not in trained}))
    checkpoint["optimizer_states"] = states


def _with_retired(names: list[str], retired: Mapping[str, str]) -> list[str]:
    """Names of parameters with those of retired weights where they were, each after another."""
    names = list(names)
    for name, before in retired.items():
        if before in names:
            names.insert(names.index(before) + 1, name)
    return names


def _num_parameters(optimizer_state: Mapping[str, Any]) -> int:
    return sum(len(group["params"]) for group in optimizer_state["param_groups"])


def _without(optimizer_state: Mapping[str, Any], dropped: Set[int]) -> dict[str, Any]:
    """An optimiser's state without some parameters, the others numbered anew."""
    numbers = [number for group in optimizer_state["param_groups"] for number in group["params"]]
    new = {old: number for number, old in enumerate(each for each in numbers if each not in dropped)}
    return {
        "state": {new[old]: value for old, value in optimizer_state["state"].items() if old in new},
        "param_groups": [
            {**group, "params": kept}
            for group in optimizer_state["param_groups"]
            if (kept := [new[old] for old in group["params"] if old in new])
        ],
    }


def information(
    styler: ArbitraryStyler,
    loss: PerceptualLoss,
    *,
    data: StyleTransferData | None,
    steps: int,
    optimizer: str,
    identity_weight: float,
    evenness_weight: float,
    evenness_tolerance: float,
    marks_weight: float,
    noise_weight: float,
) -> dict[str, Any]:
    """What a model file should say of its making: versions, data, steps and settings."""
    styles = getattr(data, "style_names", []) if styler.style_encoder.takes_index else []
    return {
        "version": arbstyle.__version__,
        "revision": git_revision(),
        "steps": steps,
        "data": None if data is None else data.summary(),
        "styles": styles,
        "optimizer": optimizer,
        "loss": {
            "content": loss.content_layers,
            "style": loss.style_layers,
            "content_weight": loss.content_weight,
            "style_weight": loss.style_weight,
            "tv_weight": loss.tv_weight,
            "identity_weight": identity_weight,
            "evenness_weight": evenness_weight,
            "evenness_tolerance": evenness_tolerance,
            "marks_weight": marks_weight,
            "noise_weight": noise_weight,
            "statistic": loss.style_statistic,
            "style_bound": loss.style_bound,
        },
    }
