"""How a graph keeps its weights: in eight bits or half precision where exact, or in the model's own file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arbstyle.stored import SCALES

if TYPE_CHECKING:
    import onnx

FILE_FORMAT = "arbstyle-onnx-1"
"""Of the graphs' metadata."""

_DTYPES = {"F16": np.float16, "I8": np.int8, "F32": np.float32}
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


def pack(graph: onnx.ModelProto, weights: Path) -> None:
    """Store weights in eight bits where a model's file does: as its packed rows and their scales.

    Args:
        graph: its weights are named as in the file.
        weights: the file.
    """
    stored = _StoredWeights(weights)
    for initializer, parts in _also_stored(graph, stored):
        if len(parts) > 1:
            _replace(graph, initializer, *map(stored.copy, parts))


def refer(graph: onnx.ModelProto, weights: Path) -> None:
    """Take weights from a model's safetensors file, which must lie beside the graph when it is loaded.

    A safetensors file is a header and raw tensors, which is what ONNX calls external data. The graph's
    metadata says of which file it speaks (:func:`header_hash`).

    Args:
        graph: its weights are named as in the file.
        weights: the file.
    """
    stored = _StoredWeights(weights)
    for initializer, parts in _also_stored(graph, stored):
        _replace(graph, initializer, *map(stored.reference, parts))
    graph.metadata_props.add(key="weights", value=weights.name)
    graph.metadata_props.add(key="weights_header", value=header_hash(weights))


def header_hash(weights: Path) -> str:
    """Tells safetensors files apart by their headers: tensors, places, metadata."""
    with weights.open("rb") as file:
        length = min(int.from_bytes(file.read(8), "little"), weights.stat().st_size)
        return hashlib.sha256(file.read(length)).hexdigest()[:16]


def _also_stored(
    graph: onnx.ModelProto, stored: _StoredWeights
) -> Iterator[tuple[onnx.TensorProto, list[str]]]:
    """Large weights of a graph that a model's file holds, exactly, and the file's tensors that make each."""
    for initializer in list(graph.graph.initializer):
        values = _large_floats(initializer)
        kept = stored.values_of(initializer.name)
        if values is not None and kept is not None and np.array_equal(kept, values):
            yield initializer, stored.parts_of(initializer.name)


class _StoredWeights:
    """What lies where in a model's file."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self._header = json.loads(file.read(length))
        self._name = path.name
        self._start = 8 + length
        self._content = np.memmap(path, np.uint8, "r")

    def parts_of(self, name: str) -> list[str]:
        """The tensors that make a weight: itself in half precision, or packed rows and their scales."""
        dtype = self._header[name]["dtype"] if name in self._header else ""
        return {"F16": [name], "I8": [name, name + SCALES]}.get(dtype, [])

    def values_of(self, name: str) -> np.ndarray | None:
        """A weight in float32, if it is stored in one of these two ways."""
        parts = [self._array(part) for part in self.parts_of(name)]
        if len(parts) < 2:
            return parts[0].astype(np.float32) if parts else None
        whole, scales = parts
        values = whole.astype(np.float32) * scales.reshape(-1, *[1] * (whole.ndim - 1))
        return values.astype(np.float16).astype(np.float32)

    def reference(self, name: str) -> onnx.TensorProto:
        """A tensor of a graph that takes its numbers from the file."""
        import onnx

        types = {"F16": "FLOAT16", "I8": "INT8", "F32": "FLOAT"}
        begin, end = self._place(name)
        tensor = onnx.TensorProto(
            name=name,
            data_type=getattr(onnx.TensorProto, types[self._header[name]["dtype"]]),
            dims=self._header[name]["shape"],
            data_location=onnx.TensorProto.EXTERNAL,
        )
        for key, value in {"location": self._name, "offset": begin, "length": end - begin}.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def copy(self, name: str) -> onnx.TensorProto:
        """A tensor of a graph that holds the same numbers."""
        from onnx import numpy_helper

        return numpy_helper.from_array(self._array(name), name)

    def _place(self, name: str) -> tuple[int, int]:
        begin, end = self._header[name]["data_offsets"]
        return self._start + begin, self._start + end

    def _array(self, name: str) -> np.ndarray:
        begin, end = self._place(name)
        entry = self._header[name]
        return self._content[begin:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])


def _large_floats(initializer: onnx.TensorProto) -> np.ndarray | None:
    from onnx import TensorProto, numpy_helper

    if initializer.data_type != TensorProto.FLOAT or np.prod(initializer.dims) < _WORTH_IT:
        return None
    return numpy_helper.to_array(initializer)


def _replace(
    graph: onnx.ModelProto,
    initializer: onnx.TensorProto,
    stored: onnx.TensorProto,
    scales: onnx.TensorProto | None = None,
) -> None:
    """Put a tensor of half precision, or packed rows and their scales, where one of single precision was.

    Runtimes carry out what stands between once, at loading.
    """
    from onnx import TensorProto, helper, numpy_helper

    name = initializer.name
    stored.name = f"{name}.stored"
    graph.graph.initializer.remove(initializer)
    graph.graph.initializer.append(stored)

    def cast(source: str, result: str, to: int) -> onnx.NodeProto:
        return helper.make_node("Cast", [source], [result], name=f"{result}.cast", to=to)

    if scales is None:
        nodes = [cast(stored.name, name, TensorProto.FLOAT)]
    else:
        scales.name = f"{name}.scales"
        sides = np.array([-1, *[1] * (len(stored.dims) - 1)])
        graph.graph.initializer.extend([scales, numpy_helper.from_array(sides, f"{name}.sides")])
        nodes = [
            cast(stored.name, f"{name}.wide", TensorProto.FLOAT),
            helper.make_node("Reshape", [scales.name, f"{name}.sides"], [f"{name}.columns"]),
            helper.make_node("Mul", [f"{name}.wide", f"{name}.columns"], [f"{name}.exact"]),
            cast(f"{name}.exact", f"{name}.half", TensorProto.FLOAT16),
            cast(f"{name}.half", name, TensorProto.FLOAT),
        ]
    for node in reversed(nodes):
        graph.graph.node.insert(0, node)
