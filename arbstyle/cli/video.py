"""`arbstyle video`: a clip repainted, from file to file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from arbstyle.cli._options import strength_told_once, warn
from arbstyle.cli.stylize import Machine, Painting
from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from arbstyle import Stylizer
    from arbstyle.painting.style_file import Style
    from arbstyle.video.frames import Clip
    from arbstyle.video.stylizer import VideoStylizer, Weights

REFINE_FRAMES = 4


@dataclass(frozen=True, kw_only=True)
class ClipPart:
    """Clip.

    Attributes:
        start: begin there: seconds, or 1:02.5.
        end: stop there.
        rate: frames a second, of pictures in a folder (default: 25).
        transition: paint from style to style: 'even' over the clip, or one START-END for each change, such
            as 0:10-0:20.
        stability: 0 paints every frame for itself, 1 holds the painting stillest.
    """

    start: Annotated[str, "TIME"] = "0"
    end: Annotated[str | None, "TIME"] = None
    rate: float | None = None
    transition: Annotated[Sequence[str], "TIMES"] = ()
    stability: float = 0.8


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """Result.

    Attributes:
        codec: of a film (default: h264, or vp9 in .webm).
        crf: its quality: lower is better and larger (default: 18 for h264).
        sound: copy sound and subtitles of the source.
        resume: go on with work that was interrupted.
        overwrite: replace a result that exists, and drop unfinished work.
    """

    codec: Literal["h264", "h265", "av1", "vp9", "prores", "ffv1"] | None = None
    crf: int | None = None
    sound: bool = True
    resume: bool = False
    overwrite: bool = False


def video(
    clip: str,
    *,
    style: Annotated[list[str], "STYLE[:WEIGHT]"],
    output: Annotated[str, "-o", "OUT"],
    painting: Painting,
    part: ClipPart,
    result: VideoFile,
    machine: Machine,
) -> None:
    """Repaint a video in the style of any picture.

    Sound and subtitles are copied as they are. Work is kept in OUT.parts until it is finished: after an
    interruption the same command with --resume goes on.

    Args:
        clip: a film, an animated GIF, WebP or PNG, a folder of pictures, or frames/%05d.png.
        style: as for 'arbstyle stylize'; several need weights, --mask or --transition.
        output: a film (.mp4, .mov, .mkv, .webm), an animation (.gif, .webp, .png), a folder, or
            frames/%05d.png.
    """
    from arbstyle.images import check_outputs
    from arbstyle.video.finishing import Cut
    from arbstyle.video.job import VideoJob
    from arbstyle.video.outputs import plan_output
    from arbstyle.video.sources import open_clip, parse_time

    painting.check()
    machine.check()
    if painting.seamless:
        raise ArbstyleError("--seamless is for photos: 'arbstyle stylize' has it")
    if machine.backend == "onnx":
        raise ArbstyleError("--backend onnx is for photos: 'arbstyle stylize' has it; leave it out")
    cut = Cut(parse_time(part.start), None if part.end is None else parse_time(part.end), result.sound)
    if cut.end is not None and cut.end <= cut.start:
        raise ArbstyleError(f"--end {part.end} must come after --start {part.start}")
    if part.rate is not None and not 0.01 <= part.rate <= 1000:
        raise ArbstyleError(f"expected a --rate from 0.01 to 1000 frames a second, got {part.rate:g}")
    target = plan_output(output, result.codec, result.crf)
    rate = None if part.rate is None else Fraction(part.rate).limit_denominator(1001)
    source = open_clip(clip, painting.size, rate)
    names, weights = _choose_styles(style, painting, part, source, cut)
    roles = {"CLIP": source.files, "--style": names, "--mask": painting.mask}
    inputs = [(role, str(file)) for role, files in roles.items() for file in files] + machine.files()
    check_outputs([("--output", path) for path in target.existing()], inputs)
    stylizer = machine.stylizer(machine.precision)
    for name in names:  # a bad one is told before the work
        stylizer.parameters_of(name, painting.style_size)
    description = _describe(clip, style, painting, part, result, machine, stylizer)
    painter = _painter(stylizer, names, weights, painting, part, machine)
    with VideoJob(source, target, cut, description) as job, strength_told_once(painting.strength):
        done = job.prepare(resume=result.resume, overwrite=result.overwrite)
        if painting.refine is not None:
            painter.style = _refined(stylizer, names, painting.refine, painting, machine, source, cut)
        _run(job, painter, done, _expected_frames(source, cut))
    left = len(target.existing()) - job.frames_done if target.kind == "pictures" else 0
    if left:
        warn(f"{left} pictures of an earlier run are left beside the {job.frames_done} new ones")
    for text in source.warnings:
        warn(f"'{clip}': {text}")
    print(target.path)


def _run(job: Any, painter: VideoStylizer, done: int, total: int | None) -> None:
    from tqdm import tqdm

    with tqdm(total=total, initial=done, unit="frame", disable=None, dynamic_ncols=True, leave=False) as bar:
        try:
            job.run(painter, lambda frames: bar.update(frames - bar.n))
        except KeyboardInterrupt:
            bar.close()
            warn("the same command with --resume goes on from here")
            raise


def _choose_styles(
    texts: list[str], painting: Painting, part: ClipPart, clip: Clip, cut: Any
) -> tuple[list[str], Weights | None]:
    """Styles as they are to be opened, and their weights."""
    from arbstyle.painting.batch import find_styles
    from arbstyle.video.stylizer import crossfade, even_transition

    choices = find_styles(texts, masked=bool(painting.mask))
    names = [source.text for choice in choices for source in choice.sources]
    if not part.transition:
        if len(choices) > 1:
            raise ArbstyleError(
                f"{len(choices)} styles for one clip: give weights (a.jpg:0.5 b.jpg:0.5), --mask or "
                "--transition"
            )
        return names, choices[0].weights
    if len(choices) < 2 or painting.mask:
        raise ArbstyleError(
            "--transition goes from style to style: give two or more, without weights and masks"
        )
    if list(part.transition) != ["even"]:
        intervals = [_interval(text) for text in part.transition]
        if len(intervals) != len(names) - 1:
            raise ArbstyleError(
                f"{len(names)} styles change {len(names) - 1} times: expected as many START-END, got "
                f"{len(intervals)}"
            )
    else:
        end = cut.end if cut.end is not None else clip.info.duration
        if end is None:
            raise ArbstyleError(f"'{clip.path}' does not say how long it is: give --transition START-END")
        intervals = even_transition(len(names), float(cut.start), float(end))
    return names, crossfade(intervals)


def _interval(text: str) -> tuple[float, float]:
    from arbstyle.video.sources import parse_time

    start, dash, end = text.partition("-")
    if not dash:
        raise ArbstyleError(f"expected a transition such as 0:10-0:20, got '{text}'")
    return float(parse_time(start)), float(parse_time(end))


def _painter(
    stylizer: Stylizer,
    names: list[str],
    weights: Weights | None,
    painting: Painting,
    part: ClipPart,
    machine: Machine,
) -> VideoStylizer:
    from arbstyle.video.stylizer import VideoStylizer

    return VideoStylizer(
        stylizer,
        names,
        painting.strength,
        weights=weights,
        masks=painting.mask or None,
        keep_colors=painting.keep_colors,
        stability=part.stability,
        style_size=painting.style_size,
        stroke=painting.stroke,
        seed=painting.seed,
        tile=machine.tile,
    )


def _refined(
    stylizer: Stylizer,
    names: list[str],
    steps: int,
    painting: Painting,
    machine: Machine,
    clip: Clip,
    cut: Any,
) -> list[Style]:
    """The styles, improved for frames from all of the clip."""
    photos = [frame.pixels for frame in clip.sample(REFINE_FRAMES, cut.start, cut.end)]
    if not photos:
        raise ArbstyleError(f"no frames of '{clip.path}' lie between --start and --end")
    return [
        stylizer.refine(name, photos, steps, style_size=painting.style_size, vgg_weights=machine.vgg_weights)
        for name in names
    ]


def _expected_frames(clip: Clip, cut: Any) -> int | None:
    if clip.info.duration is None:
        return None
    end = clip.info.duration if cut.end is None else min(cut.end, clip.info.duration)
    return max(1, round((end - cut.start) * clip.info.rate))


def _describe(clip: str, styles: list[str], *groups: Any) -> dict[str, Any]:
    """What the painted frames depend on."""
    from arbstyle.images import printable

    *options, stylizer = groups
    described = {"clip": _identity(clip), "style": [_identity(style) for style in styles]}
    for group in options:
        described.update(asdict(group))
    for name in ("resume", "overwrite"):
        described.pop(name)
    masks = [_identity(mask) for mask in described["mask"]]
    model = f"{stylizer.name} ({stylizer.fingerprint})"
    comment = (
        f"painted by arbstyle in the style of {', '.join(Path(style).name for style in styles)}, {model}"
    )
    return described | {
        "mask": masks,
        "model": stylizer.fingerprint,
        "device": str(stylizer.device),
        "precision": str(stylizer.dtype),
        "comment": printable(comment),
    }


def _identity(text: str) -> list[Any]:
    """A name, and what changes with the file behind it."""
    path = Path(text)
    if not path.exists():
        return [text]
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]
