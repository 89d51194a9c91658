"""Measuring: what the frozen network sees in a picture, compared with its photo and its style."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.evaluation.digests import digest, digest_of_code, digest_of_module
from arbstyle.evaluation.pairs import Pair
from arbstyle.evaluation.results import LAYERS, MEASURES
from arbstyle.images import read_image
from arbstyle.measures import LPIPS, cfsd, color_histogram_distance, ms_ssim, normalized_style_losses
from arbstyle.measures.content import CFSD_LAYER, MS_SSIM_MIN_SIZE
from arbstyle.measures.lpips import find_vgg16_weights
from arbstyle.perception import (
    StyleStatistics,
    content_loss,
    gram_style_losses,
    moment_style_losses,
    ssim,
    stray_marks,
    style_statistics,
)
from arbstyle.perception.metrics import CONTENT_LAYER, STYLE_LAYERS

MEASURING_CODE = ("measures", "perception", "images", "evaluation/examiner")
"""Rooms and modules on which a number depends."""

CACHE_BYTES = 2 * 2**30
"""For features of photos and styles that many pairs share."""


@dataclass(frozen=True)
class Description:
    """A picture 1×3×H×W, what the measuring network sees in it, and its height and width when delivered."""

    pixels: Tensor
    content: Tensor
    structure: Tensor
    style: StyleStatistics
    delivered: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.pixels.shape[-2:]
        return height, width


WHY_NO_ARTFID = (
    "like FID it compares thousands of pictures by an Inception network, whose weights are a download"
)


class Examiner:
    """Describes and compares pictures, keeping what is asked for again and again: photos and styles."""

    def __init__(self, encoder: nn.Module, size: int) -> None:
        self._encoder = encoder
        self.size = size
        self._digest = lru_cache(maxsize=None)(digest)
        self.encoder_digest: str = digest_of_module(encoder)
        self._lpips, self.absent = _optional_measures(size, next(encoder.parameters()).device)
        self.code_digest = digest_of_code(*MEASURING_CODE)
        networks = [self.encoder_digest, digest_of_module(self._lpips) if self._lpips else ""]
        self.measured_by = hashlib.sha256(json.dumps([*networks, self.code_digest]).encode()).hexdigest()[:16]
        self.available = [name for name in MEASURES if name not in self.absent]
        # Gram matrices; pixels, relu3_1 and relu4_1 of a square picture.
        bytes_per_reference = 2_500_000 + 108 * size**2
        self.reference: Callable[[Path], Description] = lru_cache(
            maxsize=max(4, CACHE_BYTES // bytes_per_reference)
        )(self._reference)

    def _reference(self, path: Path) -> Description:
        """A photo or a style, its short side at `size`."""
        return self.describe(read_image(path, size=self.size))

    @torch.no_grad()
    def describe(self, pixels: Tensor, delivered: tuple[int, int] | None = None) -> Description:
        """Describe a picture 1×3×H×W as it would be after 8-bit storage."""
        pixels = pixels.mul(255).round().div(255).to(next(self._encoder.parameters()).device)
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
            features = self._encoder(pixels)
        return Description(
            pixels=pixels,
            content=features[CONTENT_LAYER].clone(),
            structure=features[CFSD_LAYER].clone(),
            style=style_statistics({layer: features[layer] for layer in LAYERS}),
            delivered=delivered or (pixels.shape[-2], pixels.shape[-1]),
        )

    def measures(self, picture: Description, pair: Pair) -> dict[str, float]:
        """By name, those of `MEASURES` that are available."""
        photo, style = self.reference(pair.content), self.reference(pair.style)
        moments = moment_style_losses(picture.style, style.style)
        grams = gram_style_losses(picture.style, style.style)
        normalized = normalized_style_losses(picture.style, style.style)
        values = {
            "style_loss": sum(moments[layer] for layer in STYLE_LAYERS),
            **{f"style_loss/{layer}": moments[layer] for layer in LAYERS},
            "gram_loss": sum(grams[layer] for layer in STYLE_LAYERS),
            **{f"gram_loss/{layer}": grams[layer] for layer in LAYERS},
            "normalized_style_loss": sum(normalized[layer] for layer in STYLE_LAYERS) / len(STYLE_LAYERS),
            "color_distance": color_histogram_distance(picture.pixels, style.pixels),
            "content_loss": content_loss(picture.content, photo.content),
            "cfsd": cfsd(picture.structure, photo.structure),
            "stray_marks": stray_marks(picture.pixels, photo.pixels),
            "ssim": ssim(picture.pixels, photo.pixels),
        }
        if "ms_ssim" in self.available:
            values["ms_ssim"] = ms_ssim(picture.pixels, photo.pixels)
        if self._lpips is not None:
            with torch.no_grad():
                values["lpips"] = self._lpips(picture.pixels, photo.pixels)
        return {name: float(values[name]) for name in self.available}

    def settings_digest(self, method_settings: Mapping[str, Any], pair: Pair) -> str:
        """Changes with whatever a picture is made from."""
        dependencies = [
            self.size,
            self._digest(pair.content),
            self._digest(pair.style),
            dict(method_settings),
        ]
        return hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest()[:16]


def _optional_measures(size: int, device: torch.device) -> tuple[LPIPS | None, dict[str, str]]:
    """The network of LPIPS if it can be had, and why measures are absent."""
    absent = {"artfid": WHY_NO_ARTFID}
    if size < MS_SSIM_MIN_SIZE:
        absent["ms_ssim"] = f"five scales need pictures of {MS_SSIM_MIN_SIZE} pixels, these have {size}"
    weights = find_vgg16_weights()
    if weights is None:
        absent["lpips"] = "there are no VGG-16 weights on this machine: name a file in ARBSTYLE_VGG16"
        return None, absent
    try:
        return LPIPS(weights).to(device), absent
    except ArbstyleError as error:
        absent["lpips"] = str(error)
        return None, absent
