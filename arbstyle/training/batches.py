"""Batches of photos and styles, and the loader that counts what training has consumed."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from arbstyle.errors import ArbstyleError
from arbstyle.training.augmentation import PairTransform
from arbstyle.training.decoding import Record, decodable
from arbstyle.training.pictures import Pictures, Share
from arbstyle.training.workers import unchanged, worker_options

MAX_EMPTY_BATCHES = 100


class StyleBatch(NamedTuple):
    """N content pictures, and the N style pictures that they are paired with."""

    content: Tensor
    """N×3×S×S, float32, sRGB in [0, 1]."""
    style: Tensor
    """N×3×T×T, float32, sRGB in [0, 1]."""
    style_index: Tensor
    """N, int64: each style's number in the training set, from 0; −1 where it has none."""
    content_names: list[str]
    style_names: list[str]

    @property
    def names(self) -> list[tuple[str, str]]:
        """The (content, style) file names of each pair, for messages."""
        return list(zip(self.content_names, self.style_names, strict=True))


class Draw(NamedTuple):
    """What a sample is to be made of: requests to the two sources."""

    position: int
    content: int | Record
    style: int | Record


class _LoadedBatch(NamedTuple):
    batch: StyleBatch | None
    """``None`` where not one of a stream's pictures for this batch could be decoded."""
    skipped: dict[str, str]
    """Broken pictures: reasons by name."""


class PairDataset(TorchDataset):
    """Turns the draws of a batch into the batch; this is what runs in the worker processes."""

    def __init__(self, content: Pictures, style: Pictures, transform: PairTransform) -> None:
        self.content = content
        self.style = style
        self.transform = transform

    def __getitem__(self, draws: Sequence[Draw]) -> _LoadedBatch:
        skipped: dict[str, str] = {}
        transform = self.transform
        style_size = transform.batch_style_size(draws[0].position)
        content_requests = [draw.content for draw in draws]
        style_requests = [draw.style for draw in draws]
        contents, styles = [], []
        for i, draw in enumerate(draws):
            photos = self.content.candidates(content_requests, i)
            paintings = self.style.candidates(style_requests, i)
            photo = next(decodable(photos, transform.resize[1], skipped), None)
            painting = next(decodable(paintings, transform.style_short_side, skipped), None)
            if photo is None or painting is None:
                return _LoadedBatch(None, skipped)
            contents.append((photo[0], transform.content(photo[1], photo[0].name, draw.position)))
            name = painting[0].name
            styles.append((painting[0], transform.style(painting[1], name, draw.position, style_size)))
        return _LoadedBatch(collate(contents, styles), skipped)


def collate(contents: Sequence[tuple[Record, Tensor]], styles: Sequence[tuple[Record, Tensor]]) -> StyleBatch:
    return StyleBatch(
        content=torch.stack([pixels for _, pixels in contents]),
        style=torch.stack([pixels for _, pixels in styles]),
        style_index=torch.tensor([record.index for record, _ in styles]),
        content_names=[record.name for record, _ in contents],
        style_names=[record.name for record, _ in styles],
    )


class _Draws:
    """The sampler: the draws of one batch after the other, without end."""

    def __init__(self, pairs: PairDataset, share: Share) -> None:
        self.pairs = pairs
        self.share = share

    def __iter__(self) -> Iterator[list[Draw]]:
        content = self.pairs.content.requests(self.share)
        style = self.pairs.style.requests(self.share)
        draws = map(Draw, self.share.positions(), content, style)
        while True:
            yield list(islice(draws, self.share.batch_size))


class PairLoader:
    """The batches of one rank. Iterating again goes on where the last iteration stopped.

    Not a ``DataLoader`` but the owner of one that never ends: workers live, and prefetch, through the ends of
    epochs; Lightning finds no sampler to replace, whatever its ``use_distributed_sampler``; and ``samples``
    counts what training has *consumed*, however far ahead the workers are. Because the length is known,
    Lightning fetches a batch only when it is about to train on it, so the count is exact in every checkpoint.

    Args:
        pairs: makes the batches.
        share: this rank's part of the stream of samples, and where to start.
        batches_per_epoch: the length.
        num_workers: processes that load; 0: this one does.
        report: is given the pictures that were skipped: reasons by name.
    """

    def __init__(
        self,
        pairs: PairDataset,
        share: Share,
        batches_per_epoch: int,
        num_workers: int,
        report: Callable[[dict[str, str]], None],
    ) -> None:
        self.samples = share.start
        self._pairs = pairs
        self._share = share
        self._batches_per_epoch = batches_per_epoch
        self._num_workers = num_workers
        self._report = report
        self._batches: Iterator[_LoadedBatch] | None = None

    def __len__(self) -> int:
        return self._batches_per_epoch

    def __iter__(self) -> Iterator[StyleBatch]:
        for _ in range(len(self)):
            yield self._next()

    def _next(self) -> StyleBatch:
        if self._batches is None:
            self._batches = self._start()
        for batch, skipped in islice(self._batches, MAX_EMPTY_BATCHES):
            self.samples += self._share.global_batch_size
            self._report(skipped)
            if batch is not None:
                return batch
        raise ArbstyleError(
            f"not one picture of {MAX_EMPTY_BATCHES} batches can be decoded: have files gone?"
        )

    def _start(self) -> Iterator[_LoadedBatch]:
        loader = DataLoader(
            self._pairs,
            sampler=_Draws(self._pairs, replace(self._share, start=self.samples)),
            batch_size=None,
            collate_fn=unchanged,
            pin_memory=torch.cuda.is_available(),
            **worker_options(self._num_workers),
        )
        # Ahead of the interpreter's own clean-up, which would wait for workers that outlive its SIGTERM.
        atexit.register(self.close)
        return iter(loader)

    def state_dict(self) -> dict[str, int]:
        """How many samples training has consumed, on all ranks together."""
        return {"samples": self.samples}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after that many samples."""
        self.close()
        self.samples = state["samples"]

    def close(self) -> None:
        """End the worker processes; iterating starts new ones."""
        atexit.unregister(self.close)
        self._batches = None


class Batches:
    """Batches that Lightning takes for one loader; a plain list would be one loader each."""

    def __init__(self, batches: Sequence[StyleBatch]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[StyleBatch]:
        return iter(self._batches)
