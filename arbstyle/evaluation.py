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

import csv
import hashlib
import json
import os
import platform
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property, lru_cache
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from arbstyle import __version__
from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path, find_images, read_image, resize, write_image
from arbstyle.inference import Stylizer, choose_device
from arbstyle.measures import LPIPS, cfsd, color_histogram_distance, ms_ssim, normalized_style_losses
from arbstyle.measures.content import CFSD_LAYER, MS_SSIM_MIN_SIZE
from arbstyle.measures.lpips import find_vgg16_weights
from arbstyle.metrics import (
    CONTENT_LAYER,
    DEEP_STYLE_LAYER,
    STYLE_LAYERS,
    Interval,
    StyleStatistics,
    content_loss,
    gram_style_losses,
    moment_style_losses,
    paired_bootstrap,
    ssim,
    style_statistics,
)
from arbstyle.optimize import Settings, optimize
from arbstyle.perception import PerceptualEncoder

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
    "ssim",
    "ms_ssim",
    "lpips",
)
"""Style and Gram losses are sums over relu1_1–relu4_1, the normalised one is the mean over these layers;
relu5_1 is reported but has no part in them. `ms_ssim` and `lpips` are left out where they can't be had."""

MIN_SIZE = 32
"""Below, relu5_1 has a single position and no standard deviation."""

CACHE_BYTES = 2 * 2**30
"""For features of photos and styles that many pairs share."""

MAX_ASPECT_ERROR = 0.02
"""Networks with strides round sizes; a picture further off shows something else than the photo."""


@dataclass(frozen=True)
class Pair:
    """A photo and a style, as files."""

    content: Path
    style: Path

    @property
    def name(self) -> str:
        return f"{self.content.stem}__{self.style.stem}"


@dataclass(frozen=True)
class Row:
    """What is known of one method's picture for one pair.

    `width` and `height` are those of the picture as delivered. `seconds` and `peak_mib` are only known of
    pictures made here: wall time from pixels to pixels, style included; and the high-water mark of the
    process's resident memory meanwhile (it includes the measuring network and the cached features; where
    the mark can't be reset, that is outside Linux, it is that since the process began), on a GPU that of
    its allocated memory. `picture` (the file), `settings` (what it was made from) and `encoder` (what
    measured it) are digests by which a later run knows what is still valid.
    """

    method: str
    content: str
    style: str
    width: int
    height: int
    measures: dict[str, float]
    seconds: float | None
    peak_mib: float | None
    picture: str
    settings: str
    encoder: str


@dataclass(frozen=True)
class Summary:
    """A method's means and medians over its pairs."""

    method: str
    description: str
    pairs: int
    means: dict[str, Interval]
    medians: dict[str, float]
    seconds_median: float | None
    peak_mib: float | None
    sizes: list[str]


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
    pairs = [
        Pair(photo, painting)
        for photo in _pictures_by_name(content, contents, "photos")
        for painting in _pictures_by_name(style, styles, "styles")
    ]
    folder = _report_folder(Path(output))
    device = choose_device(device)
    compared = [
        *(_method(text, model, vgg_weights, device) for text in methods),
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
        environment=_environment(device),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


# --- methods ------------------------------------------------------------------------------------


class Method(ABC):
    """Something that has a picture for every pair."""

    name: str
    description: str

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that the pictures depend on besides photo and style, as JSON."""

    @abstractmethod
    def picture(self, pair: Pair, report: Path) -> Path:
        """The file whose content is measured; `report` is the report folder."""

    @abstractmethod
    def describe(self, path: Path, pair: Pair, examiner: Examiner) -> Description:
        """What the measures need to know of that file, at the photo's size."""


class PhotoCopy(Method):
    """Anchor: perfect content, no style."""

    name = "photo copy"
    description = "the photo, unchanged"

    def settings(self) -> dict[str, Any]:
        return {}

    def picture(self, pair: Pair, report: Path) -> Path:
        return pair.content

    def describe(self, path: Path, pair: Pair, examiner: Examiner) -> Description:
        return examiner.reference(path)


class StyleCopy(Method):
    """Anchor: perfect style, no content."""

    name = "style copy"
    description = "the style picture, enlarged if need be and centre-cropped to the photo's size"

    def settings(self) -> dict[str, Any]:
        return {}

    def picture(self, pair: Pair, report: Path) -> Path:
        return pair.style

    def describe(self, path: Path, pair: Pair, examiner: Examiner) -> Description:
        photo, style = examiner.reference(pair.content), examiner.reference(path)
        if style.pixels.shape == photo.pixels.shape:
            return style
        return examiner.describe(_cover(style.pixels, photo.size))


class WrittenMethod(Method):
    """A method whose pictures are files, read and fitted to the photo's size."""

    def describe(self, path: Path, pair: Pair, examiner: Examiner) -> Description:
        photo = examiner.reference(pair.content)
        pixels = read_image(path)
        height, width = pixels.shape[-2:]
        if abs(width / height / (photo.size[1] / photo.size[0]) - 1) > MAX_ASPECT_ERROR:
            raise ArbstyleError(
                f"{path} is {width}×{height}, its photo {photo.size[1]}×{photo.size[0]}: "
                "a picture of the photo's proportions is expected"
            )
        return examiner.describe(resize(pixels, photo.size), delivered=(height, width))


class OutputFolder(WrittenMethod):
    """Another system's pictures."""

    def __init__(self, name: str, folder: Path, pairs: Sequence[Pair]) -> None:
        self.name = name
        self.description = f"pictures found in {folder}"
        self._folder = folder
        if not folder.is_dir():
            raise ArbstyleError(
                f"the outputs of '{name}' are expected in a folder, {folder} is none: correct the path"
            )
        missing = [path.name for pair in pairs if not (path := self._folder / f"{pair.name}.png").is_file()]
        if missing:
            raise ArbstyleError(
                f"{folder} lacks {len(missing)} of the {len(pairs)} pictures of '{name}', such as "
                f"{missing[0]}: add them, or compare fewer pairs with --contents and --styles"
            )

    def settings(self) -> dict[str, Any]:
        return {}

    def picture(self, pair: Pair, report: Path) -> Path:
        return self._folder / f"{pair.name}.png"


class GeneratingMethod(WrittenMethod):
    """A method that runs here and writes its pictures into the report."""

    def picture(self, pair: Pair, report: Path) -> Path:
        return report / "pictures" / _file_name(self.name) / f"{pair.name}.png"

    @abstractmethod
    def stylize(self, content: Tensor, style: Tensor) -> Tensor:
        """Photo 1×3×H×W and style 1×3×h×w, both in [0, 1] on the CPU, to a picture 1×3×H×W."""


class FeedForward(GeneratingMethod):
    """A trained model, in one pass."""

    def __init__(self, name: str, stylizer: Stylizer) -> None:
        self.name = name
        self.description = f"one forward pass of {stylizer.name}"
        self._stylizer = stylizer

    def settings(self) -> dict[str, Any]:
        precision = str(self._stylizer.dtype)
        return {"model": self._stylizer.fingerprint, "precision": precision, "version": __version__}

    def stylize(self, content: Tensor, style: Tensor) -> Tensor:
        return self._stylizer.stylize(content, style)


class Optimization(GeneratingMethod):
    """Gatys' optimisation of the pixels, from the photo."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.description = f"optimisation from the photo, loss evaluations: {settings.steps}"
        self._settings = settings

    def settings(self) -> dict[str, Any]:
        settings = {name: value for name, value in asdict(self._settings).items() if name != "device"}
        return settings | {"vgg_weights": self._weights, "version": __version__}

    @cached_property
    def _weights(self) -> str:
        """Tells weights apart by content, because a file may be replaced or move."""
        file = self._settings.vgg_weights
        return digest(Path(file)) if file and Path(file).is_file() else str(file)

    def stylize(self, content: Tensor, style: Tensor) -> Tensor:
        result = optimize(content, style, self._settings)
        if result.stopped == "interrupted":
            raise KeyboardInterrupt
        return result.image


def _method(
    text: str | Method, model: str | Path | None, vgg_weights: str | Path | None, device: torch.device
) -> Method:
    """The method that a command line names; see `evaluate`."""
    if isinstance(text, Method):
        return text
    kind, _, argument = text.partition(":")
    if text == "stylize" or (text.startswith("stylize@") and text != "stylize@"):
        path = text.removeprefix("stylize").removeprefix("@") or model
        return FeedForward(text, Stylizer.from_pretrained(path, device, weights=vgg_weights))
    if kind == "optimize" and argument.isdecimal() and int(argument) > 0:
        settings = Settings(steps=int(argument), init="content", vgg_weights=vgg_weights, device=str(device))
        return Optimization(text, settings)
    raise ArbstyleError(
        "a method is 'stylize', 'stylize@MODEL_FILE' or 'optimize:EVALUATIONS' (such as optimize:100), "
        f"got '{text}': correct it, or add another system's pictures with --outputs NAME=FOLDER"
    )


# --- measuring ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Description:
    """A picture 1×3×H×W, what the measuring network sees in it, and its height and width when delivered."""

    pixels: Tensor
    content: Tensor
    structure: Tensor
    style: StyleStatistics
    delivered: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.pixels.shape[-2:]
        return height, width


class Examiner:
    """Describes and compares pictures, keeping what is asked for again and again: photos and styles."""

    def __init__(self, encoder: nn.Module, size: int) -> None:
        self._encoder = encoder
        self._size = size
        self._digest = lru_cache(maxsize=None)(digest)
        self.encoder_digest = digest_of_module(encoder)
        self._lpips, self.absent = _optional_measures(size, next(encoder.parameters()).device)
        self.available = [name for name in MEASURES if name not in self.absent]
        # Gram matrices; pixels, relu3_1 and relu4_1 of a square picture.
        bytes_per_reference = 2_500_000 + 108 * size**2
        self.reference = lru_cache(maxsize=max(4, CACHE_BYTES // bytes_per_reference))(self._reference)

    def _reference(self, path: Path) -> Description:
        """A photo or a style, its short side at `size`."""
        return self.describe(read_image(path, size=self._size))

    @torch.no_grad()
    def describe(self, pixels: Tensor, delivered: tuple[int, int] | None = None) -> Description:
        """Describe a picture 1×3×H×W as it would be after 8-bit storage."""
        pixels = pixels.mul(255).round().div(255).to(next(self._encoder.parameters()).device)
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
            features = self._encoder(pixels)
        return Description(
            pixels=pixels,
            content=features[CONTENT_LAYER].clone(),
            structure=features[CFSD_LAYER].clone(),
            style=style_statistics({layer: features[layer] for layer in LAYERS}),
            delivered=delivered or (pixels.shape[-2], pixels.shape[-1]),
        )

    def measures(self, picture: Description, pair: Pair) -> dict[str, float]:
        """By name, those of `MEASURES` that are available."""
        photo, style = self.reference(pair.content), self.reference(pair.style)
        moments = moment_style_losses(picture.style, style.style)
        grams = gram_style_losses(picture.style, style.style)
        normalized = normalized_style_losses(picture.style, style.style)
        values = {
            "style_loss": sum(moments[layer] for layer in STYLE_LAYERS),
            **{f"style_loss/{layer}": moments[layer] for layer in LAYERS},
            "gram_loss": sum(grams[layer] for layer in STYLE_LAYERS),
            **{f"gram_loss/{layer}": grams[layer] for layer in LAYERS},
            "normalized_style_loss": sum(normalized[layer] for layer in STYLE_LAYERS) / len(STYLE_LAYERS),
            "color_distance": color_histogram_distance(picture.pixels, style.pixels),
            "content_loss": content_loss(picture.content, photo.content),
            "cfsd": cfsd(picture.structure, photo.structure),
            "ssim": ssim(picture.pixels, photo.pixels),
        }
        if "ms_ssim" in self.available:
            values["ms_ssim"] = ms_ssim(picture.pixels, photo.pixels)
        if self._lpips is not None:
            with torch.no_grad():
                values["lpips"] = self._lpips(picture.pixels, photo.pixels)
        return {name: float(values[name]) for name in self.available}

    def settings_digest(self, method: Method, pair: Pair) -> str:
        """Changes with whatever a picture is made from."""
        dependencies = [
            self._size,
            self._digest(pair.content),
            self._digest(pair.style),
            method.settings(),
        ]
        return hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode()).hexdigest()[:16]


def _optional_measures(size: int, device: torch.device) -> tuple[LPIPS | None, dict[str, str]]:
    """The network of LPIPS if it can be had, and why measures are absent."""
    absent = {}
    if size < MS_SSIM_MIN_SIZE:
        absent["ms_ssim"] = f"five scales need pictures of {MS_SSIM_MIN_SIZE} pixels, these have {size}"
    weights = find_vgg16_weights()
    if weights is None:
        absent["lpips"] = "there are no VGG-16 weights on this machine: name a file in ARBSTYLE_VGG16"
        return None, absent
    try:
        return LPIPS(weights).to(device), absent
    except ArbstyleError as error:
        absent["lpips"] = str(error)
        return None, absent


def _finished_row(method: Method, pair: Pair, report: Path, examiner: Examiner, table: ResultsTable) -> Row:
    """The row of an earlier run as far as it is still valid; what isn't is made and measured again."""
    path = method.picture(pair, report)
    settings = examiner.settings_digest(method, pair)
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


class PeakMemory:
    """High-water mark of memory from construction on; see `Row` for what it means where."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return

    def mib(self) -> float | None:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20
        try:
            import resource
        except ImportError:  # Windows
            return None
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


# --- results ------------------------------------------------------------------------------------


class ResultsTable:
    """`results.csv`. Rows are appended whole as they come; those of other runs are kept."""

    columns = (
        "method",
        "content",
        "style",
        "width",
        "height",
        *MEASURES,
        "seconds",
        "peak_mib",
        "picture",
        "settings",
        "encoder",
    )

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = {(row.method, row.content, row.style): row for row in self._read()}
        self.rewrite()

    def find(self, method: str, pair: Pair) -> Row | None:
        return self._rows.get((method, pair.content.stem, pair.style.stem))

    def add(self, row: Row) -> None:
        self._rows[row.method, row.content, row.style] = row
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(self._cells(row))

    def rewrite(self) -> None:
        """Leave each row once, in the order they were first measured."""
        with atomic_path(self._path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self._cells(row) for row in self._rows.values())

    def _read(self) -> Iterator[Row]:
        if not self._path.is_file():
            return
        with self._path.open(newline="", encoding="utf-8") as file:
            for cells in csv.DictReader(file):
                try:
                    yield self._row(cells)
                except (KeyError, TypeError, ValueError):
                    continue  # cut off when the machine stopped, or of another version: measured again

    @staticmethod
    def _row(cells: dict[str, str]) -> Row:
        return Row(
            method=cells["method"],
            content=cells["content"],
            style=cells["style"],
            width=int(cells["width"]),
            height=int(cells["height"]),
            measures={name: float(cells[name]) for name in MEASURES if cells[name]},
            seconds=float(cells["seconds"]) if cells["seconds"] else None,
            peak_mib=float(cells["peak_mib"]) if cells["peak_mib"] else None,
            picture=cells["picture"],
            settings=cells["settings"],
            encoder=cells["encoder"],
        )

    @staticmethod
    def _cells(row: Row) -> list[object]:
        numbers = [*(row.measures.get(name) for name in MEASURES), row.seconds, row.peak_mib]
        return [
            row.method,
            row.content,
            row.style,
            row.width,
            row.height,
            *("" if number is None else f"{number:.7g}" for number in numbers),
            row.picture,
            row.settings,
            row.encoder,
        ]


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


def _environment(device: torch.device) -> dict[str, Any]:
    return {
        "arbstyle": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _processor() -> str:
    try:
        information = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    match = re.search(r"^model name\s*:\s*(.+)$", information, re.MULTILINE)
    return match[1] if match else platform.machine()


# --- files and names ----------------------------------------------------------------------------


def digest(path: Path) -> str:
    """16 hexadecimal digits that tell files of different content apart."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def digest_of_module(module: nn.Module) -> str:
    """The same of a network: its structure and its weights."""
    weights = hashlib.sha256(repr(module).encode())
    for tensor in module.state_dict().values():
        weights.update(tensor.detach().cpu().contiguous().numpy())
    return weights.hexdigest()[:16]


def _pictures_by_name(folder: str | Path, limit: int | None, kind: str) -> list[Path]:
    if limit is not None and limit < 1:
        raise ArbstyleError(f"at least one of the {kind} is needed, got a limit of {limit}: raise it")
    # A pattern names pictures too; what matches nothing is reported as a folder that is not there.
    paths = sorted(Path(match) for match in glob(str(folder))) if not Path(folder).is_dir() else []
    paths = paths or find_images(folder)
    stems = [path.stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice:
        raise ArbstyleError(f"{folder} holds several pictures named '{twice}': rename all but one")
    return paths[:limit]


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
        key = _file_name(method.name)
        if not key or key in taken:
            raise ArbstyleError(
                f"every method needs a name of its own, got '{method.name}' again: rename one"
            )
        taken[key] = method.name


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.@+]+", "-", name).strip("-.")


def _cover(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale 1×3×h×w until it covers height × width, and crop the centre."""
    height, width = pixels.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    scaled = resize(pixels, (max(size[0], round(height * scale)), max(size[1], round(width * scale))))
    top, left = (scaled.shape[-2] - size[0]) // 2, (scaled.shape[-1] - size[1]) // 2
    return scaled[..., top : top + size[0], left : left + size[1]]
