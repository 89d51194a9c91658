"""`arbstyle stylize`: photos repainted in one forward pass."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from arbstyle.cli._options import ModelOptions, ResultFile, check_new, strength_told_once, warn
from arbstyle.cli._pipes import piped
from arbstyle.cli._streams import log_lines
from arbstyle.errors import ArbstyleError

LONGEST_STRIP = 1000
"""Steps of a strip; it is held in memory whole."""


@dataclass(frozen=True, kw_only=True)
class Painting:
    """Painting.

    Attributes:
        strength: 0 is the photo, 1 the style; beyond 1 exaggerates.
        keep_colors: keep the photo's colours: paint its brightness only, or give the style its colours
            first, channel by channel or by a linear map.
        mask: a picture a style, white where it goes; the rest stays the photo, or is for a last style
            without a mask.
        seamless: with --mask: hide the border between painted and unpainted parts by Poisson blending.
        refine: first improve the style for each photo by N steps (say 50) of descent; needs VGG-19.
        size: short side to work at and to write (default: the photo's).
        stroke: strokes as many times as wide: the photo is painted small first, then larger.
        seed: another number gives flat areas another pattern, where the model paints them from noise.
        style_size: short side at which a style picture is looked at (default: the photo's, but 256 to 2048).
    """

    strength: float = 1.0
    keep_colors: Literal["none", "luminance", "histogram", "coral"] = "none"
    mask: Annotated[Sequence[str], "FILE"] = ()
    seamless: bool = False
    refine: int | None = None
    size: Annotated[int | None, "PIXELS"] = None
    stroke: Literal[1, 2, 4] = 1
    seed: int = 0
    style_size: Annotated[int | None, "PIXELS"] = None

    def check(self) -> None:
        from arbstyle.painting.options import MATCHING_COLORS, check_options

        check_options(self.strength, self.keep_colors, self.style_size)
        if self.size is not None and self.size < 16:
            raise ArbstyleError(f"expected a --size of at least 16 pixels, got {self.size}")
        if self.seamless and not self.mask:
            raise ArbstyleError("--seamless hides the borders of masks: give --mask, too")
        if self.refine is not None and self.refine < 1:
            raise ArbstyleError(f"expected --refine 1 or more steps, got {self.refine}")
        if self.refine is not None and (self.mask or self.keep_colors in MATCHING_COLORS):
            raise ArbstyleError("--refine improves one style picture as it is: no mask, histogram or coral")


@dataclass(frozen=True, kw_only=True)
class ManyPictures:
    """Many pictures.

    Attributes:
        recursive: look into subfolders, too.
        pair: first photo with first style, second with second ….
        skip_existing: go on where a batch was interrupted.
        overwrite: replace results that exist.
        grid: one sheet of all contents × all styles.
        strip: one sheet of N steps from style to style, a row a content.
        json: print a summary as JSON instead of the results' names.
    """

    recursive: bool = False
    pair: bool = False
    skip_existing: bool = False
    overwrite: bool = False
    grid: bool = False
    strip: int | None = None
    json: bool = False

    @property
    def sheet(self) -> bool:
        return self.grid or self.strip is not None

    def check(self) -> None:
        chosen = [
            f"--{name}" for name in ("pair", "grid", "strip") if getattr(self, name) not in (False, None)
        ]
        if len(chosen) > 1:
            raise ArbstyleError(f"{chosen[0]} and {chosen[1]} make different things; give one of them")
        if self.skip_existing and self.overwrite:
            raise ArbstyleError("--overwrite is not allowed with --skip-existing; give one of them")
        if self.strip is not None and not 2 <= self.strip <= LONGEST_STRIP:
            raise ArbstyleError(
                f"expected --strip 2 or more steps, {LONGEST_STRIP} at most, got {self.strip}"
            )


@dataclass(frozen=True, kw_only=True)
class Machine(ModelOptions):
    """Model and machine.

    Attributes:
        precision: auto is bf16 on a CPU made for it, else fp32.
        backend: what computes; auto is onnx, which starts sooner, where it is installed and can do what is
            asked for: the packaged model, in float32 on a CPU, without masks, refinement, tiles and sheets.
        tile: paint in tiles of this side, to save memory (default: only where the whole would not fit).
    """

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    backend: Literal["auto", "torch", "onnx"] = "auto"
    tile: Annotated[int | None, "PIXELS"] = None

    def check(self) -> None:
        from arbstyle.painting import check_options

        check_options(tile=self.tile)


def stylize(
    content: list[str],
    *,
    style: Annotated[list[str], "STYLE[:WEIGHT]"],
    output: Annotated[str | None, "-o", "OUT"] = None,
    painting: Painting,
    many: ManyPictures,
    result: ResultFile,
    machine: Machine,
) -> int:
    """Repaint photos in the style of any picture, in one forward pass.

    Put CONTENT first. Results are named CONTENT__STYLE in the current folder unless -o says otherwise.
    Exit code 1: some of several pictures could not be painted; 2: none, for the reason told.

    Args:
        content: photos: files, folders, patterns such as 'in/*.jpg', or - for standard input.
        style: names of 'arbstyle styles', pictures, folders, patterns, files of 'arbstyle style save', or
            numbers of a bank; each photo in each style; with weights, as in a.jpg:0.6 b.jpg:0.4, in one
            blend of all.
        output: a file, a folder, a template such as 'out/{style}/{content}.png', or - for standard
            output (PNG).
    """
    from arbstyle.cli._onnx_painter import check_backend

    for group in (painting, many, result, machine):
        group.check()
    if painting.refine is not None and many.strip is not None:
        raise ArbstyleError("--refine improves one style picture as it is: it goes with no --strip")
    check_backend(painting, machine, many)
    if output == "-" and many.json:
        raise ArbstyleError("--json prints a summary, '-o -' the picture; give one of them")
    with log_lines(), piped([*content, *style], output) as (words, place):
        contents, styles = words[: len(content)], words[len(content) :]
        return _stylize(contents, styles, place, painting, many, result, machine)


def _stylize(
    content: Sequence[str],
    style: Sequence[str],
    output: str | None,
    painting: Painting,
    many: ManyPictures,
    result: ResultFile,
    machine: Machine,
) -> int:
    from arbstyle.cli._batch import Batch
    from arbstyle.cli._onnx_painter import load_painter
    from arbstyle.cli._painter import Painter
    from arbstyle.cli._sheet import make_sheet, place_of_sheet
    from arbstyle.painting.batch import find_sources, find_styles, inputs_of, output_folder, plan
    from arbstyle.painting.gallery import is_shadowed

    contents = find_sources(content, recursive=many.recursive, below=output_folder(output))
    for name in filter(is_shadowed, style):
        warn(f"'{name}' is a {'folder' if os.path.isdir(name) else 'file'} here, and not the gallery's style")
    styles = find_styles(style, masked=bool(painting.mask), recursive=many.recursive)
    others = [*(("--mask", mask) for mask in painting.mask), *machine.files()]
    with strength_told_once(painting.strength):
        if many.sheet:
            if many.strip is not None and len(styles) < 2:
                raise ArbstyleError(
                    "--strip goes from style to style: give two or more, without weights and masks"
                )
            place = place_of_sheet(output, many, inputs_of(contents, styles, others))
            _check_results([place], many, result)
            load = partial(Painter, painting, machine, result)
            return make_sheet(load, contents, styles, place, many, painting.size)
        jobs = plan(contents, styles, output, pair=many.pair, others=others)
        _check_results([job.output for job in jobs], many, result)
        return Batch(jobs, load_painter(painting, machine, result), many).run()


def _check_results(outputs: Sequence[Path], many: ManyPictures, result: ResultFile) -> None:
    """Whatever stands against the results is known before the work."""
    wrong = [output for output in outputs if result.bits == 16 and output.suffix.lower() != ".png"]
    if wrong:
        raise ArbstyleError(f"16 bits need a name that ends in .png, got '{wrong[0]}': write -o 'NAME.png'")
    if not (many.overwrite or many.skip_existing):
        check_new(outputs, "--skip-existing to paint the rest")
