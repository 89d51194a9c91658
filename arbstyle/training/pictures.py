"""A set of training pictures, or a stream of them: which picture belongs to which sample."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice
from typing import Any

import datasets
import numpy as np
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader
from torch.utils.data import IterableDataset as TorchIterableDataset

from arbstyle.errors import ArbstyleError
from arbstyle.images import from_pil, to_pil
from arbstyle.memory import available_cores
from arbstyle.training.decoding import Record, decode, reduce_image
from arbstyle.training.workers import unchanged, worker_options

NO_INDEX = -1
"""The index of a picture that has no number in the training set: it is held out, or from a stream."""


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
                return np.asarray(to_pil(from_pil(reduce_image(image, short_side))))
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
