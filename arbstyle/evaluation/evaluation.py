"""Every method on every pair of photo and style: pictures, measures, and a report.

Protocol. Photos and styles are read with their short side at `size` pixels (antialiased, aspect kept) and
rounded to 8 bits. Every method sees those, writes an 8-bit PNG, and *that picture* is measured against them,
so that all methods are treated alike. Two anchors are always there: the photo itself and the style itself
(enlarged where needed and centre-cropped to the photo's size); a measure that prefers one of them to real
results is not to be trusted alone.

The report folder gets `results.csv` (a row per method and pair, written as soon as it is known) and
`pictures/`; `report.write_report` adds what is for reading. A second run makes a picture again only if its
photo, style, size or method has changed, and measures it again only if it, or the measuring network, has.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from arbstyle.devices import choose_device
from arbstyle.errors import ArbstyleError
from arbstyle.evaluation.bootstrap import Interval, paired_bootstrap
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
from arbstyle.evaluation.pairs import Pair, all_pairs, pictures_by_name
from arbstyle.evaluation.results import LAYERS, MIN_SIZE, ResultsTable, Row, Summary
from arbstyle.images import write_image
from arbstyle.perception import PerceptualEncoder


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    `differences` are paired: method minus `reference`, on the pairs of both. `measures` are those of
    `MEASURES` that every row has; `absent` says why the others are missing.
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
    size: int = 512,
    contents: int | None = None,
    styles: int | None = None,
    vgg_weights: str | Path | None = None,
    model: str | Path | None = None,
    device: str | torch.device = "auto",
    encoder: nn.Module | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure methods on every pair of a folder of photos and a folder of styles.

    Args:
        content: folder of photos.
        style: folder of style pictures.
        output: report folder; made if need be, taken up if it holds rows of an earlier run.
        methods: `stylize` (the model in `model`, else the packaged one), `stylize@FILE` (another model),
            `optimize:N` (Gatys' optimisation from the photo with N loss evaluations), or a `Method` of
            your own. The first is the reference of the paired differences.
        outputs: other systems' pictures: name → folder of `{content}__{style}.png`.
        size: short side in pixels at which everything is shown and measured.
        contents: only the first so many photos by name.
        styles: only the first so many styles by name.
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
    pairs = all_pairs(
        pictures_by_name(content, contents, "photos"), pictures_by_name(style, styles, "styles")
    )
    folder = _report_folder(Path(output))
    device = choose_device(device)
    compared = [
        *(named_method(text, model, vgg_weights, device) for text in methods),
        *(OutputFolder(name, Path(path), pairs) for name, path in (outputs or {}).items()),
        PhotoCopy(),
        StyleCopy(),
    ]
    _require_distinct_names(compared)
    encoder = (encoder or PerceptualEncoder("vgg19", LAYERS, weights=vgg_weights)).to(device)

    examiner = Examiner(encoder, size)
    table = ResultsTable(folder / "results.csv")
    rows = []
    for number, method in enumerate(compared, start=1):
        title = f"{method.name} ({number}/{len(compared)})"
        for pair in tqdm(pairs, desc=title, unit="pair", disable=None if progress else True):
            rows.append(_finished_row(method, pair, folder, examiner, table))
    table.rewrite()

    reference = compared[0].name
    return Evaluation(
        folder=folder,
        pairs=pairs,
        methods=compared,
        rows=rows,
        measures=examiner.available,
        absent=examiner.absent,
        summaries=[_summary(method, rows) for method in compared],
        reference=reference,
        differences={
            method.name: _differences(method.name, reference, rows)
            for method in compared
            if method.name != reference
        },
        settings={
            "size": size,
            "contents": {pair.content.stem: digest(pair.content) for pair in pairs},
            "styles": {pair.style.stem: digest(pair.style) for pair in pairs},
            "encoder": examiner.encoder_digest,
            "methods": {method.name: method.settings() for method in compared},
        },
        environment=environment(device),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _finished_row(method: Method, pair: Pair, report: Path, examiner: Examiner, table: ResultsTable) -> Row:
    """The row of an earlier run as far as it is still valid; what isn't is made and measured again."""
    path = method.picture(pair, report)
    settings = examiner.settings_digest(method.settings(), pair)
    known = table.find(method.name, pair)
    seconds = peak_mib = None
    if known and known.settings == settings and path.is_file() and digest(path) == known.picture:
        if known.encoder == examiner.encoder_digest and set(known.measures) == set(examiner.available):
            return known
        seconds, peak_mib = known.seconds, known.peak_mib
    elif isinstance(method, GeneratingMethod):
        image, seconds, peak_mib = _timed(method, pair, examiner)
        write_image(image, path)
    description = method.describe(path, pair, examiner)
    height, width = description.delivered
    row = Row(
        method=method.name,
        content=pair.content.stem,
        style=pair.style.stem,
        width=width,
        height=height,
        measures=examiner.measures(description, pair),
        seconds=seconds,
        peak_mib=peak_mib,
        picture=digest(path),
        settings=settings,
        encoder=examiner.encoder_digest,
    )
    table.add(row)
    return row


def _timed(method: GeneratingMethod, pair: Pair, examiner: Examiner) -> tuple[Tensor, float, float | None]:
    """A method's picture, seconds, and peak memory in MiB."""
    photo, style = examiner.reference(pair.content), examiner.reference(pair.style)
    content, painting = photo.pixels.cpu(), style.pixels.cpu()
    memory = PeakMemory(photo.pixels.device)
    start = time.perf_counter()
    image = method.stylize(content, painting).cpu()
    return image, time.perf_counter() - start, memory.mib()


def _summary(method: Method, rows: Sequence[Row]) -> Summary:
    own = [row for row in rows if row.method == method.name]
    clusters = [[row.content for row in own], [row.style for row in own]]
    seconds = [row.seconds for row in own if row.seconds is not None]
    peaks = [row.peak_mib for row in own if row.peak_mib is not None]
    return Summary(
        method=method.name,
        description=method.description,
        pairs=len(own),
        means={
            name: paired_bootstrap([row.measures[name] for row in own], clusters=clusters)
            for name in own[0].measures
        },
        medians={name: float(np.median([row.measures[name] for row in own])) for name in own[0].measures},
        seconds_median=float(np.median(seconds)) if seconds else None,
        peak_mib=max(peaks, default=None),
        sizes=sorted({f"{row.width}×{row.height}" for row in own}),
    )


def _differences(method: str, reference: str, rows: Sequence[Row]) -> dict[str, Interval]:
    """Paired, method minus reference; every method has every pair, in the same order."""
    ours = [row for row in rows if row.method == method]
    theirs = [row for row in rows if row.method == reference]
    clusters = [[row.content for row in ours], [row.style for row in ours]]
    return {
        name: paired_bootstrap(
            [row.measures[name] for row in ours], [row.measures[name] for row in theirs], clusters=clusters
        )
        for name in ours[0].measures
    }


def _report_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArbstyleError(
            f"the report folder {folder} can't be made ({error.strerror}): choose another"
        ) from error
    return folder


def _require_distinct_names(methods: Sequence[Method]) -> None:
    taken: dict[str, str] = {}
    for method in methods:
        key = file_name(method.name)
        if not key or key in taken:
            raise ArbstyleError(
                f"every method needs a name of its own, got '{method.name}' again: rename one"
            )
        taken[key] = method.name
