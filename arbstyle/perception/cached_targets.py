"""Targets of the loss, kept in memory for pictures that come again."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from arbstyle.perception.losses import PerceptualLoss, Targets

logger = logging.getLogger(__name__)

Tensors = list[Tensor]


class CachedTargets:
    """Makes a loss's targets for batches of pictures, of each picture only once.

    Saves two of four passes through the network where the same crops come again and again. Takes memory:
    256 KiB for the content features of 128×128 pixels at relu4_1 in bfloat16, and 1.2 MiB for the Gram
    matrices of a style at relu1_1 to relu5_1. They are kept in bfloat16, rounded by at most 0.4 %, far less
    than what a painting is off by. Where no more memory is to be had, further pictures are looked at anew.

    Args:
        loss: whose targets to make.
        room: bytes to be had on a device; by default without limit.
    """

    def __init__(
        self, loss: PerceptualLoss, room: Callable[[torch.device], float] = lambda _: math.inf
    ) -> None:
        self.loss = loss
        self._content = _Rows(room)
        self._style = _Rows(room)

    def __call__(self, content: Tensor | None, style: Tensor) -> Targets:
        """As :meth:`PerceptualLoss.targets`, for N×3×H×W photos (or none) and N×3×h×w styles."""

        def make_content(photos: Tensor) -> Tensors:
            return list(self.loss.targets(photos, None).content.values())

        def make_style(styles: Tensor) -> Tensors:
            return [x for each in self.loss.targets(None, styles).style.values() for x in each]

        contents = self._content.of(content, make_content) if content is not None else []
        statistics = self._style.of(style, make_style)
        per_layer = len(statistics) // max(1, len(self.loss.style_layers))
        by_layer = [tuple(statistics[i : i + per_layer]) for i in range(0, len(statistics), per_layer or 1)]
        return Targets(
            dict(zip(self.loss.content_layers, contents, strict=content is not None)),
            dict(zip(self.loss.style_layers, by_layer, strict=True)),
        )


class _Rows:
    """What is known of pictures, a row each, in blocks: memory in small pieces would soon be in tatters."""

    rows_a_block = 64
    kept_free = 2 << 30
    """Bytes that are left to everything else."""

    def __init__(self, room: Callable[[torch.device], float]) -> None:
        self.room = room
        self.is_full = False
        self._row_of: dict[bytes, int] = {}
        self._blocks: list[Tensors] = []

    def of(self, pictures: Tensor, make: Callable[[Tensor], Tensors]) -> Tensors:
        """One row a picture of each tensor that ``make`` makes of pictures; only new pictures go there."""
        keys = _fingerprints(pictures)
        new = {key: i for i, key in enumerate(keys) if key not in self._row_of}
        made = make(pictures[list(new.values())]) if new else []
        rows = {key: [tensor[i] for tensor in made] for i, key in enumerate(new)}
        for key, values in rows.items():
            self._append(key, values)
        columns = zip(*(rows[key] if key in rows else self._row(key) for key in keys), strict=True)
        return [_stack(column) for column in columns]

    def _row(self, key: bytes) -> Tensors:
        block, row = divmod(self._row_of[key], self.rows_a_block)
        return [tensor[row] for tensor in self._blocks[block]]

    def _append(self, key: bytes, values: Tensors) -> None:
        row = len(self._row_of) % self.rows_a_block
        if row == 0 and not self.is_full:
            size = self.rows_a_block * sum(value.numel() * value.element_size() for value in values)
            self.is_full = size > self.room(values[0].device) - self.kept_free
            if self.is_full:
                logger.warning("no memory to remember more targets: those of other crops are computed anew")
        if row == 0 and self.is_full:
            return
        if row == 0:
            self._blocks.append([self._empty_block(value) for value in values])
        for tensor, value in zip(self._blocks[-1], values, strict=True):
            tensor[row] = value
        self._row_of[key] = len(self._row_of)

    def _empty_block(self, value: Tensor) -> Tensor:
        is_map, is_matrix = value.dim() == 3, value.dim() == 2
        return torch.empty(
            (self.rows_a_block, *value.shape),
            dtype=torch.bfloat16 if is_matrix else value.dtype,
            device=value.device,
            memory_format=torch.channels_last if is_map else torch.contiguous_format,
        )


def _stack(values: Sequence[Tensor]) -> Tensor:
    """Remembered matrices beside new ones, which are wider."""
    widest = max((value.dtype for value in values), key=lambda dtype: dtype.itemsize)
    return torch.stack([value.to(widest) for value in values])


def _fingerprints(images: Tensor) -> list[bytes]:
    pixels = images.detach().cpu().contiguous().numpy()
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels]
