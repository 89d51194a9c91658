"""`arbstyle stylize` without PyTorch: when, and how."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    import numpy as np

    from arbstyle.cli._painter import Painter
    from arbstyle.cli.stylize import Machine, ManyPictures, Painting, ResultFile
    from arbstyle.images.decoding import Decoded
    from arbstyle.painting.batch import Source, StyleChoice

LARGEST = 8_000_000
"""Pixels of a photo above which PyTorch paints: it knows how to do it in tiles."""


def check_backend(painting: Painting, machine: Machine, many: ManyPictures) -> None:
    """Raise an ArbstyleError for ``--backend onnx`` with what only PyTorch can do."""
    sheet = "--grid" if many.grid else "--strip" if many.strip is not None else None
    obstacle = sheet or _obstacle(painting, machine)
    if machine.backend == "onnx" and obstacle:
        raise ArbstyleError(f"--backend onnx goes without {obstacle}; use --backend torch")


def load_painter(painting: Painting, machine: Machine, result: ResultFile) -> Painter | OnnxPainter:
    """The painter that the options ask for, or the one that starts sooner if it can do what they ask for."""
    plain = not _obstacle(painting, machine) and is_possible(machine.device)
    if machine.backend == "onnx" or (machine.backend == "auto" and plain):
        return OnnxPainter(painting, machine, result)
    from arbstyle.cli._painter import Painter

    return Painter(painting, machine, result)


def is_possible(device: str) -> bool:
    """Whether the packaged model can paint without PyTorch, and no GPU is meant.

    Whether `auto` finds a GPU, PyTorch takes too long to ask.
    """
    from arbstyle.onnx.runtime import is_installed, packaged_folder

    gpu = device == "auto" and (sys.platform == "darwin" or shutil.which("nvidia-smi") is not None)
    return device in ("auto", "cpu") and not gpu and is_installed() and packaged_folder() is not None


def _obstacle(painting: Painting, machine: Machine) -> str | None:
    """What among the options needs PyTorch."""
    obstacles = {
        "--model": machine.model is not None,
        f"--device {machine.device}": machine.device not in ("auto", "cpu"),
        f"--precision {machine.precision}": machine.precision not in ("auto", "fp32"),
        f"--stroke {painting.stroke}": painting.stroke != 1,
        "--tile": machine.tile is not None,
        "--mask": bool(painting.mask),
        "--refine": painting.refine is not None,
        f"--keep-colors {painting.keep_colors}": painting.keep_colors in ("histogram", "coral"),
    }
    return next((option for option, given in obstacles.items() if given), None)


class OnnxPainter:
    """As :class:`arbstyle.cli._painter.Painter`, on arrays 3×H×W."""

    def __init__(self, painting: Painting, machine: Machine, result: ResultFile) -> None:
        from arbstyle.onnx.runtime import OnnxStylizer

        self.painting = painting
        self.machine = machine
        self.result = result
        self.stylizer = OnnxStylizer()

    def check_style(self, choice: StyleChoice) -> None:
        for source in choice.sources:
            self.stylizer.read_style(source.text)

    def paint(
        self, photo: Decoded, choice: StyleChoice, progress: Callable[[int, int], None] | None = None
    ) -> np.ndarray:
        """The photo in a style, 1×3×H×W."""
        _, _, height, width = photo.pixels.shape
        if height * width > LARGEST:
            return self._paint_large(photo, choice, progress)
        painted = self.stylizer.stylize(
            photo.pixels[0],
            [source.text for source in choice.sources],
            self.painting.strength,
            weights=choice.weights,
            keep_luminance=self.painting.keep_colors == "luminance",
            style_size=self.painting.style_size,
            seed=self.painting.seed,
        )
        return painted[None]

    def _paint_large(
        self, photo: Decoded, choice: StyleChoice, progress: Callable[[int, int], None] | None
    ) -> np.ndarray:
        import torch

        from arbstyle.cli._painter import Painter
        from arbstyle.images import Picture

        picture = Picture(torch.from_numpy(photo.pixels))
        return Painter(self.painting, self.machine, self.result).paint(picture, choice, progress).numpy()

    def description(self) -> dict[str, Any]:
        model = {"name": self.stylizer.name, "fingerprint": self.stylizer.fingerprint}
        return {"model": model, "device": "cpu", "precision": "float32", "backend": "onnx"}

    def read(self, content: Source) -> Decoded:
        """A photo with its transparency, at the size to work at."""
        from arbstyle.images.arrays import as_float_array, resize_array, resize_array_with_alpha
        from arbstyle.images.decoding import Decoded, decode_file

        pixels, alpha, exif = decode_file(content.text, keep_bytes=self.result.bits == 8)
        size = self.painting.size
        if alpha is not None:
            planes, opacity = resize_array_with_alpha(
                as_float_array(pixels[0]), alpha[0], size or pixels.shape[2:]
            )
            return Decoded(planes[None], opacity[None], exif)
        if size is not None:
            pixels = resize_array(as_float_array(pixels[0]), size)[None]
        return Decoded(pixels, None, exif)

    def write(
        self, painted: np.ndarray, output: Path, *choices: StyleChoice, photo: Decoded | None = None
    ) -> None:
        """Save a picture with a photo's transparency and EXIF."""
        import numpy as np

        from arbstyle.cli._painter import notes
        from arbstyle.images.arrays import as_float_array
        from arbstyle.images.encoding import write_array

        planes = painted[0]
        if photo is not None and photo.alpha is not None:
            planes = np.concatenate([as_float_array(planes), photo.alpha[0]])
        write_array(
            planes,
            output,
            exif=photo.exif if photo else None,
            quality=self.result.quality,
            bits=self.result.bits,
            text=notes(self.stylizer, *choices) if self.result.metadata else {},
        )
