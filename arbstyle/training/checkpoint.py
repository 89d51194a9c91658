"""Reading checkpoints and turning them into model files, without Lightning."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from arbstyle.errors import ArbstyleError
from arbstyle.networks.model_file import save_state


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
    return save_state(state, content["architecture"], path, content["information"])


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Everything in a checkpoint, on the CPU.

    Raises:
        ArbstyleError: not a checkpoint of this program.
    """
    if not Path(path).is_file():
        raise ArbstyleError(f"expected a checkpoint in {path}, but there is no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, BadZipFile, EOFError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ArbstyleError(
            f"{path} is damaged, or not a checkpoint of 'arbstyle train' ({reason})"
        ) from error
    if not isinstance(content, dict) or not {"state_dict", "architecture", "information"} <= set(content):
        raise ArbstyleError(f"{path} is not a checkpoint of 'arbstyle train'")
    return content
