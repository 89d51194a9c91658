"""A style in a file of its own: what the model knows of it, and a thumbnail to know it by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arbstyle.networks import ArbitraryStyler
from arbstyle.networks.state import own_state
from arbstyle.painting.style_contents import StyleContents


@dataclass(frozen=True, eq=False)
class Style:
    """One style of one model.

    Attributes:
        name: of the style.
        code: 1×K in float32, the style encoder's; K is its ``code_size``.
        parameters: 1×P of the transformer's sites, where refinement has moved them away from the code's;
            else ``None``.
        model: :func:`fingerprint` of the model: 16 hexadecimal digits.
        model_name: for people.
        thumbnail: a small picture of the style.
        about: what else there is to tell, such as artist and title.
    """

    name: str
    code: Tensor
    parameters: Tensor | None
    model: str
    model_name: str
    thumbnail: Image.Image
    about: Mapping[str, str] = field(default_factory=dict)

    def description(self) -> dict[str, str | int | bool]:
        """What there is to tell, by name: plain values, as ``arbstyle style show --json`` prints them."""
        return self._contents().description()

    def save(self, path: str | Path) -> Path:
        """Write as safetensors, whole or not at all; a file that exists is replaced.

        Returns:
            the path.

        Raises:
            ArbstyleError: the name does not end in ``.safetensors``, or the folder cannot be written.
        """
        return self._contents().save(path)

    def _contents(self) -> StyleContents:
        arrays = (_array(self.code), None if self.parameters is None else _array(self.parameters))
        return StyleContents(self.name, *arrays, self.model, self.model_name, self.thumbnail, self.about)

    @classmethod
    def load(cls, path: str | Path) -> Style:
        """Read what :meth:`save` wrote.

        Raises:
            ArbstyleError: no such file, or not a style.
        """
        contents = StyleContents.load(path)
        parameters = None if contents.parameters is None else torch.from_numpy(contents.parameters)
        return cls(
            contents.name,
            torch.from_numpy(contents.code),
            parameters,
            contents.model,
            contents.model_name,
            contents.thumbnail,
            contents.about,
        )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()


def fingerprint(styler: ArbitraryStyler) -> str:
    """16 hexadecimal digits that tell models apart whose codes mean different things."""
    digest = hashlib.sha256()
    for key, value in sorted((own_state(styler) | styler.retired_weights).items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
