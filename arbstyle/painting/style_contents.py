"""What a style file holds, as arrays: read without PyTorch."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open

from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from arbstyle.painting.style_file import Style

FILE_FORMAT = "arbstyle-style-1"


@dataclass(frozen=True, eq=False)
class StyleContents:
    """As :class:`~arbstyle.painting.Style`, with arrays for tensors."""

    name: str
    code: np.ndarray
    parameters: np.ndarray | None
    model: str
    model_name: str
    thumbnail: Image.Image
    about: Mapping[str, str]

    @classmethod
    def load(cls, path: str | Path) -> StyleContents:
        """Read what :meth:`arbstyle.painting.Style.save` wrote.

        Raises:
            ArbstyleError: no such file, or not a style.
        """
        path = Path(path)
        remedy = "write one with 'arbstyle style save'"
        if not path.is_file():
            raise ArbstyleError(f"expected a style file in {path}, but there is no such file; {remedy}")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if metadata.get("format") != FILE_FORMAT:
                kind = metadata.get("format", "no format at all")
                raise ArbstyleError(f"expected a style file in {path}, got {kind}; {remedy}")
            about = json.loads(metadata["style"])
            encoded = io.BytesIO(tensors["thumbnail"].tobytes())
            thumbnail = Image.open(encoded, formats=["WEBP", "PNG"]).convert("RGB")
            return cls(
                name=str(about["name"]),
                code=tensors["code"],
                parameters=tensors.get("parameters"),
                model=str(about["model"]),
                model_name=str(about["model_name"]),
                thumbnail=thumbnail,
                about={
                    str(key): str(value) for key, value in json.loads(metadata.get("about", "{}")).items()
                },
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise ArbstyleError(f"{path} is not a readable style file ({reason}); {remedy}") from error


def check_model(style: StyleContents | Style, fingerprint: str, name: str) -> None:
    """Raise an ArbstyleError if a style was made with another model than the one of this fingerprint."""
    if style.model != fingerprint:
        raise ArbstyleError(
            f"the style '{style.name}' was made with another model ({style.model_name}, {style.model}) "
            f"than this one ({name}, {fingerprint}); save it again with 'arbstyle style save'"
        )
