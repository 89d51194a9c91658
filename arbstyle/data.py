"""Training data: batches of content and style pictures for Lightning.

One idea carries this module: training is one endless *stream of samples*, numbered 0, 1, 2 … over all epochs
and all ranks, and everything about sample p (which photograph, which style, where each is cropped, how its
colours change) is a function of the seed and of p. Hence any number of workers gives the same batches, two
ranks with batches of B see what one rank with batches of 2B sees, and resuming takes one number: how many
samples training has consumed.
"""

from __future__ import annotations

import atexit
import logging
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
import torchvision.transforms.v2.functional as tvf
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from arbstyle.errors import ArbstyleError
from arbstyle.images import from_pil
from arbstyle.sources import (
    NO_INDEX,
    PRESETS,
    Pictures,
    PictureSet,
    PictureStream,
    Record,
    Share,
    available_cores,
    decodable,
    explained,
    open_pictures,
    unchanged,
    worker_options,
)

log = logging.getLogger(__name__)

STREAM_BATCHES_PER_EPOCH = 1000
MAX_EMPTY_BATCHES = 100

# What the seed is split into, so that no draw depends on how many others were made.
CONTENT_ORDER, STYLE_ORDER, CONTENT_CROPS, STYLE_CROPS, STYLE_SIZES = range(5)


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


@dataclass(frozen=True)
class StyleAugmentation:
    """Random changes to style pictures. The defaults are those of Ghiasi et al. (2017).

    The values are from their published code (Magenta, ``arbitrary_style_image_inputs``). It draws the short
    side before the crop from T + 2 … T + 200 pixels for T = 256; ``scale`` says that in multiples of any T.

    Args:
        brightness: the largest amount to add to, or take from, all channels. 0 switches it off.
        saturation: range of the factor on saturation: 0 is grey, 1 as it is. (1, 1) switches it off.
        hue: the largest turn of the hue either way, as a fraction of the circle, ≤ 0.5. 0 switches it off.
        horizontal_flip: mirror left and right in half of the cases.
        vertical_flip: mirror up and down in half of the cases.
        scale: range of the short side before the random crop, in multiples of the style size, ≥ 1. ``None``
            switches it off: the short side is the data module's ``style_resize``.
    """

    brightness: float = 0.8
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: float = 0.2
    horizontal_flip: bool = True
    vertical_flip: bool = True
    scale: tuple[float, float] | None = (1.0, 1.8)

    def __post_init__(self) -> None:
        if self.brightness < 0:
            raise ArbstyleError(f"style_augmentation.brightness must be at least 0, got {self.brightness}")
        if not 0 <= self.hue <= 0.5:
            raise ArbstyleError(f"style_augmentation.hue must be from 0 to 0.5, got {self.hue}")
        if not 0 <= self.saturation[0] <= self.saturation[1]:
            raise ArbstyleError(
                f"style_augmentation.saturation must be a range from 0 up, got {list(self.saturation)}"
            )
        if self.scale is not None and not 1 <= self.scale[0] <= self.scale[1]:
            raise ArbstyleError(f"style_augmentation.scale must be a range from 1 up, got {list(self.scale)}")

    def change_colours(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Shift brightness, saturation and hue of a 3×H×W picture in [0, 1] by random amounts."""
        if self.brightness:
            # Added, as in the paper's code; torchvision's adjust_brightness multiplies.
            image = (image + rng.uniform(-self.brightness, self.brightness)).clamp(0, 1)
        if tuple(self.saturation) != (1, 1):
            image = tvf.adjust_saturation(image, rng.uniform(*self.saturation))
        if self.hue:
            image = tvf.adjust_hue(image, rng.uniform(-self.hue, self.hue))
        return image


def crop(image: Image.Image, size: int, short_side: float, x: float, y: float) -> Tensor:
    """Resize so that the short side is ``short_side`` pixels, then cut out a square of ``size`` pixels.

    Both in one antialiased bicubic resampling of the part that is needed.

    Args:
        image: as ``sources.decode`` returns it; of any mode that resamples.
        size: side of the square, ≤ ``short_side``.
        x, y: where to cut, from 0 (left, top) to 1 (right, bottom).

    Returns:
        3×size×size, RGB in [0, 1].
    """
    extent = min(image.size) * size / short_side
    left, top = x * (image.width - extent), y * (image.height - extent)
    box = (left, top, min(left + extent, image.width), min(top + extent, image.height))
    square = image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    return from_pil(square)[0]


@dataclass(frozen=True)
class PairTransform:
    """Turns decoded pictures into the tensors of a batch; `StyleTransferData` explains the fields."""

    crop_size: int
    resize: tuple[int, int]
    horizontal_flip: bool
    style_size: tuple[int, int]
    style_resize: int
    augmentation: StyleAugmentation | None
    variants: int | None
    seed: int

    @property
    def style_short_side(self) -> int:
        """The largest short side that a style picture is resized to."""
        if self.augmentation is None or self.augmentation.scale is None:
            return self.style_resize
        return math.ceil(self.augmentation.scale[1] * self.style_size[1])

    def batch_style_size(self, position: int) -> int:
        """The side of the style pictures in the batch whose first sample is ``position``."""
        # In steps of 32 pixels: few enough shapes for cuDNN's autotuner and for compilation.
        low, high = self.style_size
        return int(self._rng(STYLE_SIZES, position).choice(range(low, high + 1, 32)))

    def content(self, image: Image.Image, name: str, position: int) -> Tensor:
        """Sample ``position``'s photograph, cropped at random: 3×S×S."""
        rng = self._picture_rng(CONTENT_CROPS, position, name)
        x, y = rng.random(), rng.random()
        low, high = self.resize
        pixels = crop(image, self.crop_size, rng.uniform(low, high) if low < high else low, x, y)
        return pixels.flip(-1) if self.horizontal_flip and rng.random() < 0.5 else pixels

    def style(self, image: Image.Image, name: str, position: int, size: int) -> Tensor:
        """Sample ``position``'s style picture, cropped and augmented at random: 3×size×size."""
        rng = self._picture_rng(STYLE_CROPS, position, name)
        change = self.augmentation
        if change is None:
            return crop(image, size, self.style_resize, rng.random(), rng.random())
        short_side = size * rng.uniform(*change.scale) if change.scale else self.style_resize
        pixels = crop(image, size, short_side, rng.random(), rng.random())
        if change.horizontal_flip and rng.random() < 0.5:
            pixels = pixels.flip(-1)
        if change.vertical_flip and rng.random() < 0.5:
            pixels = pixels.flip(-2)
        return change.change_colours(pixels, rng)

    def _picture_rng(self, purpose: int, position: int, name: str) -> np.random.Generator:
        rng = self._rng(purpose, position)
        if self.variants is None:
            return rng
        variant = int(rng.integers(self.variants))
        return np.random.default_rng((self.seed, purpose, zlib.crc32(name.encode()), variant))

    def _rng(self, purpose: int, position: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, purpose, position))


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
        return _LoadedBatch(_collate(contents, styles), skipped)


def _collate(
    contents: Sequence[tuple[Record, Tensor]], styles: Sequence[tuple[Record, Tensor]]
) -> StyleBatch:
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


class _Batches:
    """Batches that Lightning takes for one loader; a plain list would be one loader each."""

    def __init__(self, batches: Sequence[StyleBatch]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[StyleBatch]:
        return iter(self._batches)


class StyleTransferData(pl.LightningDataModule):
    """Pairs of random content and style pictures for training, and a few fixed pairs for validation.

    ``content`` and ``style`` each name a set of pictures:

    * a folder of pictures (sub-folders too), or of parquet, arrow or WebDataset ``.tar`` files, or one that
      ``datasets`` saved;
    * such files, as a path or a glob (``"shards/*.tar"``); one picture is a set of one;
    * a set on the Hugging Face hub: ``owner/name`` or ``owner/name:configuration``;
    * ``coco`` for ``detection-datasets/coco``: the 117,266 annotated training photographs of COCO 2017, about
      19 GB. The annotations are CC BY 4.0, the photographs under the licences of their Flickr users;
    * ``wikiart`` for ``huggan/wikiart``: 81,444 artworks, about 34 GB. The rights stay with the works'
      holders; for non-commercial research only.

    The column of the pictures is found by its type. ``datasets`` converts parquet and tar files into a cache
    as large as they are; ``streaming`` spares that.

    Pictures that can't be decoded are skipped, and the next in the set takes their place (in a stream,
    another one of the batch). Each is named in the log, once, and kept in ``skipped``.

    Args:
        content: the photographs.
        style: the style pictures.
        content_split: split of a hub set or of a set that ``datasets`` saved; default ``train``.
        style_split: the same for style.
        streaming: read hub sets and parquet, arrow and tar files as streams, shuffled in a buffer, without
            downloading them first. Folders of pictures never are streams. Styles of a stream have no index,
            so it can't train a style bank; resuming reads again what training had read.
        shuffle_buffer: encoded pictures held for shuffling a stream.
        batch_size: pairs in a batch, on each rank.
        crop_size: side S of the content pictures, in pixels.
        resize: short side of a photograph before the random crop, or a range [low, high] from which each
            photograph draws. 512 for a crop of 256 is AdaIN's.
        horizontal_flip: mirror photographs in half of the cases.
        style_size: side T of the style pictures, in pixels; or a range [low, high] from which each batch
            draws, in steps of 32 (Ghiasi et al.: 128 to 300).
        style_resize: short side of a style picture before the random crop, unless the augmentation has a
            scale.
        style_augmentation: random changes to style pictures; default: none. ``{}`` for those of Ghiasi et al.
        variants: crop and augment each picture in this many ways only, drawn once; default: anew each time.
            With few, training can remember what the loss's network says of them (``model.remember_targets``).
        num_workers: processes that load; default: one for each core, at most 8. 0: load in the training
            process.
        seed: of orders, pairs, crops, augmentation, and of the choice of pictures to hold out.
        batches_per_epoch: what Lightning calls an epoch; default: one pass through the content, 1000 for
            streams.
        validation_content: a set to validate on; default: pictures held out of ``content``.
        validation_style: the same for style.
        validation_pairs: how many pairs to validate on; 0: none.
        hold_out_styles: keep the validation styles out of training. If false, validation uses training
            styles, with their index: for style banks, and for a set of one style.
        cache_short_side: decode all pictures once, at the start, and keep them in memory, with their short
            sides reduced to this many pixels; default: decode them each time. 10,000 pictures at 288 pixels
            take 2.5 GB, on each rank. Not for streams.
        cache_dir: where ``datasets`` keeps downloads and conversions; default: where it always does.

    Raises:
        ArbstyleError: an impossible setting, at once; a missing, empty or unreadable set, in ``setup``.
    """

    def __init__(
        self,
        content: str,
        style: str,
        content_split: str | None = None,
        style_split: str | None = None,
        streaming: bool = False,
        shuffle_buffer: int = 1000,
        batch_size: int = 8,
        crop_size: int = 256,
        resize: int | tuple[int, int] = 512,
        horizontal_flip: bool = True,
        style_size: int | tuple[int, int] = 256,
        style_resize: int = 512,
        style_augmentation: StyleAugmentation | None = None,
        variants: int | None = None,
        num_workers: int | None = None,
        seed: int = 0,
        batches_per_epoch: int | None = None,
        validation_content: str | None = None,
        validation_style: str | None = None,
        validation_pairs: int = 8,
        hold_out_styles: bool = True,
        cache_short_side: int | None = None,
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.content = content
        self.style = style
        self.content_split = content_split
        self.style_split = style_split
        self.streaming = streaming
        self.shuffle_buffer = shuffle_buffer
        self.batch_size = batch_size
        self.num_workers = min(8, available_cores()) if num_workers is None else num_workers
        self.seed = seed
        self.batches_per_epoch = batches_per_epoch
        self.validation_content = validation_content
        self.validation_style = validation_style
        self.validation_pairs = validation_pairs
        self.hold_out_styles = hold_out_styles
        self.cache_short_side = cache_short_side
        self.cache_dir = cache_dir
        self.transform = PairTransform(
            crop_size=crop_size,
            resize=(resize, resize) if isinstance(resize, int) else resize,
            horizontal_flip=horizontal_flip,
            style_size=(style_size, style_size) if isinstance(style_size, int) else style_size,
            style_resize=style_resize,
            augmentation=style_augmentation,
            variants=variants,
            seed=seed,
        )
        self._check_settings()
        self.skipped: dict[str, str] = {}
        """The pictures that this rank could not decode so far: reasons by name."""
        self.validation_batches: list[StyleBatch] = []
        """The validation pairs, from ``setup`` on; the same on every rank."""
        self._pairs: PairDataset | None = None
        self._loader: PairLoader | None = None
        self._samples = 0

    def _check_settings(self) -> None:
        transform = self.transform
        low, high = transform.style_size
        at_least = {
            "batch_size": (self.batch_size, 1),
            "shuffle_buffer": (self.shuffle_buffer, 1),
            "batches_per_epoch": (self.batches_per_epoch, 1),
            "cache_short_side": (self.cache_short_side, 1),
            "num_workers": (self.num_workers, 0),
            "seed": (self.seed, 0),
            "validation_pairs": (self.validation_pairs, 0),
            "variants": (transform.variants, 1),
            "crop_size": (transform.crop_size, 1),
            "resize": (transform.resize[0], transform.crop_size),
            "resize's upper end": (transform.resize[1], transform.resize[0]),
            "style_size": (low, 1),
            "style_size's upper end": (high, low),
            "style_resize": (transform.style_short_side, high),
        }
        for name, (value, least) in at_least.items():
            if value is not None and value < least:
                raise ArbstyleError(f"data.{name} must be at least {least}, got {value}")

    def setup(self, stage: str | None = None) -> None:
        """Open both sets, choose the validation pairs, and make sure that there is something to train on.

        Calling it again does nothing, so a command can call it before it makes a trainer.

        Raises:
            ArbstyleError: a set is missing, empty or unreadable, or too few of its pictures can be decoded.
        """
        if self._pairs is not None:
            return
        content, contents = self._open(
            "content", self.content, self.content_split, self.validation_content, CONTENT_ORDER, hold_out=True
        )
        style, styles = self._open(
            "style", self.style, self.style_split, self.validation_style, STYLE_ORDER, self.hold_out_styles
        )
        if self.cache_short_side is not None:
            for pictures in (content, style):
                if isinstance(pictures, PictureSet):
                    pictures.keep_decoded(self.cache_short_side)
        self.validation_batches = self._make_validation_batches(contents, styles)
        self._pairs = PairDataset(content, style, self.transform)

    def _open(
        self,
        role: str,
        source: str,
        split: str | None,
        validation_source: str | None,
        order: int,
        hold_out: bool,
    ) -> tuple[Pictures, list[tuple[Record, Image.Image]]]:
        """The pictures to train on, and the decoded ones to validate on."""
        pictures = open_pictures(
            source,
            split=split,
            streaming=self.streaming,
            seed=(self.seed, order),
            shuffle_buffer=self.shuffle_buffer,
            background=self.num_workers > 0,
            cache_dir=self.cache_dir,
        )
        if validation_source is not None:
            self._examples(pictures, 1)
            others = open_pictures(validation_source, cache_dir=self.cache_dir)
            return pictures, _without_index(self._examples(others, self.validation_pairs))
        if not hold_out:
            return pictures, self._examples(pictures, max(1, self.validation_pairs))[: self.validation_pairs]
        examples = self._examples(pictures, self.validation_pairs + 1)
        if len(examples) <= self.validation_pairs:
            remedy = " or set data.hold_out_styles to false" if role == "style" else ""
            raise ArbstyleError(
                f"no {role} picture in {source!r} is left to train on: {len(examples)} can be decoded and "
                f"{self.validation_pairs} are held out to validate; lower data.validation_pairs{remedy}"
            )
        held_out = examples[: self.validation_pairs]
        return pictures.without([record for record, _ in held_out]), _without_index(held_out)

    def _examples(self, pictures: Pictures, number: int) -> list[tuple[Record, Image.Image]]:
        """The first pictures in random order that can be decoded, ``number`` of them if there are."""
        skipped: dict[str, str] = {}
        short_side = max(self.transform.crop_size, self.transform.style_size[1])
        found = decodable(pictures.sample(), short_side, skipped)
        examples = explained(pictures.source, lambda: list(islice(found, number)))
        self._report(skipped)
        if number and not examples:
            reason = f"the first: {next(iter(skipped.values()))}" if skipped else "it is empty"
            raise ArbstyleError(f"not one picture in {pictures.source!r} can be decoded ({reason})")
        return examples

    def _make_validation_batches(
        self, contents: Sequence[tuple[Record, Image.Image]], styles: Sequence[tuple[Record, Image.Image]]
    ) -> list[StyleBatch]:
        """Pairs of squares from the middle of whole pictures; the shorter list begins again where it ends."""
        pairs = range(max(len(contents), len(styles)))
        photos = [(record, _middle(image, self.transform.crop_size)) for record, image in contents]
        paintings = [(record, _middle(image, self.transform.style_size[1])) for record, image in styles]
        return [
            _collate([photos[i % len(photos)] for i in chunk], [paintings[i % len(paintings)] for i in chunk])
            for chunk in (pairs[first : first + self.batch_size] for first in pairs[:: self.batch_size])
        ]

    def train_dataloader(self) -> PairLoader:
        """This rank's training batches, from the sample on that a loaded state names."""
        pairs = self._ready()
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        if self._loader is not None:
            self._samples = self._loader.samples
            self._loader.close()
        share = Share(rank, world_size, self.batch_size, self._samples)
        length = self.batches_per_epoch or self._batches_in_one_pass(share.global_batch_size)
        self._loader = PairLoader(pairs, share, length, self.num_workers, self._report)
        return self._loader

    def _batches_in_one_pass(self, global_batch_size: int) -> int:
        pictures = _size(self._ready().content)
        return STREAM_BATCHES_PER_EPOCH if pictures is None else max(1, pictures // global_batch_size)

    def val_dataloader(self) -> Any:
        """The validation batches, all of them on every rank."""
        return _Batches(self.validation_batches) if self.validation_batches else []

    def state_dict(self) -> dict[str, Any]:
        """How many samples training has consumed; Lightning puts it into every checkpoint."""
        return {"samples": self._samples if self._loader is None else self._loader.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after that many samples."""
        self._samples = state_dict["samples"]
        if self._loader is not None:
            self._loader.load_state_dict(state_dict)

    def teardown(self, stage: str | None = None) -> None:
        """End the worker processes."""
        if self._loader is not None:
            self._loader.close()

    @property
    def num_styles(self) -> int | None:
        """How many styles there are to train on: the rows of a style bank. ``None`` for a stream."""
        return _size(self._ready().style)

    @property
    def style_names(self) -> list[str]:
        """The names of the training styles, by index; none for a stream."""
        style = self._ready().style
        return [style[index].name for index in range(len(style))] if isinstance(style, PictureSet) else []

    def summary(self) -> dict[str, Any]:
        """What is trained on, in plain JSON values, for the log and for the metadata of an exported model."""
        pairs = self._ready()
        sources = {
            "content": (self.content, self.content_split, self.validation_content, pairs.content),
            "style": (self.style, self.style_split, self.validation_style, pairs.style),
        }
        described = {
            role: {
                "source": PRESETS.get(source, source),
                "split": split,
                "column": pictures.column,
                "pictures": _size(pictures),
                "streaming": isinstance(pictures, PictureStream),
                "validation_source": validation,
            }
            for role, (source, split, validation, pictures) in sources.items()
        }
        return {
            **described,
            "validation_pairs": sum(len(batch.content) for batch in self.validation_batches),
            "skipped": len(self.skipped),
            "batch_size": self.batch_size,
            "crop_size": self.transform.crop_size,
            "style_size": list(self.transform.style_size),
            "variants": self.transform.variants,
            "seed": self.seed,
        }

    def _ready(self) -> PairDataset:
        self.setup()
        if self._pairs is None:
            raise RuntimeError("setup() was overridden and opens no pictures")
        return self._pairs

    def _report(self, skipped: dict[str, str]) -> None:
        for name, reason in skipped.items():
            if name not in self.skipped:
                self.skipped[name] = reason
                log.warning("skipped a picture that can't be decoded: %s (%s)", name, reason)


def _without_index(examples: Sequence[tuple[Record, Image.Image]]) -> list[tuple[Record, Image.Image]]:
    return [(replace(record, index=NO_INDEX), image) for record, image in examples]


def _middle(image: Image.Image, size: int) -> Tensor:
    return crop(image, size, size, 0.5, 0.5)


def _size(pictures: Pictures) -> int | None:
    return len(pictures) if isinstance(pictures, PictureSet) else None
