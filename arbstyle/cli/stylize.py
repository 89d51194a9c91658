"""`arbstyle stylize`: photos repainted in one forward pass."""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import arbstyle
from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from torch import Tensor

    from arbstyle.images import Picture
    from arbstyle.painting import Style
    from arbstyle.painting.batch import Job, Source, StyleChoice

HELP = "repaint photos in the style of any picture, in one forward pass"

MATCHING = ("histogram", "coral")
SHEET_SIZE = 256
"""Short side of the pictures of a grid or strip, where --size does not say."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Put CONTENT first. Results are named CONTENT__STYLE in the current folder unless -o says otherwise. "
        "Exit code 1: some of several pictures could not be painted; 2: none, for the reason told."
    )
    parser.add_argument(
        "content", nargs="+", metavar="CONTENT", help="photos: files, folders, patterns such as 'in/*.jpg'"
    )
    parser.add_argument(
        "--style",
        nargs="+",
        action="extend",
        required=True,
        metavar="STYLE[:WEIGHT]",
        help="pictures, folders, patterns, files of 'arbstyle style save', or numbers of a bank; each photo "
        "in each style; with weights, as in a.jpg:0.6 b.jpg:0.4, in one blend of all",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a file, a folder, or a template such as 'out/{style}/{content}.png'",
    )

    painting = parser.add_argument_group("painting")
    painting.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="0 is the photo, 1 the style; beyond 1 exaggerates (default: %(default)s)",
    )
    painting.add_argument(
        "--keep-colors",
        choices=("none", "luminance", "histogram", "coral"),
        default="none",
        help="keep the photo's colours: paint its brightness only, or give the style its colours first, "
        "channel by channel or by a linear map (default: %(default)s)",
    )
    painting.add_argument(
        "--mask",
        nargs="+",
        default=[],
        metavar="FILE",
        help="a picture a style, white where it goes; the rest stays the photo, or is for a last style "
        "without a mask",
    )
    painting.add_argument(
        "--seamless",
        action="store_true",
        help="with --mask: hide the border between painted and unpainted parts by Poisson blending",
    )
    painting.add_argument(
        "--refine",
        type=int,
        metavar="N",
        help="first improve the style for each photo by N steps (say 50) of descent; needs VGG-19",
    )
    painting.add_argument(
        "--size", type=int, metavar="PIXELS", help="short side to work at and to write (default: the photo's)"
    )
    painting.add_argument(
        "--stroke",
        type=int,
        choices=(1, 2, 4),
        default=1,
        help="strokes as many times as wide: the photo is painted small first, then larger (default: 1)",
    )
    painting.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="another number paints with another hand, where the model paints from noise (default: 0)",
    )
    painting.add_argument(
        "--style-size",
        type=int,
        metavar="PIXELS",
        help="short side at which a style picture is looked at (default: the photo's, but 256 to 2048)",
    )

    many = parser.add_argument_group("many pictures")
    many.add_argument("--recursive", action="store_true", help="look into subfolders, too")
    many.add_argument(
        "--pair", action="store_true", help="first photo with first style, second with second …"
    )
    existing = many.add_mutually_exclusive_group()
    existing.add_argument("--skip-existing", action="store_true", help="go on where a batch was interrupted")
    existing.add_argument("--overwrite", action="store_true", help="replace results that exist")
    sheet = many.add_mutually_exclusive_group()
    sheet.add_argument("--grid", action="store_true", help="one sheet of all contents × all styles")
    sheet.add_argument(
        "--strip", type=int, metavar="N", help="one sheet of N steps from style to style, a row a content"
    )
    many.add_argument(
        "--json", action="store_true", help="print a summary as JSON instead of the results' names"
    )

    file = parser.add_argument_group("result")
    file.add_argument(
        "--quality", type=int, default=95, help="of JPEG and WebP, 1 to 100 (default: %(default)s)"
    )
    file.add_argument(
        "--bits",
        type=int,
        choices=(8, 16),
        default=8,
        help="a channel; 16 in PNG only (default: %(default)s)",
    )
    file.add_argument(
        "--no-metadata", action="store_true", help="do not note style and model in the file (EXIF is kept)"
    )

    machine = parser.add_argument_group("model and machine")
    machine.add_argument("--model", metavar="FILE", help="another model than the packaged one")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    machine.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help="auto is bf16 on a CPU made for it, else fp32 (default: %(default)s)",
    )
    machine.add_argument(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="paint in tiles of this side, to save memory (default: only where the whole would not fit)",
    )
    machine.add_argument(
        "--vgg-weights", metavar="FILE", help="for models that contain a VGG, and for --refine"
    )


def run(args: argparse.Namespace) -> int:
    from arbstyle.painting import StrengthWarning
    from arbstyle.painting.batch import find_sources, find_styles, output_folder, plan

    _check_numbers(args)
    contents = find_sources(args.content, recursive=args.recursive, below=output_folder(args.output))
    styles = find_styles(args.style, masked=bool(args.mask), recursive=args.recursive)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StrengthWarning)  # said once below, not at every picture
        if args.grid or args.strip is not None:
            code = _make_sheet(args, contents, styles)
        else:
            jobs = plan(contents, styles, args.output, pair=args.pair)
            _check_results(args, [job.output for job in jobs])
            code = _Batch(args, jobs, _Painter(args)).run()
    if args.strength > 1:
        _warn(f"a strength of {args.strength:g} is beyond 1, for which no model is trained: look twice")
    return code


def _check_numbers(args: argparse.Namespace) -> None:
    from arbstyle.painting import check_options

    check_options(args.strength, args.keep_colors, args.style_size, args.tile)
    if args.size is not None and args.size < 16:
        raise ArbstyleError(f"expected a --size of at least 16 pixels, got {args.size}")
    if args.refine is not None and args.refine < 1:
        raise ArbstyleError(f"expected --refine 1 or more steps, got {args.refine}")
    if args.refine is not None and (args.mask or args.strip is not None or args.keep_colors in MATCHING):
        raise ArbstyleError(
            "--refine improves one style picture as it is: it goes with no mask, strip, histogram or coral"
        )
    if args.seamless and not args.mask:
        raise ArbstyleError("--seamless hides the borders of masks: give --mask, too")
    if not 1 <= args.quality <= 100:
        raise ArbstyleError(f"expected a --quality from 1 to 100, got {args.quality}")


def _check_results(args: argparse.Namespace, outputs: Sequence[Path]) -> None:
    """Whatever stands against the results is known before the work."""
    wrong = [output for output in outputs if args.bits == 16 and output.suffix.lower() != ".png"]
    if wrong:
        raise ArbstyleError(f"16 bits need a name that ends in .png, got '{wrong[0]}': write -o 'NAME.png'")
    existing = [output for output in outputs if output.exists()]
    if existing and not (args.overwrite or args.skip_existing):
        what = "exists" if len(existing) == 1 else f"and {len(existing) - 1} more results exist"
        raise ArbstyleError(f"'{existing[0]}' {what}; add --overwrite, or --skip-existing to paint the rest")


@dataclass
class _Record:
    """What became of one job, for the summary."""

    content: str
    style: str
    output: str
    status: Literal["done", "skipped", "failed"]
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    error: str | None = None


class _Batch:
    """Paints job after job; a failure costs one job (or all of one photo or style), not the batch."""

    def __init__(self, args: argparse.Namespace, jobs: Sequence[Job], painter: _Painter) -> None:
        from tqdm import tqdm

        self.args = args
        self.jobs = jobs
        self.painter = painter
        self.records: list[_Record] = []
        self.bar = tqdm(total=len(jobs), unit="picture", disable=None, dynamic_ncols=True, leave=False)

    def run(self) -> int:
        try:
            bad_styles = self._check_styles()
            for content, jobs in groupby(self.jobs, key=lambda job: job.content):
                self._paint_all(content, [job for job in jobs if job.style not in bad_styles])
        except KeyboardInterrupt:
            self.bar.close()
            self._summarize()
            _warn("interrupted; the same command with --skip-existing goes on from here")
            return 130
        finally:
            self.bar.close()
        self._summarize()
        return 1 if any(record.status == "failed" for record in self.records) else 0

    def _check_styles(self) -> set[StyleChoice]:
        """Look at every style once before the photos: a bad one is told once. Good ones stay known."""
        choices = list(dict.fromkeys(job.style for job in self.jobs))
        bad: set[StyleChoice] = set()
        for choice in choices:
            try:
                self.painter.check_style(choice)
            except ArbstyleError as error:
                if len(choices) == 1:
                    raise
                bad.add(choice)
                self._fail([job for job in self.jobs if job.style == choice], error)
        return bad

    def _paint_all(self, content: Source, jobs: Sequence[Job]) -> None:
        finished = [job for job in jobs if self.args.skip_existing and job.output.exists()]
        for job in finished:
            self._note(job, "skipped")
        waiting = [job for job in jobs if job not in finished]
        if not waiting:
            return
        try:
            photo = _read_photo(content.text, self.args.size, keep_bytes=self.args.bits == 8)
        except ArbstyleError as error:
            self._fail(waiting, error)
            return
        for job in waiting:
            try:
                self._paint(job, photo)
            except ArbstyleError as error:
                self._fail([job], error)

    def _paint(self, job: Job, photo: Picture) -> None:
        from arbstyle.images import write_image

        start = time.perf_counter()
        painted = self.painter.paint(photo, job.style, self._show_tiles)
        write_image(
            painted,
            job.output,
            alpha=photo.alpha,
            exif=photo.exif,
            quality=self.args.quality,
            bits=self.args.bits,
            text={} if self.args.no_metadata else self.painter.notes(job.style),
        )
        height, width = painted.shape[2:]
        seconds = round(time.perf_counter() - start, 3)
        self._note(job, "done", width=width, height=height, seconds=seconds)
        if not self.args.json:
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
        self.records.append(_Record(job.content.text, str(job.style), str(job.output), status, **details))
        self.bar.update()

    def _summarize(self) -> None:
        counts = dict.fromkeys(("done", "skipped", "failed"), 0)
        for record in self.records:
            counts[record.status] += 1
        if self.args.json:
            summary = {
                "version": arbstyle.__version__,
                **self.painter.description(),
                **counts,
                "pictures": [asdict(record) for record in self.records],
            }
            print(json.dumps(summary, indent=2))
        elif counts["failed"] or counts["skipped"]:
            _warn(", ".join(f"{count} {status}" for status, count in counts.items() if count))


class _Painter:
    """The stylizer with the options of the command line."""

    def __init__(self, args: argparse.Namespace) -> None:
        from arbstyle.images import as_tensor
        from arbstyle.painting import Stylizer

        self.args = args
        self.stylizer = Stylizer.from_pretrained(
            args.model, args.device, args.precision, weights=args.vgg_weights
        )
        self.masks = [as_tensor(mask) for mask in args.mask] or None

    def check_style(self, choice: StyleChoice) -> None:
        for source in choice.sources:
            self.stylizer.parameters_of(source.text, self.args.style_size)

    def paint(
        self, photo: Picture, choice: StyleChoice, progress: Callable[[int, int], None] | None = None
    ) -> Tensor:
        """The photo in a style, 1×3×H×W."""
        if self.args.seamless:
            return self._paint_seamlessly(photo, choice, progress)
        return self.stylizer.stylize(
            photo.pixels,
            self._styles(photo, choice),
            self.args.strength,
            weights=choice.weights,
            masks=self.masks,
            keep_colors=self.args.keep_colors,
            style_size=self.args.style_size,
            stroke=self.args.stroke,
            tile=self.args.tile,
            seed=self.args.seed,
            progress=progress,
        )

    def _paint_seamlessly(
        self, photo: Picture, choice: StyleChoice, progress: Callable[[int, int], None] | None
    ) -> Tensor:
        from arbstyle.compositing import paint_regions
        from arbstyle.images import as_float

        def paint(style: str) -> Tensor:
            painted = self.stylizer.stylize(
                photo.pixels,
                style,
                self.args.strength,
                keep_colors=self.args.keep_colors,
                style_size=self.args.style_size,
                tile=self.args.tile,
                progress=progress,
            )
            return as_float(painted)

        texts = [source.text for source in choice.sources]
        return paint_regions(paint, as_float(photo.pixels), texts, self.masks or [])

    def _styles(self, photo: Picture, choice: StyleChoice) -> list[str | Style]:
        texts = [source.text for source in choice.sources]
        if self.args.refine is None:
            return list(texts)
        options = {"style_size": self.args.style_size, "vgg_weights": self.args.vgg_weights}
        return [self.stylizer.refine(text, [photo.pixels], self.args.refine, **options) for text in texts]

    def description(self) -> dict[str, Any]:
        return {
            "model": {"name": self.stylizer.name, "fingerprint": self.stylizer.fingerprint},
            "device": str(self.stylizer.device),
            "precision": str(self.stylizer.dtype).removeprefix("torch."),
        }

    def notes(self, *choices: StyleChoice) -> dict[str, str]:
        return {
            "Software": f"arbstyle {arbstyle.__version__}",
            "Style": "; ".join(map(str, choices)),
            "Model": f"{self.stylizer.name} ({self.stylizer.fingerprint})",
        }

    def small_photos(self, contents: Sequence[Source]) -> list[Picture]:
        return [_read_photo(content.text, self.args.size or SHEET_SIZE) for content in contents]

    def thumbnail(self, choice: StyleChoice) -> Tensor | None:
        """The style picture of a single style, for the head of a column."""
        from arbstyle.images import fit_into

        picture = self.stylizer.picture_of(choice.sources[0].text)
        if picture is None or len(choice.sources) > 1:
            return None
        size = self.args.size or SHEET_SIZE
        return fit_into(picture, size, size * 3 // 2)


# --- sheets -------------------------------------------------------------------------------------


def _make_sheet(args: argparse.Namespace, contents: Sequence[Source], styles: Sequence[StyleChoice]) -> int:
    """One picture of many: a grid of contents × styles, or steps from style to style."""
    from arbstyle.images import contact_sheet, write_image

    if args.pair:
        raise ArbstyleError("--pair makes pictures one by one, --grid and --strip a sheet; give one of them")
    if args.strip is not None:
        _check_strip(args, styles)
    output = _place_of_sheet(args, contents, styles)
    _check_results(args, [output])
    if args.skip_existing and output.exists():
        _warn(f"'{output}' exists; nothing to do")
        return 0
    painter = _Painter(args)
    cells = _strip(painter, contents, styles) if args.strip is not None else _grid(painter, contents, styles)
    notes = {} if args.no_metadata else painter.notes(*styles)
    write_image(contact_sheet(cells), output, quality=args.quality, bits=args.bits, text=notes)
    print(json.dumps({**painter.description(), "output": str(output)}, indent=2) if args.json else output)
    return 0


def _check_strip(args: argparse.Namespace, styles: Sequence[StyleChoice]) -> None:
    if args.strip < 2:
        raise ArbstyleError(f"expected --strip 2 or more steps, got {args.strip}")
    if len(styles) < 2:
        raise ArbstyleError("--strip goes from style to style: give two or more, without weights and masks")


def _place_of_sheet(
    args: argparse.Namespace, contents: Sequence[Source], styles: Sequence[StyleChoice]
) -> Path:
    from arbstyle.images import check_output_path
    from arbstyle.painting.batch import is_folder

    output = Path(args.output or ".")
    if is_folder(str(output)) or str(args.output).endswith("/"):
        output = output / ("grid.png" if args.grid else "strip.png")
    inputs = [*contents, *(source for style in styles for source in style.sources)]
    if output.resolve() in {Path(source.text).resolve() for source in inputs}:
        raise ArbstyleError(f"the result '{output}' would replace an input; give another --output")
    return check_output_path(output)


def _grid(
    painter: _Painter, contents: Sequence[Source], styles: Sequence[StyleChoice]
) -> list[list[Tensor | None]]:
    rows: list[list[Tensor | None]] = [[None, *(painter.thumbnail(style) for style in styles)]]
    for photo in painter.small_photos(contents):
        rows.append([photo.pixels, *(painter.paint(photo, style) for style in styles)])
    return rows


def _strip(
    painter: _Painter, contents: Sequence[Source], styles: Sequence[StyleChoice]
) -> list[list[Tensor | None]]:
    from arbstyle.painting.batch import between

    steps = between(styles, painter.args.strip)
    return [[painter.paint(photo, step) for step in steps] for photo in painter.small_photos(contents)]


# --- reading and telling ------------------------------------------------------------------------


def _read_photo(path: str, size: int | None, *, keep_bytes: bool = False) -> Picture:
    """A photo with its transparency, at the size to work at."""
    import torch

    from arbstyle.images import as_float, read_picture, resize

    photo = read_picture(path, background=None, keep_bytes=keep_bytes)
    pixels, alpha = photo.pixels, photo.alpha
    if alpha is not None:  # what is hidden may be of any colour, and must not run into what is not
        pixels = torch.where(alpha > 0, pixels, 1.0)
    if size is not None:
        pixels = resize(as_float(pixels), size)
        alpha = None if alpha is None else resize(alpha, (pixels.shape[2], pixels.shape[3]))
    return replace(photo, pixels=pixels, alpha=alpha)


def _warn(message: str) -> None:
    print(f"arbstyle: {message}", file=sys.stderr)
