"""`arbstyle optimize`: pictures painted by optimisation (Gatys et al. 2016)."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from arbstyle.cli._options import check_new, warn
from arbstyle.cli._pipes import piped
from arbstyle.cli._streams import log_lines
from arbstyle.errors import ArbstyleError
from arbstyle.optimization import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from arbstyle.optimization import LossRecord, Optimized


@dataclass(frozen=True, kw_only=True)
class Records:
    """Record.

    Attributes:
        history: the loss terms of every evaluation, as CSV.
        plot: the same drawn, as PNG, PDF or SVG (needs matplotlib).
        frames: folder for pictures on the way, for a film.
        frames_every: evaluations between two frames.
    """

    history: Path | None = None
    plot: Path | None = None
    frames: Annotated[Path | None, "DIR"] = None
    frames_every: int = 10

    def files(self) -> list[tuple[str, Path]]:
        """What will be written, in its role; of the frames, the first."""
        frame = self.frames and _frame_path(self.frames, 1)
        roles = {"--history": self.history, "--plot": self.plot, "--frames": frame}
        return [(role, path) for role, path in roles.items() if path]

    def is_frame(self, path: Path) -> bool:
        """Whether a path is called as a frame may be."""
        named = re.fullmatch(r"\d{6}", path.stem) is not None
        return self.frames is not None and named and path.parent.resolve() == self.frames.resolve()

    def check(self) -> None:
        from arbstyle.images import check_output_path

        if self.history:
            check_output_path(self.history, (".csv",))
        if self.plot:
            check_output_path(self.plot, (".png", ".pdf", ".svg"))
            if importlib.util.find_spec("matplotlib") is None:
                raise ArbstyleError("--plot needs matplotlib: pip install 'arbstyle[plot]'")
        if self.frames:
            check_output_path(_frame_path(self.frames, 1))
            if any(re.fullmatch(r"\d{6}", path.stem) for path in self.frames.glob("*.png")):
                raise ArbstyleError(
                    f"'{self.frames}' holds the frames of an earlier run; give --frames a new folder"
                )
        if self.frames_every < 1:
            raise ArbstyleError(f"expected --frames-every 1 or more, got {self.frames_every}")


def optimize(
    content: list[str] | None = None,
    *,
    style: Annotated[Sequence[str], "STYLE[:WEIGHT]"] = (),
    output: Annotated[str, "-o", "OUT"],
    recursive: bool = False,
    skip_existing: bool = False,
    overwrite: bool = False,
    settings: Settings,
    records: Records,
) -> int:
    """Paint by optimisation: style transfer, texture synthesis, reconstruction.

    CONTENT and --style transfer the style, --style alone makes a texture, CONTENT alone shows what the
    content layers keep of it. Put CONTENT first. Ctrl-C, SIGTERM and SIGHUP save the best
    picture so far. Exit code
    1: some of several pictures could not be painted; 2: none, for the reason told.

    Args:
        content: photos to repaint, one by one: files, folders, patterns such as 'in/*.jpg', or - for standard
            input.
        style: style pictures, likewise, or names of 'arbstyle styles', mixed into one style; with weights,
            as in a.jpg:0.6 b.jpg:0.4, in that ratio.
        output: picture to write; for several photos a folder, or a template such as 'out/{content}.png'; -
            for standard output (PNG).
        recursive: look into subfolders, too.
        skip_existing: go on where a batch was interrupted.
        overwrite: replace results that exist.
    """
    if skip_existing and overwrite:
        raise ArbstyleError("--overwrite is not allowed with --skip-existing; give one of them")
    given = content or []
    if not given and len(style) > 1:
        warn("no CONTENT before --style, which takes all words after it: making a texture of all styles")
    with log_lines(), piped([*given, *style], output) as (words, place):
        contents, styles = words[: len(given)], words[len(given) :]
        jobs, run = _plan(contents, styles, place or output, recursive, settings, records)
        todo = [job for job in jobs if not (skip_existing and job.output.exists())]
        if todo and not overwrite:
            check_new(_results(todo, records), "--skip-existing to paint the rest")
        return run.all(jobs, skip_existing)


def _plan(
    words: Sequence[str],
    style: Sequence[str],
    output: str,
    recursive: bool,
    settings: Settings,
    records: Records,
) -> tuple[list[Job], _Run]:
    """Which pictures to make, and what makes them."""
    from arbstyle.images import check_output_path, check_outputs, is_pattern
    from arbstyle.painting.batch import find_mixture, find_sources, inputs_of, output_folder, plan

    one_file = len(words) < 2 and not any(os.path.isdir(word) or is_pattern(word) for word in words)
    to_file = one_file and "{" not in output and not output.endswith(("/", os.sep))
    if to_file:
        check_output_path(output)
    records.check()
    contents = find_sources(words, recursive=recursive, below=output_folder(output)) if words else []
    mixture = find_mixture(style, recursive=recursive)
    others = [("--init", str(settings.init or "")), ("--vgg-weights", str(settings.vgg_weights or ""))]
    if to_file:
        jobs = [Job(contents[0].text if contents else None, Path(output))]
    else:
        choice = mixture if style else replace(mixture, label="content")
        plans = plan(contents, [choice], output)
        jobs = [Job(each.content.text, each.output) for each in plans]
    if len(jobs) > 1 and records.files():
        raise ArbstyleError("--history, --plot and --frames record one run; give one CONTENT")
    outputs = [*(("--output", job.output) for job in jobs), *records.files()]
    check_outputs(outputs, inputs_of(contents, [mixture], others))
    if any(records.is_frame(job.output) for job in jobs):
        raise ArbstyleError(
            f"'{jobs[0].output}' would be one of the frames; give another -o, or other --frames"
        )
    styles = [_style_picture(source.text) for source in mixture.sources]
    return jobs, _Run(styles, replace(settings, style_weights=mixture.weights), records)


def _results(jobs: Sequence[Job], records: Records) -> list[Path]:
    return [*(job.output for job in jobs), *(path for _, path in records.files())]


@dataclass(frozen=True)
class Job:
    """One picture to make."""

    content: str | None
    output: Path


def _style_picture(style: str) -> str | Tensor:
    """A file as it is; for a name of the gallery its picture, 1×3×h×w."""
    from arbstyle.images import from_pil
    from arbstyle.painting.gallery import gallery, gallery_file

    return style if gallery_file(style) is None else from_pil(gallery()[style].thumbnail)


class _Run:
    """Paints job after job; a failure costs one job, not the batch."""

    def __init__(self, styles: Sequence[str | Tensor], settings: Settings, records: Records) -> None:
        self.styles = styles
        self.settings = settings
        self.records = records

    def all(self, jobs: Sequence[Job], skip_existing: bool) -> int:
        codes = []
        for job in jobs:
            if skip_existing and job.output.exists():
                codes.append(0)
                continue
            try:
                codes.append(self.one(job))
            except ArbstyleError as error:
                if len(jobs) == 1:
                    raise
                warn(str(error))
                codes.append(2)
            if codes[-1] == 130:
                return 130
        return min(codes) if min(codes) == max(codes) else 1

    def one(self, job: Job) -> int:
        from arbstyle.images import read_picture, resize, resize_with_alpha, write_image
        from arbstyle.optimization import optimize as paint
        from arbstyle.optimization import plot_history
        from arbstyle.optimization.inputs import DEFAULT_LONGEST_SIDE

        photo = read_picture(job.content, background=None) if job.content else None
        content: Tensor | str | None = job.content
        alpha = photo.alpha if photo else None
        if photo is not None and alpha is not None:  # what is hidden is not painted into what is not
            longest = self.settings.size or min(DEFAULT_LONGEST_SIDE, max(alpha.shape))
            content, alpha = resize_with_alpha(photo.pixels, alpha, longest, edge="long")
        with _Progress(self.settings.steps, self.records) as progress:
            result = paint(content, self.styles, self.settings, callback=progress)
        size = (result.image.shape[-2], result.image.shape[-1])
        write_image(
            result.image,
            job.output,
            alpha=None if alpha is None else resize(alpha, size),
            exif=photo.exif if photo else None,
        )
        if self.records.history:
            result.save_history(self.records.history)
        if self.records.plot:
            plot_history(result.history, self.records.plot)
        return _report(result, self.settings.steps, job.output)


def _frame_path(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.png"


class _Progress:
    """Callback that keeps a progress bar and writes frames."""

    def __init__(self, steps: int, records: Records) -> None:
        from tqdm import tqdm

        self.frames = records.frames
        self.frames_every = records.frames_every
        self.bar = tqdm(total=steps, unit="evaluation", disable=None, dynamic_ncols=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def __call__(self, evaluation: LossRecord, image: Tensor) -> None:
        from arbstyle.images import resize, write_image

        self.bar.set_postfix_str(_terms(evaluation), refresh=False)
        self.bar.update()
        if self.frames is not None and (evaluation.number - 1) % self.frames_every == 0:
            full_size = resize(image.cpu(), evaluation.full_size)
            try:
                write_image(full_size, _frame_path(self.frames, evaluation.number))
            except ArbstyleError as error:  # a full disk must not cost the picture
                warn(f"{error}; no further frames are written")
                self.frames = None


def _terms(evaluation: LossRecord) -> str:
    parts = ("content", "style", "tv")
    terms = ", ".join(f"{part} {value:.3g}" for part in parts if (value := getattr(evaluation, part)))
    return f"loss {evaluation.total:.3g} ({terms})"


def _report(result: Optimized, steps: int, output: Path) -> int:
    """Say what came of it; the exit code."""
    done = len(result.history)
    if result.stopped == "interrupted":
        warn(f"interrupted after {done} of {steps} evaluations; best picture so far: {output}")
        return 130
    if result.stopped == "non-finite":
        warn(f"the loss was not a finite number after {done} evaluations; last good picture: {output}")
        return 1
    height, width = result.image.shape[-2:]
    effort = f"{done} evaluations in {result.seconds:.0f} s"
    print(f"{output}: {width}×{height}, {effort}, {_terms(result.best)}")
    shares = [f"{name} {share:.0%}" for name, share in result.best.shares().items()]
    print(f"shares of the terms: {', '.join(shares)}")
    if result.stopped == "converged":
        print(f"stopped before {steps} evaluations: the loss falls no further")
    return 0
