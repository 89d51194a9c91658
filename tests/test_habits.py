"""How people use a command line: links, pipes, patterns, odd formats, cut files, too little memory."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from arbstyle import Stylizer, images
from arbstyle.cli import main
from arbstyle.errors import ArbstyleError
from arbstyle.evaluation.pairs import all_pairs
from arbstyle.images import find_images, find_matches
from arbstyle.networks import ArbitraryStyler, FastTransformer, PooledStatisticsEncoder, save_styler

QUICK = [
    "--vgg-weights",
    "random",
    "--no-normalize-filters",
    "--content-layers",
    "relu1_1",
    "--style-layers",
    "relu1_1",
]


def picture(side: int = 32, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side + 8, 3), np.uint8))


def small_model(path: Path) -> Path:
    torch.manual_seed(0)
    encoder = PooledStatisticsEncoder(widths=(8, 8), hidden=16, code_size=8)
    save_styler(ArbitraryStyler(encoder, FastTransformer(8, 8, 1, 1, 8)), path)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("photo.png", "style.png", "mask.png")):
        picture(seed=number).save(name)
    small_model(tmp_path / "model.safetensors")
    return tmp_path


def stylize(*words: str) -> int:
    return main(["stylize", *words, "--model", "model.safetensors"])


# --- an output is never an input ----------------------------------------------------------------

ROLES = {
    "stylize content": ("stylize photo.png --style style.png -o {} --overwrite", "photo.png"),
    "stylize style": ("stylize photo.png --style style.png -o {} --overwrite", "style.png"),
    "stylize mask": ("stylize photo.png --style style.png --mask mask.png -o {} --overwrite", "mask.png"),
    "stylize grid": ("stylize photo.png --style style.png --grid -o {} --overwrite", "photo.png"),
    "optimize content": ("optimize photo.png --style style.png -o {}", "photo.png"),
    "optimize style": ("optimize photo.png --style style.png:0.5 -o {}", "style.png"),
    "optimize init": ("optimize photo.png --init mask.png -o {}", "mask.png"),
    "composite mask": ("composite photo.png style.png --mask mask.png -o {}", "mask.png"),
    "style save model": (
        "style save photo.png -o {} --overwrite --model model.safetensors",
        "model.safetensors",
    ),
}


@pytest.mark.parametrize("link", ["name", "symbolic", "hard", "folder"])
@pytest.mark.parametrize("role", ROLES)
def test_an_output_is_never_an_input(role: str, link: str, here: Path, capsys: pytest.CaptureFixture[str]):
    command, target = ROLES[role]
    other = Path(f"other{Path(target).suffix}")
    if link == "name":
        other = Path(".", "nowhere", "..", target)
        Path("nowhere").mkdir()
    elif link == "symbolic":
        other.symlink_to(target)
    elif link == "hard":
        other.hardlink_to(target)
    else:
        Path("linked").symlink_to(here)
        other = Path("linked", target)
    before = Path(target).read_bytes()
    assert main(command.format(other).split()) == 2
    assert "is an input (" in capsys.readouterr().err
    assert Path(target).read_bytes() == before


def test_a_file_that_the_environment_names_is_an_input(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ARBSTYLE_VGG19", str(here / "model.safetensors"))
    before = Path("model.safetensors").read_bytes()
    assert main(["style", "save", "photo.png", "-o", "model.safetensors", "--overwrite"]) == 2
    assert "is an input (ARBSTYLE_VGG19)" in capsys.readouterr().err
    assert Path("model.safetensors").read_bytes() == before


RESULTS = {
    "stylize": ("stylize photo.png --style woodcut -o {}.png", True),
    "stylize a sheet": ("stylize photo.png --style woodcut --grid --size 32 -o {}.png", True),
    "optimize": ("optimize photo.png --steps 1 -o {}.png", True),
    "optimize several": ("optimize photo.png style.png --steps 1 -o {{content}}-{}.png", False),
    "optimize's history": ("optimize photo.png --steps 1 -o other.png --history {}.csv", True),
    "composite": ("composite photo.png style.png -o {}.png", True),
    "styles": ("styles photo.png --size 16 -o {}.png", True),
    "style save": ("style save photo.png -o {}.safetensors", True),
    "style show": ("style show woodcut --thumbnail {}.png", True),
    "export a model": ("export a.ckpt -o {}.safetensors", False),
    "export graphs": ("export --onnx .", False),
    "video": ("video film --style woodcut -o {}.gif", True),
}
"""Commands, and whether they can do their work here."""


@pytest.mark.parametrize("kind", RESULTS)
def test_an_earlier_result_is_replaced_only_with_overwrite(
    kind: str, here: Path, capsys: pytest.CaptureFixture[str]
):
    command, can_work = RESULTS[kind]
    words = command.format("result").split()
    words += QUICK if words[0] == "optimize" else []
    Path("film").mkdir()
    shutil.copy("photo.png", "film/1.png")
    for name in ("result.png", "result.csv", "result.gif", "result.safetensors", "painter.onnx"):
        Path(name).write_text("earlier")
    for name in ("photo-result.png", "style-result.png"):
        Path(name).write_text("earlier")
    assert main(words) == 2
    assert "add --overwrite" in capsys.readouterr().err
    texts = [path.read_text() for path in (*here.glob("*result*"), Path("painter.onnx"))]
    assert set(texts) == {"earlier"}
    assert not Path("other.png").exists()
    if can_work:
        assert main([*words, "--overwrite"]) == 0
        assert any(path.read_bytes() != b"earlier" for path in here.glob("result*"))


def test_frames_are_of_one_run(here: Path, capsys: pytest.CaptureFixture[str]):
    words = ["optimize", "photo.png", "-o", "out.png", "--steps", "2", "--frames", "frames", *QUICK]
    assert main(words) == 0
    before = sorted(Path("frames").iterdir())
    assert main(words) == 2
    assert "earlier run" in capsys.readouterr().err
    assert sorted(Path("frames").iterdir()) == before


def test_frames_that_can_not_be_written_do_not_cost_the_picture(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write = images.write_image

    def full(image: Any, path: Path, **options: Any) -> Path:
        if path.parent.name == "frames":
            raise ArbstyleError(f"cannot write '{path}': no space left on device")
        return write(image, path, **options)

    monkeypatch.setattr(images, "write_image", full)
    words = ["optimize", "photo.png", "-o", "out.png", "--steps", "3", "--frames", "frames", *QUICK]
    assert main([*words, "--frames-every", "1"]) == 0
    assert Path("out.png").exists()
    assert capsys.readouterr().err.count("no further frames are written") == 1


def test_pairs_of_one_name(here: Path):
    photos, styles = [Path("a.png"), Path("a__b.png")], [Path("b__c.png"), Path("c.png")]
    with pytest.raises(ArbstyleError, match="a__b__c"):
        all_pairs(photos, styles)
    assert len(all_pairs(photos, styles[:1])) == 2


# --- finding files ------------------------------------------------------------------------------


def test_natural_order_links_pipes_and_circles(tmp_path: Path):
    for name in ("frame_10.png", "frame_2.png", "frame_1.png", "sub/x.png", "elsewhere/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "sub" / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "broken.png").symlink_to("nothing")
    assert [path.name for path in find_images(tmp_path)] == ["frame_1.png", "frame_2.png", "frame_10.png"]
    everything = {"frame_1.png", "frame_2.png", "frame_10.png", "x.png", "y.png"}
    for found in (find_images(tmp_path, recursive=True), find_matches(f"{tmp_path}/**/*.png")):
        assert {path.name for path in found} == everything
        assert len(found) == 5


PIPES = [
    "stylize photo.png --style {}.png -o out.png",
    "stylize photo.png --style {}.safetensors -o out.png",
    "stylize photo.png --style woodcut --model {}.safetensors -o out.png",
    "stylize photo.png --style woodcut woodcut --mask {}.png mask.png -o out.png",
    "optimize photo.png --init {}.png -o out.png",
    "optimize photo.png --vgg-weights {}.pth -o out.png",
    "composite photo.png {}.png -o out.png",
    "export {}.ckpt -o out.safetensors",
    "style show {}.safetensors",
    "video {}.mp4 --style woodcut -o out.mp4",
    "dataset {}.parquet --styles style.png -o out",
    "dataset photos --styles {}.png -o out",
]


@pytest.mark.parametrize("command", PIPES)
def test_a_pipe_is_said_to_be_no_file(command: str, here: Path, capsys: pytest.CaptureFixture[str]):
    """Opened, it would be waited for, for ever."""
    (word,) = (word for word in command.split() if word.startswith("{}"))
    os.mkfifo(word.format("pipe"))
    Path("photos").mkdir()
    picture().save("photos/1.png")
    assert main(command.format("pipe").split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not a regular file" in line


def test_patterns_in_folders_with_brackets(tmp_path: Path):
    for name in ("[a]b/1.jpg", "[a]b/[c].jpg", "ab/2.jpg", ".hidden/3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    matches = {
        "[a]b/*.jpg": {"1.jpg", "[c].jpg"},
        "[a]b/[[]c].jpg": {"[c].jpg"},
        "[a][b]/*.jpg": {"2.jpg"},
        "*/?.jpg": {"1.jpg", "2.jpg"},
        "**": {"1.jpg", "[c].jpg", "2.jpg"},
        ".h*/*": {"3.jpg"},
    }
    for pattern, names in matches.items():
        assert {path.name for path in find_matches(f"{tmp_path}/{pattern}")} == names, pattern


def test_optimize_takes_folders_and_patterns(here: Path, capsys: pytest.CaptureFixture[str]):
    Path("photos").mkdir()
    picture().save("photos/1.png")
    Path("photos/2.png").write_bytes(b"cut")
    words = ["optimize", "photos", "--style", "styl*.png", "-o", "out/{content}.png", "--steps", "1", *QUICK]
    assert main(words) == 1
    assert [path.name for path in Path("out").iterdir()] == ["1.png"]
    assert "2.png" in capsys.readouterr().err


def test_mistakes_with_contents(here: Path, capsys: pytest.CaptureFixture[str]):
    for words, expected in (
        (["--style", "style.png", "photo.png"], "put these first"),
        (["https://example.org/photo.png", "--style", "style.png"], "download it"),
        (["pho\0to.png", "--style", "style.png"], "null byte"),
    ):
        assert stylize(*words) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert expected in err


@pytest.mark.parametrize("words", ["stylize photo.png --style style.png -o \0.png", "web -o \0", "train \0"])
def test_no_name_holds_a_null_byte(words: str, here: Path, capsys: pytest.CaptureFixture[str]):
    assert main(words.split(" ")) == 2
    assert "no file name holds a null byte" in capsys.readouterr().err


# --- one bad picture, too little memory ---------------------------------------------------------


def test_a_cut_file_costs_its_place_on_a_sheet(here: Path, capsys: pytest.CaptureFixture[str]):
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:300])
    words = ["--size", "24", "--grid", "-o", "grid.png"]
    assert stylize("photo.png", "cut.png", "--style", "style.png", "cut.png", *words) == 1
    with Image.open("grid.png") as sheet:
        assert sheet.height == 2 * 24 + 3 * 8, "the heads and one photo"
    assert capsys.readouterr().err.count("cannot read 'cut.png'") == 1
    assert stylize("cut.png", "--style", "style.png", "--grid", "-o", "none.png") == 2


def test_exit_code_of_an_all_bad_batch(here: Path):
    Path("1.png").touch()
    Path("2.png").touch()
    assert stylize("1.png", "2.png", "--style", "style.png", "-o", "out") == 2
    assert stylize("1.png", "photo.png", "--style", "style.png", "-o", "out") == 1


OUT_OF_MEMORY = [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_is_one_line_of_every_command(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def styles() -> None:
        """Take more than there is."""
        raise error

    monkeypatch.setattr("arbstyle.cli.styles.styles", styles)
    assert main(["styles"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "not enough memory" in line


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_paints_in_tiles(
    error: Exception, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    picture(200).save("large.png")
    assert stylize("large.png", "--style", "style.png", "-o", "whole.png") == 0
    forward, most = FastTransformer.forward, 150**2

    def limited(self: FastTransformer, image: torch.Tensor, *rest: object) -> torch.Tensor:
        if image.shape[2] * image.shape[3] > most:
            raise error
        return forward(self, image, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(FastTransformer, "forward", limited)
    assert stylize("large.png", "--style", "style.png", "-o", "tiles.png") == 0
    assert "in tiles" in capsys.readouterr().err
    whole, tiles = (images.read_image(path) for path in ("whole.png", "tiles.png"))
    assert (whole - tiles).abs().mean() < 0.02

    monkeypatch.setattr(FastTransformer, "repaint", limited)
    most = 0
    assert stylize("large.png", "photo.png", "--style", "style.png", "-o", "none") == 2
    assert capsys.readouterr().err.count("not enough memory") >= 2


# --- pipes, formats, numbers --------------------------------------------------------------------


def test_from_standard_input_to_standard_output(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
):
    assert stylize("photo.png", "--style", "style.png", "-o", "file.png", "--no-metadata") == 0
    capsysbinary.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("photo.png").read_bytes())))
    assert stylize("-", "--style", "style.png", "-o", "-", "--no-metadata") == 0
    out, err = capsysbinary.readouterr()
    assert out == Path("file.png").read_bytes()
    assert err == b""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert stylize("-", "--style", "style.png", "-o", "-") == 2
    assert stylize("-", "--style", "-", "-o", "x.png") == 2


def test_standard_input_without_an_end(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            assert size > 0, "not all at once"
            return bytes(size)

    monkeypatch.setattr("arbstyle.cli._pipes.LARGEST_INPUT", 1 << 22)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Endless(), isatty=lambda: False))
    assert stylize("-", "--style", "style.png", "-o", "-") == 2
    assert "got more than" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "sheet", "reason"),
    [("40000", "sheet.jpg", "at most 65500 pixels a side"), ("40000", "sheet.png", "megapixels or more")],
)
def test_a_sheet_that_nothing_holds_is_refused_before_the_work(
    size: str, sheet: str, reason: str, here: Path, capsys: pytest.CaptureFixture[str]
):
    Path("model.safetensors").unlink()  # nothing is even loaded
    assert stylize("photo.png", "--style", "style.png", "--grid", "--size", size, "-o", sheet) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_pictures_of_telephones(suffix: str, here: Path):
    if suffix == ".heic":
        pytest.importorskip("pillow_heif")
    gradient = torch.linspace(0, 1, 48).expand(1, 3, 40, 48)
    Path("album").mkdir()
    images.write_image(gradient, Path("album", f"photo{suffix}"), quality=95)
    assert (images.read_image(Path("album", f"photo{suffix}")) - gradient).abs().max() < 0.03
    assert stylize("album", "--style", "style.png", "-o", "out") == 0
    (made,) = Path("out").iterdir()
    assert made.name == f"photo__style{suffix}"
    assert images.read_image(made).shape == gradient.shape


def test_without_pillow_heif_the_extra_is_named(here: Path, monkeypatch: pytest.MonkeyPatch):
    from arbstyle.images import codecs

    monkeypatch.setattr(codecs, "register_heif", lambda: False)
    Path("photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    for act in (
        lambda: images.read_image("photo.heic"),
        lambda: images.write_image(torch.rand(1, 3, 8, 8), "new.heic"),
    ):
        with pytest.raises(ArbstyleError, match=r"arbstyle\[heif\]"):
            act()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_a_film_is_told_to_be_one(suffix: str, here: Path, capsys: pytest.CaptureFixture[str]):
    picture().save(f"film{suffix}", save_all=True, append_images=[picture(seed=5)])
    assert stylize(f"film{suffix}", "--style", "style.png", "-o", "out.png") == 0
    err = capsys.readouterr().err
    assert "the first is used" in err
    assert ("arbstyle video" in err) == (suffix != ".tif")


def test_numpy_integers_are_sizes(here: Path):
    assert images.resize(torch.rand(1, 3, 20, 30), np.int64(10)).shape == (1, 3, 10, 15)  # type: ignore[arg-type]
    assert images.resize(torch.rand(1, 3, 20, 30), (np.int32(7), np.uint8(9))).shape == (1, 3, 7, 9)  # type: ignore[arg-type]
    with pytest.raises(ArbstyleError, match="whole pixels"):
        images.resize(torch.rand(1, 3, 20, 30), 10.5)  # type: ignore[arg-type]
    stylizer = Stylizer.from_pretrained("model.safetensors")
    made = stylizer("photo.png", "style.png", size=np.int64(24), style_size=np.int64(32))  # type: ignore[call-overload]
    assert made.size == (30, 24)
