"""From segments to the file that was asked for: films are joined packet by packet, with their sound."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import compress, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path, write_image
from arbstyle.video.encoding import add_encoder
from arbstyle.video.frames import Clip, ClipInfo, Frame
from arbstyle.video.library import load_av
from arbstyle.video.outputs import ANIMATIONS, Output
from arbstyle.video.reading import Film, open_film, origin_of

_COPIED = ("audio", "subtitle")
_OF_THE_FORMAT = {"major_brand", "minor_version", "compatible_brands", "encoder"}
_CENTISECOND, _MILLISECOND = Fraction(1, 100), Fraction(1, 1000)


@dataclass(frozen=True)
class Segment:
    """A whole segment.

    Attributes:
        path: of the file.
        times: time and duration of every frame, in ticks of the clip's time base.
    """

    path: Path
    times: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Cut:
    """The part of the source that is painted, in seconds; all to the end without ``end``."""

    start: Fraction
    end: Fraction | None
    sound: bool = True


def finish(
    output: Output, segments: Sequence[Segment], info: ClipInfo, source: Clip, cut: Cut, comment: str
) -> None:
    """Write the output of whole segments: a file whole or not at all, pictures one after the other.

    Raises:
        ArbstyleError: it cannot be written.
    """
    if output.kind == "pictures":
        for number, frame in enumerate(_frames(segments, info), start=1):
            name = output.numbered(number)
            alpha = None if frame.alpha is None or not output.keeps_alpha else frame.alpha.float() / 255
            write_image(frame.pixels, name, alpha=alpha)
        return
    with atomic_path(output.path) as temporary:
        if output.kind == "animation":
            _write_animation(temporary, segments, info)
        else:
            _join(temporary, output, segments, info, source, cut, comment)


# --- films --------------------------------------------------------------------------------------


def check_container(output: Output, encoder: Path, info: ClipInfo, source: Clip, cut: Cut) -> None:
    """See, before the work, whether the file can hold what is to be copied into it.

    Args:
        encoder: a segment of one frame.

    Raises:
        ArbstyleError: it cannot.
    """
    trial = encoder.with_name(f"trial{output.path.suffix}")
    try:
        nothing = Cut(cut.start, cut.start, cut.sound)
        _join(trial, output, [Segment(encoder, [(0, 1)])], info, source, nothing, "")
    finally:
        trial.unlink(missing_ok=True)


def _join(
    path: Path,
    output: Output,
    segments: Sequence[Segment],
    info: ClipInfo,
    source: Clip,
    cut: Cut,
    comment: str,
) -> None:
    options = {"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".m4v", ".mov") else {}
    with load_av().open(str(path), "w", options=options) as out:
        # Encodes nothing; set up like those of the segments, it says in the file's head what they hold.
        stream = add_encoder(out, info, output.codec, output.crf, info.alpha and output.keeps_alpha)
        stream.time_base = info.time_base
        if isinstance(source, Film):
            with open_film(source.path) as container:
                others = _add_others(out, container, path, cut.sound)
                out.metadata.update(_metadata(container, comment))
                _start(out, path, others)
                packets = [_painted(segments, info, stream), _copied(container, others, cut)]
                for _, packet in heapq.merge(*packets, key=lambda item: item[0]):
                    out.mux(packet)
        else:
            out.metadata["comment"] = comment
            for _, packet in _painted(segments, info, stream):
                out.mux(packet)


def _painted(segments: Sequence[Segment], info: ClipInfo, stream: Any) -> Iterator[tuple[Fraction, Any]]:
    """Packets of all segments with their times in the film."""
    av = load_av()
    waiting: tuple[int, int] | None = None
    held: Any = None
    for segment in segments:
        with av.open(str(segment.path)) as container:
            packets = (packet for packet in container.demux(video=0) if packet.size)
            for (time, duration), packet in zip(segment.times, packets, strict=True):
                if held is not None and waiting is not None:
                    yield _timed(held, waiting[0], time - waiting[0], info, stream)
                held, waiting = packet, (time, duration)
    if held is not None and waiting is not None:
        yield _timed(held, *waiting, info, stream)


def _timed(packet: Any, time: int, duration: int, info: ClipInfo, stream: Any) -> tuple[Fraction, Any]:
    packet.stream = stream
    packet.time_base = info.time_base
    packet.pts = packet.dts = time
    packet.duration = duration
    return time * info.time_base, packet


def _add_others(out: Any, container: Any, path: Path, wanted: bool) -> dict[int, Any]:
    """Streams of the output for the sound and subtitles of the source, by the source's number."""
    others: dict[int, Any] = {}
    for stream in container.streams if wanted else ():
        if stream.type not in _COPIED or stream.codec_context is None:
            continue
        try:
            copy = out.add_stream_from_template(stream)
        except (ValueError, load_av().FFmpegError) as error:
            raise _cannot_hold(path, stream) from error
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
        others[stream.index] = copy
    if path.suffix.lower() == ".mkv":
        for attached in container.streams.attachments:  # fonts of subtitles
            out.add_attachment(attached.name, attached.mimetype or "application/octet-stream", attached.data)
    return others


def _start(out: Any, path: Path, others: dict[int, Any]) -> None:
    try:
        out.start_encoding()
    except (ValueError, load_av().FFmpegError) as error:
        if not others:
            raise
        raise _cannot_hold(path, *others.values()) from error


def _cannot_hold(path: Path, *streams: Any) -> ArbstyleError:
    names = ", ".join(f"{stream.type} ({stream.codec_context.name})" for stream in streams)
    return ArbstyleError(
        f"a {path.suffix} file cannot hold the source's {names} as it is: write .mkv, or add --no-sound"
    )


def _copied(container: Any, others: dict[int, Any], cut: Cut) -> Iterator[tuple[Fraction, Any]]:
    """Packets of sound and subtitles that begin within the cut, their times counted from it."""
    streams = [stream for stream in container.streams if stream.index in others]
    if not streams:
        return
    origin = origin_of(container) + cut.start
    if cut.start > 0:
        container.seek(int(origin * load_av().time_base))
    open_streams = {stream.index for stream in streams}
    for packet in _demuxed(container, streams):
        base = Fraction(packet.time_base)
        time = packet.dts * base - origin
        if cut.end is not None and packet.pts * base - origin >= cut.end - cut.start:
            open_streams.discard(packet.stream.index)
            if not open_streams:
                return
            continue
        if cut.start > 0 and packet.pts * base < origin:
            continue
        shift = round(origin / base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = others[packet.stream.index]
        yield time, packet


def _demuxed(container: Any, streams: Iterable[Any]) -> Iterator[Any]:
    try:
        for packet in container.demux(*streams):
            if packet.dts is not None and packet.pts is not None:
                yield packet
    except load_av().FFmpegError:
        return  # a file that is cut off; its frames have been told of


def _metadata(container: Any, comment: str) -> dict[str, str]:
    kept = {key: value for key, value in container.metadata.items() if key.lower() not in _OF_THE_FORMAT}
    return kept | ({"comment": comment} if comment else {})


# --- animations and pictures ----------------------------------------------------------------------


def _frames(segments: Sequence[Segment], info: ClipInfo) -> Iterator[Frame]:
    for segment in segments:
        for (time, duration), frame in zip(segment.times, Film(segment.path).frames(), strict=True):
            base = info.time_base
            yield Frame(frame.pixels, time * base, duration * base, frame.alpha)


def _write_animation(path: Path, segments: Sequence[Segment], info: ClipInfo) -> None:
    name = ANIMATIONS[path.suffix.lower()]
    tick = _CENTISECOND if name == "gif" else _MILLISECOND
    times = [time for segment in segments for time, _ in segment.times]
    times.append(times[-1] + segments[-1].times[-1][1])
    ticks = [round(time * info.time_base / tick) for time in times]
    ticks[-1] = max(ticks[-1], ticks[0] + 1)
    # No format shows two frames in one tick: of a film of more frames than ticks the last in each is kept.
    kept = [after > before for before, after in pairwise(ticks)]
    frames = compress(_frames(segments, info), kept)
    ticks = [*compress(ticks, kept), ticks[-1]]
    if name == "webp":
        _write_webp(path, frames, ticks)
    else:
        _write_by_ffmpeg(path, name, frames, ticks, tick, info)


def _write_webp(path: Path, frames: Iterator[Frame], ticks: Sequence[int]) -> None:
    """By Pillow: FFmpeg's encoder is not told for how long the last frame is shown."""
    durations = [after - before for before, after in pairwise(ticks)]
    images = (Image.fromarray(_array(frame)) for frame in frames)
    first = next(images)
    first.save(path, "WEBP", save_all=True, append_images=images, duration=durations, loop=0, quality=90)


def _write_by_ffmpeg(
    path: Path, name: str, frames: Iterator[Frame], ticks: Sequence[int], tick: Fraction, info: ClipInfo
) -> None:
    av = load_av()
    last = ticks[-1] - ticks[-2]
    # Both repeat for ever. Without being told, they show the last frame for as long as the one before.
    if name == "gif":
        pixels, options = "pal8", {"loop": "0", "final_delay": str(last)}
    else:
        pixels = "rgba" if info.alpha else "rgb24"
        options = {"plays": "0", "final_delay": f"{last}/1000"}
    with av.open(str(path), "w", format=name, options=options) as out:
        stream = out.add_stream(name, rate=int(1 / tick))
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, pixels
        stream.codec_context.time_base = tick
        for frame, moment in zip(frames, ticks[:-1], strict=True):
            picture = av.VideoFrame.from_ndarray(
                _array(frame), format="rgb24" if frame.alpha is None else "rgba"
            )
            picture = _to_palette(picture) if name == "gif" else picture.reformat(format=pixels)
            picture.pts, picture.time_base = moment, tick
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


def _array(frame: Frame) -> np.ndarray:
    """H×W×3, or H×W×4 with alpha."""
    planes = frame.pixels if frame.alpha is None else torch.cat([frame.pixels, frame.alpha], dim=1)
    return planes[0].permute(1, 2, 0).contiguous().numpy()


def _to_palette(picture: Any) -> Any:
    """To 256 colours of the frame's own."""
    graph = load_av().filter.Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=_CENTISECOND
    )
    split, colors = graph.add("split"), graph.add("palettegen", "stats_mode=single")
    use, sink = graph.add("paletteuse", "new=1"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(colors, 1, 0)
    colors.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    picture.pts, picture.time_base = 0, _CENTISECOND
    source.push(picture)
    source.push(None)
    return sink.pull()
