"""What a study found: tables, figures, and the settings that they hold for."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

from PIL import Image

from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path, from_pil, write_image

Cell = str | float | int


@dataclass(frozen=True)
class Table:
    """Rows with the same columns. A notebook shows it as a table."""

    rows: Sequence[Mapping[str, Cell]]

    @property
    def columns(self) -> list[str]:
        return list(self.rows[0])

    def column(self, name: str) -> list[Cell]:
        return [row[name] for row in self.rows]

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self._cells()]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"

    def csv(self) -> str:
        file = StringIO(newline="")
        writer = csv.DictWriter(file, self.columns)
        writer.writeheader()
        writer.writerows(self.rows)
        return file.getvalue()

    def _repr_html_(self) -> str:
        """What Jupyter shows."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>" for cells in self._cells()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _cells(self) -> list[list[str]]:
        return [[_text(row[name]) for name in self.columns] for row in self.rows]


@dataclass(frozen=True)
class Finding:
    """The result of a study.

    Attributes:
        name: of the study; its files begin with it.
        tables: by name.
        figures: by name, sheets of pictures and plots of curves.
        settings: all that the numbers depend on besides the pictures, seeds included.
    """

    name: str
    tables: Mapping[str, Table]
    figures: Mapping[str, Image.Image]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: str | Path, conditions: Mapping[str, Any] | None = None) -> None:
        """Write figures as WebP, tables as CSV and Markdown, and the settings as JSON.

        Args:
            folder: made if need be.
            conditions: such as machine and date, written beside the settings.

        Raises:
            ArbstyleError: a file can't be written.
        """
        folder = Path(folder)
        for name, figure in self.figures.items():
            write_image(from_pil(figure), folder / f"{self.name}-{name}.webp", quality=70)
        for name, table in self.tables.items():
            _write(folder / f"{self.name}-{name}.md", table.markdown())
            _write(folder / f"{self.name}-{name}.csv", table.csv())
        record = {"settings": dict(self.settings), **(conditions or {})}
        _write(
            folder / f"{self.name}.json", json.dumps(record, indent=2, default=str, ensure_ascii=False) + "\n"
        )


def _write(path: Path, text: str) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise ArbstyleError(f"{path} can't be written ({error.strerror}): choose another folder") from error


def _text(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:#.3g}"
    return str(cell)
