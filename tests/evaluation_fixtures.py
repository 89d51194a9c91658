"""What tests of the evaluation share: four pairs, a small measuring network, a quick method."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from arbstyle.evaluation.methods import GeneratingMethod
from arbstyle.evaluation.results import LAYERS
from arbstyle.images import write_image

SIZE = 64


class SmallEncoder(torch.nn.Module):
    """Shaped like VGG-19 (five depths, relu4_1 at 1/8), with few channels."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        widths = (3, 4, 6, 8, 8, 8)
        generator = torch.Generator().manual_seed(seed)
        self.weights = torch.nn.ParameterList(
            torch.randn(wide, narrow, 3, 3, generator=generator) / narrow for narrow, wide in pairwise(widths)
        ).requires_grad_(False)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        features, x = {}, images - 0.5
        for depth, (layer, weight) in enumerate(zip(LAYERS, self.weights, strict=True)):
            x = F.conv2d(F.avg_pool2d(x, 2) if depth else x, weight, padding=1).relu()
            features[layer] = x
        return features


@pytest.fixture(scope="module")
def encoder() -> SmallEncoder:
    return SmallEncoder()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two photos and two styles, one of each of the measuring size, and a report folder to make."""
    generator = torch.Generator().manual_seed(0)
    for name, height, width in [
        ("content/bridge.png", 64, 64),
        ("content/dog.png", 70, 100),
        ("style/ink.png", 64, 64),
        ("style/oil.png", 120, 90),
    ]:
        coarse = torch.rand(1, 3, 7, 9, generator=generator)
        fine = F.interpolate(coarse, (height, width), mode="bilinear")
        write_image(fine, tmp_path / name)
    return tmp_path / "content", tmp_path / "style", tmp_path / "report"


class Mix(GeneratingMethod):
    """Half photo, half the style's mean colour; counts its calls and can be interrupted."""

    description = "half the photo"

    def __init__(self, name: str = "mix", share: float = 0.5, interrupt_at: int | None = None) -> None:
        self.name = name
        self.share = share
        self.interrupt_at = interrupt_at
        self.calls = 0

    def settings(self) -> dict[str, Any]:
        return {"share": self.share}

    def stylize(self, content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt
        self.calls += 1
        return torch.lerp(content, style.mean(dim=(2, 3), keepdim=True), self.share)
