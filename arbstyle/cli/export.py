"""`arbstyle export`: a training checkpoint becomes a model file."""

from __future__ import annotations

from typing import Annotated


def export(checkpoint: str, *, output: Annotated[str, "-o", "FILE"]) -> None:
    """Turn a training checkpoint into a model file.

    Args:
        checkpoint: a .ckpt file that 'arbstyle train' wrote.
        output: the .safetensors file to write.
    """
    from arbstyle.errors import ArbstyleError
    from arbstyle.training.checkpoint import export_checkpoint

    if not output.endswith(".safetensors"):
        raise ArbstyleError(f"expected an output that ends in .safetensors, got {output}")
    print(export_checkpoint(checkpoint, output))
