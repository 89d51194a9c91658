"""Frames of a film, by PyAV: upright, in RGB, each with its own time."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arbstyle.errors import ArbstyleError
from arbstyle.images.files import why_no_file
from arbstyle.video.frames import SWSCALE_MATRICES, Clip, ClipInfo, Colors, Frame, resized
from arbstyle.video.library import load_av

FALLBACK_RATE = Fraction(25)
"""Frames a second of a file that does not say."""

_HDR_TRANSFERS = {16: "PQ (HDR10, Dolby Vision)", 18: "HLG"}
_BT709, _BT601 = 1, 5
_CODECS_WITH_HIDDEN_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders drop the alpha

_FORMATS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "av1", "obu"),
    *("ivf", "flv", "asf", "ogg", "mxf", "nut", "dv", "rm", "wtv", "gxf", "yuv4mpegpipe", "gif", "apng"),
    *("mp3", "wav", "flac", "aac", "aiff", "ac3"),  # only sound: told in a line of its own
    *("image2", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", "gif_pipe", "ppm_pipe"),
)
"""Demuxers by FFmpeg's names. Others read lists (HLS, concat) that name further files and addresses."""
_SAFE = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file"}


class Film(Clip):
    """A video file that FFmpeg's libraries can read.

    Args:
        path: of the file.
        size: short side of the frames; ``None`` leaves them as they are.

    Raises:
        ArbstyleError: no such file, not a film, no frame that can be decoded, or HDR.
    """

    def __init__(self, path: str | Path, size: int | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        self._size = size
        with open_film(self.path) as container:
            stream = _video_stream(container, self.path)
            first = next(_decoded(container, stream), None)
            if first is None:
                raise ArbstyleError(
                    f"no frame of '{self.path}' can be decoded: the file is damaged or cut off"
                )
            _refuse_hdr(first, self.path)
            self._turn = _Turn.of(first)
            self._stored = self._stored_size(first.width, first.height)
            width, height = self._turn.size(*self._stored)
            aspect = _aspect_of(stream)
            rate = stream.average_rate or stream.guessed_rate or FALLBACK_RATE
            self._rate = Fraction(rate)
            tick = Fraction(stream.time_base)
            self._origin = round(origin_of(container) / tick) * tick
            self.info = ClipInfo(
                width=width,
                height=height,
                rate=self._rate,
                time_base=Fraction(stream.time_base),
                duration=_duration(container, stream),
                aspect=1 / aspect if self._turn.swaps else aspect,
                colors=_colors_of(first),
                alpha=_has_alpha(first),
            )

    def frames(self, start: Fraction = Fraction(0), end: Fraction | None = None) -> Iterator[Frame]:
        with open_film(self.path) as container:
            stream = _video_stream(container, self.path)
            if start > 0:
                container.seek(int((start + self._origin) / stream.time_base), stream=stream)
            last = Fraction(-1)
            scaler = load_av().video.reformatter.VideoReformatter()  # one: its tables take a while to make
            for decoded in _decoded(container, stream, self.warnings):
                time = self._time(decoded, last)
                if time <= last:
                    continue  # a frame that comes twice
                if end is not None and time >= end:
                    return
                last = time
                if time >= start:
                    yield self._frame(decoded, time, scaler)

    def _time(self, decoded: Any, last: Fraction) -> Fraction:
        if decoded.pts is None:
            return max(last, Fraction(0)) + 1 / self._rate if last >= 0 else Fraction(0)
        return decoded.pts * Fraction(decoded.time_base) - self._origin

    def _frame(self, decoded: Any, time: Fraction, scaler: Any) -> Frame:
        duration = (decoded.duration or 0) * Fraction(decoded.time_base or self.info.time_base)
        width, height = (decoded.width, decoded.height) if self.info.alpha else self._stored
        planes = _to_rgb(decoded, scaler, width, height, self.info.alpha)
        # Rows of pixels as they are decoded: the network works in this layout, too.
        picture = torch.from_numpy(self._turn(planes)).permute(2, 0, 1)[None]
        if picture.shape[2:] != (self.info.height, self.info.width):
            picture = resized(picture, (self.info.height, self.info.width))
        alpha = picture[:, 3:] if self.info.alpha else None
        return Frame(picture[:, :3], time, duration or 1 / self._rate, alpha)

    def _stored_size(self, width: int, height: int) -> tuple[int, int]:
        if self._size is None:
            return width, height
        scale = Fraction(self._size, min(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))


class _Turn:
    """What a display matrix asks for: transpose, then flip."""

    def __init__(self, swaps: bool, flip_x: bool, flip_y: bool) -> None:
        self.swaps, self.flip_x, self.flip_y = swaps, flip_x, flip_y

    @classmethod
    def of(cls, decoded: Any) -> _Turn:
        """Of a frame, rounded to quarter turns."""
        data = decoded.side_data.get("DISPLAYMATRIX")
        if data is None:
            return cls(False, False, False)
        # x' = a·x + c·y and y' = b·x + d·y, in 16.16 fixed point (ISO/IEC 14496-12, 6.2.2).
        a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5].astype(float)
        swaps = abs(b) + abs(c) > abs(a) + abs(d)
        return cls(swaps, (c if swaps else a) < 0, (b if swaps else d) < 0)

    def size(self, width: int, height: int) -> tuple[int, int]:
        return (height, width) if self.swaps else (width, height)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """H×W×C."""
        if not (self.swaps or self.flip_x or self.flip_y):
            return picture
        picture = picture.swapaxes(0, 1) if self.swaps else picture
        return np.ascontiguousarray(picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])


def open_film(path: Path) -> Any:
    """The container, open for reading."""
    av = load_av()
    if path.is_dir():
        raise ArbstyleError(f"expected a film, got the folder '{path}'")
    if reason := why_no_file(path):
        raise ArbstyleError(f"cannot read '{path}' as a video: {reason}")
    try:
        container = av.open(str(path), options=_SAFE)
    except av.FFmpegError as error:
        raise ArbstyleError(f"cannot read '{path}' as a video: {_reason(error)}") from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ArbstyleError(f"cannot read '{path}' as a video: {error}") from error
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        container.close()
        raise ArbstyleError(f"'{path}' is a picture: paint it with 'arbstyle stylize'")
    return container


def _video_stream(container: Any, path: Path) -> Any:
    covers = _disposition("attached_pic")
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        what = "only sound" if container.streams.audio else "no video"
        raise ArbstyleError(f"expected a video, but '{path}' holds {what}")
    stream = streams[0]
    if stream.codec_context is None:
        raise ArbstyleError(f"the video in '{path}' is in a format that FFmpeg does not know")
    stream.thread_type = "AUTO"
    return stream


def _disposition(name: str) -> Any:
    from av.stream import Disposition

    return Disposition[name]


def _decoded(container: Any, stream: Any, warnings: list[str] | None = None) -> Iterator[Any]:
    """All frames; at damaged data decoding goes on with the next packet, and a warning is left."""
    av = load_av()
    decoder = _alpha_decoder(stream) or stream
    damaged = 0
    try:
        for packet in chain(container.demux(stream), (None,)):
            if packet is None and decoder is stream:
                break  # the demuxer has flushed its own decoder
            try:
                yield from decoder.decode(packet)
            except av.EOFError:
                break
            except av.InvalidDataError:
                damaged += 1
    except av.FFmpegError as error:
        _note(warnings, f"the file ends early: {_reason(error)}")
    if damaged:
        _note(warnings, f"{damaged} damaged packets were left out")


def _note(warnings: list[str] | None, text: str) -> None:
    if warnings is not None and text not in warnings:
        warnings.append(text)


def _alpha_decoder(stream: Any) -> Any | None:
    av = load_av()
    name = _CODECS_WITH_HIDDEN_ALPHA.get(stream.codec_context.codec.canonical_name)
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if name is None or tags.get("alpha_mode") != "1" or name not in av.codecs_available:
        return None
    decoder = av.CodecContext.create(name, "r")
    decoder.extradata = stream.codec_context.extradata
    return decoder


def _to_rgb(decoded: Any, scaler: Any, width: int, height: int, alpha: bool) -> np.ndarray:
    """H×W×3 or H×W×4 bytes."""
    from av.video.reformatter import ColorRange, Interpolation

    colors = _colors_of(decoded)
    best = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    rgb = scaler.reformat(
        decoded,
        width=width,
        height=height,
        format="rgba" if alpha else "rgb24",
        src_colorspace=SWSCALE_MATRICES[colors.matrix],
        src_color_range=ColorRange.JPEG if colors.full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=best,
    )
    return rgb.to_ndarray()


def _colors_of(decoded: Any) -> Colors:
    matrix = int(decoded.colorspace)
    if matrix not in SWSCALE_MATRICES:
        # What players take for unspecified: by the size of the picture.
        matrix = _BT709 if decoded.width >= 1280 or decoded.height > 576 else _BT601
    full = int(decoded.color_range) == 2 or decoded.format.name.startswith("yuvj") or decoded.format.is_rgb
    return Colors(matrix, int(decoded.color_primaries), int(decoded.color_trc), full)


def _refuse_hdr(decoded: Any, path: Path) -> None:
    name = _HDR_TRANSFERS.get(int(decoded.color_trc))
    if name is not None:
        raise ArbstyleError(
            f"'{path}' is HDR video, {name}, and painting is done in SDR: tone-map it first, for example "
            "with ffmpeg's filters zscale and tonemap"
        )


def _has_alpha(decoded: Any) -> bool:
    return any(component.is_alpha for component in decoded.format.components)


def _aspect_of(stream: Any) -> Fraction:
    aspect = stream.sample_aspect_ratio
    return Fraction(aspect) if aspect else Fraction(1)


def origin_of(container: Any) -> Fraction:
    """Where a film begins, in its own time and seconds: with its first stream."""
    return Fraction(container.start_time or 0, load_av().time_base)


def _duration(container: Any, stream: Any) -> Fraction | None:
    av = load_av()
    if stream.duration:
        return stream.duration * Fraction(stream.time_base)
    return Fraction(container.duration, av.time_base) if container.duration else None


def _reason(error: Exception) -> str:
    if getattr(error, "errno", None) == errno.EINVAL:  # what `_SAFE` refuses
        return "it is in a format that is not read here"
    return getattr(error, "strerror", None) or str(error)
