"""Study 4: from one style to any style. Six systems, the same pictures, the same loss, equal compute.

The question of 2017: of how many styles must a network learn before it can paint in styles it has never seen?
Desai's normalisation network "showed success on a small set of random styles"; its gradient was cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.images import read_image
from arbstyle.measures import normalized_style_losses
from arbstyle.networks import (
    AdaINEncoder,
    AdaINTransformer,
    ArbitraryStyler,
    FastTransformer,
    JohnsonTransformer,
    NormalizationNetwork,
    PooledStatisticsEncoder,
    StyleBank,
    StylePredictor,
)
from arbstyle.perception import PerceptualEncoder, PerceptualLoss
from arbstyle.perception.metrics import CONTENT_LAYER, STYLE_LAYERS, content_loss, style_statistics
from arbstyle.studies.compressed_vgg import CompressedVGG
from arbstyle.studies.drawing import Labelled, plot, sheet
from arbstyle.studies.finding import Cell, Finding, Table

BATCH = 4
LEARNING_RATE = 1e-3
ROW_LEARNING_RATE = 1e-2
"""For a row of a bank alone, as a few numbers can take larger steps than a network."""


@dataclass(frozen=True)
class System:
    """A published system, narrow enough for a processor.

    Attributes:
        build: from the number of styles and the file of VGG-19 weights.
        unseen: whether it can paint in a style it hasn't learned.
    """

    build: Callable[[int, str | Path | None], ArbitraryStyler]
    unseen: bool = True


def _johnson(styled_encoder: bool = True) -> JohnsonTransformer:
    return JohnsonTransformer(width=16, blocks=3, styled_encoder=styled_encoder)


SYSTEMS = {
    "Johnson": System(lambda n, w: ArbitraryStyler(StyleBank(1), _johnson()), unseen=False),
    "style bank": System(lambda n, w: ArbitraryStyler(StyleBank(n), _johnson()), unseen=False),
    "AdaIN": System(lambda n, w: ArbitraryStyler(AdaINEncoder(weights=w), AdaINTransformer(w))),
    "normalisation network": System(
        lambda n, w: ArbitraryStyler(NormalizationNetwork((16, 32, 64, 128)), _johnson())
    ),
    "predictor": System(lambda n, w: ArbitraryStyler(StylePredictor("vgg19", w), _johnson(False))),
    "ours": System(
        lambda n, w: ArbitraryStyler(
            PooledStatisticsEncoder(), FastTransformer(width=48, deep_width=96, fine_width=24)
        )
    ),
}
"""The predictor looks through VGG-19, as the others' losses do, in place of Inception-v3."""


@dataclass(frozen=True)
class Pictures:
    """What the systems learn from and are judged on; all N×3×S×S in [0, 1].

    Attributes:
        photos: for training.
        styles: for training, the ones judged as seen first.
        held_out_photos: for judging.
        unseen_styles: for judging.
    """

    photos: Tensor
    styles: Tensor
    held_out_photos: Tensor
    unseen_styles: Tensor

    @property
    def size(self) -> int:
        return self.photos.shape[-1]


def read_pictures(
    photos: Sequence[Path],
    styles: Sequence[Path],
    *,
    size: int,
    held_out_photos: int = 4,
    unseen_styles: int = 8,
) -> Pictures:
    """The first photos and every so many a style are held out, whatever the number of styles learned.

    Args:
        photos, styles: files.
        size: of the middle square that is kept, in pixels.
        held_out_photos: how many, for judging.
        unseen_styles: how many; as many seen ones are judged.

    Raises:
        ArbstyleError: too few files.
    """
    if len(photos) <= held_out_photos or len(styles) < 2 * unseen_styles:
        raise ArbstyleError(
            f"expected more than {held_out_photos} photos and at least {2 * unseen_styles} styles, "
            f"got {len(photos)} and {len(styles)}: add some"
        )
    stride = len(styles) // unseen_styles
    unseen = list(styles[::stride][:unseen_styles])
    seen = [path for path in styles if path not in set(unseen)]
    # Folders are sorted by source: mixed, the first 8 are not all of one kind.
    order = torch.randperm(len(seen), generator=torch.Generator().manual_seed(0)).tolist()
    return Pictures(
        photos=_squares(photos[held_out_photos:], size),
        styles=_squares([seen[number] for number in order], size),
        held_out_photos=_squares(photos[:held_out_photos], size),
        unseen_styles=_squares(unseen, size),
    )


def _squares(paths: Sequence[Path], size: int) -> Tensor:
    squares = []
    for path in paths:
        pixels = read_image(path, size=size)
        top, left = (pixels.shape[2] - size) // 2, (pixels.shape[3] - size) // 2
        squares.append(pixels[..., top : top + size, left : left + size])
    return torch.cat(squares)


def from_one_style_to_any(
    pictures: Pictures,
    *,
    counts: Sequence[int] = (8, 64, 512),
    seconds: float = 60,
    systems: Sequence[str] = tuple(SYSTEMS),
    weights: str | Path | None = None,
    compressed_vgg: str | Path | None = None,
    seed: int = 0,
    report: Callable[[str], object] = lambda line: None,
) -> Finding:
    """Train every system on each number of styles, and judge it on styles seen and unseen.

    Args:
        pictures: see `read_pictures`.
        counts: numbers of styles to learn; each takes in the ones before.
        seconds: of processor time a training run, so that other programs on the machine don't matter.
        systems: names of `SYSTEMS`.
        weights: of VGG-19, which judges.
        compressed_vgg: see `CompressedVGG`, which then trains in place of VGG-19.
        seed: of networks and batches.
        report: called with a line after every run.
    """
    judge = _Judge(pictures, weights)
    loss = _training_loss(weights, compressed_vgg)
    counts = sorted({min(count, len(pictures.styles)) for count in counts})
    rows: list[dict[str, Cell]] = [judge.row("photo copy", 0, 0, lambda photos, number: photos, unseen=True)]
    trained: dict[tuple[str, int], ArbitraryStyler] = {}
    for name in systems:
        system = SYSTEMS[name]
        for count in [1] if name == "Johnson" else counts:
            torch.manual_seed(seed)
            styler = system.build(count, weights)
            steps = _train(styler, loss, pictures.photos, pictures.styles[:count], seconds, seed)
            trained[name, count] = styler.eval()
            rows.append(judge.row(name, count, steps, _painter(styler, pictures), unseen=system.unseen))
            report(f"{name}, {count} styles: {rows[-1]}")
    tables, figures = {"losses": Table(rows)}, {"pictures": _sheet(trained, pictures, counts[-1])}
    curves = _curves(rows, counts)
    if curves:
        figures["styles"] = plot(curves, x="number of training styles", y="normalised style loss", log_x=True)
    if ("style bank", counts[0]) in trained:
        errors = _add_style(trained["style bank", counts[0]], loss, pictures, seconds / 4, seed)
        figures["added-style"] = plot(
            {"a new row, alone": (range(1, len(errors) + 1), errors)},
            x="steps",
            y="training loss of the new style",
            log_y=True,
        )
    settings = {
        "size": pictures.size,
        "photos": len(pictures.photos),
        "counts": counts,
        "processor seconds a run": seconds,
        "batch": BATCH,
        "learning rate": LEARNING_RATE,
        "seed": seed,
        "trained through": "VGG-19, 16 times compressed" if compressed_vgg else "VGG-19",
    }
    return Finding(name="arbitrary", tables=tables, figures=figures, settings=settings)


def _training_loss(weights: str | Path | None, compressed_vgg: str | Path | None) -> PerceptualLoss:
    encoder: nn.Module = (
        CompressedVGG(compressed_vgg)
        if compressed_vgg
        else PerceptualEncoder("vgg19", STYLE_LAYERS, weights=weights)
    )
    return PerceptualLoss(
        encoder,  # type: ignore[arg-type]  # all it needs are channels and features by name
        {CONTENT_LAYER: 1.0},
        dict.fromkeys(STYLE_LAYERS, 1.0),
        style_statistic="moments",
        relative_errors=True,
    )


def _train(
    styler: ArbitraryStyler, loss: PerceptualLoss, photos: Tensor, styles: Tensor, seconds: float, seed: int
) -> int:
    """Train for so much processor time; returns the number of steps."""
    parameters = [parameter for parameter in styler.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    styler.train()
    started, steps = time.process_time(), 0
    while time.process_time() - started < seconds:
        content = photos[torch.randint(len(photos), (BATCH,), generator=generator)]
        chosen = torch.randint(len(styles), (BATCH,), generator=generator)
        painted = styler(content, chosen if styler.style_encoder.takes_index else styles[chosen])
        optimizer.zero_grad()
        loss(painted, loss.targets(content, styles[chosen])).total.backward()
        nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        steps += 1
    return steps


def _add_style(
    bank: ArbitraryStyler, loss: PerceptualLoss, pictures: Pictures, seconds: float, seed: int
) -> list[float]:
    """Teach a trained bank one unseen style by its new row alone; the loss of every step."""
    rows = torch.stack(list(bank.head.parameters())).detach()
    row = nn.Parameter(rows.mean(dim=0))
    optimizer = torch.optim.Adam([row], lr=ROW_LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    style = pictures.unseen_styles[:1]
    errors: list[float] = []
    started = time.process_time()
    while not errors or time.process_time() - started < seconds:
        content = pictures.photos[torch.randint(len(pictures.photos), (BATCH,), generator=generator)]
        painted = bank.transformer(content, row[None])
        optimizer.zero_grad()
        error = loss(painted, loss.targets(content, style)).total
        error.backward()
        optimizer.step()
        errors.append(error.item())
    return errors


# --- judging ------------------------------------------------------------------------------------

Painter = Callable[[Tensor, int], Tensor]
"""Photos N×3×S×S, and the number of a style: seen ones from 0, unseen ones from -1 downwards."""


def _painter(styler: ArbitraryStyler, pictures: Pictures) -> Painter:
    def paint(photos: Tensor, number: int) -> Tensor:
        if styler.style_encoder.takes_index:
            return styler(photos, torch.tensor([number]).expand(len(photos)))
        style = pictures.styles[number] if number >= 0 else pictures.unseen_styles[-1 - number]
        return styler(photos, style[None].expand(len(photos), -1, -1, -1))

    return paint


class _Judge:
    """Normalised style loss and content loss by VGG-19, for the styles seen and the unseen ones."""

    def __init__(self, pictures: Pictures, weights: str | Path | None) -> None:
        self._encoder = PerceptualEncoder("vgg19", STYLE_LAYERS, weights=weights)
        self._photos = pictures.held_out_photos
        with torch.no_grad():
            self._content = self._encoder(self._photos)[CONTENT_LAYER]
            self._seen, self._unseen = (
                [
                    style_statistics(self._encoder(style[None]))
                    for style in styles[: len(pictures.unseen_styles)]
                ]
                for styles in (pictures.styles, pictures.unseen_styles)
            )

    @torch.no_grad()
    def row(self, system: str, count: int, steps: int, paint: Painter, *, unseen: bool) -> dict[str, Cell]:
        seen_numbers = range(min(len(self._seen), count or len(self._seen)))
        seen = [self._losses(paint, number) for number in seen_numbers]
        new = [self._losses(paint, -1 - number) for number in range(len(self._unseen))] if unseen else []
        return {
            "system": system,
            "styles": count,
            "steps": steps,
            "style loss, seen": _mean(loss for loss, _ in seen),
            "style loss, unseen": _mean(loss for loss, _ in new) if new else "–",
            "content loss, seen": _mean(loss for _, loss in seen),
            "content loss, unseen": _mean(loss for _, loss in new) if new else "–",
        }

    def _losses(self, paint: Painter, number: int) -> tuple[float, float]:
        style = self._seen[number] if number >= 0 else self._unseen[-1 - number]
        painted = self._encoder(paint(self._photos, number).clamp(0, 1))
        losses = normalized_style_losses(style_statistics(painted), style)
        content = content_loss(painted[CONTENT_LAYER], self._content)
        return _mean(loss.mean().item() for loss in losses.values()), content.mean().item()


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _curves(
    rows: Sequence[Mapping[str, Cell]], counts: Sequence[int]
) -> dict[str, tuple[list[float], list[float]]]:
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        if row["styles"] in counts:
            for kind in ("seen", "unseen"):
                value = row[f"style loss, {kind}"]
                if isinstance(value, float):
                    xs, ys = curves.setdefault(f"{row['system']}, {kind}", ([], []))
                    xs.append(float(row["styles"]))
                    ys.append(value)
    return curves


@torch.no_grad()
def _sheet(trained: Mapping[tuple[str, int], ArbitraryStyler], pictures: Pictures, most: int) -> Image.Image:
    """A photo in two seen and three unseen styles, a row a system at its largest number of styles."""
    photo = pictures.held_out_photos[:1]
    numbers = [0, 1, -1, -2, -3]
    styles = [pictures.styles[n] if n >= 0 else pictures.unseen_styles[-1 - n] for n in numbers]
    lines: list[list[Labelled]] = [
        [
            ("photo", photo),
            *(("seen" if n >= 0 else "unseen", s[None]) for n, s in zip(numbers, styles, strict=True)),
        ]
    ]
    for (name, count), styler in trained.items():
        if count not in (1, most):
            continue
        paint = _painter(styler, pictures)
        bank = styler.style_encoder.takes_index
        known = [n for n in numbers if not bank or 0 <= n < styler.style_encoder.code_size]
        lines.append(
            [(f"{name}\n{count} styles", photo), *(("", paint(photo, n).clamp(0, 1)) for n in known)]
        )
    return sheet(lines, width=120)
