"""Training data: batches of content and style pictures for Lightning.

One idea carries this module: training is one endless *stream of samples*, numbered 0, 1, 2 … over all epochs
and all ranks, and everything about sample p (which photograph, which style, where each is cropped, how its
colours change) is a function of the seed and of p. Hence any number of workers gives the same batches, two
ranks with batches of B see what one rank with batches of 2B sees, and resuming takes one number: how many
samples training has consumed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.memory import available_cores
from arbstyle.training.augmentation import CONTENT_ORDER, STYLE_ORDER, PairTransform, StyleAugmentation, crop
from arbstyle.training.batches import Batches, PairDataset, PairLoader, StyleBatch, collate
from arbstyle.training.decoding import Record, decodable
from arbstyle.training.pictures import NO_INDEX, Pictures, PictureSet, PictureStream, Share
from arbstyle.training.sources import PRESETS, explained, open_pictures

log = logging.getLogger(__name__)

STYLE_EXAMPLES = 32
"""Training styles that an encoder gets to know before the first step."""

STREAM_BATCHES_PER_EPOCH = 1000


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
        crops_per_picture: crop and augment each picture in this many ways only, drawn once; default: anew
            each time. With few, training can keep what the loss compares them with
            (``model.loss.cache_targets``).
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
        crops_per_picture: int | None = None,
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
        self.num_workers: int = min(8, available_cores()) if num_workers is None else num_workers
        self.seed = seed
        self.batches_per_epoch = batches_per_epoch
        self.validation_content = validation_content
        self.validation_style = validation_style
        self.validation_pairs = validation_pairs
        self.hold_out_styles = hold_out_styles
        self.cache_short_side = cache_short_side
        self.cache_dir = cache_dir
        self.transform: PairTransform = PairTransform(
            crop_size=crop_size,
            resize=(resize, resize) if isinstance(resize, int) else resize,
            horizontal_flip=horizontal_flip,
            style_size=(style_size, style_size) if isinstance(style_size, int) else style_size,
            style_resize=style_resize,
            augmentation=style_augmentation,
            crops_per_picture=crops_per_picture,
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
            "crops_per_picture": (transform.crops_per_picture, 1),
            "crop_size": (transform.crop_size, 8),
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

    def style_examples(self) -> Tensor:
        """Squares M×3×T×T from the middle of some training styles, drawn by the seed; none is held out."""
        styles = self._examples(self._ready().style, STYLE_EXAMPLES)
        return torch.stack([_middle(image, self.transform.style_size[1]) for _, image in styles])

    def _make_validation_batches(
        self, contents: Sequence[tuple[Record, Image.Image]], styles: Sequence[tuple[Record, Image.Image]]
    ) -> list[StyleBatch]:
        """Pairs of squares from the middle of whole pictures; the shorter list begins again where it ends."""
        pairs = range(max(len(contents), len(styles)))
        photos = [(record, _middle(image, self.transform.crop_size)) for record, image in contents]
        paintings = [(record, _middle(image, self.transform.style_size[1])) for record, image in styles]
        return [
            collate([photos[i % len(photos)] for i in chunk], [paintings[i % len(paintings)] for i in chunk])
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
        return Batches(self.validation_batches) if self.validation_batches else []

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
                "source": _shown(PRESETS.get(source, source)),
                "split": split,
                "column": pictures.column,
                "pictures": _size(pictures),
                "streaming": isinstance(pictures, PictureStream),
                "validation_source": validation and _shown(validation),
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
            "crops_per_picture": self.transform.crops_per_picture,
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


def _shown(source: str) -> str:
    """A source without the folders above it, which are nobody's business in a model that is given away."""
    ours = os.path.isabs(source) or os.path.exists(source)
    return os.path.basename(os.path.normpath(source)) if ours else source


def _size(pictures: Pictures) -> int | None:
    return len(pictures) if isinstance(pictures, PictureSet) else None
