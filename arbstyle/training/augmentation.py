"""What is drawn for a training sample: crops, flips and colours, by the seed and the sample's number."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import torchvision.transforms.v2.functional as tvf
from PIL import Image
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import from_pil

# What the seed is split into, so that no draw depends on how many others were made.
CONTENT_ORDER, STYLE_ORDER, CONTENT_CROPS, STYLE_CROPS, STYLE_SIZES = range(5)


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
    crops_per_picture: int | None
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
        if self.crops_per_picture is None:
            return rng
        variant = int(rng.integers(self.crops_per_picture))
        checksum = zlib.crc32(name.encode("utf-8", "surrogateescape"))
        return np.random.default_rng((self.seed, purpose, checksum, variant))

    def _rng(self, purpose: int, position: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, purpose, position))
