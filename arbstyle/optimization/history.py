"""What an optimisation gives: its best picture, and the loss at every evaluation."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path, write_image

Stop = Literal["finished", "converged", "interrupted", "non-finite"]
RecordCallback = Callable[["LossRecord", Tensor], object]


@dataclass(frozen=True)
class LossRecord:
    """The loss at one evaluation.

    Attributes:
        number: from 1.
        total, content, style, tv: weighted terms; total is their sum.
        layers: unweighted, by `content/<layer>` and `style/<layer>`.
        weighted_layers: the same after all weights; they add up to `content + style`.
        size: height and width at this scale.
        full_size: height and width of the result.
    """

    number: int
    total: float
    content: float
    style: float
    tv: float
    layers: Mapping[str, float]
    weighted_layers: Mapping[str, float]
    size: tuple[int, int]
    full_size: tuple[int, int]

    def row(self) -> dict[str, float]:
        """By the history file's column names."""
        terms = {"total": self.total, "content": self.content, "style": self.style, "tv": self.tv}
        return {"evaluation": self.number, **terms, **self.layers}

    def shares(self) -> dict[str, float]:
        """Each layer's part of its own term: `content/…` add up to 1, and so do `style/…`."""
        terms = {"content": self.content or 1.0, "style": self.style or 1.0}
        return {name: value / terms[name.split("/")[0]] for name, value in self.weighted_layers.items()}


@dataclass(frozen=True, eq=False)
class Optimized:
    """The best picture found, and how it was found.

    Attributes:
        image: 1×3×H×W in [0,1], on the CPU.
        history: every evaluation, in order.
        best: the evaluation that `image` is from (the last scale's; `image` is enlarged to the full size
            if the run stopped at a coarser one).
        stopped: `finished` all steps; `converged` (no way down any more); `interrupted`; or `non-finite`
            (the loss was no longer a number).
        seconds: time the optimisation took.
    """

    image: Tensor
    history: Sequence[LossRecord]
    best: LossRecord
    stopped: Stop
    seconds: float

    def save(self, path: str | Path) -> Path:
        """Write the picture in the format that the file name asks for."""
        return write_image(self.image, path)

    def save_history(self, path: str | Path) -> None:
        """Write a CSV file with a row per evaluation; several scales add `height` and `width` at its end."""
        rows = [evaluation.row() for evaluation in self.history]
        if len({evaluation.size for evaluation in self.history}) > 1:
            for row, evaluation in zip(rows, self.history, strict=True):
                row["height"], row["width"] = evaluation.size
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def plot_history(history: Sequence[LossRecord], path: str | Path) -> None:
    """Draw the loss terms over the evaluations, on a logarithmic scale; dotted lines part the scales.

    Raises:
        ArbstyleError: matplotlib is not installed, or the file can't be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ArbstyleError("a plot needs matplotlib: pip install 'arbstyle[plot]'") from error
    axes = (figure := Figure(figsize=(7, 4), layout="constrained")).subplots()
    numbers = [evaluation.number for evaluation in history]
    for term in ("total", "content", "style", "tv"):
        values = [getattr(evaluation, term) for evaluation in history]
        if any(values):
            axes.plot(numbers, values, label=term, linewidth=2 if term == "total" else 1)
    for before, after in pairwise(history):
        if before.size != after.size:
            axes.axvline(after.number - 0.5, color="grey", linestyle=":")
    axes.set(xlabel="loss evaluations", ylabel="weighted loss", yscale="log")
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
