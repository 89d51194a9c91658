"""`arbstyle dataset`: a whole data set repainted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from arbstyle.cli._options import ModelOptions, warn
from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from arbstyle.restyling.local import Engine


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What is drawn for a picture, from the seed and its key.

    Attributes:
        seed: another one draws other styles.
        per_image: copies, each in another style.
        strength: 0 is the photo, 1 the style; a range is drawn from.
        key: what tells a table's rows apart (default: file and row).
        split: of a hub name.
    """

    seed: int = 0
    per_image: int = 1
    strength: Annotated[str, "S or LOW-HIGH"] = "1"
    key: Annotated[str, "COLUMN"] = ""
    split: str = "train"

    def range(self) -> tuple[float, float]:
        low, dash, high = self.strength.partition("-")
        try:
            return float(low), float(high if dash else low)
        except ValueError as error:
            raise ArbstyleError(
                f"expected a --strength such as 0.8 or 0.5-1, got '{self.strength}'"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Painting:
    """Painting.

    Attributes:
        size: short side to work at and to write (default: the picture's).
        style_size: short side at which styles are looked at.
        keep_colors: luminance keeps each picture's own colours.
    """

    size: Annotated[int | None, "PIXELS"] = None
    style_size: Annotated[int, "PIXELS"] = 256
    keep_colors: Literal["none", "luminance"] = "none"


@dataclass(frozen=True, kw_only=True)
class Results:
    """Results.

    Attributes:
        to: their form (default: same as the input's).
        format: of every picture (default: same as it had).
        quality: of JPEG and WebP.
        part_size: pictures a table or shard, and a worker's turn (default: 1000, in folders 100).
        resume: do what an interrupted run left, and what failed.
    """

    to: Literal["same", "folder", "parquet", "webdataset"] = "same"
    format: Literal["same", "jpg", "png", "webp"] = "same"
    quality: int = 95
    part_size: int | None = None
    resume: bool = False


@dataclass(frozen=True, kw_only=True)
class Machines(ModelOptions):
    """Model and machines.

    Attributes:
        precision: auto is bf16 on a CPU made for it, else fp32.
        batch: pictures of one size that are painted at once (default: 16 on a GPU, else 1).
        engine: processes of this machine, or Ray on any number of machines.
        address: of a Ray cluster: HOST:PORT, or auto (default: start Ray here).
        workers: processes of one thread (default: one a core, or a GPU).
    """

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    batch: int | None = None
    engine: Literal["local", "ray"] = "local"
    address: str = ""
    workers: int | None = None

    def start(self) -> Engine:
        from arbstyle.restyling.local import LocalEngine
        from arbstyle.restyling.ray_engine import RayEngine

        if self.workers is not None and self.workers < 1:
            raise ArbstyleError(f"expected --workers of at least 1, got {self.workers}")
        if self.address and self.engine != "ray":
            raise ArbstyleError("--address names a Ray cluster; add --engine ray")
        return RayEngine(self.address, self.workers) if self.engine == "ray" else LocalEngine(self.workers)


def dataset(
    input: str,
    *,
    styles: Annotated[list[str], "PAINTINGS"],
    output: Annotated[str, "-o", "FOLDER"],
    drawing: Drawing,
    painting: Painting,
    results: Results,
    machines: Machines,
) -> int:
    """Repaint a whole data set, each picture in a style drawn for it.

    Beside the results, OUTPUT.manifest holds manifest.csv, a row for every picture with its style, strength,
    seed, and error if it has one. Exit code 1: some pictures could not be painted.

    Args:
        input: a folder of pictures, of parquet or arrow tables or of WebDataset shards (.tar); a file or
            quoted pattern of such; or a hub name (owner/name).
        styles: pictures, folders of pictures, names of 'arbstyle styles', files of 'arbstyle style save'.
        output: where the results go.
    """
    from tqdm import tqdm

    from arbstyle.restyling.job import plan

    job = plan(
        input,
        styles,
        output,
        machines.start(),
        form=results.to,
        resume=results.resume,
        key=drawing.key,
        split=drawing.split,
        part_size=results.part_size,
        warn=warn,
        seed=drawing.seed,
        per_image=drawing.per_image,
        strength=drawing.range(),
        **asdict(painting),
        format=results.format,
        quality=results.quality,
        model=machines.model,
        device=machines.device,
        precision=machines.precision,
        batch=machines.batch,
        vgg_weights=machines.vgg_weights,
    )
    with tqdm(unit="picture", disable=None, dynamic_ncols=True, smoothing=0.05) as bar:
        for progress in job.run():
            if bar.total is None:
                bar.reset(progress.total)
                bar.initial = bar.n = progress.finished
            bar.set_postfix_str(f"{progress.failed} failed" if progress.failed else "", refresh=False)
            bar.update(progress.so_far - bar.n)
    counts = f"{progress.done} painted, {progress.finished} were there, {progress.failed} failed"
    print(f"{counts}; see {job.manifest}")
    return 1 if progress.failed else 0
