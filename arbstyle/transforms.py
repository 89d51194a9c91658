"""Styles as data augmentation: a transform of torchvision's v2 family, and a function for `datasets.map`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from arbstyle.errors import ArbstyleError
from arbstyle.images import as_bytes, as_float
from arbstyle.images.resizing import hidden_filled
from arbstyle.painting import StyleLike, Stylizer, check_options
from arbstyle.painting.options import whole_number

_MODES = "L", "RGB", "RGBA"
_CHANNELS = 1, 3, 4


class RandomStylize(v2.Transform):
    """Paint each sample in a random one of several styles, with a probability.

    Images, videos, Pillow pictures and (as elsewhere in v2) the first plain tensor are painted; masks, boxes
    and labels pass through. All pictures of one sample get the same style, all frames of a video too. In a
    batch N×C×H×W every sample draws for itself. Random numbers are torch's: seed them as for any transform.

    Geirhos et al. 2019 (arXiv:1811.12231) trained classifiers like this, to see shapes, not textures.

    Args:
        styles: pictures, style files, :class:`~arbstyle.Style` objects, or numbers of a bank. They
            are looked at once, here.
        p: probability that a sample is painted.
        strength: how far towards the style, or a range to draw from.
        model: a :class:`~arbstyle.Stylizer`, or what ``Stylizer.from_pretrained`` takes, which is then loaded
            on the CPU, as workers of a data loader want it. Pictures may be on any device.

    Raises:
        ArbstyleError: no style, one that cannot be read, or a value out of its range; and when called, a
            picture that is not grey, RGB or RGBA of bytes or of floats in [0, 1].
    """

    def __init__(
        self,
        styles: StyleLike | Sequence[StyleLike],
        p: float = 0.5,
        strength: float | tuple[float, float] = 1.0,
        *,
        model: Stylizer | str | Path | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ArbstyleError(f"expected a probability from 0 to 1, got {p}")
        self.p = p
        self.strength: tuple[float, float] = _as_range(strength)
        self.stylizer: Stylizer = (
            model if isinstance(model, Stylizer) else Stylizer.from_pretrained(model, device="cpu")
        )
        given: list[Any] = list(styles) if isinstance(styles, list | tuple) else [styles]
        if not given:
            raise ArbstyleError("expected at least one style, got none")
        is_bank = self.stylizer.styler.style_encoder.takes_index
        self.styles: list[Any] = given if is_bank else [self.stylizer.style(style) for style in given]

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """For every sample of the batch, the number of its style (``None``: not painted) and the strength."""
        count = max((_samples(picture) for picture in flat_inputs if _is_painted(picture)), default=1)
        chosen = torch.randint(len(self.styles), (count,)).tolist()
        coins = torch.rand(count).tolist()
        low, high = self.strength
        return {
            "styles": [style if coin < self.p else None for style, coin in zip(chosen, coins, strict=True)],
            "strengths": torch.empty(count).uniform_(low, high).tolist(),
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Paint one input of a sample, or pass it through."""
        if not _is_painted(inpt):
            return inpt
        if isinstance(inpt, Image.Image):
            if inpt.mode not in _MODES:
                raise ArbstyleError(
                    f"expected a Pillow picture of mode {', '.join(_MODES)}, got {inpt.mode}; convert it"
                )
            return F.to_pil_image(self._paint(F.pil_to_tensor(inpt), params), inpt.mode)
        return tv_tensors.wrap(self._paint(inpt.as_subclass(Tensor), params, _samples(inpt)), like=inpt)

    def extra_repr(self) -> str:
        return f"styles={len(self.styles)}, p={self.p}, strength={self.strength}"

    # torchvision before 0.21 calls the two methods by these names.
    _get_params, _transform = make_params, transform

    def _paint(self, pictures: Tensor, params: dict[str, Any], samples: int = 1) -> Tensor:
        """…×C×H×W, of which the first dimensions are so many samples."""
        if pictures.dim() < 3 or pictures.shape[-3] not in _CHANNELS:
            raise ArbstyleError(
                "expected pictures of shape …×C×H×W with 1, 3 or 4 channels, got "
                f"{'×'.join(map(str, pictures.shape)) or 'a number'}"
            )
        painted = pictures.reshape(samples, -1, *pictures.shape[-3:]).clone()
        for number, sample in enumerate(painted):
            row = number % len(params["styles"])
            style, strength = params["styles"][row], params["strengths"][row]
            if style is not None:
                sample[:] = self._paint_sample(sample, self.styles[style], strength)
        return painted.reshape(pictures.shape)

    def _paint_sample(self, pictures: Tensor, style: StyleLike, strength: float) -> Tensor:
        if pictures.shape[1] > 1:
            colours, alpha = pictures[:, :3], pictures[:, 3:]
            seen = hidden_filled(colours, alpha) if alpha.shape[1] else colours
            return torch.cat([self.stylizer.stylize(seen, style, strength), alpha], dim=1)
        # In floats: brightness of rounded colours would be rounded twice.
        colours = as_float(pictures).expand(-1, 3, -1, -1)
        grey = F.rgb_to_grayscale(self.stylizer.stylize(colours, style, strength))
        return as_bytes(grey) if pictures.dtype == torch.uint8 else grey


class StylizeBatch:
    """For ``dataset.map(StylizeBatch(styles), batched=True, with_indices=True)`` of Hugging Face `datasets`.

    With indices, what happens to a row depends on ``seed`` and its number alone, whatever the size of the
    batches and the number of processes; without, random numbers are torch's.

    Args:
        styles, p, strength, model: as for :class:`RandomStylize`.
        column: of Pillow pictures (a feature ``Image``); ``None`` in a row stays.
        into: the column to write; default: the same.
        seed: of the choices.
    """

    def __init__(
        self,
        styles: StyleLike | Sequence[StyleLike],
        p: float = 1.0,
        strength: float | tuple[float, float] = 1.0,
        *,
        model: Stylizer | str | Path | None = None,
        column: str = "image",
        into: str | None = None,
        seed: int = 0,
    ) -> None:
        self.stylize: RandomStylize = RandomStylize(styles, p, strength, model=model)
        self.column = column
        self.into: str = into or column
        self.seed = whole_number(seed, "the seed")
        if self.seed < 0:
            raise ArbstyleError(f"expected a seed of 0 or more, got {seed}")

    def __call__(
        self, batch: Mapping[str, list[Any]], indices: Sequence[int] | None = None
    ) -> dict[str, list[Image.Image | None]]:
        """The new column of a batch.

        Raises:
            ArbstyleError: no such column, or something in it that is no picture.
        """
        if self.column not in batch:
            raise ArbstyleError(f"there is no column '{self.column}'; choose among {', '.join(batch)}")
        rows = batch[self.column]
        numbers = [None] * len(rows) if indices is None else indices
        return {self.into: [self._row(row, number) for row, number in zip(rows, numbers, strict=True)]}

    def _row(self, picture: Any, number: int | None) -> Image.Image | None:
        if picture is None:
            return None
        if not isinstance(picture, Image.Image):
            raise ArbstyleError(
                f"expected Pillow pictures in column '{self.column}', got {type(picture).__name__}; "
                "cast it with dataset.cast_column(…, datasets.Image())"
            )
        if picture.mode not in _MODES:
            picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        with nullcontext() if number is None else torch.random.fork_rng(devices=[]):
            if number is not None:
                torch.manual_seed(int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]))
            return self.stylize(picture)


def _is_painted(inpt: Any) -> bool:
    if isinstance(inpt, tv_tensors.TVTensor):
        return isinstance(inpt, tv_tensors.Image | tv_tensors.Video)
    return isinstance(inpt, Tensor | Image.Image)


def _samples(picture: Any) -> int:
    """How many samples are in a picture: leading dimensions, of which a video's last are frames of one."""
    if not isinstance(picture, Tensor):
        return 1
    return math.prod(picture.shape[: -4 if isinstance(picture, tv_tensors.Video) else -3])


def _as_range(strength: float | tuple[float, float]) -> tuple[float, float]:
    low, high = strength if isinstance(strength, tuple | list) else (strength, strength)
    check_options(low)
    check_options(high)
    if low > high:
        raise ArbstyleError(f"expected a range of strengths from low to high, got {low} to {high}")
    return float(low), float(high)
