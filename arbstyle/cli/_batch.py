"""Job after job of `arbstyle stylize`, and what became of each."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import arbstyle
from arbstyle.cli._options import warn
from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from arbstyle.cli.stylize import ManyPictures
    from arbstyle.painting.batch import Job, Source, StyleChoice


@dataclass
class Record:
    """What became of one job, for the summary."""

    content: str
    style: str
    output: str
    status: Literal["done", "skipped", "failed"]
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    error: str | None = None


class JobPainter(Protocol):
    """What paints: on tensors or on arrays, which nobody else looks into."""

    def check_style(self, choice: StyleChoice) -> None: ...
    def read(self, content: Source) -> Any: ...
    def paint(
        self, photo: Any, choice: StyleChoice, progress: Callable[[int, int], None] | None = None
    ) -> Any: ...
    def write(self, painted: Any, output: Path, *choices: StyleChoice, photo: Any = None) -> None: ...
    def description(self) -> dict[str, Any]: ...


class Batch:
    """Paints job after job; a failure costs one job (or all of one photo or style), not the batch."""

    def __init__(self, jobs: Sequence[Job], painter: JobPainter, many: ManyPictures) -> None:
        from tqdm import tqdm

        self.many = many
        self.jobs = jobs
        self.painter = painter
        self.records: list[Record] = []
        self.bar = tqdm(total=len(jobs), unit="picture", disable=None, dynamic_ncols=True, leave=False)

    def run(self) -> int:
        try:
            bad_styles = self._check_styles()
            for content, jobs in groupby(self.jobs, key=lambda job: job.content):
                self._paint_all(content, [job for job in jobs if job.style not in bad_styles])
        except KeyboardInterrupt:
            self.bar.close()
            self._summarize()
            warn("interrupted; the same command with --skip-existing goes on from here")
            return 130
        finally:
            self.bar.close()
        self._summarize()
        failed = [record.status == "failed" for record in self.records]
        return 2 if failed and all(failed) else int(any(failed))

    def _check_styles(self) -> set[StyleChoice]:
        """Look at every style once before the photos: a bad one is told once. Good ones stay known."""
        from arbstyle.errors import memory_for

        choices = list(dict.fromkeys(job.style for job in self.jobs))
        bad: set[StyleChoice] = set()
        for choice in choices:
            try:
                with memory_for(f"look at '{choice}'"):
                    self.painter.check_style(choice)
            except ArbstyleError as error:
                if len(choices) == 1:
                    raise
                bad.add(choice)
                self._fail([job for job in self.jobs if job.style == choice], error)
        return bad

    def _paint_all(self, content: Source, jobs: Sequence[Job]) -> None:
        from arbstyle.errors import memory_for

        finished = [job for job in jobs if self.many.skip_existing and job.output.exists()]
        for job in finished:
            self._note(job, "skipped")
        waiting = [job for job in jobs if job not in finished]
        if not waiting:
            return
        try:
            with memory_for(f"read '{content.text}'"):
                photo = self.painter.read(content)
        except ArbstyleError as error:
            self._fail(waiting, error)
            return
        for job in waiting:
            try:
                with memory_for(f"paint '{content.text}'"):
                    self._paint(job, photo)
            except ArbstyleError as error:
                self._fail([job], error)

    def _paint(self, job: Job, photo: Any) -> None:
        start = time.perf_counter()
        painted = self.painter.paint(photo, job.style, self._show_tiles)
        self.painter.write(painted, job.output, job.style, photo=photo)
        height, width = painted.shape[2:]
        seconds = round(time.perf_counter() - start, 3)
        self._note(job, "done", width=width, height=height, seconds=seconds)
        if not self.many.json:
            self.bar.write(str(job.output), file=sys.stdout)

    def _show_tiles(self, done: int, total: int) -> None:
        self.bar.set_postfix_str(f"tile {done} of {total}")

    def _fail(self, jobs: Sequence[Job], error: ArbstyleError) -> None:
        if len(self.jobs) == 1:
            raise error
        self.bar.write(f"arbstyle: {error}", file=sys.stderr)
        for job in jobs:
            self._note(job, "failed", error=str(error))

    def _note(self, job: Job, status: Literal["done", "skipped", "failed"], **details: Any) -> None:
        self.records.append(Record(job.content.text, str(job.style), str(job.output), status, **details))
        self.bar.update()

    def _summarize(self) -> None:
        counts = dict.fromkeys(("done", "skipped", "failed"), 0)
        for record in self.records:
            counts[record.status] += 1
        if self.many.json:
            summary = {
                "version": arbstyle.__version__,
                **self.painter.description(),
                **counts,
                "pictures": [asdict(record) for record in self.records],
            }
            print(json.dumps(summary, indent=2))
        elif counts["failed"] or counts["skipped"]:
            warn(", ".join(f"{count} {status}" for status, count in counts.items() if count))
