"""`arbstyle export`: a training checkpoint becomes a model file, a model becomes ONNX graphs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

GRAPHS = "style", "head", "painter"


def export(
    model: str | None = None,
    *,
    output: Annotated[str | None, "-o", "FILE"] = None,
    onnx: Annotated[str | None, "FOLDER"] = None,
    precision: Literal["fp32", "fp16"] = "fp32",
    vgg_weights: Annotated[str | None, "FILE"] = None,
    overwrite: bool = False,
) -> None:
    """Turn a training checkpoint into a model file, or a model into ONNX graphs.

    Args:
        model: a .ckpt file that 'arbstyle train' wrote, or a model file (default: the packaged model).
        output: the .safetensors file to write.
        onnx: write style.onnx, head.onnx and painter.onnx there.
        precision: what the ONNX graphs compute in.
        vgg_weights: VGG-19, for models that contain one.
        overwrite: replace files that exist.
    """
    from arbstyle.cli._options import check_new
    from arbstyle.errors import ArbstyleError
    from arbstyle.images import check_outputs

    if not (output or onnx):
        raise ArbstyleError("expected what to write: -o FILE for a model file, --onnx FOLDER for ONNX graphs")
    outputs = [("--output", output)] if output else []
    outputs += [("--onnx", str(Path(onnx) / f"{name}.onnx")) for name in GRAPHS] if onnx else []
    inputs = {"MODEL": model, "--vgg-weights": vgg_weights}
    check_outputs(outputs, [(role, path) for role, path in inputs.items() if path])
    if not overwrite:
        check_new([path for _, path in outputs])
    if output:
        _write_model(model, output)
    if onnx:
        _write_graphs(model, onnx, precision, vgg_weights)


def _write_model(checkpoint: str | None, output: str) -> None:
    from arbstyle.errors import ArbstyleError
    from arbstyle.training.checkpoint import export_checkpoint

    if not output.endswith(".safetensors"):
        raise ArbstyleError(f"expected an output that ends in .safetensors, got {output}")
    if checkpoint is None:
        raise ArbstyleError("expected a checkpoint to make a model file of")
    print(export_checkpoint(checkpoint, output))


def _write_graphs(
    model: str | None, folder: str, precision: Literal["fp32", "fp16"], vgg_weights: str | None
) -> None:
    from arbstyle import Stylizer
    from arbstyle.onnx.export import check_installed, export_onnx

    check_installed()
    with _model_file(model) as file:
        stylizer = Stylizer.from_pretrained(file, "cpu", "fp32", weights=vgg_weights)
        paths = export_onnx(stylizer.styler, folder, stylizer.information, precision=precision, model=file)
    for path in paths:
        print(path)


@contextlib.contextmanager
def _model_file(model: str | None) -> Iterator[Path]:
    """The file of a model: the packaged one's, that of the one named, or what a checkpoint becomes as one."""
    from arbstyle.hub import find_model
    from arbstyle.painting.packaged import packaged_model
    from arbstyle.training.checkpoint import export_checkpoint

    if model is None:
        with packaged_model() as file:
            yield file
        return
    if not model.endswith(".ckpt"):
        yield find_model(model)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield export_checkpoint(model, Path(folder) / "model.safetensors")
