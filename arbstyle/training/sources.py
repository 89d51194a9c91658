"""Where training pictures come from: folders, files and hub sets, by way of Hugging Face ``datasets``.

A source answers one question: which picture belongs to training sample p? Samples are numbered 0, 1, 2 … over
all epochs and ranks; the answer depends on the source's seed and on p only, so any number of processes,
stopped and resumed anywhere, agree on it. Nothing is decoded before it is known to be needed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images import find_images, printable
from arbstyle.images.files import why_no_file
from arbstyle.images.finding import files_below, named_files
from arbstyle.training.pictures import Pictures, PictureSet, PictureStream
from arbstyle.training.workers import Item

logger = logging.getLogger(__name__)

PRESETS = {"coco": "detection-datasets/coco", "wikiart": "huggan/wikiart"}

FILE_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".tar": "webdataset"}


def open_pictures(
    source: str,
    *,
    split: str | None = None,
    streaming: bool = False,
    seed: tuple[int, ...] = (0,),
    shuffle_buffer: int = 1000,
    background: bool = False,
    cache_dir: str | None = None,
) -> Pictures:
    """Open a source of pictures.

    Args:
        source: a folder, files or a glob of files, a hub name, or one of ``PRESETS``. A folder or file of
            that name comes first.
        split: of a hub set or a saved data set; ``None``: ``train``.
        streaming: read parquet, arrow, tar files and hub sets one picture after the other.
        seed: of the order of the pictures.
        shuffle_buffer: encoded pictures held for shuffling a stream.
        background: read a stream in a process of its own.
        cache_dir: where ``datasets`` keeps what it downloads and converts.

    Raises:
        ArbstyleError: the source is missing, empty, unreadable or holds no pictures.
    """
    dataset = _open_dataset(source, split, streaming, cache_dir)
    column = _image_column(dataset, source)
    dataset = dataset.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    if isinstance(dataset, datasets.IterableDataset):
        return PictureStream(dataset, column, source, seed, shuffle_buffer, background)
    if len(dataset) == 0:
        raise ArbstyleError(f"expected pictures in {source!r}, but the set is empty")
    return PictureSet(dataset, column, source, seed, rows=np.arange(len(dataset)))


def explained(source: str, read: Callable[[], Item]) -> Item:
    """Do something with a source, and say in one line what went wrong."""
    try:
        return read()
    except ArbstyleError:
        raise
    except Exception as error:  # the library, its HTTP client and its file formats each raise their own
        raise ArbstyleError(f"can't read the picture set {source!r}: {reason_of(error)}") from error


def _open_dataset(
    source: str, split: str | None, streaming: bool, cache_dir: str | None
) -> datasets.Dataset | datasets.IterableDataset:
    path = Path(source).expanduser()
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return explained(source, lambda: _saved_dataset(path, split))
    files = _files_in(path) if path.is_dir() else named_files(path)
    if files:
        return _open_files(files, source, split, streaming, cache_dir)
    name, _, configuration = PRESETS.get(source, source).partition(":")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) or Path(name).parent.is_dir():
        if path.exists():
            raise ArbstyleError(f"cannot read {source!r}: {why_no_file(path)}")
        raise ArbstyleError(
            f"no such picture set: {source!r} is not a folder, a file or a glob that matches files here, "
            f"nor a hub name (owner/name) or a preset ({', '.join(PRESETS)})"
        )
    options = {"split": split or "train", "streaming": streaming, "cache_dir": cache_dir}
    return explained(source, lambda: datasets.load_dataset(name, configuration or None, **options))


def _open_files(
    files: Sequence[Path], source: str, split: str | None, streaming: bool, cache_dir: str | None
) -> datasets.Dataset | datasets.IterableDataset:
    names = [str(file) for file in files]
    suffixes = {file.suffix.lower() for file in files}
    data_suffixes = suffixes & FILE_BUILDERS.keys()
    if not data_suffixes:
        if split is not None:
            raise ArbstyleError(f"picture files have no splits: leave the split {split!r} of {source!r} out")
        return datasets.Dataset.from_dict({"image": _texts(names)}).cast_column("image", datasets.Image())
    if len(suffixes) > 1:
        raise ArbstyleError(f"expected files of one kind in {source!r}, got {', '.join(sorted(suffixes))}")
    options = {"split": split or "train", "streaming": streaming, "cache_dir": cache_dir}
    builder = FILE_BUILDERS[data_suffixes.pop()]
    return explained(source, lambda: datasets.load_dataset(builder, data_files=names, **options))


def _texts(names: Sequence[str]) -> list[str]:
    """The names that are text; ``datasets`` keeps no others. A line tells of those that are left out."""
    texts = [name for name in names if printable(name) == name]
    if len(texts) < len(names):
        other = next(name for name in names if printable(name) != name)
        line = (
            f"{len(names) - len(texts)} pictures have names that are no UTF-8, such as {other!r}: rename them"
        )
        if not texts:
            raise ArbstyleError(line)
        logger.warning("%s; they are left out", line)
    return texts


def _files_in(folder: Path) -> list[Path]:
    """The folder's pictures, else its parquet files, else its arrow files, else its tar files."""
    try:
        return find_images(folder, recursive=True)
    except ArbstyleError:
        if files := files_below(folder, *FILE_BUILDERS):
            return files
        raise


def _saved_dataset(path: Path, split: str | None) -> datasets.Dataset:
    saved = datasets.load_from_disk(str(path))
    return saved[split or "train"] if isinstance(saved, datasets.DatasetDict) else saved


def _image_column(dataset: datasets.Dataset | datasets.IterableDataset, source: str) -> str:
    """The column that holds the pictures: by type, and by the name "image" where several could."""
    features = dataset.features or {}
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    columns = images or [name for name, feature in features.items() if _holds_encoded_files(feature)]
    if not columns:
        found = ", ".join(features) or "of unknown types"
        raise ArbstyleError(f"expected a column of images in {source!r}, but its columns are {found}")
    return "image" if "image" in columns else columns[0]


def _holds_encoded_files(feature: Any) -> bool:
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")
