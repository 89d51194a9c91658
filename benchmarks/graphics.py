"""Simple graphics to train on beside photos: shapes on one colour or on a gradient, as in logos and drawings.

python benchmarks/graphics.py FOLDER --count 40

Photos hardly show how a network treats even areas; halos around edges and blotches show best on these.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

SIDE = 256
SMOOTH = 4  # drawn so many times as large, then made smaller: edges without steps


def draw(rng: random.Random) -> Image.Image:
    """One graphic of 256×256: a ground, white, grey, coloured or a gradient, and one to six shapes."""
    side = SIDE * SMOOTH
    ground = Image.new("RGB", (side, side), _color(rng))
    if rng.random() < 0.4:
        ramp = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize((side, side))
        ground = Image.composite(Image.new("RGB", ground.size, _color(rng)), ground, ramp)
    pen = ImageDraw.Draw(ground)
    for _ in range(rng.randint(1, 6)):
        x, y, size = rng.randrange(side), rng.randrange(side), rng.randrange(side // 12, side // 2)
        box = (x - size // 2, y - size // 2, x + size // 2, y + size // 2)
        kind = rng.choice(("disc", "box", "polygon", "line"))
        if kind == "disc":
            pen.ellipse(box, fill=_color(rng))
        elif kind == "box":
            pen.rectangle(box, fill=_color(rng))
        elif kind == "polygon":
            pen.regular_polygon((x, y, size // 2), rng.randint(3, 6), rng.randrange(90), fill=_color(rng))
        else:
            pen.line(box, fill=_color(rng), width=rng.randrange(side // 100, side // 20))
    picture = ground.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    grain = Image.effect_noise(picture.size, rng.choice((0, 2, 6))).convert("RGB")
    return ImageChops.add(picture, grain, offset=-128)


def _color(rng: random.Random) -> tuple[int, int, int]:
    if rng.random() < 0.3:
        return rng.choice([(255, 255, 255), (0, 0, 0), (128, 128, 128)])
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)
    for number in range(args.count):
        draw(rng).save(args.folder / f"graphic-{number:03d}.png")


if __name__ == "__main__":
    main()
