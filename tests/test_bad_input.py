"""Whatever a user gets wrong: one line that says what to do, exit code 2, and nothing written.

All through the real command line, of `arbstyle optimize`; the other commands share its reading and writing.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from arbstyle.cli import main

REPOSITORY = Path(__file__).resolve().parent.parent
QUICK = ["--vgg-weights", "random", "--no-normalize-filters", "--steps", "1"]
SHALLOW = ["--content-layers", "relu1_1", "--style-layers", "relu1_1"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a good photo and a good painting."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARBSTYLE_VGG19", raising=False)
    for name, colour in (("photo.png", (200, 120, 40)), ("painting.png", (20, 90, 160))):
        Image.new("RGB", (24, 20), colour).save(name)
    return tmp_path


def complaint(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error of a command that fails with code 2 and leaves no file behind."""
    before = sorted(folder.rglob("*"))
    code = main(["optimize", *arguments])
    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(("arbstyle: error: ", "arbstyle optimize: error: "))
    assert "Traceback" not in err
    assert sorted(folder.rglob("*")) == before
    return err


def test_the_command_is_good_without_the_mistakes(folder: Path):
    assert main(["optimize", "photo.png", "--style", "painting.png", "-o", "out.png", *QUICK, *SHALLOW]) == 0
    assert (folder / "out.png").exists()


# --- files --------------------------------------------------------------------------------------


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes that promise a picture of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def truncated(suffix: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        noise = torch.randint(
            0, 256, (64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
        )
        whole = path.with_name(f"whole{suffix}")
        Image.fromarray(noise.numpy()).save(whole)
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        whole.unlink()

    return write


BAD_PICTURES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("missing.png", lambda path: None),
    "empty": ("empty.png", lambda path: path.touch()),
    "folder": ("folder.png", lambda path: path.mkdir()),
    "text": ("text.jpg", lambda path: path.write_text("this is no picture\n")),
    "svg": ("drawing.svg", lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")),
    "zeros": ("zeros.webp", lambda path: path.write_bytes(bytes(4096))),
    "truncated png": ("cut.png", truncated(".png")),
    "truncated jpeg": ("cut.jpg", truncated(".jpg")),
    "truncated webp": ("cut.webp", truncated(".webp")),
    "no pixels": ("zero.png", lambda path: path.write_bytes(png_that_claims(0, 0))),
    "decompression bomb": ("bomb.png", lambda path: path.write_bytes(png_that_claims(100_000, 100_000))),
    "name with a null": ("nul\0.png", lambda path: None),
    "endless name": ("x" * 5000 + ".png", lambda path: None),
}


@pytest.mark.parametrize("role", ["content", "style", "init"])
@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_bad_pictures(kind: str, role: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    name, make = BAD_PICTURES[kind]
    if "\0" not in name and len(name) < 200:
        make(folder / name)
    files = {"content": "photo.png", "style": "painting.png", "init": "noise", role: name}
    arguments = [files["content"], "--style", files["style"], "--init", files["init"], "-o", "out.png"]
    empty_folder = kind == "folder" and role != "init"  # content and style may be folders of pictures
    expected = "no pictures found" if empty_folder else "cannot use" if "\0" in name else "cannot read"
    assert expected in complaint([*arguments, *QUICK, *SHALLOW], folder, capsys)


BAD_WEIGHTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("missing.safetensors", lambda path: None),
    "folder": ("folder.pth", lambda path: path.mkdir()),
    "not safetensors": ("text.safetensors", lambda path: path.write_text("no tensors")),
    "not a checkpoint": ("text.pth", lambda path: path.write_text("no pickle")),
    "other network": ("other.safetensors", lambda path: save_file({"conv.weight": torch.ones(2, 2)}, path)),
    "code": ("code.pth", lambda path: torch.save({"features.0.weight": Path}, path)),
}


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_weights(kind: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    name, make = BAD_WEIGHTS[kind]
    make(folder / name)
    arguments = ["photo.png", "--style", "painting.png", "-o", "out.png", "--vgg-weights", name]
    message = complaint(arguments, folder, capsys)
    assert name in message
    assert "ARBSTYLE_VGG19" in message


# --- flags --------------------------------------------------------------------------------------

BAD_FLAGS: dict[str, tuple[list[str], str]] = {
    "no such flag": (["--sharpness", "3"], "--sharpness"),
    "abbreviated flag": (["--step", "3"], "--step"),
    "steps zero": (["--steps", "0"], "steps of 1 or more"),
    "steps negative": (["--steps", "-3"], "steps of 1 or more"),
    "steps not a number": (["--steps", "many"], "invalid int value"),
    "size zero": (["--size", "0"], "size of 1 or more"),
    "size huge": (["--size", "1000000"], "choose a smaller size"),
    "size beyond integers": (["--size", "9" * 20], "size of 1048576 pixels at most"),
    "scales zero": (["--scales", "0"], "scales from 1"),
    "scales too many for the layers": (["--scales", "3", "--style-layers", "relu4_1"], "pixels a side"),
    "layer unknown": (["--style-layers", "relu6_1"], "no layer 'relu6_1'"),
    "layer twice": (["--style-layers", "relu1_1", "relu1_1"], "named twice"),
    "layer weight no number": (["--style-layers", "relu1_1:heavy"], "LAYER:WEIGHT"),
    "layer weight negative": (["--content-layers", "relu1_1:-1"], "LAYER:WEIGHT"),
    "layer too deep for the size": (["--style-layers", "relu5_1", "--size", "8"], "pixels a side"),
    "content weight negative": (["--content-weight", "-1"], "content_weight"),
    "style weight not a number": (["--style-weight", "nan"], "style_weight"),
    "tv weight infinite": (["--tv-weight", "inf"], "tv_weight"),
    "all weights zero": (["--content-weight", "0", "--style-weight", "0"], "nothing to optimise"),
    "weights that overflow": (["--style-weight", "1e300"], "not a finite number"),
    "optimizer": (["--optimizer", "sgd"], "'lbfgs', 'adam'"),
    "learning rate": (["--optimizer", "adam", "--learning-rate", "0"], "learning_rate above 0"),
    "basis": (["--basis", "wavelet"], "'fourier', 'pixels'"),
    "vgg": (["--vgg", "resnet"], "'vgg19', 'vgg16'"),
    "pooling": (["--pooling", "min"], "'max', 'avg'"),
    "statistic": (["--style-statistic", "median"], "'gram'"),
    "style scale": (["--style-scale", "-1"], "style_scale above 0"),
    "seed": (["--seed", "-1"], "seed from 0"),
    "device": (["--device", "abacus"], "got 'abacus'"),
    "device absent": (["--device", "cuda:99"], "device 'cuda:99'"),
    "init": (["--init", "nois"], "nois"),
    "style weight negative in the list": (["--style", "painting.png:-1"], "FILE:WEIGHT"),
    "style weight no number in the list": (["--style", "painting.png:much"], "FILE:WEIGHT"),
    "style weights all zero": (["--style", "painting.png:0"], "style weights"),
    "history suffix": (["--history", "history.png"], ".csv"),
    "history folder": (["--history", "photo.png/history.csv"], "photo.png"),
    "plot suffix": (["--plot", "plot.txt"], ".png, .pdf, .svg"),
    "plot over the output": (["--plot", "out.png"], "already the output"),
    "frames in a file": (["--frames", "photo.png"], "photo.png"),
    "frames every zero": (["--frames", "frames", "--frames-every", "0"], "--frames-every"),
}


@pytest.mark.parametrize("kind", BAD_FLAGS)
def test_bad_flags(kind: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    flags, expected = BAD_FLAGS[kind]
    style = [] if "--style" in flags else ["--style", "painting.png"]
    assert expected in complaint(
        ["photo.png", *style, "-o", "out.png", *QUICK, *SHALLOW, *flags], folder, capsys
    )


BAD_COMMANDS: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "-o/--output"),
    "no output": (["photo.png", "--style", "painting.png"], "-o/--output"),
    "neither content nor style": (["-o", "out.png"], "got neither"),
    "style without a file": (["photo.png", "-o", "out.png", "--style"], "at least one argument"),
    "two contents": (["photo.png", "painting.png", "-o", "out.png"], "2 results cannot go into the one file"),
    "start from no content": (
        ["--style", "painting.png", "--init", "content", "-o", "out.png"],
        "start from",
    ),
    "start from no style": (["photo.png", "--init", "style", "-o", "out.png"], "start from"),
    "output without suffix": (["photo.png", "-o", "out"], "expected a file name that ends in"),
    "output of an unknown format": (["photo.png", "-o", "out.xyz"], "expected a file name that ends in"),
    "output is a folder": (["photo.png", "-o", "."], "cannot write"),
    "output below a file": (["photo.png", "-o", "painting.png/out.png"], "is a file, not a folder"),
    "output over the content": (["photo.png", "-o", "photo.png"], "is an input"),
    "output over a style": (["photo.png", "--style", "painting.png", "-o", "./painting.png"], "is an input"),
}


@pytest.mark.parametrize("kind", BAD_COMMANDS)
def test_bad_commands(kind: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    arguments, expected = BAD_COMMANDS[kind]
    assert expected in complaint([*arguments, "--vgg-weights", "random"], folder, capsys)


def test_output_paths_are_checked_before_anything_is_read(folder: Path, capsys: pytest.CaptureFixture[str]):
    message = complaint(["missing.png", "--style", "missing.png", "-o", "out.xyz"], folder, capsys)
    assert "out.xyz" in message


# --- the same in a process of its own -----------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["optimize", "missing.png", "-o", "out.png"],
        ["optimize", "photo.png", "--steps", "no", "-o", "out.png"],
        ["paint", "photo.png"],
    ],
)
def test_in_a_process_of_its_own(arguments: list[str], folder: Path):
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from arbstyle.cli import main; sys.exit(main())", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "error: " in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["painting.png", "photo.png"]
