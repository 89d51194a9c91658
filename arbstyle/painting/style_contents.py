"""What a style file holds, as arrays: read without PyTorch."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images.files import check_output_path, why_no_file
from arbstyle.stored import (
    LARGEST_OF_A_STYLE,
    StoredTensors,
    are_within,
    open_tensors,
    read_json_object,
    write_tensors,
)

if TYPE_CHECKING:
    from arbstyle.painting.style_file import Style

FILE_FORMAT = "arbstyle-style-1"
THUMBNAIL_SIDE = 256

_MAX_NUMBERS = 1 << 20
_MAX_SIDE = 2048
_MAX_ENCODED = 16 << 20


@dataclass(frozen=True, eq=False)
class StyleContents:
    """As :class:`~arbstyle.painting.Style`, with arrays for tensors."""

    name: str
    code: np.ndarray
    parameters: np.ndarray | None
    model: str
    model_name: str
    thumbnail: Image.Image
    about: Mapping[str, str] = field(default_factory=dict)

    def description(self) -> dict[str, str | int | bool]:
        """What there is to tell."""
        return {
            "name": self.name,
            "model": f"{self.model_name} ({self.model})",
            "code": f"{self.code.size} numbers",
            "refined": self.parameters is not None,
            "thumbnail": f"{self.thumbnail.width}×{self.thumbnail.height}",
            **self.about,
        }

    def save(self, path: str | Path) -> Path:
        """Write as safetensors, whole or not at all.

        Raises:
            ArbstyleError: the name does not end in ``.safetensors``, the folder cannot be written, or the
                style holds numbers that :meth:`load` would refuse.
        """
        path = check_output_path(path, (".safetensors",))
        encoded = io.BytesIO()
        self.thumbnail.convert("RGB").save(encoded, "WEBP", quality=90)
        arrays: dict[str, np.ndarray] = {
            "code": np.ascontiguousarray(self.code, np.float32),
            "thumbnail": np.frombuffer(encoded.getvalue(), np.uint8),
        }
        if self.parameters is not None:
            arrays["parameters"] = np.ascontiguousarray(self.parameters, np.float32)
        metadata = {
            "format": FILE_FORMAT,
            "style": json.dumps({"name": self.name, "model": self.model, "model_name": self.model_name}),
            "about": json.dumps(dict(self.about)),
        }
        try:
            for name in arrays.keys() - {"thumbnail"}:
                _check_numbers(name, arrays[name])
        except ValueError as error:
            raise ArbstyleError(f"the style '{self.name}' can't be kept: {error}") from error
        write_tensors(path, arrays, metadata)
        return path

    @classmethod
    def load(cls, path: str | Path) -> StyleContents:
        """Read what :meth:`save` wrote.

        Raises:
            ArbstyleError: no such file, or not a style.
        """
        path = Path(path)
        remedy = "write one with 'arbstyle style save'"
        if reason := why_no_file(path):
            raise ArbstyleError(f"expected a style file in {path}, but {reason}; {remedy}")
        try:
            with open_tensors(path, "numpy") as file:
                kind = file.metadata.get("format", "no format at all")
                if kind != FILE_FORMAT:
                    raise ValueError(f"expected format {FILE_FORMAT}, got {kind}")
                return cls._from(file)
        except (ArbstyleError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = reason_of(error, 300)
            raise ArbstyleError(f"{path} is not a readable style file ({reason}); {remedy}") from error

    @classmethod
    def _from(cls, file: StoredTensors) -> StyleContents:
        about = read_json_object(file.metadata["style"])
        return cls(
            name=str(about["name"]),
            code=_row(file, "code"),
            parameters=_row(file, "parameters") if "parameters" in file.shapes else None,
            model=str(about["model"]),
            model_name=str(about["model_name"]),
            thumbnail=_thumbnail(file),
            about={str(k): str(v) for k, v in read_json_object(file.metadata.get("about", "{}")).items()},
        )


def _row(file: StoredTensors, name: str) -> np.ndarray:
    """1×K numbers of a size that styles have."""
    shape, dtype = file.shapes[name], file.dtypes[name]
    if len(shape) != 2 or shape[0] != 1 or not 1 <= shape[1] <= _MAX_NUMBERS or dtype != "F32":
        raise ValueError(f"expected '{name}' as F32 of 1×K, got {dtype} of {'×'.join(map(str, shape))}")
    row: np.ndarray = file.read(name)
    _check_numbers(name, row)
    return row


def _check_numbers(name: str, row: np.ndarray) -> None:
    if not are_within(row, LARGEST_OF_A_STYLE):
        raise ValueError(f"expected finite numbers up to {LARGEST_OF_A_STYLE:g} in '{name}'")


def _thumbnail(file: StoredTensors) -> Image.Image:
    shape, dtype = file.shapes["thumbnail"], file.dtypes["thumbnail"]
    if len(shape) != 1 or shape[0] > _MAX_ENCODED or dtype != "U8":
        raise ValueError(f"expected an encoded thumbnail, got {dtype} of {'×'.join(map(str, shape))}")
    try:
        picture = Image.open(io.BytesIO(file.read("thumbnail").tobytes()), formats=["WEBP", "PNG"])
        if max(picture.size) > _MAX_SIDE:
            raise ValueError(f"{picture.width}×{picture.height} pixels")
        return picture.convert("RGB")
    except Exception as error:  # Pillow's decoders raise whatever they come across
        raise ValueError(f"expected a thumbnail of at most {_MAX_SIDE} pixels a side: {error}") from error


def check_numbers(style: StyleContents | Style, row: Any, size: int) -> None:
    """Raise an ArbstyleError if a style's code or parameters, 1×K, are not those of a model that takes K.

    Args:
        row: a tensor or an array.
        size: K.
    """
    if row.shape != (1, size) or not are_within(row, LARGEST_OF_A_STYLE):
        raise ArbstyleError(
            f"the style '{style.name}' should hold {size} numbers for this model, none beyond "
            f"{LARGEST_OF_A_STYLE:g}, and holds {row.shape[-1]}; save it again with 'arbstyle style save'"
        )


def check_model(style: StyleContents | Style, fingerprint: str, name: str) -> None:
    """Raise an ArbstyleError if a style was made with another model than the one of this fingerprint."""
    if style.model != fingerprint:
        raise ArbstyleError(
            f"the style '{style.name}' was made with another model ({style.model_name}, {style.model}) "
            f"than this one ({name}, {fingerprint}); save it again with 'arbstyle style save'"
        )
