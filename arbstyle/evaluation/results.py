"""Results: a row a method and pair, in a CSV file that a later run takes up."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arbstyle.evaluation.bootstrap import Interval
from arbstyle.evaluation.pairs import Pair
from arbstyle.images import atomic_path
from arbstyle.images.files import why_no_file
from arbstyle.perception.metrics import DEEP_STYLE_LAYER, STYLE_LAYERS
from arbstyle.stored import harmless_cell, text_of_cell

_FORMAT: Any = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}  # names keep their bytes

RESULTS = "results.csv"
PICTURES = "pictures"
"""The folder of a report for what its methods make."""
REPORT_FILES = (RESULTS, "results.json", "index.html", "preference.html", "preference-key.json")

LAYERS = (*STYLE_LAYERS, DEEP_STYLE_LAYER)
MEASURES = (
    "style_loss",
    *(f"style_loss/{layer}" for layer in LAYERS),
    "gram_loss",
    *(f"gram_loss/{layer}" for layer in LAYERS),
    "normalized_style_loss",
    "color_distance",
    "content_loss",
    "cfsd",
    "stray_marks",
    "ssim",
    "ms_ssim",
    "lpips",
)
"""Style and Gram losses are sums over relu1_1–relu4_1, the normalised one is the mean over these layers;
relu5_1 is reported but has no part in them. `ms_ssim` and `lpips` are left out where they can't be had."""

MIN_SIZE = 32
"""Below, relu5_1 has a single position and no standard deviation."""


@dataclass(frozen=True)
class Row:
    """What is known of one method's picture for one pair.

    `width` and `height` are those of the picture as delivered. `seconds` and `peak_mib` are only known of
    pictures made here: wall time from pixels to pixels, style included (`seconds_painting`: with the style
    already encoded, for methods that encode it first); and the high-water mark of the process's resident
    memory meanwhile (it includes the measuring network and the cached features; where the mark can't be
    reset, that is outside Linux, it is that since the process began), on a GPU that of its allocated
    memory. `picture` (the file), `settings` (what it was made from and by which code) and `measured_by`
    (networks and code that measured it) are digests by which a later run knows what is still valid.
    """

    method: str
    content: str
    style: str
    width: int
    height: int
    measures: dict[str, float]
    seconds: float | None
    seconds_painting: float | None
    peak_mib: float | None
    picture: str
    settings: str
    measured_by: str


@dataclass(frozen=True)
class Summary:
    """A method's means and medians over its pairs. `balance`: see `summary.balance`."""

    method: str
    description: str
    pairs: int
    means: dict[str, Interval]
    medians: dict[str, float]
    balance: Interval
    seconds_median: float | None
    seconds_painting_median: float | None
    peak_mib: float | None
    sizes: list[str]


class ResultsTable:
    """`results.csv`. Rows are appended whole as they come; those of other runs are kept."""

    columns: tuple[str, ...] = (
        "method",
        "content",
        "style",
        "width",
        "height",
        *MEASURES,
        "seconds",
        "seconds_painting",
        "peak_mib",
        "picture",
        "settings",
        "measured_by",
    )

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = {(row.method, row.content, row.style): row for row in self._read()}
        self.rewrite()

    def find(self, method: str, pair: Pair) -> Row | None:
        return self._rows.get((method, pair.content.stem, pair.style.stem))

    def add(self, row: Row) -> None:
        self._rows[row.method, row.content, row.style] = row
        with self._path.open("a", **_FORMAT) as file:
            csv.writer(file).writerow(self._cells(row))

    def rewrite(self) -> None:
        """Leave each row once, in the order they were first measured."""
        with (
            atomic_path(self._path) as temporary,
            temporary.open("w", **_FORMAT) as file,
        ):
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self._cells(row) for row in self._rows.values())

    def _read(self) -> Iterator[Row]:
        if not self._path.is_file():
            return
        with self._path.open(**_FORMAT) as file:
            rows = csv.DictReader(file)
            while True:
                try:
                    row = self._row(next(rows))
                except StopIteration:
                    return
                except (KeyError, TypeError, ValueError, AttributeError, csv.Error):
                    continue  # cut off when the machine stopped, or of another version: measured again
                yield row

    @staticmethod
    def _row(cells: dict[str, str]) -> Row:
        return Row(
            method=text_of_cell(cells["method"]),
            content=text_of_cell(cells["content"]),
            style=text_of_cell(cells["style"]),
            width=_side(cells["width"]),
            height=_side(cells["height"]),
            measures={name: _finite(cells[name]) for name in MEASURES if cells[name]},
            seconds=_number(cells["seconds"]),
            seconds_painting=_number(cells["seconds_painting"]),
            peak_mib=_number(cells["peak_mib"]),
            picture=cells["picture"],
            settings=cells["settings"],
            measured_by=cells["measured_by"],
        )

    @staticmethod
    def _cells(row: Row) -> list[object]:
        costs = (row.seconds, row.seconds_painting, row.peak_mib)
        numbers = [*(row.measures.get(name) for name in MEASURES), *costs]
        return [
            harmless_cell(row.method),
            harmless_cell(row.content),
            harmless_cell(row.style),
            row.width,
            row.height,
            *("" if number is None else f"{number:.7g}" for number in numbers),
            row.picture,
            row.settings,
            row.measured_by,
        ]


def is_table_of_results(path: Path) -> bool:
    """Whether there is a file whose first columns are those of :class:`ResultsTable`, of any version."""
    if why_no_file(path):  # a pipe there would be waited for
        return False
    try:
        with path.open("rb") as file:
            start = file.read(100)
    except OSError:
        return False
    # A spreadsheet may have put a mark at the beginning, and quotes around the names.
    return start.removeprefix(b"\xef\xbb\xbf").replace(b'"', b"").startswith(b"method,content,style,")


def _number(cell: str) -> float | None:
    return _finite(cell) if cell else None


def _finite(cell: str) -> float:
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return number


def _side(cell: str) -> int:
    number = int(cell)
    if number < 1:
        raise ValueError("expected a side of at least one pixel")
    return number
