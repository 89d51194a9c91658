"""Whether two checkouts paint the same pictures, value for value, with one model file.

git worktree add ../earlier COMMIT
python scripts/same_pictures.py ../earlier . --model ../earlier/arbstyle/assets/arbstyle.safetensors

Each checkout paints four pairs of pictures from examples/ in a process of its own, with one thread: in one
piece and in tiles, at part strength, a blend, masks, colours kept in three ways; in float32 and in bfloat16.
Styles are given as tensors, and once as a file. Exits with 1 where any value differs, and says by how much.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parent.parent
PAIRS = (
    ("photo-cat", "painting-night"),
    ("photo-pagoda", "painting-venice"),
    ("photo-astronaut", "drawing-oz"),
    ("photo-flower", "painting-storm"),
)
SIDE = 320
"""Long side of the photos, in pixels: several tiles, painted in a second."""


def paint(model: str, folder: Path) -> None:
    """Paint everything with the `arbstyle` that Python finds, into one file of arrays a pair."""
    import arbstyle
    from arbstyle import Stylizer

    torch.set_num_threads(1)
    print(f"painting with {Path(arbstyle.__file__).parent}")
    examples = REPOSITORY / "examples"
    for number, (photo, style) in enumerate(PAIRS):
        values = _read(examples / f"{photo}.jpg", SIDE)
        height, width = values.shape[2:]
        mask = np.zeros((height, width), np.float32)
        mask[:, : width // 2] = 1
        file = str(examples / f"{style}.jpg")
        one, two = _read(file), _read(examples / f"{PAIRS[number - 1][1]}.jpg")
        painted: dict[str, Any] = {}
        for precision in ("fp32", "bf16"):
            stylizer = Stylizer.from_pretrained(model, "cpu", precision)
            ways: dict[str, tuple[Any, dict[str, Any]]] = {
                "plain": (one, {}),
                "style file": (file, {}),
                "tiles": (one, {"tile": 128}),
                "strength": (one, {"strength": 0.6}),
                "strength-tiles": (one, {"strength": 0.6, "tile": 128}),
                "blend": ([one, two], {"weights": [3, 1]}),
                "masks": ([one, two], {"masks": [mask, 1 - mask]}),
                "mask": ([one], {"masks": [mask]}),
                "luminance": (one, {"keep_colors": "luminance"}),
                "histogram": (one, {"keep_colors": "histogram"}),
                "coral": (one, {"keep_colors": "coral"}),
            }
            for way, (styles, options) in ways.items():
                painted[f"{precision} {way}"] = stylizer.stylize(values, styles, **options).numpy()
        np.savez(folder / f"{photo} in {style}.npz", **painted)


def _read(path: str | Path, side: int | None = None) -> Tensor:
    """1×3×H×W in [0,1], without arbstyle's own reading."""
    picture = Image.open(path).convert("RGB")
    if side is not None:
        picture.thumbnail((side, side))
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None].float() / 255


def compare(first: Path, second: Path) -> bool:
    """Print a line for each way of painting; whether all pictures of both folders are the same."""
    pairs = [
        (np.load(file), np.load(second / file.name))
        for file in sorted(first.glob("*.npz"))  # the same names in both
    ]
    same = True
    for way in pairs[0][0].files:
        errors = [np.abs(one[way] - other[way]) for one, other in pairs]
        largest = max(float(error.max()) for error in errors)
        same &= largest == 0
        moved = np.mean([(error > 0.5 / 255).mean() for error in errors])
        verdict = "the same" if largest == 0 else f"differ by up to {255 * largest:.2g} of 255 levels"
        print(f"{way:20} {verdict}" + (f", {100 * moved:.3f} % by over half a level" if largest else ""))
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="*", help="folders that hold the package arbstyle/")
    parser.add_argument("--model", required=True, help="file that both can read")
    parser.add_argument("--paint-into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.paint_into:
        paint(arguments.model, arguments.paint_into)
        return 0
    if len(arguments.checkouts) != 2:
        parser.error("expected two checkouts")
    with tempfile.TemporaryDirectory() as folder:
        results = [Path(folder, name) for name in ("first", "second")]
        for checkout, result in zip(arguments.checkouts, results, strict=True):
            result.mkdir()
            command = [sys.executable, __file__, "--model", str(Path(arguments.model).resolve())]
            subprocess.run(
                [*command, "--paint-into", str(result)],
                env=os.environ | {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"},
                check=True,
            )
        same = compare(*results)
    print("all the same" if same else "NOT the same")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
