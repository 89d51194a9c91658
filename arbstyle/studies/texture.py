"""Study 2: what the Gram matrices of a set of layers paint (Gatys, Ecker & Bethge 2015)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from arbstyle.measures import normalized_style_losses
from arbstyle.optimization import optimize
from arbstyle.optimization.settings import Precision
from arbstyle.perception import PerceptualEncoder
from arbstyle.perception.metrics import style_statistics
from arbstyle.studies.drawing import Labelled, plot, sheet
from arbstyle.studies.finding import Finding, Table
from arbstyle.studies.pictures import load

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
LAYER_SETS = {
    "1": LAYERS[:1],
    "1–2": LAYERS[:2],
    "1–3": LAYERS[:3],
    "1–4": LAYERS[:4],
    "1–5": LAYERS,
    "2 alone": LAYERS[1:2],
    "4 alone": LAYERS[3:4],
}


def texture_synthesis(
    style: str | Path | Tensor,
    *,
    weights: str | Path | None = None,
    layer_sets: Mapping[str, Sequence[str]] = LAYER_SETS,
    size: int = 128,
    steps: int = 100,
    seeds: tuple[int, int] = (0, 1),
    precision: Precision = "fp32",
) -> Finding:
    """Synthesise a texture from each set of layers, from two noises.

    The Gram distance beside a picture is the normalised one (`normalized_style_losses`: 0 equal, 1 nothing
    in common), at all five layers, whichever of them the picture was made with.

    Args:
        style: file, or 1×3×H×W in [0, 1].
        weights: of VGG-19, see `PerceptualEncoder`.
        layer_sets: by name.
        size: longer side in pixels.
        steps: evaluations of the loss a picture.
        seeds: of the two noises.
        precision: of the evaluations, see `arbstyle.optimization.Settings`.
    """
    original = load(style, size)
    encoder = PerceptualEncoder("vgg19", LAYERS, weights=weights)
    rows: list[dict[str, str | float | int]] = []
    pictures: list[list[Labelled]] = [[("painting", original)] for _ in seeds]
    for name, layers in layer_sets.items():
        for number, seed in enumerate(seeds):
            result = optimize(
                None,
                original,
                style_layers=list(layers),
                init="noise",
                steps=steps,
                seed=seed,
                vgg_weights=weights,
                precision=precision,
            )
            distances = _distances(encoder, result.image, original)
            mean = sum(distances.values()) / len(distances)
            pictures[number].append((f"{name}\n{mean:.3f}", result.image))
            rows.append({"layers": name, "noise": seed, **distances, "mean": mean})
    table = Table(rows)
    curves = {
        str(row["layers"]): (list(range(len(LAYERS))), [float(row[layer]) for layer in LAYERS])
        for row in rows
        if row["noise"] == seeds[0]
    }
    return Finding(
        name="texture",
        tables={"gram": table},
        figures={
            "pictures": sheet(pictures),
            "gram": plot(curves, x="layer", y="normalised Gram distance", ticks=LAYERS, log_y=True),
        },
        settings={
            "size": size,
            "steps": steps,
            "seeds": seeds,
            "layer_sets": dict(layer_sets),
            "precision": precision,
        },
    )


@torch.no_grad()
def _distances(encoder: PerceptualEncoder, image: Tensor, style: Tensor) -> dict[str, float]:
    losses = normalized_style_losses(style_statistics(encoder(image)), style_statistics(encoder(style)))
    return {layer: loss.item() for layer, loss in losses.items()}
