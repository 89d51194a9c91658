"""Study 3: style transfer by optimisation, and what each choice does (Gatys et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arbstyle.measures import normalized_style_losses
from arbstyle.optimization import Optimized, Settings, optimize
from arbstyle.optimization.settings import Precision
from arbstyle.perception import PerceptualEncoder
from arbstyle.perception.metrics import CONTENT_LAYER, content_loss, style_statistics
from arbstyle.studies.drawing import Labelled, plot, sheet
from arbstyle.studies.finding import Cell, Finding, Table
from arbstyle.studies.pictures import Source, load

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
LOW_LAYERS = ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1")

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "style-weight": {
        "style weight 1": {},
        "1/2": {"style_weight": 0.5},
        "1/10": {"style_weight": 0.1},
    },
    "style-layers": {
        "five low": {"style_layers": LOW_LAYERS},
        "three low, two high": {},
    },
    "content-layer": {
        "relu2_2": {"content_layers": ["relu2_2"]},
        "relu4_2": {},
    },
    "optimizer": {
        "L-BFGS": {},
        "Adam 0.02": {"optimizer": "adam", "learning_rate": 0.02},
        "Adam 0.05": {"optimizer": "adam", "learning_rate": 0.05},
    },
    "balance": {
        "balanced": {},
        "not balanced": {"relative_errors": False},
    },
    "pooling": {
        "max": {},
        "average": {"pooling": "avg"},
    },
}
"""Groups of settings to compare, each a change to the defaults of `Settings`."""


def transfer_starts(
    photo: Source,
    style: Source,
    *,
    weights: str | Path | None = None,
    size: int = 128,
    steps: int = 300,
    every: int = 50,
    seed: int = 0,
    precision: Precision = "fp32",
) -> Finding:
    """From noise against from the photo: content and style term at every so many evaluations.

    Both terms are divided by what they are for the white noise at the start, in percent, so that the two
    starts compare with each other and with published tables in whatever units.

    Args:
        photo, style: files, or 1×3×H×W in [0, 1].
        weights: of VGG-19, see `PerceptualEncoder`.
        size: longer side in pixels.
        steps: evaluations of the loss.
        every: so many evaluations a row.
        seed: of the noise.
        precision: of the evaluations, see `arbstyle.optimization.Settings`.
    """
    content, painting = load(photo, size), load(style, size)
    settings = Settings(steps=steps, seed=seed, vgg_weights=weights, precision=precision)
    results = {
        init: optimize(content, painting, replace(settings, init=init)) for init in ("white-noise", "content")
    }
    unit = results["white-noise"].history[0]
    rows = []
    for number in [1, *range(every, steps + 1, every)]:
        row: dict[str, Cell] = {"evaluations": number}
        for init, result in results.items():
            best = min(result.history[:number], key=lambda evaluation: evaluation.total)
            row[f"style, from {init}"] = 100 * best.style / unit.style
            row[f"content, from {init}"] = 100 * best.content / unit.content
        rows.append(row)
    curves = {
        f"{term}, from {init}": (
            [evaluation.number for evaluation in result.history],
            [100 * getattr(evaluation, term) / getattr(unit, term) for evaluation in result.history],
        )
        for init, result in results.items()
        for term in ("style", "content")
    }
    pictures = [
        [("photo", content), ("painting", painting), *((f"from {i}", r.image) for i, r in results.items())]
    ]
    return Finding(
        name="transfer-starts",
        tables={"terms": Table(rows)},
        figures={
            "pictures": sheet(pictures),
            "curves": plot(
                curves, x="evaluations of the loss", y="% of the white noise's", log_y=True, log_x=True
            ),
        },
        settings={"size": size, "steps": steps, "seed": seed, "precision": precision},
    )


def style_transfer_grid(
    photos: Sequence[Source],
    styles: Sequence[Source],
    *,
    weights: str | Path | None = None,
    size: int = 128,
    steps: int = 100,
    precision: Precision = "fp32",
) -> Finding:
    """Every photo in every style, by optimisation from the photo.

    Args:
        photos, styles: files, or 1×3×H×W in [0, 1].
        weights: of VGG-19, see `PerceptualEncoder`.
        size: longer side in pixels.
        steps: evaluations of the loss a picture.
        precision: of the evaluations, see `arbstyle.optimization.Settings`.
    """
    contents, paintings = ([load(each, size) for each in group] for group in (photos, styles))
    settings = Settings(steps=steps, vgg_weights=weights, precision=precision)
    judge = _Judge(weights)
    rows: list[dict[str, Cell]] = []
    pictures: list[list[Labelled]] = [
        [("", torch.ones_like(paintings[0])), *(("", painting) for painting in paintings)]
    ]
    for photo, content in enumerate(contents, start=1):
        line: list[Labelled] = [("", content)]
        for style, painting in enumerate(paintings, start=1):
            image = optimize(content, painting, settings).image
            line.append(("", image))
            rows.append({"photo": photo, "style": style, **judge(image, content, painting)})
        pictures.append(line)
    return Finding(
        name="transfer-grid",
        tables={"losses": Table(rows)},
        figures={"pictures": sheet(pictures)},
        settings={"size": size, "steps": steps, "precision": precision},
    )


def transfer_variants(
    photo: Source,
    style: Source,
    *,
    variants: Mapping[str, Mapping[str, Mapping[str, Any]]] = VARIANTS,
    weights: str | Path | None = None,
    size: int = 128,
    steps: int = 100,
    seed: int = 0,
    precision: Precision = "fp32",
) -> Finding:
    """One photo in one style, changing one setting at a time; and the style picture, its size and its crop.

    Args:
        photo, style: files, or 1×3×H×W in [0, 1].
        variants: group → name → fields of `optimize.Settings` that differ from the defaults.
        weights: of VGG-19, see `PerceptualEncoder`.
        size: longer side in pixels.
        steps: evaluations of the loss a picture.
        seed: of the noise, for those that start from it.
        precision: of the evaluations, see `arbstyle.optimization.Settings`.
    """
    content, painting = load(photo, size), load(style, size)
    settings = Settings(steps=steps, seed=seed, vgg_weights=weights, precision=precision)
    judge = _Judge(weights)
    pictures: list[list[Labelled]] = [[("photo", content), ("painting", painting)]]
    rows: list[dict[str, Cell]] = []
    shares: list[dict[str, Cell]] = []

    def add(group: str, named: Mapping[str, tuple[Tensor, Optimized]]) -> None:
        line: list[Labelled] = []
        for name, (target, result) in named.items():
            line.append((f"{group}\n{name}", result.image))
            found = judge(result.image, content, target)
            rows.append({"group": group, "variant": name, **found, "seconds": result.seconds})
            if group == "balance":
                layers = {
                    k.split("/")[1]: v for k, v in result.history[0].shares().items() if k[:5] == "style"
                }
                shares.append({"variant": name, **layers})
        pictures.append(line)

    usual = optimize(content, painting, settings)
    for group, members in variants.items():
        changed = {name: replace(settings, **changes) for name, changes in members.items()}
        add(
            group,
            {
                name: (painting, usual if own == settings else optimize(content, painting, own))
                for name, own in changed.items()
            },
        )
    styles = _style_pictures(style, painting, size)
    add(
        "style picture",
        {
            name: (picture, usual if picture is painting else optimize(content, picture, settings))
            for name, picture in styles.items()
        },
    )
    tables = {"losses": Table(rows)}
    if shares:
        tables["shares"] = Table(shares)
    return Finding(
        name="transfer-variants",
        tables=tables,
        figures={"pictures": sheet(pictures)},
        settings={"size": size, "steps": steps, "seed": seed, "precision": precision, "variants": variants},
    )


def _style_pictures(style: Source, painting: Tensor, size: int) -> dict[str, Tensor]:
    """The whole style picture at the photo's size, at half of it, and its middle at full size."""
    larger = load(style, 2 * size)
    height, width = larger.shape[2] // 4, larger.shape[3] // 4
    return {
        "whole": painting,
        "half the size": load(style, size // 2),
        "middle, twice the size": larger[..., height : 3 * height, width : 3 * width],
    }


class _Judge:
    """Two numbers that don't depend on how a picture was made: normalised style loss, content loss."""

    def __init__(self, weights: str | Path | None) -> None:
        self._encoder = PerceptualEncoder("vgg19", STYLE_LAYERS, weights=weights)

    @torch.no_grad()
    def __call__(self, image: Tensor, content: Tensor, style: Tensor) -> dict[str, float]:
        ours, theirs, target = (self._encoder(picture) for picture in (image, content, style))
        losses = normalized_style_losses(style_statistics(ours), style_statistics(target))
        return {
            "style loss, normalised": sum(loss.item() for loss in losses.values()) / len(losses),
            "content loss": content_loss(ours[CONTENT_LAYER], theirs[CONTENT_LAYER]).item(),
        }
