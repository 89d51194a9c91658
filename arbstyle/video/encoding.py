"""Frames to packets: codecs by the names people use, and the pixels and colours they take."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from arbstyle.errors import ArbstyleError
from arbstyle.video.frames import SWSCALE_MATRICES, ClipInfo, Colors, Frame
from arbstyle.video.library import load_av

_PICTURE_COLORS = Colors(matrix=1, primaries=1, transfer=1)
"""What films from pictures are stored in: BT.709, which players take sRGB for."""


@dataclass(frozen=True)
class Codec:
    """A way to store a film.

    Attributes:
        encoder: its name in FFmpeg.
        pixels, pixels_with_alpha: formats of pixels; None where it has no alpha.
        crf: the default, and its range; None where the codec knows no constant quality.
        options: of the encoder.
        even: whether sides must be even.
        segments: format of segments. It must leave packets as the encoder makes them, which Matroska does not
            with H.264 and H.265, and keep an alpha beside them, which NUT does not.
    """

    encoder: str
    pixels: str
    pixels_with_alpha: str | None = None
    crf: tuple[int, int] | None = None
    options: dict[str, str] = field(default_factory=dict)
    even: bool = True
    segments: str = "matroska"


CODECS = {
    "h264": Codec("libx264", "yuv420p", None, (18, 51), {"preset": "veryfast"}, segments="nut"),
    "h265": Codec(
        "libx265",
        "yuv420p",
        None,
        (22, 51),
        {"preset": "veryfast", "x265-params": "log-level=error"},
        segments="nut",
    ),
    "av1": Codec("libsvtav1", "yuv420p", None, (28, 63), {"preset": "8"}),
    "vp9": Codec("libvpx-vp9", "yuv420p", "yuva420p", (28, 63), {"b:v": "0", "row-mt": "1", "cpu-used": "5"}),
    "prores": Codec("prores_ks", "yuv422p10le", "yuva444p10le"),
    "ffv1": Codec("ffv1", "bgr0", "bgra", even=False),
}
LOSSLESS = "ffv1"
"""Keeps every byte of every frame."""


def check_encoding(name: str, crf: int | None) -> None:
    """Raise an ArbstyleError for a codec that is unknown, or a quality that is out of its range."""
    if name not in CODECS:
        raise ArbstyleError(f"expected a --codec {', '.join(CODECS)}, got '{name}'")
    codec = CODECS[name]
    if codec.encoder not in load_av().codecs_available:
        raise ArbstyleError(f"this installation of PyAV cannot write {name}; choose another --codec")
    if crf is None:
        return
    if codec.crf is None:
        raise ArbstyleError(f"--crf is for h264, h265, av1 and vp9; {name} knows no such number")
    if not 0 <= crf <= codec.crf[1]:
        raise ArbstyleError(f"expected a --crf from 0 (best) to {codec.crf[1]} for {name}, got {crf}")


class SegmentWriter:
    """Writes frames of one segment, to be closed when it is whole.

    Times in the file do not count: those of the frames are kept beside it.

    Args:
        path: of the segment.
        info: of the painted clip.
        codec: one of :data:`CODECS`.
        crf: constant quality; the codec's default if left out.
        alpha: keep the frames' alpha.
    """

    def __init__(self, path: Path, info: ClipInfo, codec: str, crf: int | None, alpha: bool) -> None:
        self._container = load_av().open(str(path), "w", format=CODECS[codec].segments)
        self._stream = add_encoder(self._container, info, codec, crf, alpha)
        self.path = path
        self._time_base = info.time_base
        self._colors = info.colors or _PICTURE_COLORS
        self._alpha = alpha
        self._even = CODECS[codec].even
        self._packets = 0
        self._scaler = load_av().video.reformatter.VideoReformatter()  # one: its tables take a while to make

    def write(self, frame: Frame) -> None:
        encoded = self._converted(frame)
        encoded.pts = round(frame.time / self._time_base)
        encoded.time_base = self._time_base
        self._mux(self._stream.encode(encoded))

    def close(self) -> None:
        self._mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Close the file without what is still in the encoder."""
        self._container.close()

    def _converted(self, frame: Frame) -> Any:
        """A frame as the encoder takes it; transparent parts are over white, where alpha is not kept."""
        from av.video.reformatter import ColorRange, Interpolation

        pixels, picture = self._stream.pix_fmt, frame.pixels
        if self._alpha:
            plane = torch.full_like(picture[:, :1], 255) if frame.alpha is None else frame.alpha
            picture = torch.cat([picture, plane], dim=1)
        if self._even and (picture.shape[2] % 2 or picture.shape[3] % 2):
            padding = (0, picture.shape[3] % 2, 0, picture.shape[2] % 2)
            picture = F.pad(picture.float(), padding, mode="replicate").to(torch.uint8)
        array = np.ascontiguousarray(picture[0].permute(1, 2, 0).numpy())
        full = self._colors.full_range or not pixels.startswith("yuv")
        return self._scaler.reformat(
            load_av().VideoFrame.from_ndarray(array, format="rgba" if self._alpha else "rgb24"),
            format=pixels,
            dst_colorspace=SWSCALE_MATRICES[self._colors.matrix],
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
        )

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            packet.pts = packet.dts = self._packets
            packet.time_base = Fraction(1, 25)
            packet.duration = 1
            self._container.mux(packet)
            self._packets += 1


def add_encoder(container: Any, info: ClipInfo, codec: str, crf: int | None, alpha: bool) -> Any:
    """Add a video stream to an output container."""
    known = CODECS[codec]
    os.environ.setdefault("SVT_LOG", "1")  # errors only, of the AV1 encoder, which writes to the terminal
    options = dict(known.options)
    if known.crf is not None:
        options["crf"] = str(known.crf[0] if crf is None else crf)
    if alpha and codec == "prores":
        options["profile"] = "4"
    stream = container.add_stream(known.encoder, rate=info.rate.limit_denominator(100_000), options=options)
    even = (lambda side: side + side % 2) if known.even else int
    stream.width, stream.height = even(info.width), even(info.height)
    stream.pix_fmt = (known.pixels_with_alpha if alpha else None) or known.pixels
    context = stream.codec_context
    context.time_base = info.time_base
    context.sample_aspect_ratio = info.aspect
    # Packets then come in the order of frames, and segments can be put behind each other as they are.
    context.max_b_frames = 0
    set_colors(context, info.colors or _PICTURE_COLORS, stream.pix_fmt)
    return stream


def set_colors(context: Any, colors: Colors, pixels: str) -> None:
    """Say in a codec context how its pixels are to be understood."""
    if not pixels.startswith(("yuv", "yuva")):
        return
    context.colorspace = colors.matrix
    context.color_primaries = colors.primaries
    context.color_trc = colors.transfer
    context.color_range = 2 if colors.full_range else 1
