"""How the weights of a graph are kept: in half precision where that is exact, or in the model's own file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_WORTH_IT = 256
"""Numbers from which on a tensor is stored in another way; most smaller ones are shapes."""


def halve(graph: onnx.ModelProto) -> None:
    """Store weights in half precision where it holds them exactly, as it does those of any model file.

    A cast back stands in front of whatever reads them; runtimes carry it out once, at loading.
    """
    from onnx import numpy_helper

    for initializer in list(graph.graph.initializer):
        values = _large_floats(initializer)
        if values is not None and np.array_equal(values.astype(np.float16).astype(np.float32), values):
            stored = numpy_helper.from_array(values.astype(np.float16), initializer.name)
            _replace(graph, initializer, stored)


def refer(graph: onnx.ModelProto, weights: Path) -> None:
    """Take weights from a model's safetensors file, which must lie beside the graph when it is loaded.

    A safetensors file is a header and raw tensors, which is what ONNX calls external data. The graph's
    metadata says of which file it speaks (:func:`header_hash`).

    Args:
        graph: its weights are named as in the file.
        weights: the file.
    """
    import onnx

    header, start = _read_header(weights)
    content = np.memmap(weights, np.uint8, "r")
    for initializer in list(graph.graph.initializer):
        values = _large_floats(initializer)
        entry = header.get(initializer.name)
        if values is None or entry is None or entry["dtype"] != "F16":
            continue
        begin, end = (start + offset for offset in entry["data_offsets"])
        kept = content[begin:end].view(np.float16).reshape(entry["shape"]).astype(np.float32)
        if not np.array_equal(kept, values):
            continue
        stored = onnx.TensorProto(
            name=initializer.name,
            data_type=onnx.TensorProto.FLOAT16,
            dims=values.shape,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        for key, value in {"location": weights.name, "offset": begin, "length": end - begin}.items():
            stored.external_data.add(key=key, value=str(value))
        _replace(graph, initializer, stored)
    graph.metadata_props.add(key="weights", value=weights.name)
    graph.metadata_props.add(key="weights_header", value=header_hash(weights))


def header_hash(weights: Path) -> str:
    """Tells safetensors files apart by their headers: tensors, places, metadata."""
    with weights.open("rb") as file:
        length = min(int.from_bytes(file.read(8), "little"), weights.stat().st_size)
        return hashlib.sha256(file.read(length)).hexdigest()[:16]


def _read_header(weights: Path) -> tuple[dict, int]:
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)), 8 + length


def _large_floats(initializer: onnx.TensorProto) -> np.ndarray | None:
    from onnx import TensorProto, numpy_helper

    if initializer.data_type != TensorProto.FLOAT or np.prod(initializer.dims) < _WORTH_IT:
        return None
    return numpy_helper.to_array(initializer)


def _replace(graph: onnx.ModelProto, initializer: onnx.TensorProto, stored: onnx.TensorProto) -> None:
    """Put a tensor of half precision and a cast in the place of one of single precision."""
    from onnx import TensorProto, helper

    name = initializer.name
    stored.name = f"{name}.half"
    graph.graph.initializer.remove(initializer)
    graph.graph.initializer.append(stored)
    cast = helper.make_node("Cast", [stored.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
    graph.graph.node.insert(0, cast)
