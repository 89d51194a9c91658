"""An evaluation as one self-contained page: tables that sort, worst cases, pictures side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from arbstyle.evaluation.bootstrap import Interval
from arbstyle.evaluation.evaluation import Evaluation
from arbstyle.evaluation.methods import Method, PhotoCopy, StyleCopy
from arbstyle.evaluation.pairs import Pair
from arbstyle.evaluation.preference import PAGE as PREFERENCE_PAGE
from arbstyle.evaluation.results import LAYERS, Row, Summary
from arbstyle.evaluation.summary import worst_cases
from arbstyle.evaluation.thumbnails import data_url
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
    "stray_marks": "stray marks",
    "ssim": "SSIM to the photo",
    "ms_ssim": "MS-SSIM",
    "lpips": "LPIPS",
    "artfid": "ArtFID",
}

EXPLANATION = """
Style loss: squared error of channel means and standard deviations against the style picture, summed over
relu1_1–relu4_1. Gram style loss: the same layers, squared error of the Gram matrices. Normalised style
loss: that error over its upper bound (0 to 1), mean of the layers, so that no style counts more than
another. Colour distance: Hellinger distance of the colour histograms (0 to 1). Content loss: squared error
of relu4_1 against the photo. CFSD: divergence of the self-similarity of relu3_1. Stray marks: mean squared
change of colour over a stroke's width where the photo is plain. SSIM and MS-SSIM: structural similarity of
the luminance at one and at five scales. LPIPS: learned distance to the photo. SSIM and MS-SSIM: higher is
closer; all others: lower is closer. Balance: harmonic mean of the share of the
photo's normalised style loss that is gone and the share of the style copy's content loss that is avoided; a
copy of either has 0. Below each mean the median (the mean of a loss can be that of a few styles), and in
brackets, 95 % intervals for new photos and new styles (both resampled). The photo copy has perfect content
and the style copy perfect style: a good result loses little on either side. A heading sorts its table.
"""


def evaluation_page(evaluation: Evaluation, has_preference_page: bool) -> str:
    """The page as HTML, with everything it shows inside."""
    headline = {name: title for name, title in HEADLINE.items() if name in evaluation.measures}
    others = [summary for summary in evaluation.summaries if summary.method != evaluation.reference]
    layers = {
        f"{loss}/{layer}": f"{title}, {layer}"
        for loss, title in (("style_loss", "style"), ("gram_loss", "Gram"))
        for layer in LAYERS
    }
    costs = ["seconds (median)", "seconds, style known", "peak MiB"]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>Style transfer evaluation</title><style>{_asset('page.css')}</style></head><body>",
            "<h1>Style transfer evaluation</h1>",
            f"<p>{_occasion(evaluation)}</p>",
            f"<details><summary>What the numbers are</summary><p>{EXPLANATION}</p></details>",
            *(
                f"<p>{escape(HEADLINE[name])} is left out: {escape(why)}.</p>"
                for name, why in evaluation.absent.items()
            ),
            f'<p><a href="{PREFERENCE_PAGE}">Let people choose</a>, blind to whose pictures they see.</p>'
            if has_preference_page
            else "",
            "<h2>Means</h2>",
            _table(
                ["method", "balance", *headline.values(), *costs],
                (_means_row(summary, headline, with_cost=True) for summary in evaluation.summaries),
            ),
            f"<h2>Paired differences to {escape(evaluation.reference)}</h2>",
            "<p>Method minus reference, on the same pairs. An interval without 0 is a difference that new "
            "photos and new styles would most likely show, too.</p>",
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
            "<h2>Worst cases</h2>",
            "".join(_worst(method, evaluation) for method in _shown(evaluation)),
            "<h2>Pictures</h2>",
            _pictures(evaluation),
            "<h2>By layer</h2>",
            _table(
                ["method", *layers.values()],
                (_means_row(summary, layers) for summary in evaluation.summaries),
            ),
            "<h2>Conditions</h2>",
            _conditions(evaluation),
            f"<script>{_asset('page.js')}</script></body></html>\n",
        ]
    )


def _asset(name: str) -> str:
    return (files("arbstyle") / "evaluation" / name).read_text(encoding="utf-8")


def _shown(evaluation: Evaluation) -> list[Method]:
    return [method for method in evaluation.methods if not isinstance(method, PhotoCopy | StyleCopy)]


def _occasion(evaluation: Evaluation) -> str:
    size = evaluation.settings["size"]
    return f"{len(evaluation.pairs)} pairs of photo and style at {size} pixels, {escape(evaluation.date)}."


Cell = tuple[str, float | None]
"""HTML, and the number to sort by."""


def _table(head: Sequence[str], rows: Iterable[str], kind: str = "sortable") -> str:
    titles = (f"<button>{escape(title)}</button>" if kind == "sortable" else escape(title) for title in head)
    cells = "".join(f'<th scope="col">{title}</th>' for title in titles)
    body = "\n".join(rows)
    table = f"<thead><tr>{cells}</tr></thead><tbody>\n{body}\n</tbody>"
    return f'<div class="wide" tabindex="0"><table class="{kind}">{table}</table></div>'


def _row(method: str, cells: Iterable[Cell]) -> str:
    kind = ' class="anchor"' if method in (PhotoCopy.name, StyleCopy.name) else ""
    numbers = "".join(
        "<td>" + html if value is None else f'<td data-value="{value:.6g}">{html}' for html, value in cells
    )
    return f'<tr{kind}><th scope="row">{escape(method)}</th>{numbers}</tr>'


def _means_row(summary: Summary, names: Iterable[str], with_cost: bool = False) -> str:
    means = [_interval(summary.means[name], summary.medians[name]) for name in names]
    if not with_cost:
        return _row(summary.method, means)
    costs = (summary.seconds_median, summary.seconds_painting_median, summary.peak_mib)
    return _row(
        summary.method, [_interval(summary.balance), *means, *((number(cost), cost) for cost in costs)]
    )


def _interval(interval: Interval, median: float | None = None) -> Cell:
    middle = "" if median is None else f"<small>median {number(median)}</small>"
    bounds = f"<small>[{number(interval.low)}, {number(interval.high)}]</small>"
    return f"{number(interval.mean)}{middle}{bounds}", interval.mean


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _worst(method: Method, evaluation: Evaluation) -> str:
    """Folded up; a heading opens it with the Enter key as with the mouse."""
    pairs = {(pair.content.stem, pair.style.stem): pair for pair in evaluation.pairs}
    rows = []
    for title, cases in worst_cases(evaluation.rows, method.name).items():
        rows.append(f'<tr><th scope="rowgroup" colspan="3">{title}</th></tr>')
        for case in cases:
            pair = pairs[case.content, case.style]
            cells = [
                _figure(pair.content, pair.content.stem),
                _figure(pair.style, pair.style.stem),
                _figure(method.picture(pair, evaluation.folder), _losses(case)),
            ]
            rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    table = _table(["photo", "style", method.name], rows, kind="pictures")
    return f"<details><summary>{escape(method.name)}</summary>{table}</details>"


def _pictures(evaluation: Evaluation) -> str:
    shown = _shown(evaluation)
    pairs = _sample(evaluation.pairs, MAX_THUMBNAILS // (2 + len(shown)))
    rows_by_key = {(row.method, row.content, row.style): row for row in evaluation.rows}
    rows = []
    for pair in pairs:
        cells = [_figure(pair.content, pair.content.stem), _figure(pair.style, pair.style.stem)]
        for method in shown:
            caption = _losses(rows_by_key[method.name, pair.content.stem, pair.style.stem])
            cells.append(_figure(method.picture(pair, evaluation.folder), caption))
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    note = (
        ""
        if len(pairs) == len(evaluation.pairs)
        else (f'<p class="note">{len(pairs)} of {len(evaluation.pairs)} pairs, drawn at random.</p>')
    )
    return note + _table(["photo", "style", *(method.name for method in shown)], rows, kind="pictures")


def _losses(row: Row) -> str:
    style, content = row.measures["normalized_style_loss"], row.measures["content_loss"]
    return f"style {number(style)} · content {number(content)}"


def _sample(pairs: Sequence[Pair], count: int) -> list[Pair]:
    chosen = np.random.default_rng(0).permutation(len(pairs))[: max(1, count)]
    return [pairs[index] for index in sorted(chosen)]


def _figure(path: Path, caption: str) -> str:
    return (
        f'<figure><img src="{data_url(path, THUMBNAIL)}" alt="{escape(path.stem)}" loading="lazy">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _conditions(evaluation: Evaluation) -> str:
    facts = {
        summary.method: f"{summary.description}; {', '.join(summary.sizes)} pixels"
        for summary in evaluation.summaries
    }
    facts |= {name: str(value) for name, value in evaluation.environment.items()}
    facts["measuring network, code"] = ", ".join(
        str(evaluation.settings[name]) for name in ("encoder", "measuring code")
    )
    facts["rows"] = ", ".join(f"{count} {done}" for done, count in evaluation.work.items())
    return (
        "<dl>"
        + "".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items())
        + "</dl>"
    )
