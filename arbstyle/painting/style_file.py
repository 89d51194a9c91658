"""A style in a file of its own: what the model knows of it, and a thumbnail to know it by."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path, check_output_path
from arbstyle.networks import ArbitraryStyler
from arbstyle.networks.styler import own_state

FILE_FORMAT = "arbstyle-style-1"
THUMBNAIL_SIDE = 256


@dataclass(frozen=True, eq=False)
class Style:
    """One style of one model.

    Attributes:
        name: of the style.
        code: 1×K, the style encoder's.
        parameters: 1×P of the transformer's sites, where refinement has moved them away from the code's;
            else ``None``.
        model: :func:`fingerprint` of the model.
        model_name: for people.
        thumbnail: a small picture of the style.
    """

    name: str
    code: Tensor
    parameters: Tensor | None
    model: str
    model_name: str
    thumbnail: Image.Image

    def description(self) -> dict[str, str | int | bool]:
        """What there is to tell."""
        return {
            "name": self.name,
            "model": f"{self.model_name} ({self.model})",
            "code": f"{self.code.numel()} numbers",
            "refined": self.parameters is not None,
            "thumbnail": f"{self.thumbnail.width}×{self.thumbnail.height}",
        }

    def save(self, path: str | Path) -> Path:
        """Write as safetensors, whole or not at all.

        Raises:
            ArbstyleError: the name does not end in ``.safetensors``, or the folder cannot be written.
        """
        path = check_output_path(path, (".safetensors",))
        encoded = io.BytesIO()
        self.thumbnail.convert("RGB").save(encoded, "WEBP", quality=90)
        tensors = {
            "code": self.code.detach().cpu().float().contiguous(),
            "thumbnail": torch.frombuffer(bytearray(encoded.getvalue()), dtype=torch.uint8),
        }
        if self.parameters is not None:
            tensors["parameters"] = self.parameters.detach().cpu().float().contiguous()
        metadata = {
            "format": FILE_FORMAT,
            "style": json.dumps({"name": self.name, "model": self.model, "model_name": self.model_name}),
        }
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Style:
        """Read what :meth:`save` wrote.

        Raises:
            ArbstyleError: no such file, or not a style.
        """
        path = Path(path)
        remedy = "write one with 'arbstyle style save'"
        if not path.is_file():
            raise ArbstyleError(f"expected a style file in {path}, but there is no such file; {remedy}")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if metadata.get("format") != FILE_FORMAT:
                kind = metadata.get("format", "no format at all")
                raise ArbstyleError(f"expected a style file in {path}, got {kind}; {remedy}")
            about = json.loads(metadata["style"])
            thumbnail = Image.open(io.BytesIO(tensors["thumbnail"].numpy().tobytes())).convert("RGB")
            return cls(
                name=str(about["name"]),
                code=tensors["code"],
                parameters=tensors.get("parameters"),
                model=str(about["model"]),
                model_name=str(about["model_name"]),
                thumbnail=thumbnail,
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ArbstyleError(f"{path} is not a readable style file ({reason}); {remedy}") from error


def fingerprint(styler: ArbitraryStyler) -> str:
    """16 hexadecimal digits that tell models apart whose codes mean different things."""
    digest = hashlib.sha256()
    for key, value in sorted(own_state(styler).items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
