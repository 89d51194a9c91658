"""Where training pictures come from: folders, files and hub sets, by way of Hugging Face ``datasets``.

A source answers one question: which picture belongs to training sample p? Samples are numbered 0, 1, 2 … over
all epochs and ranks; the answer depends on the source's seed and on p only, so any number of processes,
stopped and resumed anywhere, agree on it. Nothing is decoded before it is known to be needed.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import re
import signal
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from glob import glob
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, TypeVar

import datasets
import fsspec
import numpy as np
import torch
from datasets.distributed import split_dataset_by_node
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import IterableDataset as TorchIterableDataset

from arbstyle.errors import ArbstyleError
from arbstyle.images import find_images, from_pil, to_pil

Item = TypeVar("Item")

PRESETS = {"coco": "detection-datasets/coco", "wikiart": "huggan/wikiart"}

FILE_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".tar": "webdataset"}

NO_INDEX = -1
"""The index of a picture that has no number in the training set: it is held out, or from a stream."""

RESAMPLED_MODES = {"RGB", "RGBA", "L", "LA", "CMYK", "YCbCr"}

SIGTERM_GRACE_SECONDS = 60


@dataclass(frozen=True)
class Record:
    """A picture that has not been decoded yet.

    Attributes:
        name: for messages: its path, or the source and its row.
        index: its number in the set, or ``NO_INDEX``.
        data: the encoded file, or its path or URL, or H×W×3 uint8 pixels where they are kept in memory.
    """

    name: str
    index: int
    data: bytes | str | np.ndarray | None


@dataclass(frozen=True)
class Share:
    """The samples that one rank draws, batch by batch, from sample ``start`` on.

    ``start`` counts all ranks' samples: the ranks take turns, a batch each.
    """

    rank: int = 0
    world_size: int = 1
    batch_size: int = 1
    start: int = 0

    @property
    def global_batch_size(self) -> int:
        """Samples in a batch of all ranks together."""
        return self.world_size * self.batch_size

    def positions(self) -> Iterator[int]:
        """This rank's sample numbers, without end."""
        for first in count(self.start + self.rank * self.batch_size, self.global_batch_size):
            yield from range(first, first + self.batch_size)


@dataclass(eq=False)
class PictureSet:
    """Pictures that can be had in any order.

    Attributes:
        dataset: its column ``column`` holds undecoded images.
        source: what the user calls the set.
        seed: of the order in which ``requests`` asks for the pictures.
        rows: the data set's rows that belong to the set; picture i is in row ``rows[i]``.
        decoded: the pixels of pictures that are kept in memory, by index.
    """

    dataset: datasets.Dataset
    column: str
    source: str
    seed: tuple[int, ...]
    rows: np.ndarray
    decoded: dict[int, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Record:
        row = int(self.rows[index])
        record = _record(self.dataset[row][self.column], index, f"{self.source}[{row}]")
        return replace(record, data=self.decoded[index]) if index in self.decoded else record

    def requests(self, share: Share) -> Iterator[int]:
        """The index for each of the share's samples; every pass through the set has its own random order."""
        current = -1
        for position in share.positions():
            passed, offset = divmod(position, len(self))
            if passed != current:
                current, order = passed, np.random.default_rng((*self.seed, passed)).permutation(len(self))
            yield int(order[offset])

    def candidates(self, requests: Sequence[Any], i: int) -> Iterator[Record]:
        """The picture of request i, then the next ones, to take its place if it can't be decoded."""
        return (self[(requests[i] + step) % len(self)] for step in range(len(self)))

    def sample(self) -> Iterator[Record]:
        """Every picture once, in a random order that depends on the seed only."""
        order = np.random.default_rng(self.seed).permutation(len(self))
        return (self[int(index)] for index in order)

    def without(self, held_out: Sequence[Record]) -> PictureSet:
        """The set less some of its pictures, in the same order, numbered from 0 again."""
        return replace(self, rows=np.delete(self.rows, [record.index for record in held_out]), decoded={})

    def keep_decoded(self, short_side: int) -> None:
        """Decode every picture now and keep it in memory, its short side reduced to ``short_side`` pixels."""

        def pixels(index: int) -> np.ndarray | None:
            try:
                image = decode(self[index], short_side)
                return np.asarray(to_pil(from_pil(_reduced(image, short_side))))
            except Exception:  # it stays encoded, fails again when its turn comes, and is reported then
                return None

        # Threads do: Pillow decodes and resamples without the interpreter's lock.
        with ThreadPoolExecutor(available_cores()) as pool:
            decoded = pool.map(pixels, range(len(self)))
            self.decoded = {index: array for index, array in enumerate(decoded) if array is not None}


@dataclass(eq=False)
class PictureStream(TorchIterableDataset):
    """Pictures that can only be had one after the other, as they are downloaded or unpacked.

    Attributes:
        dataset: its column ``column`` holds undecoded images.
        source: what the user calls the set.
        seed: of the shuffling.
        buffer_size: how many encoded pictures to hold for shuffling.
        background: read ahead in a process of its own.
        share: whose pictures iterating reads.
        held_out: the data of pictures to leave out. Skipping rows instead would fix the order of the shards.
    """

    dataset: datasets.IterableDataset
    column: str
    source: str
    seed: tuple[int, ...]
    buffer_size: int
    background: bool
    share: Share = Share()
    held_out: frozenset[Any] = frozenset()

    def requests(self, share: Share) -> Iterator[Record]:
        """The picture for each of the share's samples, without end.

        A stream can't be entered in the middle: to start late is to read, undecoded, all that lies before.
        """
        # One reader: the order of the pictures must not depend on how many processes decode them.
        workers = worker_options(1, prefetch=64) if self.background else {}
        return iter(DataLoader(replace(self, share=share), batch_size=None, collate_fn=unchanged, **workers))

    def candidates(self, requests: Sequence[Any], i: int) -> Iterator[Record]:
        """The picture of request i, then the rest of its batch, to take its place if it can't be decoded."""
        return (requests[(i + step) % len(requests)] for step in range(len(requests)))

    def sample(self) -> Iterator[Record]:
        """Every picture once, in the order in which they come."""
        return self._records(self.dataset)

    def without(self, held_out: Sequence[Record]) -> PictureStream:
        """The stream less these pictures, and less any copies of them."""
        return replace(self, held_out=self.held_out | {record.data for record in held_out})

    def __iter__(self) -> Iterator[Record]:
        # Of the library's shuffling only that of the shards: its buffer's order changes with the processes.
        dataset = self.dataset.shuffle(seed=self._random().integers(2**31), buffer_size=1)
        dataset = split_dataset_by_node(dataset, self.share.rank, self.share.world_size)
        passes = chain.from_iterable(self._one_pass(dataset, number) for number in count())
        return islice(passes, self.share.start // self.share.world_size, None)

    def _one_pass(self, dataset: datasets.IterableDataset, number: int) -> Iterator[Record]:
        dataset.set_epoch(number)
        records = (record for record in self._records(dataset) if record.data not in self.held_out)
        buffer = list(islice(records, self.buffer_size))
        if not buffer:
            raise ArbstyleError(f"the stream {self.source!r} has no pictures left for this process")
        rng = self._random(number)
        for record in records:
            chosen = rng.integers(len(buffer))
            yield buffer[chosen]
            buffer[chosen] = record
        yield from (buffer[i] for i in rng.permutation(len(buffer)))

    def _random(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng((*self.seed, *numbers))

    def _records(self, dataset: datasets.IterableDataset) -> Iterator[Record]:
        for row in dataset:
            record = _record(row[self.column], NO_INDEX, self.source)
            if record.name == self.source and isinstance(record.data, bytes):
                # Rows of a shuffled stream have no number; their checksum tells them apart.
                record = replace(record, name=f"{self.source}[{zlib.crc32(record.data):08x}]")
            yield record


Pictures = PictureSet | PictureStream


def _record(value: dict[str, Any] | None, index: int, name: str) -> Record:
    """Of an undecoded image as ``datasets`` gives it."""
    value = value or {"bytes": None, "path": None}
    data = value["path"] if value["bytes"] is None else value["bytes"]
    return Record(value["path"] or name, index, data)


# --- opening ----------------------------------------------------------------------------------------------


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
        raise ArbstyleError(f"can't read the picture set {source!r}: {_one_line(error)}") from error


def _open_dataset(
    source: str, split: str | None, streaming: bool, cache_dir: str | None
) -> datasets.Dataset | datasets.IterableDataset:
    path = Path(source).expanduser()
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        return explained(source, lambda: _saved_dataset(path, split))
    if path.is_dir():
        files = _files_in(path)
    else:
        files = [path] if path.is_file() else [Path(name) for name in sorted(glob(str(path), recursive=True))]
    if files:
        return _open_files(files, source, split, streaming, cache_dir)
    name, _, configuration = PRESETS.get(source, source).partition(":")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) or Path(name).parent.is_dir():
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
        return datasets.Dataset.from_dict({"image": names}).cast_column("image", datasets.Image())
    if len(suffixes) > 1:
        raise ArbstyleError(f"expected files of one kind in {source!r}, got {', '.join(sorted(suffixes))}")
    options = {"split": split or "train", "streaming": streaming, "cache_dir": cache_dir}
    builder = FILE_BUILDERS[data_suffixes.pop()]
    return explained(source, lambda: datasets.load_dataset(builder, data_files=names, **options))


def _files_in(folder: Path) -> list[Path]:
    """The folder's pictures, else its parquet files, else its arrow files, else its tar files."""
    try:
        return find_images(folder, recursive=True)
    except ArbstyleError:
        for suffix in FILE_BUILDERS:
            if files := sorted(folder.rglob(f"*{suffix}")):
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


# --- decoding ---------------------------------------------------------------------------------------------


def decodable(
    records: Iterable[Record], short_side: int, skipped: dict[str, str]
) -> Iterator[tuple[Record, Image.Image]]:
    """Decode records one after the other; the broken ones go into ``skipped``, by name, with the reason."""
    for record in records:
        try:
            image = decode(record, short_side)
        except Exception as error:  # broken files make Pillow's plug-ins raise nearly anything
            skipped[record.name] = _one_line(error)
        else:
            yield record, image


def decode(record: Record, short_side: int) -> Image.Image:
    """Decode a picture; a JPEG much larger than ``short_side`` at a fraction of its size.

    Returns:
        An image that can be resampled. Its orientation, colour profile and transparency are still to be
        resolved, by ``from_pil``: after cropping and reducing, that costs a fraction.

    Raises:
        Exception: whatever Pillow raises for a broken file.
    """
    if isinstance(record.data, np.ndarray):
        return Image.fromarray(record.data)
    if record.data is None:
        raise ValueError("the record is empty")
    with Image.open(_open_file(record.data)) as image:
        image.draft(None, (short_side, short_side))
        image.load()
        # Palettes and the like don't resample; a TIFF's orientation gets lost when it is resampled.
        resolved_later = image.mode in RESAMPLED_MODES and image.format != "TIFF"
        if resolved_later and "transparency" not in image.info:
            return image
        return to_pil(from_pil(image))


def _open_file(data: bytes | str) -> io.BytesIO | str:
    if isinstance(data, bytes):
        return io.BytesIO(data)
    if "://" not in data:
        return data
    with fsspec.open(data, "rb") as file:
        return io.BytesIO(file.read())


def _reduced(image: Image.Image, short_side: int) -> Image.Image:
    scale = short_side / min(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


# --- processes --------------------------------------------------------------------------------------------


def worker_options(num_workers: int, prefetch: int = 2) -> dict[str, Any]:
    """``DataLoader`` arguments for workers that neither deadlock nor die before the last checkpoint."""
    if num_workers == 0:
        return {}
    return {
        "num_workers": num_workers,
        "prefetch_factor": prefetch,
        "persistent_workers": True,
        "worker_init_fn": _prepare_worker,
        # Forked workers share the memory of decoded pictures. Only Linux forks safely.
        "multiprocessing_context": multiprocessing.get_context("fork") if sys.platform == "linux" else None,
    }


def _prepare_worker(_: int) -> None:
    # A forked process that uses its parent's OpenMP threads hangs; and the workers are the parallelism.
    torch.set_num_threads(1)
    if hasattr(signal, "SIGALRM"):
        # A job's SIGTERM reaches all its processes at once, but training needs batches until it has saved its
        # last checkpoint. So the workers outlive the signal for a while.
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(SIGTERM_GRACE_SECONDS))


def unchanged(item: Item) -> Item:
    """The ``collate_fn`` for what is a batch, or is to stay single, already."""
    return item


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
