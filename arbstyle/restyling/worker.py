"""One part from end to end: read, paint, write, and note it in the manifest."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path
from arbstyle.restyling.folders import FolderPart
from arbstyle.restyling.forms import Input, PartWriter, Writer
from arbstyle.restyling.parts import Chunk, Part, Result, picture_suffix, result_name
from arbstyle.restyling.restyler import Painted, Recipe, Request, Restyler, result_suffix
from arbstyle.stored import harmless_cell

COLUMNS = ("key", "copy", "style", "strength", "seed", "model", "status", "error", "output")
"""Of the manifest. The status is ``done`` or ``failed``."""


@dataclass(frozen=True)
class Order:
    """All that a worker has to know of a job; small, and the same for all its parts.

    Attributes:
        input: where pictures come from.
        writer: where results go.
        recipe: how they are painted.
        notes: the folder for the parts of the manifest.
    """

    input: Input
    writer: Writer
    recipe: Recipe
    notes: str

    def note_of(self, number: int) -> Path:
        """The manifest of a part: written last, so that a part that has one is finished."""
        return Path(self.notes, f"{number:06d}.csv")


@dataclass(frozen=True)
class Report:
    """What became of a part: its number, and how many copies were painted, found painted, and failed."""

    number: int
    done: int
    kept: int
    failed: int


class PartWorker:
    """Does parts: constructed once a process, called with one at a time."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.restyler: Restyler = Restyler(order.recipe)

    def __call__(self, part: Part) -> Report:
        """Paint a part.

        Raises:
            ArbstyleError: results cannot be written, or the whole input has gone.
        """
        records: list[dict[str, Any]] = []
        kept = 0
        with self.order.writer.begin(part) as output:
            for chunk in self._chunks(part):
                done, found = self._paint(chunk, output)
                records += done
                kept += found
        with (
            atomic_path(self.order.note_of(part.number)) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            table = csv.DictWriter(file, COLUMNS)
            table.writerows({**record, **_harmless(record)} for record in records)
        failed = sum(record["status"] == "failed" for record in records)
        return Report(part.number, len(records) - kept - failed, kept, failed)

    def _chunks(self, part: Part) -> Iterator[Chunk]:
        """The part's chunks; what cannot be read any more becomes rows with the error."""
        seen = 0
        chunks = self.order.input.read(part)
        while seen < part.count:
            try:
                chunk = next(chunks)
            except (ArbstyleError, StopIteration) as error:
                problem = ArbstyleError(str(error) or f"'{part.file}' has become shorter")
                lost = [f"{part.file}#{row}" for row in range(seen, part.count)]
                chunk = Chunk(lost, lost, [problem] * len(lost), pa.table({"row": pa.nulls(len(lost))}))
            if all(isinstance(image, ArbstyleError) for image in chunk.images):
                self._check_root()
            seen += len(chunk.keys)
            yield chunk

    def _paint(self, chunk: Chunk, output: PartWriter) -> tuple[list[dict[str, Any]], int]:
        """Records of a chunk's copies in their order, and how many of them were painted already."""
        restyler = self.restyler
        copies, format = restyler.recipe.per_image, restyler.recipe.format
        records, waiting, requests = [], [], []
        kept = 0
        labels = output.labels(chunk.columns) if isinstance(output, FolderPart) else []
        for row, (key, name, image) in enumerate(zip(chunk.keys, chunk.names, chunk.images, strict=True)):
            suffix = picture_suffix(name)
            wanted = result_suffix(suffix, format)
            for draw in restyler.draws(key):
                record = {**restyler.record(key, draw), "status": "done", "error": "", "output": ""}
                records.append(record)
                there = None
                # In a batch, bits may depend on the others: then all of a part are painted together again.
                if isinstance(output, FolderPart) and wanted and restyler.recipe.batch == 1:
                    there = output.existing(result_name(name, draw.copy, copies, wanted), labels[row])
                if there is not None:
                    record["output"] = there
                    kept += 1
                elif isinstance(image, ArbstyleError):
                    record.update(status="failed", error=str(image))
                else:
                    waiting.append((row, name, draw, record))
                    requests.append(Request(image, suffix, draw))
        results, painted_records = [], []
        for (row, name, draw, record), painted in zip(waiting, restyler.paint(requests), strict=True):
            if isinstance(painted, Painted):
                results.append(
                    Result(row, result_name(name, draw.copy, copies, painted.suffix), painted.data)
                )
                painted_records.append(record)
            else:
                record.update(status="failed", error=str(painted))
        if results:
            for record, place in zip(painted_records, output.write(results, chunk.columns), strict=True):
                if isinstance(place, ArbstyleError):
                    record.update(status="failed", error=str(place))
                else:
                    record["output"] = place
        return records, kept

    def _check_root(self) -> None:
        root = self.order.input.root
        try:
            gone = not any(os.scandir(root))
        except OSError:
            gone = True
        if gone:
            raise ArbstyleError(
                f"the input '{root}' has gone or is empty; bring it back, and go on with the same command "
                "and --resume"
            )


def _harmless(record: dict[str, Any]) -> dict[str, str]:
    """The texts of a record, as cells."""
    return {name: harmless_cell(cell) for name, cell in record.items() if isinstance(cell, str)}
