"""An evaluation as `results.json`, and as one self-contained page with the pictures side by side."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np

from arbstyle.evaluation.bootstrap import Interval
from arbstyle.evaluation.evaluation import Evaluation
from arbstyle.evaluation.methods import PhotoCopy, StyleCopy
from arbstyle.evaluation.pairs import Pair
from arbstyle.evaluation.results import LAYERS, Summary
from arbstyle.images import atomic_path, read_image, to_pil
from arbstyle.perception.metrics import DEEP_STYLE_LAYER

THUMBNAIL = 240
"""Short side in pixels; some 12 to 25 KB each as WebP."""

MAX_THUMBNAILS = 400
"""Keeps the page well under 15 MB; beyond, a sample of the pairs is shown."""

HEADLINE = {
    "style_loss": "style loss",
    f"style_loss/{DEEP_STYLE_LAYER}": f"style loss, {DEEP_STYLE_LAYER}",
    "gram_loss": "Gram style loss",
    "normalized_style_loss": "normalised style loss",
    "color_distance": "colour distance",
    "content_loss": "content loss",
    "cfsd": "CFSD",
    "ssim": "SSIM to the photo",
    "ms_ssim": "MS-SSIM",
    "lpips": "LPIPS",
}

TERMINAL_MEASURES = (
    "style_loss",
    "normalized_style_loss",
    "content_loss",
    "cfsd",
    "ssim",
    "ms_ssim",
    "lpips",
)
TERMINAL_MEDIANS = ("style_loss", "normalized_style_loss")

EXPLANATION = """
Style loss: squared error of channel means and standard deviations against the style picture, summed over
relu1_1–relu4_1. Gram style loss: the same layers, squared error of the Gram matrices. Normalised style
loss: that error over its upper bound (0 to 1), mean of the layers, so that no style counts more than
another. Colour distance: Hellinger distance of the colour histograms (0 to 1). Content loss: squared error
of relu4_1 against the photo. CFSD: divergence of the self-similarity of relu3_1. SSIM and MS-SSIM:
structural similarity of the luminance at one and at five scales. LPIPS: learned distance to the photo. SSIM
and MS-SSIM: higher is closer; all others: lower is closer. Below each mean the median (the mean of a loss
can be that of a few styles), and in brackets, 95 % intervals for new photos and new styles (both
resampled). The photo copy has perfect content and the style copy perfect style: a good result loses little
on either side.
"""

STYLESHEET = """
:root { color-scheme: light dark; --line: #8884; --faint: #888; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 110rem; padding: 0 1.5rem; }
h1, h2 { font-weight: 600; line-height: 1.2; }
p { max-width: 60rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
thead th { font-weight: 600; vertical-align: bottom; }
td small, figcaption, .note { color: var(--faint); white-space: nowrap; }
td small { display: block; }
.anchor td { font-style: italic; }
.pictures td, .pictures th { padding: .3rem; text-align: left; }
.pictures img { display: block; width: 240px; height: auto; border-radius: 3px; }
figure { margin: 0; }
dt { font-weight: 600; }
dd { margin: 0 0 .4rem; overflow-wrap: anywhere; }
"""


def write_report(evaluation: Evaluation) -> Path:
    """Write `results.json` and `index.html` into the report folder; returns the page."""
    _write_text(evaluation.folder / "results.json", _json(evaluation))
    page = evaluation.folder / "index.html"
    _write_text(page, _page(evaluation))
    return page


def text_table(evaluation: Evaluation) -> str:
    """The most telling means and medians for a terminal."""
    names = [name for name in TERMINAL_MEASURES if name in evaluation.measures]
    with_medians = [name for name in names if name in TERMINAL_MEDIANS]
    titles = [title for name in names for title in _titles(name, name in with_medians)]
    lines = [["method", *titles, "seconds", "peak MiB"]]
    for summary in evaluation.summaries:
        cells = [
            _number(value)
            for name in names
            for value in (
                summary.means[name].mean,
                *([summary.medians[name]] if name in with_medians else []),
            )
        ]
        lines.append([summary.method, *cells, _number(summary.seconds_median), _number(summary.peak_mib)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in enumerate(cells)
        )
        for cells in (list(zip(line, widths, strict=True)) for line in lines)
    )


def _titles(name: str, with_median: bool) -> list[str]:
    return [HEADLINE[name], *(["median"] if with_median else [])]


def _json(evaluation: Evaluation) -> str:
    report = {
        "date": evaluation.date,
        "environment": evaluation.environment,
        "settings": evaluation.settings,
        "absent": evaluation.absent,
        "methods": [asdict(summary) for summary in evaluation.summaries],
        "differences": {
            "reference": evaluation.reference,
            "methods": {
                method: {name: asdict(interval) for name, interval in intervals.items()}
                for method, intervals in evaluation.differences.items()
            },
        },
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _page(evaluation: Evaluation) -> str:
    headline = {name: title for name, title in HEADLINE.items() if name in evaluation.measures}
    others = [summary for summary in evaluation.summaries if summary.method != evaluation.reference]
    layers = {
        f"{loss}/{layer}": f"{title}, {layer}"
        for loss, title in (("style_loss", "style"), ("gram_loss", "Gram"))
        for layer in LAYERS
    }
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>Style transfer evaluation</title><style>{STYLESHEET}</style></head><body>",
            "<h1>Style transfer evaluation</h1>",
            f"<p>{_occasion(evaluation)}</p><p>{EXPLANATION}</p>",
            *(
                f"<p>{escape(HEADLINE[name])} is left out: {escape(why)}.</p>"
                for name, why in evaluation.absent.items()
            ),
            "<h2>Means</h2>",
            _table(
                ["method", *headline.values(), "seconds (median)", "peak MiB"],
                (_means_row(summary, headline, with_cost=True) for summary in evaluation.summaries),
            ),
            "<h2>By layer</h2>",
            _table(
                ["method", *layers.values()],
                (_means_row(summary, layers) for summary in evaluation.summaries),
            ),
            f"<h2>Paired differences to {escape(evaluation.reference)}</h2>",
            _table(
                ["method", *headline.values()],
                (
                    _row(
                        summary.method,
                        (_interval(evaluation.differences[summary.method][name]) for name in headline),
                    )
                    for summary in others
                ),
            ),
            "<h2>Pictures</h2>",
            _pictures(evaluation),
            "<h2>Conditions</h2>",
            _conditions(evaluation),
            "</body></html>\n",
        ]
    )


def _occasion(evaluation: Evaluation) -> str:
    size = evaluation.settings["size"]
    return f"{len(evaluation.pairs)} pairs of photo and style at {size} pixels, {escape(evaluation.date)}."


def _table(head: Sequence[str], rows: Iterable[str], kind: str = "") -> str:
    cells = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "\n".join(rows)
    table = f"<thead><tr>{cells}</tr></thead><tbody>\n{body}\n</tbody>"
    return f'<div class="wide"><table class="{kind}">{table}</table></div>'


def _row(method: str, cells: Iterable[str]) -> str:
    kind = ' class="anchor"' if method in (PhotoCopy.name, StyleCopy.name) else ""
    return f"<tr{kind}><td>{escape(method)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _means_row(summary: Summary, names: Iterable[str], with_cost: bool = False) -> str:
    cost = [_number(summary.seconds_median), _number(summary.peak_mib)] if with_cost else []
    means = (_interval(summary.means[name], summary.medians[name]) for name in names)
    return _row(summary.method, [*means, *cost])


def _interval(interval: Interval, median: float | None = None) -> str:
    middle = "" if median is None else f"<small>median {_number(median)}</small>"
    return (
        f"{_number(interval.mean)}{middle}<small>[{_number(interval.low)}, {_number(interval.high)}]</small>"
    )


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _pictures(evaluation: Evaluation) -> str:
    shown = [method for method in evaluation.methods if not isinstance(method, PhotoCopy | StyleCopy)]
    pairs = _sample(evaluation.pairs, MAX_THUMBNAILS // (2 + len(shown)))
    rows_by_key = {(row.method, row.content, row.style): row for row in evaluation.rows}
    rows = []
    for pair in pairs:
        cells = [_figure(pair.content, pair.content.stem), _figure(pair.style, pair.style.stem)]
        for method in shown:
            measures = rows_by_key[method.name, pair.content.stem, pair.style.stem].measures
            caption = f"style {_number(measures['style_loss'])} · content {_number(measures['content_loss'])}"
            cells.append(_figure(method.picture(pair, evaluation.folder), caption))
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    note = (
        ""
        if len(pairs) == len(evaluation.pairs)
        else (f'<p class="note">{len(pairs)} of {len(evaluation.pairs)} pairs, drawn at random.</p>')
    )
    return note + _table(["photo", "style", *(method.name for method in shown)], rows, kind="pictures")


def _sample(pairs: Sequence[Pair], count: int) -> list[Pair]:
    chosen = np.random.default_rng(0).permutation(len(pairs))[: max(1, count)]
    return [pairs[index] for index in sorted(chosen)]


def _figure(path: Path, caption: str) -> str:
    return (
        f'<figure><img src="{_thumbnail(path)}" alt="{escape(path.stem)}" loading="lazy">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _thumbnail(path: Path) -> str:
    file = BytesIO()
    to_pil(read_image(path, size=THUMBNAIL)).save(file, "WEBP", quality=75)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _conditions(evaluation: Evaluation) -> str:
    facts = {
        summary.method: f"{summary.description}; {', '.join(summary.sizes)} pixels"
        for summary in evaluation.summaries
    }
    facts |= {name: str(value) for name, value in evaluation.environment.items()}
    return (
        "<dl>"
        + "".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())
        + "</dl>"
    )
