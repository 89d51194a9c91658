"""A whole job: planned once, done part by part, resumed where it was interrupted."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arbstyle.devices import choose_dtype
from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path, check_output_path
from arbstyle.images.locking import LOCK, locked
from arbstyle.painting import check_options
from arbstyle.restyling.folders import Folder
from arbstyle.restyling.forms import PART_SIZES, Form, Input, open_input, result_form, writer_for
from arbstyle.restyling.local import Engine, LocalEngine
from arbstyle.restyling.parts import LONGEST_LIST, Part, digest_of, part_of
from arbstyle.restyling.places import check_places
from arbstyle.restyling.restyler import GPU_BATCH, Recipe
from arbstyle.restyling.styles import StyleFile, StyleTable, StyleWorker, find_style_files
from arbstyle.restyling.worker import COLUMNS, Order, PartWorker, Report
from arbstyle.stored import read_json_file, read_json_object

STYLES_AT_A_TIME = 16
_NOTES = ("parts", "manifest.csv", "styles.npy", "styles.json", "plan.jsonl", "job.json", LOCK)
_PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True)
class Progress:
    """How far a job is, in copies of pictures.

    Attributes:
        total: of the job.
        finished: by an earlier run.
        done: by this one.
        failed: could not be read or painted.
        message: something to tell once.
    """

    total: int = 0
    finished: int = 0
    done: int = 0
    failed: int = 0
    message: str = ""

    @property
    def so_far(self) -> int:
        return self.finished + self.done + self.failed


@dataclass(frozen=True)
class Job:
    """A planned job.

    Attributes:
        order: what workers have to know.
        parts: all of them.
        engine: where they are done.
        notes: the folder beside the results for everything that is not a result.
    """

    order: Order
    parts: tuple[Part, ...]
    engine: Engine
    notes: Path

    @property
    def output(self) -> Path:
        """The folder of the results."""
        return self.notes.with_name(self.notes.name.removesuffix(".manifest"))

    @property
    def manifest(self) -> Path:
        """A row for every copy of every picture."""
        return self.notes / "manifest.csv"

    def run(self) -> Generator[Progress, None, None]:
        """Do what is missing; yields after every part.

        Raises:
            ArbstyleError: results cannot be written, the input has gone, or another process does the same
                job. What was done stays.
        """
        with locked(self.notes, "data set job"):
            _remove_leftovers(self.output, self.notes)
            yield from self._run()

    def _run(self) -> Generator[Progress, None, None]:
        copies = self.order.recipe.per_image
        todo = [part for part in self.parts if not _is_finished(self.order.note_of(part.number))]
        total = copies * sum(part.count for part in self.parts)
        progress = Progress(total, total - copies * sum(part.count for part in todo))
        yield progress
        try:
            make: Any = partial(PartWorker, self.order)
            reports: Iterator[Report] = self.engine.run(make, todo, self.order.recipe.device)
            for report in reports:
                progress = replace(
                    progress,
                    finished=progress.finished + report.kept,
                    done=progress.done + report.done,
                    failed=progress.failed + report.failed,
                )
                yield progress
            _remove_leftovers(self.output, self.notes)  # of workers that were killed
        finally:
            self._join_notes()

    def _join_notes(self) -> None:
        """One manifest of those of the parts."""
        with atomic_path(self.manifest) as temporary, temporary.open("wb") as file:
            file.write((",".join(COLUMNS) + "\r\n").encode())
            for part in self.parts:
                note = self.order.note_of(part.number)
                if note.is_file():
                    file.write(note.read_bytes())


def plan(
    source: str,
    styles: Sequence[str],
    output: str | Path,
    engine: Engine | None = None,
    *,
    form: Form = "same",
    resume: bool = False,
    key: str = "",
    split: str = "train",
    part_size: int | None = None,
    warn: Callable[[str], None] = lambda _: None,
    **recipe: Any,
) -> Job:
    """Look at a data set and at its styles, and write down what is to be done.

    Args:
        source, key, split: see :func:`~arbstyle.restyling.forms.open_input`.
        styles: files and folders of paintings and of saved styles.
        output: folder for the results. Beside it, ``OUTPUT.manifest`` holds everything else.
        engine: default: one process for each core.
        form: of the results.
        resume: go on with a job; its settings must be the same.
        part_size: pictures a table, a shard, or a worker's turn.
        warn: called with what is to be told, such as a style that cannot be read.
        recipe: as for :class:`~arbstyle.restyling.restyler.Recipe`.

    Raises:
        ArbstyleError: input, styles or options that are none, or results of another job.
    """
    engine = engine or LocalEngine()
    output = Path(output).absolute()
    notes = output.with_name(f"{output.name}.manifest")
    check_output_path(output / "x", None)
    check_output_path(notes / "x", None)
    device = engine.device(recipe.pop("device", "auto"))
    precision = _PRECISIONS[choose_dtype(recipe.pop("precision", "auto"), torch.device(device))]
    if recipe.get("batch") is None:
        recipe["batch"] = GPU_BATCH if device.startswith("cuda") else 1
    settled = Recipe(str(notes), device=device, precision=precision, **_absolute(recipe))
    _check(settled, part_size)
    files = find_style_files(styles)
    description = {
        **asdict(settled),
        "strength": list(settled.strength),
        "styles": _digest(files),
        "form": form,
        "key": key,
        "split": split,
        "part_size": part_size,
    }
    known = _known(notes, output, description, resume)
    input = open_input(source, key=key, split=split)
    if isinstance(input, Folder) and Path(input.root) in (output, *output.parents):
        raise ArbstyleError(f"the results would lie in the input '{source}'; give another --output")
    chosen = result_form(input, form)
    order = Order(input, writer_for(input, output, chosen), settled, str(notes / "parts"))
    if known:
        _check_same(input, source, notes)
        parts = known
    else:
        parts = input.parts(part_size or PART_SIZES[chosen])
        if not parts:
            raise ArbstyleError(f"expected pictures in '{source}', but it is empty")
        check_places(input, order.writer, parts, settled)
        _look_at_styles(files, settled, engine, notes, warn)
        _write_down(notes, {**description, "input": input.digest}, parts)
    return Job(order, tuple(parts), engine, notes)


def _absolute(recipe: dict[str, Any]) -> dict[str, Any]:
    """With paths that hold in any process; the names of built-in choices stay."""
    paths = {
        name: str(Path(recipe[name]).absolute())
        for name in ("model", "vgg_weights")
        if recipe.get(name) is not None and Path(recipe[name]).exists()
    }
    return {**recipe, **paths}


def _check(recipe: Recipe, part_size: int | None) -> None:
    low, high = recipe.strength
    for strength in recipe.strength:
        check_options(strength, style_size=recipe.style_size)
    if low > high:
        raise ArbstyleError(f"expected a strength LOW-HIGH with LOW first, got {low:g}-{high:g}")
    if recipe.keep_colors not in ("none", "luminance"):
        raise ArbstyleError(f"a data set keeps colours by none or luminance, got '{recipe.keep_colors}'")
    for name, value, least in (
        ("copies a picture", recipe.per_image, 1),
        ("a size", recipe.size, 16),
        ("a part size", part_size, 1),
        ("a batch", recipe.batch, 1),
    ):
        if value is not None and value < least:
            raise ArbstyleError(f"expected {name} of at least {least}, got {value}")
    if not 1 <= recipe.quality <= 100:
        raise ArbstyleError(f"expected a quality from 1 to 100, got {recipe.quality}")


def _digest(files: Sequence[StyleFile]) -> str:
    digest = digest_of(f"{file.name}\0{os.path.getsize(file.path)}" for file in files)
    return f"{len(files)} styles {digest}"


def _known(notes: Path, output: Path, description: dict[str, Any], resume: bool) -> list[Part] | None:
    """The parts of the job to go on with, if there is one."""
    there = output.exists() and (not output.is_dir() or any(output.iterdir()))
    if not (notes / "job.json").is_file():
        if there:
            raise ArbstyleError(f"'{output}' is not empty; give another --output, or empty it")
        foreign = [path for path in notes.iterdir() if path.name not in _NOTES] if notes.is_dir() else []
        foreign = [path for path in foreign if not path.name.startswith(".arbstyle-")]
        if foreign:
            raise ArbstyleError(f"'{foreign[0]}' is not from an earlier run; give another --output")
        return None
    if not resume:
        raise ArbstyleError(
            f"'{notes}' holds a job; go on with it by --resume, or delete it and '{output}' to begin anew"
        )
    try:
        earlier = read_json_file(notes / "job.json")
        lines = (notes / "plan.jsonl").read_text(encoding="utf-8").splitlines()
        parts = [part_of(read_json_object(line, LONGEST_LIST), number) for number, line in enumerate(lines)]
    except (OSError, ValueError) as error:
        raise ArbstyleError(f"cannot read the job in '{notes}' ({error}); delete it to begin anew") from error
    for name, value in description.items():
        if earlier.get(name) != value:
            raise ArbstyleError(
                f"--resume goes on with the same settings: {name.replace('_', ' ')} was "
                f"{earlier.get(name)!r} and is {value!r} now"
            )
    return parts


def _check_same(input: Input, source: str, notes: Path) -> None:
    # Older versions wrote down no digest.
    if read_json_file(notes / "job.json").get("input", input.digest) != input.digest:
        raise ArbstyleError(
            f"--resume goes on with the same pictures, but '{source}' holds others than when the job began; "
            "give that input, or another --output"
        )


def _look_at_styles(
    files: Sequence[StyleFile], recipe: Recipe, engine: Engine, notes: Path, warn: Callable[[str], None]
) -> None:
    groups = [files[start : start + STYLES_AT_A_TIME] for start in range(0, len(files), STYLES_AT_A_TIME)]
    make: Any = partial(StyleWorker, recipe.model, recipe.precision, recipe.style_size, recipe.vgg_weights)
    engine = engine if len(groups) > 1 else LocalEngine(1)
    looks = [look for some in engine.run(make, groups, "cpu") for look in some]
    looks.sort(key=lambda look: look.name)
    problems = [look.parameters for look in looks if isinstance(look.parameters, str)]
    if len(problems) == len(looks):
        raise ArbstyleError(f"none of the {len(looks)} styles can be used: {problems[0]}")
    for problem in problems:
        warn(f"a style is left out: {problem}")
    good = [(look.name, look.parameters) for look in looks if not isinstance(look.parameters, str)]
    names, rows = zip(*good, strict=True)
    StyleTable(names, np.stack(rows), looks[0].model).save(notes)


def _write_down(notes: Path, description: dict[str, Any], parts: Sequence[Part]) -> None:
    with atomic_path(notes / "plan.jsonl") as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(asdict(part))}\n" for part in parts)
    with atomic_path(notes / "job.json") as temporary:
        temporary.write_text(json.dumps(description, indent=2), encoding="utf-8")


def _is_finished(note: Path) -> bool:
    """A part with failures is done again: what failed may be there now."""
    try:
        with note.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return all(row["status"] == "done" for row in csv.DictReader(file, COLUMNS))
    except (FileNotFoundError, csv.Error):
        return False


def _remove_leftovers(*folders: Path) -> None:
    """Unfinished files of processes that were killed."""
    for folder in folders:
        for file in folder.rglob(".arbstyle-*"):
            file.unlink(missing_ok=True)
