"""The styles of a data set, looked at once: a table of transformer parameters that all workers map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path, find_images
from arbstyle.images.files import why_no_file
from arbstyle.images.finding import files_below, named_files
from arbstyle.painting import Style, Stylizer
from arbstyle.painting.gallery import gallery_file
from arbstyle.restyling.parts import LONGEST_LIST
from arbstyle.stored import LARGEST_OF_A_STYLE, are_within, read_json_file

STYLE_FILE_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class StyleFile:
    """A painting, a style of the gallery or of ``arbstyle style save``, and its name in the manifest."""

    name: str
    path: str


def find_style_files(texts: Sequence[str]) -> list[StyleFile]:
    """Names of the gallery, files, patterns and folders (with their subfolders) as styles, sorted by name.

    Args:
        texts: in a folder a style is called by its path below it, a file by its own name.

    Raises:
        ArbstyleError: nothing there, or two styles of one name.
    """
    found: dict[str, StyleFile] = {}
    for text in texts:
        if known := gallery_file(text):
            found[text] = StyleFile(text, str(known))
            continue
        for style in _expanded(Path(text).expanduser()):
            other = found.setdefault(style.name, style)
            if Path(other.path).resolve() != Path(style.path).resolve():
                raise ArbstyleError(
                    f"expected styles of different names, but '{other.path}' and '{style.path}' are both "
                    f"called '{style.name}'; give the folder that holds both"
                )
    return [found[name] for name in sorted(found)]


def _expanded(path: Path) -> list[StyleFile]:
    if not path.is_dir():
        files = named_files(path)
        if not files and path.exists():
            raise ArbstyleError(f"cannot read '{path}': {why_no_file(path)}")
        if not files:
            raise ArbstyleError(f"expected style pictures, but there is no file or folder '{path}'")
        return [StyleFile(file.name, str(file.absolute())) for file in files]
    kept = files_below(path, STYLE_FILE_SUFFIX)
    try:
        files = [*find_images(path, recursive=True), *kept]
    except ArbstyleError:
        if not kept:
            raise
        files = kept
    return [StyleFile(file.relative_to(path).as_posix(), str(file.absolute())) for file in files]


@dataclass(frozen=True, eq=False)
class StyleTable:
    """Styles as a model knows them.

    Attributes:
        names: sorted.
        parameters: n×P float32, mapped from the file.
        model: fingerprint of the model.
    """

    names: tuple[str, ...]
    parameters: np.ndarray
    model: str

    def style(self, number: int) -> Style:
        """Style ``number`` as :class:`~arbstyle.Stylizer` takes it."""
        row = torch.from_numpy(np.array(self.parameters[number]))[None]
        return Style(self.names[number], torch.empty(1, 0), row, self.model, "", _NO_PICTURE)

    def save(self, folder: Path) -> None:
        """Write ``styles.npy`` and, last, ``styles.json``."""
        with atomic_path(folder / "styles.npy") as temporary:
            np.save(temporary, self.parameters)
        with atomic_path(folder / "styles.json") as temporary:
            temporary.write_text(json.dumps({"model": self.model, "names": self.names}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> StyleTable:
        """Read what :meth:`save` wrote.

        Raises:
            ArbstyleError: it is not there, or damaged.
        """
        try:
            about = read_json_file(folder / "styles.json", LONGEST_LIST)
            parameters = np.load(folder / "styles.npy", mmap_mode="r", allow_pickle=False)
            return cls(*_checked(about["names"], parameters, about["model"]))
        except Exception as error:  # NumPy raises whatever it comes across, tokenize.TokenError for one
            raise ArbstyleError(
                f"cannot read the table of styles in '{folder}' ({' '.join(str(error).split())}); "
                "delete that folder to begin anew"
            ) from error


def _checked(names: Any, parameters: Any, model: Any) -> tuple[tuple[str, ...], np.ndarray, str]:
    if not (isinstance(model, str) and isinstance(names, list)):
        raise ValueError("expected a model and a list of names")
    if not all(isinstance(name, str) for name in names):
        raise ValueError("expected names of styles")
    if not isinstance(parameters, np.ndarray) or parameters.dtype != np.float32 or parameters.ndim != 2:
        raise ValueError("expected a table of numbers")
    if len(parameters) != len(names) or not are_within(parameters, LARGEST_OF_A_STYLE):
        raise ValueError(f"expected a row of finite numbers up to {LARGEST_OF_A_STYLE:g} for each style")
    return tuple(names), parameters, model


@dataclass(frozen=True, eq=False)
class Look:
    """What a model of some fingerprint sees in a style: parameters P, or what is wrong with the file."""

    name: str
    parameters: np.ndarray | str
    model: str


class StyleWorker:
    """Looks at styles: constructed once a process, called with some files at a time."""

    def __init__(self, model: str | None, precision: str, size: int, vgg_weights: str | None) -> None:
        # Always on a CPU, where all machines of a job agree.
        self.stylizer: Stylizer = Stylizer.from_pretrained(model, "cpu", precision, weights=vgg_weights)  # type: ignore[arg-type]
        self.size = size

    def __call__(self, files: Sequence[StyleFile]) -> list[Look]:
        """What the model sees in each."""
        return [Look(file.name, self._parameters(file), self.stylizer.fingerprint) for file in files]

    def _parameters(self, file: StyleFile) -> np.ndarray | str:
        try:
            known = gallery_file(file.name)
            style = file.name if known is not None and str(known) == file.path else file.path
            return self.stylizer.parameters_of(style, self.size)[0].float().numpy()
        except ArbstyleError as error:
            return str(error)


_NO_PICTURE = Image.new("RGB", (1, 1))
