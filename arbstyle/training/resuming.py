"""What a checkpoint holds beside Lightning's own, and whether a run can go on from one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

import arbstyle
from arbstyle.errors import ArbstyleError
from arbstyle.networks.model_file import describe_styler, is_described_by
from arbstyle.networks.styler import ArbitraryStyler
from arbstyle.perception import PerceptualLoss
from arbstyle.training.data import StyleTransferData
from arbstyle.training.machine import git_revision


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


def information(
    styler: ArbitraryStyler,
    loss: PerceptualLoss,
    *,
    data: StyleTransferData | None,
    steps: int,
    optimizer: str,
    identity_weight: float,
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
            "statistic": loss.style_statistic,
            "style_bound": loss.style_bound,
        },
    }
