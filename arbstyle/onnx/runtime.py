"""Painting with the graphs of :mod:`arbstyle.onnx.export`: NumPy, Pillow and ONNX Runtime, no PyTorch."""

from __future__ import annotations

import functools
import importlib.util
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images.arrays import LUMA, as_float_array, as_image, read_array, resize_array
from arbstyle.images.files import time_of_change, why_no_file
from arbstyle.images.sizes import style_view, target_size
from arbstyle.memory import available_cores
from arbstyle.onnx.storage import FILE_FORMAT, header_hash
from arbstyle.painting.gallery import gallery_file
from arbstyle.painting.options import NOT_FINITE, STYLE_SIZE, check_options, style_size_for, whole_number
from arbstyle.painting.style_contents import THUMBNAIL_SIDE, StyleContents, check_model, check_numbers

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_CACHED_STYLES = 256
_LUMA = np.array(LUMA, np.float32).reshape(3, 1, 1)


def is_installed() -> bool:
    """Whether ONNX Runtime is there."""
    return importlib.util.find_spec("onnxruntime") is not None


def packaged_folder() -> Path | None:
    """Where the graphs of the packaged model lie, if this copy has them as files."""
    folder = files("arbstyle") / "assets"
    return folder if isinstance(folder, Path) and (folder / "painter.onnx").is_file() else None


class OnnxStylizer:
    """What :class:`~arbstyle.Stylizer` does most, for whoever has no PyTorch or no time to load it.

    Args:
        folder: holds ``style.onnx``, ``head.onnx`` and ``painter.onnx``; default: the packaged model's.
        threads: to compute with; default: one a core.

    Raises:
        ArbstyleError: ONNX Runtime is not installed, or the graphs are not there or do not belong together.
    """

    def __init__(self, folder: str | Path | None = None, *, threads: int | None = None) -> None:
        if not is_installed():
            raise ArbstyleError("painting with ONNX needs ONNX Runtime: pip install 'arbstyle[onnx]'")
        found = packaged_folder() if folder is None else Path(folder)
        if found is None:
            raise ArbstyleError(
                "no ONNX graphs come with this copy of arbstyle; write some: 'arbstyle export'"
            )
        self.folder = found
        self._threads = threads or _number_of_threads()
        # The painter is loaded while the style is read and looked at.
        self._painter = ThreadPoolExecutor(1).submit(self._load, "painter")
        self._read_file = functools.lru_cache(1)(self._read_style_file)
        self._parameters_of_file = functools.lru_cache(_CACHED_STYLES)(self._encode_file)

    def __reduce__(self) -> tuple[functools.partial[OnnxStylizer], tuple[Path]]:
        """Pickled as the folder of its graphs, which are loaded anew."""
        return functools.partial(type(self), threads=self._threads), (self.folder,)

    @functools.cached_property
    def metadata(self) -> dict[str, str]:
        """What the graphs say of themselves."""
        return self._painter.result().get_modelmeta().custom_metadata_map

    @property
    def name(self) -> str:
        """What the model calls itself."""
        return self.metadata["name"]

    @property
    def fingerprint(self) -> str:
        """Tells models apart; style files carry it."""
        return self.metadata["fingerprint"]

    def stylize(
        self,
        photo: np.ndarray,
        styles: Sequence[str | os.PathLike[str]],
        strength: float = 1.0,
        *,
        weights: Sequence[float] | None = None,
        keep_luminance: bool = False,
        style_size: int | None = None,
        seed: int = 0,
    ) -> np.ndarray:
        """Paint a photo; the same picture as :meth:`arbstyle.Stylizer.stylize` gives in float32.

        Args:
            photo: 3×H×W, floats in [0,1] or bytes.
            styles: paths of pictures and of style files, and names of the gallery, blended by ``weights``.
            strength: 0 gives back the photo, 1 is the style, beyond 1 exaggerates.
            weights: of the styles; equal if left out.
            keep_luminance: paint the photo's brightness and keep its colours.
            style_size: short side in pixels at which a style picture is looked at; default: the photo's own,
                within ``STYLE_SIZES``.
            seed: of the noise, for models that paint from some.

        Returns:
            3×H×W of the photo's type.

        Raises:
            ArbstyleError: a photo of another shape, an option out of its range, or no style that can be read.
        """
        check_options(strength, style_size=style_size)
        if photo.ndim != 3 or photo.shape[0] != 3 or photo.size == 0:
            raise ArbstyleError(f"expected a photo of shape 3×H×W, got {'×'.join(map(str, photo.shape))}")
        if strength == 0:
            return photo
        size = style_size or style_size_for(photo)
        shares = _shares(len(styles), weights)
        original = as_float_array(photo)
        known = [self.parameters_of(style, size) for style in styles]
        parameters = np.concatenate([share * each for share, each in zip(shares, known, strict=True)])
        parameters = parameters.sum(axis=0, keepdims=True)
        if strength != 1:
            own = self._encode(resize_array(original, style_view(original.shape[1], original.shape[2], size)))
            parameters = own + np.float32(strength) * (parameters - own)
        painted = self.paint(original[None], parameters, whole_number(seed, "the seed"))[0]
        if keep_luminance:
            step = ((painted - original) * _LUMA).sum(axis=0, keepdims=True)
            painted = (original + step).clip(0, 1)
        if strength < 1:  # as in `Stylizer`: the parameters have gone that far; the pixels make 0 exact
            painted = original + (painted - original) * np.float32(strength * (2 - strength))
        painted = painted.clip(0, 1)
        return np.rint(painted * 255).astype(np.uint8) if photo.dtype == np.uint8 else painted

    def paint(self, photos: np.ndarray, parameters: np.ndarray, seed: int = 0) -> np.ndarray:
        """Photos N×3×H×W in [0,1] painted by parameters N×P or 1×P.

        Raises:
            ArbstyleError: painted numbers that are not finite.
        """
        rows = np.broadcast_to(parameters, (len(photos), parameters.shape[1]))
        seeds = np.array([int(seed) & 0xFFFFFFFF], np.int64)  # all that the noise's hash looks at
        inputs = {"photo": photos, "parameters": rows, "seed": seeds}
        painter = self._painter.result()
        wanted = {each.name: np.ascontiguousarray(inputs[each.name]) for each in painter.get_inputs()}
        painted = painter.run(["painted"], wanted)[0]
        if not np.isfinite(painted).all():
            raise ArbstyleError(NOT_FINITE)
        return painted

    def parameters_of(self, style: str | os.PathLike[str], style_size: int = 512) -> np.ndarray:
        """The painter's parameters of a style picture or style file, 1×P; kept for the next time."""
        return self._parameters_of_file(str(style), time_of_change(style), style_size)

    def read_style(self, style: str | os.PathLike[str]) -> np.ndarray | StyleContents:
        """A style picture 3×h×w, or what a style file of this model holds; the last one is kept.

        Raises:
            ArbstyleError: not to be read, of another model, or without such numbers as it needs.
        """
        return self._read_file(str(style), time_of_change(style))

    def style(
        self, style: str | os.PathLike[str], *, name: str | None = None, style_size: int | None = None
    ) -> StyleContents:
        """What this model knows of a style picture, as :meth:`arbstyle.Stylizer.style` says it.

        Args:
            style: a picture, or a style file, which is then checked.
            name: to show; default: the file's, or what a style file says.
            style_size: short side in pixels at which a picture is looked at; default: ``STYLE_SIZE``.
        """
        picture = self.read_style(style)
        if isinstance(picture, StyleContents):
            return replace(picture, name=name) if name else picture
        height, width = picture.shape[1:]
        seen = resize_array(picture, style_view(height, width, style_size or STYLE_SIZE))
        code = self._style.run(["code"], {"style": seen[None]})[0]
        small = resize_array(
            picture, target_size(height, width, min(THUMBNAIL_SIDE, max(height, width)), "long")
        )
        return StyleContents(
            name or Path(style).stem, code, None, self.fingerprint, self.name, as_image(small)
        )

    def _read_style_file(self, path: str, modified: int) -> np.ndarray | StyleContents:
        known = gallery_file(path)
        if known is None and not path.lower().endswith(".safetensors"):
            return read_array(path)
        style = StyleContents.load(known or path)
        if known and style.model != self.fingerprint:
            return np.asarray(style.thumbnail, np.float32).transpose(2, 0, 1) / 255
        self._check(style)
        return style

    def _check(self, style: StyleContents) -> None:
        check_model(style, self.fingerprint, self.name)
        if style.parameters is not None:
            check_numbers(style, style.parameters, _width(self._painter.result(), "parameters"))
        else:
            check_numbers(style, style.code, _width(self._head, "code"))

    def _encode_file(self, path: str, modified: int, style_size: int) -> np.ndarray:
        style = self._read_file(path, modified)
        if not isinstance(style, StyleContents):
            return self._encode(resize_array(style, style_view(style.shape[1], style.shape[2], style_size)))
        if style.parameters is not None:
            return style.parameters
        return self._head.run(["parameters"], {"code": style.code})[0]

    def _encode(self, picture: np.ndarray) -> np.ndarray:
        """Parameters 1×P of a style picture 3×h×w."""
        return self._style.run(["parameters"], {"style": picture[None]})[0]

    @functools.cached_property
    def _style(self) -> InferenceSession:
        return self._load("style")

    @functools.cached_property
    def _head(self) -> InferenceSession:
        return self._load("head")

    def _load(self, name: str) -> InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3  # errors
        path = self.folder / f"{name}.onnx"
        if reason := why_no_file(path):
            raise ArbstyleError(f"expected a graph in {path}, but {reason}; write it: 'arbstyle export'")
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own exceptions share no base but this one
            raise ArbstyleError(
                f"cannot load {path} ({reason_of(error, 200)}); write it again: 'arbstyle export'"
            ) from error
        metadata = session.get_modelmeta().custom_metadata_map
        ours = {"fingerprint", "name"} <= set(metadata) and metadata.get("format") == FILE_FORMAT
        if not ours or metadata.get("part") != name:
            raise ArbstyleError(f"{path} is not a graph that 'arbstyle export' wrote for this purpose")
        weights = metadata.get("weights")
        if weights is not None and not self._are_beside(weights, metadata.get("weights_header")):
            raise ArbstyleError(
                f"{path} was made for another {weights!r} than what is beside it; make both anew"
            )
        return session

    def _are_beside(self, weights: str, header: str | None) -> bool:
        """Whether the weights that a graph names are a file in its folder, and those it was made for."""
        path = self.folder / weights
        return Path(weights).name == weights and path.is_file() and header_hash(path) == header


def _width(graph: InferenceSession, name: str) -> int:
    """Columns of an input of a graph, N×K."""
    return next(each.shape[1] for each in graph.get_inputs() if each.name == name)


def _shares(styles: int, weights: Sequence[float] | None) -> list[np.float32]:
    """Weights that add up to 1, as in :func:`arbstyle.networks.blend`."""
    given = [1.0] * styles if weights is None else list(weights)
    if len(given) != styles or not all(w >= 0 for w in given) or not 0 < sum(given) < math.inf:
        raise ArbstyleError(f"expected {styles} weights ≥ 0, at least one of them positive, got {given}")
    return [np.float32(weight / sum(given)) for weight in given]


def _number_of_threads() -> int:
    """To compute with: one a core, or as many as OpenMP is told to take."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal() and int(limit):
        return int(limit)
    return available_cores()
