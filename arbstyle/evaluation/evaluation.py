"""Every method on every pair of photo and style: pictures, measures, and a report.

Protocol. Photos and styles are read with their short side at `size` pixels (antialiased, aspect kept) and
rounded to 8 bits. Every method sees those, writes an 8-bit PNG, and *that picture* is measured against them,
so that all methods are treated alike. Two anchors are always there: the photo itself and the style itself
(enlarged where needed and centre-cropped to the photo's size); a measure that prefers one of them to real
results is not to be trusted alone.

The report folder gets `results.csv` (a row per method and pair, written as soon as it is known) and
`pictures/`; `report.write_report` adds what is for reading. A second run makes a picture again only if its
photo, style, size or method has changed (weights, settings, code or version of the package), and measures it
again only if it, or the measuring networks or code, have. `Evaluation.work` says what was done.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from arbstyle.devices import choose_device
from arbstyle.errors import ArbstyleError
from arbstyle.evaluation.bootstrap import Interval
from arbstyle.evaluation.digests import digest
from arbstyle.evaluation.examiner import Examiner
from arbstyle.evaluation.machine import PeakMemory, environment
from arbstyle.evaluation.methods import (
    GeneratingMethod,
    Method,
    OutputFolder,
    PhotoCopy,
    StyleCopy,
    file_name,
    named_method,
)
from arbstyle.evaluation.pairs import Pair, all_pairs, pictures_by_name, spread_pairs
from arbstyle.evaluation.results import (
    LAYERS,
    MIN_SIZE,
    PICTURES,
    REPORT_FILES,
    RESULTS,
    ResultsTable,
    Row,
    Summary,
    is_table_of_results,
)
from arbstyle.evaluation.summary import differences, summaries
from arbstyle.images import check_outputs, write_image
from arbstyle.images.decoding import decode_file
from arbstyle.images.locking import claimed
from arbstyle.perception import PerceptualEncoder


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    `differences` are paired: method minus `reference`, on the pairs of both. `measures` are those of
    `MEASURES` that every row has; `absent` says why the others are missing. `work` counts rows that were
    `painted`, only `measured` again, or `kept` from an earlier run.
    """

    folder: Path
    pairs: list[Pair]
    methods: list[Method]
    rows: list[Row]
    measures: list[str]
    absent: dict[str, str]
    summaries: list[Summary]
    reference: str
    differences: dict[str, dict[str, Interval]]
    work: dict[str, int]
    settings: dict[str, Any]
    environment: dict[str, Any]
    date: str


def evaluate(
    content: str | Path,
    style: str | Path,
    output: str | Path,
    *,
    methods: Sequence[str | Method] = ("stylize",),
    outputs: Mapping[str, str | Path] | None = None,
    reference: str | None = None,
    size: int = 512,
    contents: int | None = None,
    styles: int | None = None,
    pairs: int | None = None,
    vgg_weights: str | Path | None = None,
    model: str | Path | None = None,
    device: str | torch.device = "auto",
    encoder: nn.Module | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure methods on every pair of a folder of photos and a folder of styles.

    Args:
        content: folder of photos, a pattern, or one photo.
        style: the same of style pictures.
        output: report folder; made if need be, taken up if it holds rows of an earlier run.
        methods: `stylize` (the model in `model`, else the packaged one), `stylize@FILE` (another model),
            either with options as in `stylize:stroke=2:strength=0.8`, `optimize:N` (Gatys' optimisation
            from the photo with N loss evaluations), or a `Method` of your own.
        outputs: other systems' pictures: name → folder of `{content}__{style}.png`.
        reference: name of the method that the paired differences are taken from; default: the first.
        size: short side in pixels at which everything is shown and measured.
        contents: only the first so many photos by name.
        styles: only the first so many styles by name.
        pairs: only so many pairs, spread over all photos and styles; see `spread_pairs`.
        vgg_weights: of the measuring network and of `optimize:N` (see `PerceptualEncoder`).
        model: model file of the method `stylize`.
        device: where networks run; `auto` takes a GPU where there is one.
        encoder: measuring network in place of VGG-19: pictures N×3×H×W to features of `LAYERS` by name.
        progress: show progress bars on a terminal.

    Raises:
        ArbstyleError: before anything is computed, where folders, names or files can't be used.
    """
    if size < MIN_SIZE:
        raise ArbstyleError(
            f"pictures of at least {MIN_SIZE} pixels can be measured, got size {size}: raise it"
        )
    crossed = all_pairs(
        pictures_by_name(content, contents, "photos"), pictures_by_name(style, styles, "styles")
    )
    chosen = crossed if pairs is None else spread_pairs(crossed, pairs)
    folder = _report_folder(Path(output))
    device = choose_device(device)
    compared = [
        *(named_method(text, model, vgg_weights, device) for text in methods),
        *(OutputFolder(name, Path(path), chosen) for name, path in (outputs or {}).items()),
        PhotoCopy(),
        StyleCopy(),
    ]
    _require_distinct_names(compared)
    reference = _reference(reference, compared)
    _require_separate_files(compared, chosen, folder, {"--model": model, "--vgg-weights": vgg_weights})
    for path in dict.fromkeys(path for pair in chosen for path in (pair.content, pair.style)):
        decode_file(path, keep_bytes=True)  # a damaged one is told before hours of work, not within them
    encoder = (encoder or PerceptualEncoder("vgg19", LAYERS, weights=vgg_weights)).to(device)
    examiner = Examiner(encoder, size)
    rows, work = _all_rows(compared, chosen, folder, examiner, progress)
    return Evaluation(
        folder=folder,
        pairs=chosen,
        methods=compared,
        rows=rows,
        measures=examiner.available,
        absent=examiner.absent,
        summaries=summaries(compared, rows),
        reference=reference,
        differences=differences(reference, compared, rows),
        work=work,
        settings=_settings(compared, chosen, examiner),
        environment=environment(device),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _reference(name: str | None, compared: Sequence[Method]) -> str:
    names = [method.name for method in compared]
    if name is None:
        return names[0]
    if name not in names:
        raise ArbstyleError(
            f"the method to compare with is one of {', '.join(names)}, got '{name}': correct it"
        )
    return name


def _all_rows(
    compared: Sequence[Method], pairs: Sequence[Pair], folder: Path, examiner: Examiner, progress: bool
) -> tuple[list[Row], dict[str, int]]:
    """A row for every method on every pair, written as soon as it is known, and `Evaluation.work`."""
    rows, work = [], Counter(painted=0, measured=0, kept=0)
    with claimed(folder, "evaluation"):
        table = ResultsTable(folder / RESULTS)
        for number, method in enumerate(compared, start=1):
            title = f"{method.name} ({number}/{len(compared)})"
            for pair in tqdm(pairs, desc=title, unit="pair", disable=None if progress else True):
                row, done = _finished_row(method, pair, folder, examiner, table)
                rows.append(row)
                work[done] += 1
        table.rewrite()
    return rows, dict(work)


def _settings(compared: Sequence[Method], pairs: Sequence[Pair], examiner: Examiner) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "size": examiner.size,
        "contents": {pair.content.stem: digest(pair.content) for pair in pairs},
        "styles": {pair.style.stem: digest(pair.style) for pair in pairs},
        "encoder": examiner.encoder_digest,
        "measuring code": examiner.code_digest,
        "bootstrap seed": 0,
        "methods": {method.name: method.settings() for method in compared},
    }


def _finished_row(
    method: Method, pair: Pair, report: Path, examiner: Examiner, table: ResultsTable
) -> tuple[Row, str]:
    """The row of an earlier run as far as it is still valid, and what of `Evaluation.work` was done."""
    path = method.picture(pair, report)
    settings = examiner.settings_digest(method.settings(), pair)
    known = table.find(method.name, pair)
    cost, done = Cost(None, None, None), "measured"
    if known and known.settings == settings and path.is_file() and digest(path) == known.picture:
        if known.measured_by == examiner.measured_by and set(known.measures) == set(examiner.available):
            return known, "kept"
        cost = Cost(known.seconds, known.seconds_painting, known.peak_mib)
    elif isinstance(method, GeneratingMethod):
        image, cost = _timed(method, pair, examiner)
        write_image(image, path)
        done = "painted"
    description = method.describe(path, pair, examiner)
    height, width = description.delivered
    row = Row(
        method=method.name,
        content=pair.content.stem,
        style=pair.style.stem,
        width=width,
        height=height,
        measures=examiner.measures(description, pair),
        seconds=cost.seconds,
        seconds_painting=cost.seconds_painting,
        peak_mib=cost.peak_mib,
        picture=digest(path),
        settings=settings,
        measured_by=examiner.measured_by,
    )
    table.add(row)
    return row, done


@dataclass(frozen=True)
class Cost:
    """Of one picture; see `Row`."""

    seconds: float | None
    seconds_painting: float | None
    peak_mib: float | None


def _timed(method: GeneratingMethod, pair: Pair, examiner: Examiner) -> tuple[Tensor, Cost]:
    """A method's picture, and what it cost."""
    photo, style = examiner.reference(pair.content), examiner.reference(pair.style)
    content, painting = photo.pixels.cpu(), style.pixels.cpu()
    memory = PeakMemory(photo.pixels.device)
    start = time.perf_counter()
    prepared = method.prepare(content, painting)
    ready = time.perf_counter()
    image = method.stylize(content, prepared).cpu()
    end = time.perf_counter()
    return image, Cost(end - start, end - ready if method.encodes_style else None, memory.mib())


def _report_folder(folder: Path) -> Path:
    if not is_table_of_results(folder / RESULTS):
        foreign = next((name for name in (*REPORT_FILES, PICTURES) if os.path.lexists(folder / name)), None)
        if foreign:
            raise ArbstyleError(
                f"'{folder / foreign}' is not from an evaluation and would be replaced: choose another folder"
            )
    return folder


def _require_separate_files(
    compared: Sequence[Method], pairs: Sequence[Pair], folder: Path, others: Mapping[str, str | Path | None]
) -> None:
    """No picture or table of the report replaces what is measured."""
    made = [method for method in compared if isinstance(method, GeneratingMethod)]
    kept = [method for method in compared if isinstance(method, OutputFolder)]
    outputs = [method.picture(pair, folder) for method in made for pair in pairs]
    outputs += [folder / name for name in REPORT_FILES]
    inputs = [("--content", pair.content) for pair in pairs] + [("--style", pair.style) for pair in pairs]
    inputs += [("--outputs", method.picture(pair, folder)) for method in kept for pair in pairs]
    files = [(role, path) for role, path in others.items() if path and Path(path).is_file()]
    check_outputs((("--output", path) for path in outputs), [*inputs, *files])
    for role, path in inputs:
        if path.parent.resolve() == folder.resolve():
            raise ArbstyleError(
                f"'{folder}' is a folder of {role}, and the report would be mixed with it: choose another"
            )


def _require_distinct_names(methods: Sequence[Method]) -> None:
    taken: dict[str, str] = {}
    for method in methods:
        key = file_name(method.name)
        if not key or key in taken:
            raise ArbstyleError(
                f"every method needs a name of its own, got '{method.name}' again: rename one"
            )
        taken[key] = method.name
