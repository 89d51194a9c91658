"""Study 1: what each layer of VGG keeps of a photo (Mahendran & Vedaldi 2015; Gatys et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from arbstyle.optimization import optimize
from arbstyle.optimization.settings import Precision
from arbstyle.perception import Network
from arbstyle.perception.metrics import psnr
from arbstyle.studies.drawing import Labelled, plot, sheet
from arbstyle.studies.finding import Finding, Table
from arbstyle.studies.pictures import load

CONVOLUTIONS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
BLOCKS = ("block1", "block2", "block3", "block4", "block5")


def content_reconstruction(
    photo: str | Path | Tensor,
    *,
    network: Network = "vgg19",
    weights: str | Path | None = None,
    layers: Sequence[str] = CONVOLUTIONS,
    size: int = 128,
    steps: int = 100,
    seeds: tuple[int, int] = (0, 1),
    precision: Precision = "fp32",
) -> Finding:
    """Reconstruct a photo from each layer alone, twice, from two noises.

    What both pictures share with the photo is what the layer keeps; where they differ from each other, the
    layer doesn't care.

    Args:
        photo: file, or 1×3×H×W in [0, 1].
        network, weights: see `PerceptualEncoder`.
        layers: convolutions (before their ReLU), `relu…`, or `block1` to `block5` (just before the pooling).
        size: longer side in pixels.
        steps: evaluations of the loss a picture.
        seeds: of the two noises.
        precision: of the evaluations, see `arbstyle.optimization.Settings`.
    """
    original = load(photo, size)
    rows: list[dict[str, str | float | int]] = []
    pictures: list[list[Labelled]] = [[("photo", original)], [("photo", original)]]
    for layer in layers:
        results = [
            optimize(
                original,
                content_layers=[layer],
                init="noise",
                steps=steps,
                seed=seed,
                vgg=network,
                vgg_weights=weights,
                precision=precision,
            )
            for seed in seeds
        ]
        first, second = (result.image for result in results)
        values = [psnr(image, original).item() for image in (first, second)]
        for row, image, value in zip(pictures, (first, second), values, strict=True):
            row.append((f"{layer}\n{value:.1f} dB", image))
        rows.append(
            {
                "layer": layer,
                "PSNR, first noise": values[0],
                "PSNR, second noise": values[1],
                "PSNR between the two": psnr(first, second).item(),
                "loss left": results[0].best.total / results[0].history[0].total,
            }
        )
    table = Table(rows)
    numbers = range(len(rows))
    curves = {
        name: (list(numbers), [float(value) for value in table.column(name)])
        for name in ("PSNR, first noise", "PSNR, second noise", "PSNR between the two")
    }
    return Finding(
        name="reconstruction",
        tables={"layers": table},
        figures={
            "pictures": sheet(pictures),
            "psnr": plot(curves, x=f"layer of {network}", y="PSNR, dB", ticks=list(layers)),
        },
        settings={
            "network": network,
            "size": size,
            "steps": steps,
            "seeds": seeds,
            "layers": layers,
            "precision": precision,
        },
    )
