"""Clips from file to file: frames, times, colours, sound, formats, odd inputs, resuming."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageSequence
from torch import Tensor

from arbstyle import ArbstyleError, Stylizer
from arbstyle.images import write_image
from arbstyle.video import finishing
from arbstyle.video.ahead import made_ahead
from arbstyle.video.finishing import Cut
from arbstyle.video.frames import ClipInfo, Frame
from arbstyle.video.job import SEGMENT_FRAMES, VideoJob
from arbstyle.video.outputs import plan_output
from arbstyle.video.reading import Film
from arbstyle.video.sources import open_clip, parse_time
from arbstyle.video.stylizer import VideoStylizer, crossfade, even_transition

av = pytest.importorskip("av")

RATE = 12
COLORS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (230, 120, 40),
    "grey": (128,) * 3,
}


class Copy(VideoStylizer):
    """Paints nothing, and counts."""

    def __init__(self) -> None:
        self.painted = 0
        self.stabilizer = None

    def reset(self) -> None:
        self.painted = 0

    def paint(self, frame: Any, time: float = 0.0) -> Any:
        self.painted += 1
        return frame

    def paint_film(self, frames: Iterable[Frame]) -> Generator[Frame, None, None]:
        for frame in frames:
            yield replace(frame, pixels=self.paint(frame.pixels))

    def state(self) -> dict[str, Tensor]:
        return {"painted": torch.tensor(self.painted)}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.painted = int(state["painted"])


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Smooth, and different for every number."""
    y, x = np.mgrid[:height, :width]
    planes = [
        128 + 100 * np.sin(x / 9 + number / 3),
        128 + 90 * np.cos(y / 8 - number / 5),
        2 * x + number % 50,
    ]
    return np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)


def write_film(
    path: Path,
    frames: int = 12,
    *,
    size: tuple[int, int] = (48, 64),
    ticks: Callable[[int], int] = lambda number: number,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: bool = True,
    subtitles: bool = False,
    options: dict[str, str] | None = None,
    prepare: Callable[[Any], object] = lambda stream: None,
    draw: Callable[[int], np.ndarray] | None = None,
) -> Path:
    """A clip of `frames` pictures, `ticks` of 1/12 second each, with a tone."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=RATE, options=options or {"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = Fraction(1, RATE)
        prepare(stream)
        tone = out.add_stream("aac", rate=16000, layout="mono") if sound else None
        words = out.add_mux_stream("mov_text") if subtitles else None
        if words is not None:
            words.metadata["language"] = "deu"
        for number in range(frames):
            array = picture(number, *size) if draw is None else draw(number)
            frame = av.VideoFrame.from_ndarray(array, format="rgba" if array.shape[-1] == 4 else "rgb24")
            frame = frame.reformat(
                format=pixels,
                dst_colorspace=stream.codec_context.colorspace,
                dst_color_range=stream.codec_context.color_range,
            )
            frame.pts, frame.time_base = ticks(number), Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if tone is not None:
            samples = np.sin(np.arange(16000 * (ticks(frames - 1) + 1) // RATE) / 5).astype(np.float32)
            for start in range(0, len(samples), 1024):
                part = av.AudioFrame.from_ndarray(
                    samples[None, start : start + 1024], format="fltp", layout="mono"
                )
                part.sample_rate, part.pts = 16000, start
                out.mux(tone.encode(part))
            out.mux(tone.encode(None))
        if words is not None:
            packet = av.Packet(b"\x00\x05Hallo")
            packet.stream, packet.time_base = words, Fraction(1, 1000)
            packet.pts = packet.dts = 200
            packet.duration = 400
            out.mux(packet)
    return path


def convert(
    source: Path | str,
    output: Path,
    *,
    size: int | None = None,
    start: float = 0,
    end: float | None = None,
    sound: bool = True,
    painter: VideoStylizer | None = None,
    codec: str | None = None,
    crf: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    clip = open_clip(str(source), size)
    cut = Cut(Fraction(start), None if end is None else Fraction(end), sound)
    job = VideoJob(clip, plan_output(str(output), codec, crf), cut, {"clip": str(source)})
    job.prepare(resume=resume, overwrite=overwrite)
    return job.run(painter or Copy())


def frames_of(path: Path | str, **options: Any) -> list[Frame]:
    return list(open_clip(str(path), **options).frames())


def times_of(path: Path | str) -> list[Fraction]:
    return [frame.time for frame in frames_of(path)]


def packets_of(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(streams)
            if packet.size
        ]


def psnr(one: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(255**2 / (one.float() - other.float()).square().mean().clamp_min(1e-9)))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "film.mp4", subtitles=True)


# --- reading --------------------------------------------------------------------------------------


def test_frames_are_what_was_written_each_at_its_time(film: Path):
    frames = frames_of(film)
    assert [frame.time for frame in frames] == [Fraction(number, RATE) for number in range(12)]
    for number, frame in enumerate(frames):
        assert frame.pixels.shape == (1, 3, 48, 64)
        assert psnr(frame.pixels, torch.from_numpy(picture(number)).permute(2, 0, 1)[None]) > 35


@pytest.mark.parametrize("matrix", [1, 5, 9], ids=["BT.709", "BT.601", "BT.2020"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("color", COLORS)
def test_colors_by_the_matrices_of_the_standards(tmp_path: Path, matrix: int, full: bool, color: str):
    """Luma and chroma are computed here from ITU-R BT.601, 709 and 2020, not by FFmpeg."""
    kr, kb = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    r, g, b = (value / 255 for value in COLORS[color])
    luma = kr * r + (1 - kr - kb) * g + kb * b
    chroma = (b - luma) / (2 - 2 * kb), (r - luma) / (2 - 2 * kr)
    scale, offset, wide = (255, 0, 255) if full else (219, 16, 224)
    values = [offset + scale * luma, *(128 + wide * part for part in chroma)]
    planes = [
        np.full(shape, round(min(value, 255)), np.uint8)
        for shape, value in zip([(32, 32), (16, 16), (16, 16)], values, strict=True)
    ]
    path = tmp_path / "flat.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"qp": "0"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 2 if full else 1
        frame = av.VideoFrame(32, 32, "yuv420p")
        for plane, values_of_plane in zip(frame.planes, planes, strict=True):
            padded = np.zeros((plane.height, plane.line_size), np.uint8)
            padded[:, : plane.width] = values_of_plane
            plane.update(padded.tobytes())
        frame.pts = 0
        out.mux([*stream.encode(frame), *stream.encode(None)])
    found = frames_of(path)[0].pixels[0, :, 16, 16]
    assert (found.float() - torch.tensor(COLORS[color]).float()).abs().max() <= 3
    copied = convert(path, tmp_path / "copy.mp4", crf=1)
    with av.open(str(copied)) as container:
        context = container.streams.video[0].codec_context
        assert (int(context.colorspace), int(context.color_range)) == (matrix, 2 if full else 1)
    assert (frames_of(copied)[0].pixels[0, :, 16, 16].float() - found.float()).abs().max() <= 3


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_films_are_upright_without_the_flag(tmp_path: Path, degrees: int):
    upright = write_film(tmp_path / "upright.mp4", 3)
    turned = write_film(
        tmp_path / "turned.mp4", 3, prepare=lambda stream: stream.set_display_rotation(degrees)
    )
    with av.open(str(turned)) as container:  # FFmpeg's own reading of the flag, counter-clockwise
        assert next(container.decode(video=0)).rotation % 360 == degrees
    copy = convert(turned, tmp_path / "copy.mp4", crf=5)
    with av.open(str(copy)) as container:
        assert next(container.decode(video=0)).rotation == 0
    for before, after in zip(frames_of(upright), frames_of(copy), strict=True):
        assert psnr(torch.rot90(before.pixels, degrees // 90, (2, 3)), after.pixels) > 30


def test_pixel_aspect_survives_and_turns(tmp_path: Path):
    def wide(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    def wide_and_turned(stream: Any) -> None:
        wide(stream)
        stream.set_display_rotation(90)

    copies = [
        convert(write_film(tmp_path / f"{number}.mp4", 2, prepare=prepare), tmp_path / f"copy{number}.mp4")
        for number, prepare in enumerate([wide, wide_and_turned])
    ]
    assert [Film(copy).info.aspect for copy in copies] == [Fraction(4, 3), Fraction(3, 4)]


def test_start_and_end_seek_to_the_very_frame(film: Path):
    frames = list(Film(film).frames(Fraction(1, 2), Fraction(3, 4)))
    assert [frame.time for frame in frames] == [Fraction(6, 12), Fraction(7, 12), Fraction(8, 12)]
    assert torch.equal(frames[0].pixels, frames_of(film)[6].pixels)


@pytest.mark.parametrize(
    ("text", "seconds"), [("12.5", 12.5), ("1:02.5", 62.5), ("1:00:02", 3602), ("0:10", 10)]
)
def test_times(text: str, seconds: float):
    assert parse_time(text) == Fraction(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "-3",
        "1:2:3:4",
        "1:123:4",
        "1000000000",
        "300000:00:00",
        "9" * 400,
        "9" * 5000,
        "0." + "9" * 5000,
    ],
    ids=lambda text: text[:12],
)
def test_bad_times(text: str):
    with pytest.raises(ArbstyleError, match=r"^expected a time .{,120}$"):
        parse_time(text)


# --- from file to file ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_sound_is_copied_bit_by_bit(film: Path, tmp_path: Path, suffix: str):
    copy = convert(film, tmp_path / f"copy{suffix}") if suffix != ".mkv" else None
    if copy is None:  # Matroska does not hold this kind of subtitles
        with pytest.raises(ArbstyleError, match=r"cannot hold .*subtitle.*--no-sound"):
            convert(film, tmp_path / "copy.mkv")
        copy = convert(write_film(tmp_path / "plain.mp4"), tmp_path / "copy.mkv", overwrite=True)
    assert [data for _, data in packets_of(copy, "audio")] == [data for _, data in packets_of(film, "audio")]
    moved = [
        after - before
        for (after, _), (before, _) in zip(packets_of(copy, "audio"), packets_of(film, "audio"), strict=True)
    ]
    video = times_of(copy)[0] - times_of(film)[0]
    assert max(abs(step - moved[0]) for step in moved) < Fraction(1, 500)
    assert len(times_of(copy)) == 12
    assert abs(video - moved[0]) < Fraction(1, 500)  # Matroska, which knows no time before 0, moves both


def test_subtitles_are_copied_with_their_language(film: Path, tmp_path: Path):
    copy = convert(film, tmp_path / "copy.mp4")
    assert packets_of(copy, "subtitle") == packets_of(film, "subtitle") != []
    with av.open(str(copy)) as container:
        assert container.streams.subtitles[0].language == "deu"


def test_variable_frame_rate_is_kept(tmp_path: Path):
    uneven = [0, 1, 4, 5, 11, 12, 30]
    source = write_film(tmp_path / "uneven.mp4", len(uneven), ticks=uneven.__getitem__)
    copy = convert(source, tmp_path / "copy.mp4")
    assert times_of(copy) == times_of(source) == [Fraction(tick, RATE) for tick in uneven]


def test_b_frames_of_the_source_come_in_order(tmp_path: Path):
    source = write_film(tmp_path / "b.mp4", 20, options={"bf": "3", "g": "7", "crf": "10"})
    copy = convert(source, tmp_path / "copy.mp4", crf=10)
    assert times_of(copy) == [Fraction(number, RATE) for number in range(20)]
    for before, after in zip(frames_of(source), frames_of(copy), strict=True):
        assert psnr(before.pixels, after.pixels) > 33


def test_a_part_of_the_clip_with_its_sound(film: Path, tmp_path: Path):
    copy = convert(film, tmp_path / "part.mp4", start=0.25, end=0.75)
    assert len(times_of(copy)) == 6
    sound = packets_of(copy, "audio")
    inside = [data for time, data in packets_of(film, "audio") if Fraction(1, 4) <= time < Fraction(3, 4)]
    assert [data for _, data in sound] == inside
    assert 0 <= sound[0][0] < Fraction(1024, 16000)


@pytest.mark.parametrize("codec", ["h264", "h265", "av1", "vp9", "prores", "ffv1"])
def test_codecs(tmp_path: Path, codec: str):
    source = write_film(tmp_path / "source.mp4", 5, sound=False)
    copy = convert(source, tmp_path / "copy.mkv", codec=codec)
    for before, after in zip(frames_of(source), frames_of(copy), strict=True):
        assert psnr(before.pixels, after.pixels) > (60 if codec == "ffv1" else 30)


def test_crf_trades_size_for_quality(film: Path, tmp_path: Path):
    good, bad = (convert(film, tmp_path / f"{crf}.mp4", crf=crf, sound=False) for crf in (5, 40))
    assert good.stat().st_size > 1.5 * bad.stat().st_size


@pytest.mark.parametrize("name", ["copy.gif", "copy.webp", "copy.png", "copy.apng", "copy.mkv"])
def test_animations_and_back(tmp_path: Path, name: str):
    source = tmp_path / "source.gif"
    pages = [Image.fromarray(picture(number)).quantize(64) for number in range(5)]
    delays = [100, 50, 200, 70, 130]
    pages[0].save(source, save_all=True, append_images=pages[1:], duration=delays, loop=0)
    frames = frames_of(source)
    assert [frame.duration * 1000 for frame in frames] == delays
    copy = convert(source, tmp_path / name, codec="ffv1" if name.endswith("mkv") else None)
    assert times_of(copy) == times_of(source)
    durations = [frame.duration for frame in frames_of(copy)]
    assert durations == [frame.duration for frame in frames] or name == "copy.mkv"
    for before, after in zip(frames, frames_of(copy), strict=True):
        assert psnr(before.pixels, after.pixels) > 28


@pytest.mark.parametrize("name", ["turned.webp", "turned.png"])
def test_turned_animations_are_upright(name: str, tmp_path: Path):
    pages = [Image.fromarray(picture(number)) for number in range(2)]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = [page.transpose(Image.Transpose.ROTATE_90) for page in pages]
    stored[0].save(tmp_path / name, save_all=True, append_images=stored[1:], exif=exif, lossless=True)
    clip = open_clip(str(tmp_path / name))
    assert (clip.info.width, clip.info.height) == (64, 48)
    for frame, page in zip(clip.frames(), pages, strict=True):
        assert np.array_equal(frame.pixels[0].permute(1, 2, 0), np.asarray(page))


@pytest.mark.parametrize(("name", "ticks"), [("fast.gif", 100), ("fast.png", 1000), ("fast.webp", 1000)])
def test_more_frames_than_an_animation_has_ticks(name: str, ticks: int, tmp_path: Path):
    """Three frames a tick: one of them is shown, and the film is as long as it was."""
    rate = Fraction(3 * ticks)
    for number in range(30):
        Image.fromarray(picture(number, 16, 24)).save(tmp_path / f"{number}.jpg")
    job = VideoJob(
        open_clip(f"{tmp_path}/%d.jpg", rate=rate),
        plan_output(str(tmp_path / name)),
        Cut(Fraction(0), None),
        {},
    )
    job.prepare()
    with Image.open(job.run(Copy())) as animation:
        shown = []
        for page in ImageSequence.Iterator(animation):
            page.load()
            shown.append(round(page.info["duration"]))
    assert 9 <= len(shown) <= 11
    assert sum(shown) == 10 * 1000 // ticks


def test_transparent_animations_stay_transparent(tmp_path: Path):
    source = tmp_path / "source.png"
    pages = []
    for number in range(3):
        array = np.dstack([picture(number), np.full((48, 64), 255, np.uint8)])
        array[16:32, : 10 * (number + 1), 3] = 0
        pages.append(Image.fromarray(array))
    pages[0].save(source, save_all=True, append_images=pages[1:], duration=100)
    for name, codec in [
        ("a.gif", None),
        ("a.webp", None),
        ("a.apng", None),
        ("a.webm", None),
        ("a.mov", "prores"),
        ("p", None),
    ]:
        copy = frames_of(convert(source, tmp_path / name, codec=codec))
        assert len(copy) == 3
        for number, frame in enumerate(copy):
            assert frame.alpha is not None, name
            hidden = frame.alpha[0, 0, 18:30, : 10 * (number + 1) - 2]
            seen = frame.alpha[0, 0, :, 10 * (number + 1) + 2 :]
            assert int(hidden.max()) <= 8, name
            assert int(seen.min()) >= 247, name
    white = frames_of(convert(source, tmp_path / "flat.mp4"))[2].pixels
    assert int(white[..., 18:30, :26].min()) > 240


def test_folders_and_numbered_pictures(tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (1, 2, 9, 10, 11):
        Image.fromarray(picture(number)).save(folder / f"frame-{number}.png")
    expected = [torch.from_numpy(picture(number)).permute(2, 0, 1)[None] for number in (1, 2, 9, 10, 11)]
    for text in (str(folder), f"{folder}/frame-%d.png", f"{folder}/frame-*.png"):
        assert all(
            torch.equal(frame.pixels, one) for frame, one in zip(frames_of(text), expected, strict=True)
        )
    convert(folder, tmp_path / "out" / "%03d.png")
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        f"{n:03d}.png" for n in range(1, 6)
    ]
    assert all(
        torch.equal(frame.pixels, one)
        for frame, one in zip(frames_of(tmp_path / "out"), expected, strict=True)
    )
    with pytest.raises(ArbstyleError, match="exists"):
        convert(folder, tmp_path / "out" / "%03d.png")


def test_rate_of_pictures(tmp_path: Path):
    for number in range(3):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    clip = open_clip(str(tmp_path), rate=Fraction(10))
    assert [frame.time for frame in clip.frames()] == [0, Fraction(1, 10), Fraction(2, 10)]


def test_sizes(tmp_path: Path):
    odd = write_film(
        tmp_path / "odd.mkv", 3, size=(37, 53), codec="ffv1", pixels="bgr0", sound=False, options={}
    )
    assert frames_of(odd)[0].pixels.shape == (1, 3, 37, 53)
    assert frames_of(convert(odd, tmp_path / "even.mp4"))[0].pixels.shape == (1, 3, 38, 54)
    assert frames_of(convert(odd, tmp_path / "same.mkv", codec="ffv1"))[0].pixels.shape == (1, 3, 37, 53)
    assert frames_of(convert(odd, tmp_path / "small.mp4", size=16))[0].pixels.shape == (1, 3, 16, 24)
    tiny = write_film(
        tmp_path / "tiny.mkv", 2, size=(1, 1), codec="ffv1", pixels="bgr0", sound=False, options={}
    )
    assert len(frames_of(convert(tiny, tmp_path / "tiny.mp4"))) == 2


# --- odd inputs -----------------------------------------------------------------------------------


def bad_inputs(folder: Path) -> Iterator[tuple[Path, str]]:
    text = folder / "text.mp4"
    text.write_text("once upon a time\n" * 100)
    yield text, "cannot read '.*' as a video"
    empty = folder / "empty.mp4"
    empty.touch()
    yield empty, "cannot read '.*' as a video"
    yield folder / "missing.mp4", "cannot read '.*' as a video: there is no such file"
    os.mkfifo(folder / "pipe.mp4")
    yield folder / "pipe.mp4", "it is not a regular file"
    write_film(folder / "other.mp4", 2)
    playlist = folder / "playlist.mp4"  # would open another file
    playlist.write_text("ffconcat version 1.0\nfile other.mp4\n")
    yield playlist, "a format that is not read here"
    for suffix in ("png", "jpg"):
        painting = folder / f"{suffix}.mp4"
        Image.fromarray(picture(0)).save(painting, format={"png": "PNG", "jpg": "JPEG"}[suffix])
        yield painting, "is a picture: paint it with 'arbstyle stylize'"
    still = folder / "still.png"
    Image.fromarray(picture(0)).save(still)
    yield still, "is one picture: paint it with 'arbstyle stylize'"
    sound = folder / "sound.m4a"
    with av.open(str(sound), "w") as out:
        tone = out.add_stream("aac", rate=16000, layout="mono")
        part = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        part.sample_rate = 16000
        out.mux([*tone.encode(part), *tone.encode(None)])
    yield sound, "holds only sound"
    hdr = write_film(
        folder / "hdr.mp4", 2, prepare=lambda stream: setattr(stream.codec_context, "color_trc", 16)
    )
    yield hdr, "is HDR video, PQ"
    whole = write_film(folder / "whole.mp4", 4)
    headless = folder / "headless.mp4"  # the table at the end is lost
    headless.write_bytes(whole.read_bytes()[:2000])
    yield headless, "cannot read '.*' as a video"
    nothing = folder / "nothing"
    nothing.mkdir()
    yield nothing, "no pictures found"


def test_bad_inputs_are_told_in_one_line(tmp_path: Path):
    for path, message in bad_inputs(tmp_path):
        with pytest.raises(ArbstyleError, match=message) as caught:
            open_clip(str(path))
        assert "\n" not in str(caught.value)


def test_a_film_that_is_cut_off_is_painted_as_far_as_it_goes(tmp_path: Path):
    whole = write_film(tmp_path / "whole.mkv", 40, options={"crf": "10", "g": "10", "bf": "0"})
    cut_off = tmp_path / "cut.mkv"
    cut_off.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 5 < len(times_of(convert(cut_off, tmp_path / "copy.mkv"))) < 40


def test_one_frame_and_no_sound(tmp_path: Path):
    one = write_film(tmp_path / "one.mp4", 1, sound=False)
    assert times_of(convert(one, tmp_path / "copy.mp4")) == [0]


def test_ten_bits(tmp_path: Path):
    deep = write_film(tmp_path / "deep.mp4", 3, pixels="yuv420p10le")
    for before, after in zip(frames_of(deep), frames_of(convert(deep, tmp_path / "copy.mp4")), strict=True):
        assert psnr(before.pixels, after.pixels) > 33


@pytest.mark.parametrize(
    ("name", "codec", "crf", "message"),
    [
        ("a.avi", None, None, "expected a name that ends in"),
        ("a.webm", "h264", None, "cannot hold h264"),
        ("a.mp4", "ffv1", None, "cannot hold ffv1"),
        ("a.mp4", None, 99, "expected a --crf from 0"),
        ("a.mov", "prores", 20, "knows no such number"),
        ("a.gif", "h264", None, "are for films"),
        ("f/%d.xyz", None, None, "cannot write pictures as"),
    ],
)
def test_bad_outputs(tmp_path: Path, name: str, codec: str | None, crf: int | None, message: str):
    with pytest.raises(ArbstyleError, match=message):
        plan_output(str(tmp_path / name), codec, crf)


def test_webm_cannot_hold_this_sound(film: Path, tmp_path: Path):
    with pytest.raises(ArbstyleError, match=r"cannot hold the source's audio \(aac\).*--no-sound"):
        convert(film, tmp_path / "a.webm")
    assert len(times_of(convert(film, tmp_path / "a.webm", sound=False, overwrite=True))) == 12


# --- interruptions --------------------------------------------------------------------------------


class Interrupted(Copy):
    """Stops once, in the middle."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def paint(self, frame: Any, time: float = 0.0) -> Any:
        if self.painted == self.after:
            raise KeyboardInterrupt
        # Depends on what was painted before, as stable painting does.
        return super().paint(frame).clone().fill_(self.painted % 256)


def test_resumed_work_equals_uninterrupted_work(tmp_path: Path):
    source = write_film(tmp_path / "long.mp4", 3 * SEGMENT_FRAMES + 10, size=(16, 16))
    whole = convert(source, tmp_path / "whole.mp4", painter=Interrupted(10_000))
    target = tmp_path / "resumed.mp4"
    for stop in (SEGMENT_FRAMES // 2, SEGMENT_FRAMES + 5, 2 * SEGMENT_FRAMES + 1):
        with pytest.raises(KeyboardInterrupt):
            convert(source, target, painter=Interrupted(stop), resume=True)
        assert not target.exists()
    with pytest.raises(ArbstyleError, match="--resume to go on"):
        convert(source, target)
    painter = Interrupted(10_000)
    convert(source, target, painter=painter, resume=True)
    assert target.read_bytes() == whole.read_bytes()
    assert not target.with_name("resumed.mp4.parts").exists()


def test_pictures_that_were_being_written_are_written_on(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Only those: what came from elsewhere is not replaced."""
    folder = tmp_path / "out"

    def stop(pixels: Tensor, path: Path, **options: Any) -> None:
        if path.name == "003.png":
            raise KeyboardInterrupt
        write_image(pixels, path, **options)

    monkeypatch.setattr(finishing, "write_image", stop)
    with pytest.raises(KeyboardInterrupt):
        convert(film, folder / "%03d.png")
    monkeypatch.undo()
    assert len(list(folder.iterdir())) == 2
    foreign = folder / "013.png"
    foreign.write_text("mine")
    with pytest.raises(ArbstyleError, match=r"013\.png' exists"):
        convert(film, folder / "%03d.png", resume=True)
    foreign.unlink()
    convert(film, folder / "%03d.png", resume=True)
    assert len(list(folder.iterdir())) == 12
    assert not tmp_path.joinpath("out.parts").exists()


def test_only_the_same_work_is_resumed(film: Path, tmp_path: Path):
    target = plan_output(str(tmp_path / "a.mp4"))
    clip, cut = open_clip(str(film)), Cut(Fraction(0), None)
    VideoJob(clip, target, cut, {"strength": 1.0}).prepare()
    with pytest.raises(ArbstyleError, match="another strength"):
        VideoJob(clip, target, cut, {"strength": 0.5}).prepare(resume=True)
    record = target.parts / "job.json"
    assert json.loads(record.read_text())["segments"] == []
    record.write_text("{")
    with pytest.raises(ArbstyleError, match="damaged"):
        VideoJob(clip, target, cut, {"strength": 1.0}).prepare(resume=True)


def test_what_exists_is_not_replaced_unasked(film: Path, tmp_path: Path):
    target = convert(film, tmp_path / "a.mp4")
    before = target.read_bytes()
    with pytest.raises(ArbstyleError, match="--overwrite"):
        convert(film, target)
    assert target.read_bytes() == before
    assert convert(film, target, overwrite=True).read_bytes() == before


def test_nothing_between_start_and_end(film: Path, tmp_path: Path):
    with pytest.raises(ArbstyleError, match="no frames"):
        convert(film, tmp_path / "a.mp4", start=50)


# --- painting -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    return Stylizer.from_pretrained()


STYLES = ["examples/painting-night.jpg", "examples/painting-venice.jpg"]


def test_generator_keeps_the_kind_of_frames(stylizer: Stylizer):
    painter = VideoStylizer(stylizer, STYLES[0])
    tensors = [torch.from_numpy(picture(number, 32, 32)).permute(2, 0, 1) for number in range(2)]
    painted = list(painter(tensors))
    assert all(
        isinstance(one, Tensor) and one.shape == (3, 32, 32) and one.dtype == torch.uint8 for one in painted
    )
    images = list(painter(picture(number, 32, 32) for number in range(2)))
    assert all(isinstance(one, Image.Image) for one in images)
    assert np.array_equal(np.asarray(images[1]), painted[1].permute(1, 2, 0).numpy())  # type: ignore[union-attr]


@pytest.mark.parametrize("stability", [0.0, 0.8])
def test_a_film_is_painted_as_its_frames_are(stylizer: Stylizer, two_threads: None, stability: float):
    frames = [
        Frame(
            torch.from_numpy(picture(number, 48, 64)).permute(2, 0, 1)[None],
            Fraction(number, 25),
            Fraction(0),
        )
        for number in range(5)
    ]
    weights = crossfade([(0, 0.2)])
    painter = VideoStylizer(stylizer, STYLES, weights=weights, stability=stability)
    expected = [painter.paint(frame.pixels, float(frame.time)) for frame in frames]
    painter.reset()
    array = frames[0].pixels[0].permute(1, 2, 0).numpy()
    for as_given in (array, Image.fromarray(array)):
        assert np.array_equal(np.asarray(painter.paint(as_given)), expected[0][0].permute(1, 2, 0).numpy()), (
            "a frame of another kind"
        )
        painter.reset()
    painter.reset()
    film = list(painter.paint_film(frames))
    assert [frame.time for frame in film] == [frame.time for frame in frames]
    for one, other in zip(film, expected, strict=True):
        difference = (one.pixels.int() - other.int()).abs()
        assert difference.max() <= 2
        assert difference.float().mean() < 0.1


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_work_ahead_is_side_by_side_in_order_and_bounded(two_threads: None):
    taken: list[int] = []
    together = threading.Barrier(2, timeout=60)

    def items() -> Iterator[int]:
        for number in range(6):
            taken.append(number)
            yield number

    def work(number: int) -> tuple[int, int]:
        together.wait()  # passes only if two are worked on at a time
        return number * 10, torch.get_num_threads()

    for number, (result, threads) in made_ahead(work, items(), lambda _: 2):
        assert (result, threads) == (number * 10, 1)
        assert taken[-1] <= number + 3
    assert taken == list(range(6))
    assert torch.get_num_threads() == 2


def test_work_ahead_fails_in_its_turn(two_threads: None):
    def work(number: int) -> float:
        return 1 / (2 - number)

    ahead = made_ahead(work, range(9), lambda _: 3)
    assert [next(ahead), next(ahead)] == [(0, 0.5), (1, 1.0)]
    with pytest.raises(ZeroDivisionError):
        next(ahead)
    assert next(made_ahead(work, range(9), lambda _: 0)) == (0, 0.5)
    assert torch.get_num_threads() == 2
    assert not list(made_ahead(work, [], lambda _: 2))


def test_crossfade_weights():
    weights = crossfade([(1, 2), (4, 4)])
    assert [weights(time) for time in (0, 1.5, 3, 4, 9)] == [
        [1, 0, 0],
        [0.5, 0.5, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 0, 1],
    ]
    assert even_transition(3, 1, 5) == [(1, 3), (3, 5)]
    with pytest.raises(ArbstyleError, match="follow each other"):
        crossfade([(2, 3), (1, 4)])


def test_info_defaults():
    info = ClipInfo(4, 2, Fraction(25), Fraction(1, 25), None)
    assert (info.aspect, info.colors, info.alpha) == (1, None, False)
