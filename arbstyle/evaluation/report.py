"""An evaluation as `results.json`, as pages, and as a table for a terminal."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from arbstyle.evaluation.evaluation import Evaluation
from arbstyle.evaluation.page import HEADLINE, evaluation_page, number
from arbstyle.evaluation.preference import write_preference_page
from arbstyle.images import atomic_path

TERMINAL_MEASURES = (
    "style_loss",
    "normalized_style_loss",
    "content_loss",
    "cfsd",
    "stray_marks",
    "ssim",
    "ms_ssim",
    "lpips",
)
TERMINAL_MEDIANS = ("style_loss", "normalized_style_loss")


def write_report(evaluation: Evaluation) -> Path:
    """Write `results.json`, `index.html` and `preference.html` into the report folder; returns the page."""
    has_preference_page = write_preference_page(evaluation) is not None
    _write_text(evaluation.folder / "results.json", _json(evaluation))
    page = evaluation.folder / "index.html"
    _write_text(page, evaluation_page(evaluation, has_preference_page))
    return page


def text_table(evaluation: Evaluation) -> str:
    """The most telling means and medians for a terminal."""
    names = [name for name in TERMINAL_MEASURES if name in evaluation.measures]
    with_medians = [name for name in names if name in TERMINAL_MEDIANS]
    titles = [title for name in names for title in _titles(name, name in with_medians)]
    lines = [["method", "balance", *titles, "seconds", "peak MiB"]]
    for summary in evaluation.summaries:
        cells = [
            number(value)
            for name in names
            for value in (
                summary.means[name].mean,
                *([summary.medians[name]] if name in with_medians else []),
            )
        ]
        costs = (number(summary.seconds_median), number(summary.peak_mib))
        lines.append([summary.method, number(summary.balance.mean), *cells, *costs])
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
        "work": evaluation.work,
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
