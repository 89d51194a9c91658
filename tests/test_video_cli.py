"""`arbstyle video`: the command line, and what becomes of work that is stopped in the middle."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from arbstyle import Stylizer
from arbstyle.cli import main
from arbstyle.images.locking import locked
from arbstyle.painting import Style

av = pytest.importorskip("av")

from test_video import frames_of, picture, psnr, write_film  # noqa: E402

from arbstyle.video.reading import Film  # noqa: E402
from arbstyle.video.sources import open_clip  # noqa: E402

REPOSITORY = Path(__file__).resolve().parent.parent
NIGHT, VENICE = (str(REPOSITORY / "examples" / f"painting-{name}.jpg") for name in ("night", "venice"))


def video(*words: object) -> int:
    return main(["video", *map(str, words)])


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "film.mp4", 8, size=(32, 48))


def test_a_film_is_painted(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    target = tmp_path / "painted.mp4"
    assert video(film, "--style", NIGHT, "-o", target, "--stability", 0) == 0
    assert capsys.readouterr().out.strip() == str(target)
    painted = frames_of(target)
    assert len(painted) == 8
    for before, after in zip(frames_of(film), painted, strict=True):
        assert psnr(before.pixels, after.pixels) < 25


def test_strength_0_gives_back_the_film(film: Path, tmp_path: Path):
    assert video(film, "--style", NIGHT, "--strength", 0, "--crf", 5, "-o", tmp_path / "same.mp4") == 0
    for before, after in zip(frames_of(film), frames_of(tmp_path / "same.mp4"), strict=True):
        assert psnr(before.pixels, after.pixels) > 30


def test_styles_change_over_time(film: Path, tmp_path: Path):
    """At both ends the transition is what each style paints alone."""

    def painted(name: str, *words: object) -> list[np.ndarray]:
        folder = tmp_path / name
        assert video(film, *words, "--stability", 0, "-o", f"{folder}/") == 0
        return [np.asarray(Image.open(path)).astype(float) for path in sorted(folder.iterdir())]

    first, second = painted("first", "--style", NIGHT), painted("second", "--style", VENICE)
    moving = painted("moving", "--style", NIGHT, VENICE, "--transition", "0.2-0.45")
    to_first, to_second = (
        [np.abs(a - b).mean() for a, b in zip(moving, ends, strict=True)] for ends in (first, second)
    )
    assert to_first[:3] == [0, 0, 0]
    assert to_second[6:] == [0, 0]
    assert all(to_first[i] > 0 and to_second[i] > 0 for i in (3, 4, 5))
    assert painted("even", "--style", NIGHT, VENICE, "--transition", "even")[0].tolist() == first[0].tolist()


def test_masks_and_colours(film: Path, tmp_path: Path):
    mask = tmp_path / "mask.png"
    left = np.zeros((32, 48), np.uint8)
    left[:, :24] = 255
    Image.fromarray(left).save(mask)
    out = tmp_path / "out"
    options = ["--mask", mask, "--keep-colors", "luminance", "--stability", 0, "--end", 0.1]
    assert video(film, "--style", NIGHT, *options, "-o", f"{out}/") == 0
    before, after = frames_of(film)[0].pixels.int(), frames_of(out)[0].pixels.int()
    assert (before - after).abs()[..., 30:].max() <= 1
    assert (before - after).abs()[..., :18].float().mean() > 3


def test_frames_from_all_of_the_clip_refine_the_style(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    frames = [frame.pixels for frame in frames_of(film)]
    seen: list[int] = []

    def refine(self: Stylizer, style: str, photos: Sequence[Tensor], steps: int, **options: object) -> Style:
        assert steps == 7
        seen.extend(next(n for n, one in enumerate(frames) if torch.equal(one, photo)) for photo in photos)
        return self.style(style)

    monkeypatch.setattr(Stylizer, "refine", refine)
    out = tmp_path / "out.mp4"
    assert video(film, "--style", NIGHT, "--refine", 7, "--strength", 0, "-o", out) == 0
    assert seen == [1, 3, 5, 7]
    assert len(frames_of(out)) == 8


def test_refinement_begins_when_nothing_stands_against_the_result(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(Stylizer, "refine", lambda *_, **options: pytest.fail("refined"))
    target = tmp_path / "out.mp4"
    target.write_text("mine")
    assert video(film, "--style", NIGHT, "--refine", 7, "-o", target) == 2
    assert "exists; add --overwrite" in capsys.readouterr().err


def test_strength_beyond_one_is_told_in_one_line(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
):
    assert video(film, "--style", NIGHT, "--strength", 1.5, "-o", tmp_path / "out.mp4") == 0
    assert capsys.readouterr().err.count("beyond 1") == 1
    assert not [warning for warning in recwarn if "beyond 1" in str(warning.message)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--style", NIGHT, VENICE], "2 styles for one clip"),
        (["--style", NIGHT, "--transition", "even"], "give two or more"),
        (["--style", NIGHT, VENICE, "--transition", "1-2", "2-3"], "change 1 times"),
        (["--style", NIGHT, VENICE, "--transition", "5"], "expected a transition"),
        (["--style", NIGHT, "--start", "2", "--end", "1"], "must come after"),
        (["--style", NIGHT, "--stability", "2"], "expected a stability from 0 to 1"),
        (["--style", NIGHT, "--rate", "10"], "--rate is for pictures"),
        (["--style", NIGHT, "--start", "soon"], "expected a time"),
        (["--style", NIGHT, "--start", 5000 * "9"], "expected a time"),
        (["--style", NIGHT, VENICE, "--transition", "0-" + 400 * "9"], "expected a time"),
        (["--style", NIGHT, "--backend", "onnx"], "--backend onnx is for photos"),
        (["--style", NIGHT, "--refine", "1", "--start", "100"], "no frames of"),
        (["--style", "nothing.jpg"], "nothing.jpg"),
        (["--style", NIGHT, "--crf", "70"], "expected a --crf"),
    ],
)
def test_mistakes_are_told_in_one_line(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: Sequence[str], message: str
):
    assert video(film, *words, "-o", tmp_path / "out.mp4") == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4"]


def test_the_clip_is_never_replaced(film: Path, capsys: pytest.CaptureFixture[str]):
    assert video(film, "--style", NIGHT, "-o", film, "--overwrite") == 2
    assert "is an input (CLIP) and would be replaced" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("clip", "style", "output", "role"),
    [
        ("frames", NIGHT, "frames", "CLIP"),
        ("frames", NIGHT, "link", "CLIP"),
        ("frames/*.png", NIGHT, "frames/%06d.png", "CLIP"),
        ("frames", "style.png", "style.png", "--style"),
        ("frames", "to-style.png", "style.png", "--style"),
        ("frames", "styles/000002.png", "styles", "--style"),
    ],
)
def test_no_input_is_replaced_in_any_role(
    clip: str,
    style: str,
    output: str,
    role: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(
        ["frames/000001.png", "frames/000002.png", "style.png", "styles/000002.png"]
    ):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture(number, 24, 32)).save(name)
    Path("link").symlink_to("frames")
    Path("to-style.png").symlink_to("style.png")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    assert video(clip, "--style", style, "-o", output, "--overwrite") == 2
    assert f"is an input ({role}) and would be replaced" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "1e400", "1e23", "1e-300"])
def test_rates_that_no_film_has(rate: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    Image.fromarray(picture(0, 24, 32)).save(tmp_path / "0.png")
    assert video(tmp_path, "--style", NIGHT, f"--rate={rate}", "-o", tmp_path / "out.mp4") == 2
    assert "expected a --rate from 0.01 to 1000" in capsys.readouterr().err


def test_a_missing_library_is_told_with_the_remedy(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for module in ("av", "cv2"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            assert video(film, "--style", NIGHT, "-o", tmp_path / "out.mp4") == 2
        assert "pip install 'arbstyle[video]'" in capsys.readouterr().err


def test_a_full_disk_leaves_work_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from arbstyle.video.encoding import SegmentWriter

    film = write_film(tmp_path / "long.mp4", 100, size=(16, 16))
    words = (film, "--style", NIGHT, "--strength", 0, "-o", tmp_path / "out.mp4")
    write = SegmentWriter.write

    def full(self: SegmentWriter, frame: object) -> None:
        if self.path.name.startswith("00001"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, frame)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(SegmentWriter, "write", full)
        assert video(*words) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()
    assert video(*words, "--resume") == 0
    assert len(frames_of(tmp_path / "out.mp4")) == 100


SIGNAL_AT_FRAME = """
import os, sys
from arbstyle.cli import main
from arbstyle.video.encoding import SegmentWriter
sign, segment, frame, *words = sys.argv[1:]
write, written = SegmentWriter.write, []
def signalled(self, *args):
    write(self, *args)
    written.append(self.path.name)
    if self.path.name.startswith(segment) and written.count(self.path.name) == int(frame):
        os.kill(os.getpid(), int(sign))
SegmentWriter.write = signalled
sys.exit(main(["video", *words]))
"""


def test_killed_and_interrupted_work_ends_as_if_it_had_not_been(tmp_path: Path):
    film = write_film(tmp_path / "long.mp4", 110, size=(16, 24))
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    assert video(film, "--style", NIGHT, "-o", whole) == 0
    parts = tmp_path / "out.mp4.parts"
    for sign, segment, code in ((signal.SIGKILL, "00000", -signal.SIGKILL), (signal.SIGINT, "00001", 130)):
        words = [SIGNAL_AT_FRAME, int(sign), segment, 5, film, "--style", NIGHT, "-o", target, "--resume"]
        stopped = subprocess.run(
            [sys.executable, "-c", *map(str, words)], capture_output=True, text=True, cwd=REPOSITORY
        )
        assert stopped.returncode == code
        assert not target.exists()
    assert "the same command with --resume goes on from here" in stopped.stderr
    assert (parts / "00000.segment").exists()
    assert video(film, "--style", NIGHT, "-o", target, "--resume") == 0
    assert target.read_bytes() == whole.read_bytes()
    assert not parts.exists()


def test_a_job_that_fails_before_its_first_frame_leaves_nothing(tmp_path: Path):
    film = write_film(tmp_path / "film.mp4", 3, size=(16, 24))
    command = [film, "--style", NIGHT, "-o", tmp_path / "out.mp4"]
    assert video(*command, "--start", "5:00") == 2
    clip = see_through(tmp_path / "clip", (0, 0, 0))
    Image.new("RGB", (10, 10)).save(clip / "2.png")
    assert video(clip, "--style", NIGHT, "-o", tmp_path / "frames.mp4") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip", "film.mp4"]
    assert video(*command, "--codec", "h265") == 0


@pytest.mark.parametrize("option", ["--resume", "--overwrite"])
def test_a_folder_called_like_unfinished_work_is_not_deleted(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    film = write_film(tmp_path / "long.mp4", 3, size=(16, 24))
    mine = tmp_path / "out.mp4.parts" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert video(film, "--style", NIGHT, "-o", tmp_path / "out.mp4", option) == 2
    assert "not from an earlier run" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_fewer_pictures_than_before_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    film = write_film(tmp_path / "long.mp4", 3, size=(16, 24))
    (tmp_path / "frames").mkdir()
    for number in range(1, 6):
        (tmp_path / "frames" / f"{number:06d}.png").write_text("earlier")
    words = ("--style", NIGHT, "-o", tmp_path / "frames", "--overwrite")
    assert video(film, *words) == 0
    assert "2 pictures of an earlier run are left beside the 3 new ones" in capsys.readouterr().err


def test_a_folder_of_pictures_becomes_a_film(tmp_path: Path):
    for number in range(4):
        Image.fromarray(picture(number, 24, 32)).save(tmp_path / f"{number}.png")
    words = ("--style", NIGHT, "--rate", 10, "--stability", 0)
    assert video(tmp_path, *words, "-o", tmp_path.parent / "folder.mp4", "--overwrite") == 0
    times = [frame.time for frame in frames_of(tmp_path.parent / "folder.mp4")]
    assert [float(time) for time in times] == [0, 0.1, 0.2, 0.3]


# --- names, and other processes -------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="such names are of Linux")
def test_a_style_whose_name_is_no_text(film: Path, tmp_path: Path):
    style = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    style.write_bytes(Path(NIGHT).read_bytes())
    assert video(film, "--style", style, "--end", 0.05, "-o", tmp_path / "painted.mp4") == 0
    with av.open(str(tmp_path / "painted.mp4")) as painted:
        assert "caf\\udce9.jpg" in painted.metadata["comment"]


@pytest.mark.parametrize("pattern", ["./{}/%03d.png", "{}/%03d.png", "{}/*.png", "{}"])
@pytest.mark.parametrize("folder", ["frames", "[a]b"])
def test_names_of_pictures_in_folders(
    pattern: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir()
    for number in (2, 10):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(f"{folder}/{number:03d}.png")
    assert [int(frame.pixels[0, 0, 0, 0]) for frame in open_clip(pattern.format(folder)).frames()] == [2, 10]


@pytest.mark.parametrize("name", ["what?.mp4", "clip[1].mp4", "100%d.mp4"])
def test_a_film_that_is_called_like_a_pattern(name: str, film: Path):
    assert isinstance(open_clip(str(film.rename(film.with_name(name)))), Film)


def test_nothing_is_said_of_frames_that_are_painted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    frames = [Image.new("RGB", (16, 16), (level, 0, 0)) for level in (0, 200)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert len(list(open_clip(str(tmp_path / "film.gif")).frames())) == 2
    assert caplog.records == []


@pytest.mark.parametrize("option", ["--resume", "--overwrite"])
def test_a_second_process_at_a_film_is_refused(
    option: str, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    parts = tmp_path / "painted.mp4.parts"
    parts.mkdir()
    (parts / "00000.tmp").write_text("of the other")
    words = (film, "--style", NIGHT, "--end", 0.05, "-o", tmp_path / "painted.mp4", option)
    with locked(parts, "video job"):
        assert video(*words) == 2
        assert "another video job is at work" in capsys.readouterr().err
        assert (parts / "00000.tmp").read_text() == "of the other"
    assert video(*words) == 0
    assert not parts.exists()


# --- transparency ---------------------------------------------------------------------------------


def see_through(folder: Path, hidden: tuple[int, int, int]) -> Path:
    """Two frames: a quarter opaque and red, a quarter faint and brown, and a half of a hidden colour."""
    pixels = np.zeros((32, 48, 4), np.uint8)
    pixels[..., :3] = hidden
    pixels[:16, :24], pixels[16:, :24] = (250, 20, 10, 255), (200, 90, 30, 64)
    folder.mkdir()
    for number in (1, 2):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_transparent_frames_keep_their_colours(tmp_path: Path):
    clip = see_through(tmp_path / "clip", (0, 255, 0))
    assert video(clip, "--style", NIGHT, "--strength", 0, "-o", f"{tmp_path}/same/") == 0
    before, after = (
        np.asarray(Image.open(f)).astype(int) for f in (clip / "1.png", tmp_path / "same/000001.png")
    )
    assert np.array_equal(before[..., 3], after[..., 3])
    assert np.abs(before - after)[:, :24].max() <= 1


def test_transparent_frames_after_an_opaque_one_are_over_white(tmp_path: Path):
    clip = see_through(tmp_path / "clip", (0, 255, 0))
    Image.new("RGB", (48, 32), "blue").save(clip / "0.png")
    frames = list(open_clip(str(clip)).frames())
    assert [frame.alpha for frame in frames] == [None] * 3
    assert (frames[1].pixels[..., 24:] == 255).all(), "what is hidden"
    assert frames[1].pixels[0, :, 20, 4].tolist() == [241, 214, 199], "and what is faint"


def test_pictures_into_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clip = see_through(tmp_path / "clip", (0, 255, 0))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert video(clip, "--style", NIGHT, "--strength", 0, "-o", "%06d.png") == 0
    assert sorted(os.listdir()) == ["000001.png", "000002.png"]
    assert sorted(os.listdir(tmp_path)) == ["clip", "here"]


@pytest.mark.parametrize("form", ["pictures", "animation", "film"])
def test_what_is_hidden_in_frames_lends_no_colour(form: str, tmp_path: Path):
    seen = []
    for name, hidden in (("green", (0, 255, 0)), ("pink", (255, 0, 255))):
        clip = see_through(tmp_path / name, hidden)
        if form != "pictures":
            suffix = ".apng" if form == "animation" else ".mkv"
            frames = [np.asarray(Image.open(clip / f"{number}.png")) for number in (1, 2)]
            clip = tmp_path / f"{name}{suffix}"
            if form == "animation":
                first, second = map(Image.fromarray, frames)
                first.save(
                    clip, "PNG", save_all=True, append_images=[second.transpose(Image.Transpose.ROTATE_180)]
                )
            else:
                with av.open(str(clip), "w") as container:
                    stream = container.add_stream("ffv1", rate=25, width=48, height=32, pix_fmt="bgra")
                    for frame in frames:
                        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgba")))
                    container.mux(stream.encode(None))
        shown = next(iter(open_clip(str(clip), 20).frames()))
        assert shown.alpha is not None
        seen.append(torch.where(shown.alpha > 0, shown.pixels.int(), 0))
    assert seen[0].shape[2:] == (20, 30)
    assert (seen[0] - seen[1]).abs().max() <= 1
