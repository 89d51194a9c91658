"""Poisson blending by several solvers: time, memory and error.

python benchmarks/compositing.py --megapixels 1 12

The mask is an ellipse over two thirds of the picture. Foreground and background are of random texture and
their true blend is known, since the right answer for a foreground equal to the background plus a constant is
the background. pyamg and opencv-python-headless are only needed here. Every run is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import machine, peak_gib

from arbstyle.compositing import blend_seamlessly

SOLVERS = ("arbstyle", "pyamg", "splu", "opencv")


def problem(megapixels: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Foreground, background and mask, 4:3."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    size = height, height * 4 // 3
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, height // 60 + 2, size[1] // 60 + 2, generator=generator)
    background = 0.3 + 0.3 * F.interpolate(coarse, size, mode="bilinear")
    background += 0.1 * torch.rand(1, 3, *size, generator=generator)
    y, x = torch.meshgrid(torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij")
    return background + 0.2, background, ((x / 0.9) ** 2 + (y / 0.95) ** 2 < 1).float()[None, None]


def with_matrix(
    foreground: np.ndarray, background: np.ndarray, inside: np.ndarray, solver: str
) -> np.ndarray:
    """The same equations as a sparse matrix; the mask keeps clear of the frame. Pictures are 3×H×W."""
    import scipy.sparse as sparse

    number = np.full(inside.shape, -1, np.int32)
    number[inside] = np.arange(inside.sum(), dtype=np.int32)
    rows, columns = [], []
    right = np.zeros((3, *inside.shape))
    before, after = slice(None, -1), slice(1, None)
    everything = slice(None)
    for first, second in (
        ((everything, before), (everything, after)),
        ((everything, after), (everything, before)),
        ((before, everything), (after, everything)),
        ((after, everything), (before, everything)),
    ):
        both = inside[first] & inside[second]
        rows.append(number[first][both])
        columns.append(number[second][both])
        here, there = (everything, *first), (everything, *second)
        right[here] += foreground[here] - foreground[there]
        right[here] += (inside[first] & ~inside[second]) * background[there]
    ones = -np.ones(sum(map(len, rows)))
    count = int(inside.sum())
    matrix = sparse.csr_matrix((ones, (np.concatenate(rows), np.concatenate(columns))), (count, count))
    matrix = matrix + 4 * sparse.eye(count, format="csr")
    sides = right[:, inside]
    if solver == "pyamg":
        import pyamg

        hierarchy = pyamg.ruge_stuben_solver(matrix)
        found = np.stack([hierarchy.solve(side, tol=1e-5, accel="cg") for side in sides])
    else:
        from scipy.sparse.linalg import splu

        options = {
            "permc_spec": "MMD_AT_PLUS_A",
            "diag_pivot_thresh": 0.0,
            "options": {"SymmetricMode": True},
        }
        factors = splu(matrix.tocsc(), **options)
        found = np.stack([factors.solve(side) for side in sides])
    result = background.copy()
    result[:, inside] = found
    return result


def with_opencv(foreground: torch.Tensor, background: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    import cv2

    source, target = (
        (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy().copy()
        for picture in (foreground, background)
    )
    area = (mask[0, 0] * 255).to(torch.uint8).numpy()
    left, top, width, height = cv2.boundingRect(area)
    centre = left + width // 2, top + height // 2
    result = cv2.seamlessClone(source, target, area, centre, cv2.NORMAL_CLONE)
    return torch.from_numpy(result).permute(2, 0, 1)[None] / 255


def measure(solver: str, megapixels: float) -> dict[str, Any]:
    foreground, background, mask = problem(megapixels)
    inside = mask[0, 0] > 0.5
    before = peak_gib()
    wall, cpu = time.perf_counter(), time.process_time()
    if solver == "arbstyle":
        result = blend_seamlessly(foreground, background, mask)
    elif solver == "opencv":
        result = with_opencv(foreground, background, mask)
    else:
        arrays = (foreground[0].numpy(), background[0].numpy(), inside.numpy())
        result = torch.from_numpy(with_matrix(*arrays, solver))[None]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    error = (result - background).abs()
    return {
        "solver": solver,
        "megapixels": megapixels,
        "unknowns, million": round(float(inside.sum()) / 1e6, 2),
        "wall, s": round(wall, 1),
        "cpu, s": round(cpu, 1),
        "memory, GiB": round(peak_gib() - before, 2),
        "error inside, /255": round(255 * float(error[..., inside].max()), 3),
        "change outside, /255": round(255 * float(error[..., ~inside].max()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=SOLVERS)
    parser.add_argument("--megapixels", nargs="+", type=float, default=[1.0, 12.0])
    parser.add_argument("--one", action="store_true", help="in this process, the first of each")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.one:
        print(json.dumps(measure(args.solvers[0], args.megapixels[0])))
        return
    print(f"# {machine()}")
    for megapixels in args.megapixels:
        for solver in args.solvers:
            command = [
                sys.executable,
                __file__,
                "--one",
                "--solvers",
                solver,
                "--megapixels",
                str(megapixels),
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            failed = f"{solver} at {megapixels:g} megapixels: {done.stderr.strip().splitlines()[-1:]}"
            print(done.stdout.strip() if done.returncode == 0 else failed, flush=True)


if __name__ == "__main__":
    main()
