"""Files of tensors and JSON, cells of CSV. What is read may come from anyone, so nothing in it is believed.

Shapes and types are known from a file's header before any tensor is allocated; JSON is bounded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from safetensors import SafetensorError, safe_open

from arbstyle.errors import ArbstyleError
from arbstyle.images.files import atomic_path, why_no_file

if TYPE_CHECKING:
    from torch import Tensor

MAX_JSON = 1 << 20
"""Characters of JSON in a file's metadata; ours is below 10 KB."""
MAX_DEPTH = 16
"""Lists and objects in one another."""
FLOATS = ("F16", "BF16", "F32", "F64")
SCALES = ":scales"
"""Added to the name of a packed weight: the scales of its rows. No part of a network can have such a name."""
LARGEST_WEIGHT = 65504.0
"""Of a network: what half precision holds, in which models are kept."""
LARGEST_OF_A_STYLE = 10_000.0
"""In a style's code or parameters. Pictures give some 30 at most; far beyond, all is painted white."""


@dataclass(frozen=True)
class StoredTensors:
    """An open safetensors file: its header, and one tensor at a time.

    Attributes:
        metadata: texts by name.
        shapes, dtypes: by name, in the words of safetensors (``F16``).
    """

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    _file: Any

    def read(self, name: str) -> Any:
        """One tensor, or array."""
        return self._file.get_tensor(name)


@contextmanager
def open_tensors(path: str | Path, framework: Literal["pt", "numpy"]) -> Iterator[StoredTensors]:
    """A safetensors file, open for reading.

    Raises:
        ArbstyleError: not a regular file, or not of this kind.
    """
    reason = why_no_file(path)
    if reason:
        raise ArbstyleError(reason)
    try:
        with safe_open(path, framework=framework) as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            yield StoredTensors(
                file.metadata() or {},
                {name: tuple(each.get_shape()) for name, each in slices.items()},
                {name: str(each.get_dtype()) for name, each in slices.items()},
                file,
            )
    except (SafetensorError, OSError) as error:
        raise ArbstyleError(f"it is not a safetensors file: {' '.join(str(error).split())}") from error


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor] | Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file of tensors or of arrays, whole or not at all.

    Raises:
        ArbstyleError: a place that can't be written, or a full disk.
    """
    # In memory first: straight to a file, a full disk is no OSError, and only the owner may read the file.
    encoded = _encoded(dict(tensors), None if metadata is None else dict(metadata))
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded)


def _encoded(tensors: dict[str, Any], metadata: dict[str, str] | None) -> bytes:
    if all(isinstance(each, np.ndarray) for each in tensors.values()):
        from safetensors.numpy import save as save_arrays

        return save_arrays(tensors, metadata)
    from safetensors.torch import save

    return save(tensors, metadata)


def are_within(numbers: Any, largest: float) -> bool:
    """Whether all numbers of a tensor or an array are finite and no larger than this, either way."""
    return bool((abs(numbers) <= largest).all())  # NaN is no larger and no smaller


def read_json(text: str, longest: int = MAX_JSON) -> Any:
    """Plain values from JSON of bounded size and depth, all numbers finite.

    Args:
        longest: in characters.

    Raises:
        ValueError: anything else.
    """
    if len(text) > longest:
        raise ValueError(f"expected at most {longest} characters of JSON, got {len(text)}")
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    if _deeper_than(value, MAX_DEPTH):
        raise ValueError("JSON nested too deeply")
    return value


def read_json_file(path: str | Path, longest: int = MAX_JSON) -> dict[str, Any]:
    """As :func:`read_json_object`, from a regular file in UTF-8.

    Raises:
        OSError: it can't be read.
        ValueError: it holds anything else.
    """
    reason = why_no_file(path)
    if reason and Path(path).exists():
        raise ValueError(reason)
    with Path(path).open("rb") as file:
        return read_json_object(file.read(4 * longest + 1).decode("utf-8"), longest)


def read_json_object(text: str, longest: int = MAX_JSON) -> dict[str, Any]:
    """As :func:`read_json`, for an object."""
    value = read_json(text, longest)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    return value


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""What a spreadsheet would compute, or takes for an escape of ours."""


def harmless_cell(text: str) -> str:
    """A text as a cell that no spreadsheet takes for a formula: an apostrophe says that it is text."""
    return f"'{text}" if _FORMULA.match(text) else text


def text_of_cell(cell: str) -> str:
    """What :func:`harmless_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"expected a finite number, got {name}")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {text[:20]}")
    return number


def _deeper_than(value: Any, depth: int) -> bool:
    if not isinstance(value, list | dict):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_deeper_than(each, depth - 1) for each in inner)
