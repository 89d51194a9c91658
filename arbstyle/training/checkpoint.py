"""Reading checkpoints and turning them into model files, without Lightning."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images.files import why_no_file
from arbstyle.networks.model_file import check_state, save_state


def export_checkpoint(checkpoint: str | Path, path: str | Path) -> Path:
    """Turn a training checkpoint into the model file that inference reads.

    Args:
        checkpoint: a ``.ckpt`` file of a run.
        path: the ``.safetensors`` file to write.

    Raises:
        ArbstyleError: not a checkpoint of this program.
    """
    content = read_checkpoint(checkpoint)
    prefix = "average.module."
    state = {k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)}
    check_state(content["architecture"], state, Path(checkpoint))
    return save_state(state, content["architecture"], path, content["information"])


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Everything in a checkpoint, on the CPU.

    Raises:
        ArbstyleError: not a checkpoint of this program.
    """
    if reason := why_no_file(path):
        raise ArbstyleError(f"expected a checkpoint in {path}, but {reason}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own words advise to read it unsafely
        raise ArbstyleError(
            f"{path} is damaged, or holds more than tensors and plain values, which could run code: refused"
        ) from error
    except Exception as error:  # a damaged pickle fails in any way
        raise ArbstyleError(
            f"{path} is damaged, or not a checkpoint of 'arbstyle train' ({reason_of(error, 200)})"
        ) from error
    if not isinstance(content, dict) or not {"state_dict", "architecture", "information"} <= set(content):
        raise ArbstyleError(f"{path} is not a checkpoint of 'arbstyle train'")
    state = content["state_dict"]
    tables = all(isinstance(content[name], dict) for name in ("state_dict", "architecture", "information"))
    if not tables or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ArbstyleError(f"{path} is not a checkpoint of 'arbstyle train': expected tensors by name")
    return content
