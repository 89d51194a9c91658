"""Options that several commands share."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from arbstyle import Stylizer
    from arbstyle.devices import Precision


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Model and machine.

    Attributes:
        model: another model than the packaged one.
        device: auto, cpu, cuda or mps; auto takes a GPU where there is one.
        vgg_weights: VGG-19, .safetensors or .pth, for models that contain one and for --refine (default:
            ARBSTYLE_VGG19, else torchvision's download).
    """

    model: Annotated[str | None, "FILE"] = None
    device: Annotated[str, "DEVICE"] = "auto"
    vgg_weights: Annotated[str | None, "FILE"] = None

    def files(self) -> list[tuple[str, str]]:
        """The files that are read, in their roles."""
        roles = {"--model": self.model, "--vgg-weights": self.vgg_weights}
        return [(role, path) for role, path in roles.items() if path]

    def stylizer(self, precision: Precision = "auto") -> Stylizer:
        from arbstyle import Stylizer

        return Stylizer.from_pretrained(self.model, self.device, precision, weights=self.vgg_weights)


@dataclass(frozen=True, kw_only=True)
class ResultFile:
    """Result.

    Attributes:
        quality: of JPEG and WebP, 1 to 100.
        bits: a channel; 16 in PNG only.
        metadata: note style and model in the file (EXIF is kept anyway).
    """

    quality: int = 95
    bits: Literal[8, 16] = 8
    metadata: bool = True

    def check(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ArbstyleError(f"expected a --quality from 1 to 100, got {self.quality}")


def check_new(outputs: Iterable[str | Path], instead: str = "give another -o") -> None:
    """Raise an ArbstyleError if a result exists: without --overwrite none is replaced."""
    existing = [output for output in outputs if os.path.exists(output)]
    if existing:
        what = "exists" if len(existing) == 1 else f"and {len(existing) - 1} more results exist"
        raise ArbstyleError(f"'{existing[0]}' {what}; add --overwrite, or {instead}")


def warn(message: str) -> None:
    """A line on standard error."""
    print(f"arbstyle: {message}", file=sys.stderr)


@contextmanager
def strength_told_once(strength: float) -> Iterator[None]:
    """Of a strength for which no model is trained a line tells at the end, and nothing at every picture."""
    from arbstyle.painting import StrengthWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StrengthWarning)
        yield
    if strength > 1:
        warn(f"a strength of {strength:g} is beyond 1, for which no model is trained: look twice")
