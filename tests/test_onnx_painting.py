"""`arbstyle stylize` without PyTorch: the same pictures, and PyTorch is not loaded."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arbstyle import ArbstyleError, Stylizer
from arbstyle.cli import main
from arbstyle.onnx.runtime import OnnxStylizer
from arbstyle.painting.style_contents import StyleContents

pytest.importorskip("onnxruntime")

REPOSITORY = Path(__file__).resolve().parent.parent
ASSETS = REPOSITORY / "arbstyle" / "assets"
EXAMPLES = REPOSITORY / "examples"
PHOTO = str(EXAMPLES / "photo-cat.jpg")
NIGHT = str(EXAMPLES / "painting-night.jpg")
OZ = str(EXAMPLES / "drawing-oz.jpg")
BACKENDS = "torch", "onnx"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def stylizers() -> dict[str, Any]:
    """From Python, by backend."""
    return {"torch": Stylizer.from_pretrained(device="cpu", precision="fp32"), "onnx": OnnxStylizer()}


def painted(backend: str, *arguments: str, suffix: str = "png") -> Image.Image:
    output = f"{backend}.{suffix}"
    assert main(["stylize", *arguments, "--backend", backend, "--precision", "fp32", "-o", output]) == 0
    return Image.open(output)


def greatest_difference(one: Image.Image, other: Image.Image) -> int:
    assert (one.mode, one.size) == (other.mode, other.size)
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "options",
    [
        ["--style", NIGHT],
        ["--style", NIGHT, "--size", "130", "--strength", "0.6"],
        ["--style", NIGHT, "--size", "90", "--strength", "0"],
        ["--style", NIGHT, "--size", "131", "--strength", "1.4", "--style-size", "200"],
        ["--style", NIGHT, "--size", "64", "--style-size", "16"],
        ["--style", NIGHT, "--size", "64", "--style-size", "1100"],
        ["--style", f"{NIGHT}:2", f"{OZ}:1", f"{PHOTO}:0", "--size", "120", "--keep-colors", "luminance"],
    ],
    ids=" ".join,
)
def test_same_picture_as_with_pytorch(folder: Path, options: list[str]):
    assert greatest_difference(painted("torch", PHOTO, *options), painted("onnx", PHOTO, *options)) <= 1


@pytest.mark.parametrize("seed", [-1, 2**31, 2**32 + 7, 2**63, -(10**20)])
def test_any_number_is_a_seed(seed: int, folder: Path):
    pictures = [painted(each, PHOTO, "--style", NIGHT, "--size", "64", f"--seed={seed}") for each in BACKENDS]
    assert greatest_difference(*pictures) <= 1


def test_style_files(folder: Path):
    assert main(["style", "save", OZ, "-o", "oz.safetensors"]) == 0
    options = [PHOTO, "--size", "120", "--style", "oz.safetensors"]
    assert greatest_difference(painted("torch", *options), painted("onnx", *options)) <= 1


def test_transparency_depth_and_exif_survive(folder: Path):
    photo = Image.open(PHOTO).resize((150, 100))
    photo.putalpha(Image.linear_gradient("L").resize((150, 100)))
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    photo.save("photo.png", exif=exif)
    options = ["photo.png", "--style", NIGHT, "--size", "80"]
    one, other = painted("torch", *options), painted("onnx", *options)
    assert other.mode == "RGBA"
    assert greatest_difference(one, other) <= 1
    assert other.getexif()[0x010F] == "a camera"
    assert other.info["Model"] == one.info["Model"]
    one, other = painted("torch", *options, suffix="jpg"), painted("onnx", *options, suffix="jpg")
    assert greatest_difference(one, other) <= 8  # JPEG makes more of a level's difference
    assert main(["stylize", *options, "--backend", "onnx", "--bits", "16", "-o", "deep.png"]) == 0
    assert Path("deep.png").read_bytes()[24] == 16
    photo.putalpha(Image.linear_gradient("L").point(lambda value: max(0, 3 * value - 300)).resize((150, 100)))
    photo.save("photo.png")
    soft, same = (
        np.asarray(painted(backend, *options, "--overwrite"), float) for backend in ("torch", "onnx")
    )
    assert np.abs((soft[..., :3] - same[..., :3]) * soft[..., 3:] / 255).max() <= 2, "a soft edge"


def test_pytorch_is_not_loaded(folder: Path):
    """Nor is anything else that takes long; a default call takes this road by itself."""
    call = ["stylize", PHOTO, "--style", NIGHT, "--device", "cpu", "-o", str(folder / "out.png"), "--json"]
    script = (
        f"import sys; from arbstyle.cli import main; code = main({call!r})\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["backend"] == "onnx"
    loaded = set(done.stderr.split("[", 1)[1].replace("'", "").replace(",", "").replace("]", "").split())
    assert "onnxruntime" in loaded
    assert loaded & {"torch", "torchvision", "datasets", "pytorch_lightning", "matplotlib", "scipy"} == set()


WITHOUT_PYTORCH = """ # importing a module that is None fails
import contextlib, io, json, sys
sys.modules.update(torch=None, torchvision=None, datasets=None, pytorch_lightning=None)
from arbstyle.cli import main
answers = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
        answers.append((main(words), told.getvalue()))
print(json.dumps(answers))
"""


def answers_without_pytorch(*commands: list[str]) -> list[tuple[int, str]]:
    """Exit code and standard error of commands where only the packages of ONNX are installed."""
    words = [sys.executable, "-c", WITHOUT_PYTORCH, json.dumps(commands)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [tuple(answer) for answer in json.loads(done.stdout)]


def test_where_pytorch_is_not_installed(folder: Path):
    answers = answers_without_pytorch(
        ["stylize", PHOTO, "--size", "64", "--style", "woodcut:2", "ink", "--strength", "0.5", "-o", "x.png"],
        ["styles"],
        ["styles", PHOTO, "--size", "32", "-o", "sheet.jpg"],
        ["style", "save", OZ, "-o", "oz.safetensors"],
        ["style", "show", "oz.safetensors", "woodcut"],
        ["style", "show", "ink", "--thumbnail", "ink.png"],
        ["stylize", PHOTO, "--size", "64", "--style", "oz.safetensors", "-o", "oz.png"],
    )
    assert answers == [(0, "")] * 7
    assert {path.name for path in folder.iterdir()} == {
        "x.png", "sheet.jpg", "oz.safetensors", "ink.png", "oz.png"
    }  # fmt: skip


def test_what_needs_pytorch_says_so_where_it_is_not_installed(folder: Path):
    photo = ["stylize", PHOTO, "--style", NIGHT, "-o", "x.png"]
    for code, told in answers_without_pytorch(
        [*photo, "--stroke", "2"],
        [*photo, "--backend", "torch"],
        ["export", "--onnx", "graphs"],
        ["optimize", PHOTO, "--style", NIGHT, "-o", "x.png"],
        ["dataset", str(EXAMPLES), "--styles", NIGHT, "-o", "set"],
        ["train", "fit"],
        ["app"],
    ):
        assert (code, told.count("\n")) == (2, 1), told
        assert "which is not installed here; 'pip install arbstyle'" in told
    assert list(folder.iterdir()) == []


def test_style_files_are_the_same_as_pytorchs(folder: Path, monkeypatch: pytest.MonkeyPatch):
    save = ["style", "save", OZ, "--device", "cpu", "-o"]
    assert main([*save, "onnx.safetensors", "--name", "oz", "--style-size", "200"]) == 0
    monkeypatch.setattr("arbstyle.cli._onnx_painter.is_possible", lambda device: False)
    assert main([*save, "torch.safetensors", "--name", "oz", "--style-size", "200"]) == 0
    one, other = (StyleContents.load(f"{name}.safetensors") for name in ("onnx", "torch"))
    assert one.description() == other.description()
    np.testing.assert_allclose(one.code, other.code, atol=0.01)  # PyTorch's may be of bf16
    pixels = (np.asarray(style.thumbnail, int) for style in (one, other))
    assert np.abs(np.subtract(*pixels)).mean() < 0.5  # WebP makes more of a level's difference


@pytest.mark.parametrize(
    "options",
    [
        ["--mask", str(EXAMPLES / "photo-cat.jpg")],
        ["--keep-colors", "coral"],
        ["--tile", "64"],
        ["--precision", "bf16"],
        ["--model", str(ASSETS / "arbstyle.safetensors")],
    ],
    ids=" ".join,
)
def test_what_needs_pytorch_gets_it(folder: Path, options: list[str], capsys: pytest.CaptureFixture[str]):
    call = ["stylize", PHOTO, "--style", NIGHT, "--size", "64", *options, "-o", "out.png"]
    assert main([*call, "--backend", "onnx"]) == 2
    error = capsys.readouterr().err
    assert options[0] in error
    assert "--backend torch" in error
    assert main([*call, "--json"]) == 0
    assert summary(capsys)["backend"] == "torch"


def test_sheets_need_pytorch(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["stylize", PHOTO, "--style", NIGHT, "--grid", "--backend", "onnx", "-o", "sheet.png"]) == 2
    assert "--grid" in capsys.readouterr().err


def test_large_photos_are_pytorchs(folder: Path, monkeypatch: pytest.MonkeyPatch):
    options = [PHOTO, "--size", "100", "--style", NIGHT]
    wanted = painted("torch", *options)
    monkeypatch.setattr("arbstyle.cli._onnx_painter.LARGEST", 100)

    monkeypatch.setattr(OnnxStylizer, "stylize", None)
    assert greatest_difference(painted("onnx", *options), wanted) <= 1


def test_without_onnx_runtime(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name)
    )
    call = ["stylize", PHOTO, "--size", "64", "--style", NIGHT, "-o", "out.png", "--json"]
    assert main(call) == 0
    assert summary(capsys)["backend"] == "torch"
    assert main([*call, "--overwrite", "--backend", "onnx"]) == 2
    assert "pip install 'arbstyle[onnx]'" in capsys.readouterr().err


def test_many_pictures_and_their_failures(folder: Path, capsys: pytest.CaptureFixture[str]):
    Path("broken.jpg").write_bytes(b"no picture")
    call = ["stylize", PHOTO, "broken.jpg", "--style", NIGHT, OZ, "--size", "64", "--json", "-o", "out/"]
    assert main([*call, "--backend", "onnx"]) == 1
    result = summary(capsys)
    assert (result["done"], result["failed"]) == (2, 2)
    assert main(["stylize", PHOTO, "--style", "missing.jpg", "-o", "x.png", "--backend", "onnx"]) == 2
    assert "missing.jpg" in capsys.readouterr().err


def test_graphs_of_another_model_are_refused(tmp_path: Path):
    for name in ("style.onnx", "head.onnx", "painter.onnx", "arbstyle.safetensors"):
        shutil.copy(ASSETS / name, tmp_path)
    assert OnnxStylizer(tmp_path).parameters_of(NIGHT, 64).shape[0] == 1
    content = bytearray((tmp_path / "arbstyle.safetensors").read_bytes())
    at = content.index(b'"version')  # in the header: another model file with the same places
    content[at + 1 : at + 8] = b"VERSION"
    (tmp_path / "arbstyle.safetensors").write_bytes(content)
    with pytest.raises(ArbstyleError, match="made for another"):
        _ = OnnxStylizer(tmp_path).metadata
    (tmp_path / "painter.onnx").write_bytes(b"no graph")
    with pytest.raises(ArbstyleError, match="cannot load"):
        _ = OnnxStylizer(tmp_path).metadata
    shutil.copy(ASSETS / "head.onnx", tmp_path / "painter.onnx")
    with pytest.raises(ArbstyleError, match="not a graph"):
        _ = OnnxStylizer(tmp_path).metadata


def test_a_style_of_another_model_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    assert main(["style", "save", OZ, "-o", "oz.safetensors"]) == 0
    with safe_open("oz.safetensors", "numpy") as file:
        about = json.loads(file.metadata()["style"]) | {"model": "0123456789abcdef"}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        save_file(tensors, "other.safetensors", file.metadata() | {"style": json.dumps(about)})
    assert main(["stylize", PHOTO, "--style", "other.safetensors", "--backend", "onnx", "-o", "x.png"]) == 2
    assert "another model" in capsys.readouterr().err
    assert not Path("x.png").exists()


@pytest.mark.parametrize("strength", ["1", "0.5"])
def test_the_example_without_arbstyle(folder: Path, strength: str):
    """On the packaged graphs, which are those that `arbstyle export` writes."""
    script = EXAMPLES / "onnx_only.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 40
    command = [sys.executable, str(script), str(ASSETS), PHOTO, NIGHT, "out.png", strength]
    subprocess.run(command, check=True)
    wanted = painted("torch", PHOTO, "--style", NIGHT, "--strength", strength)
    assert greatest_difference(Image.open("out.png"), wanted) <= 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_forged_style_of_the_right_model_is_refused(
    backend: str, stylizers: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]
):
    known = StyleContents.load(ASSETS / "gallery" / "woodcut.style.safetensors")
    forged: dict[str, dict[str, Any]] = {
        "a short code": {"code": np.ones((1, 3), np.float32), "parameters": None},
        "few parameters": {"parameters": np.ones((1, 3), np.float32)},
        "a huge code": {"code": np.full_like(known.code, 1e30), "parameters": None},
    }
    for name, changes in forged.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("arbstyle.painting.style_contents.LARGEST_OF_A_STYLE", np.inf)
            replace(known, **changes).save(f"{name}.safetensors")
        command = ["stylize", PHOTO, "--size", "32", "--style", f"{name}.safetensors", "-o", "a.png"]
        assert main([*command, "--backend", backend]) == 2
        assert "numbers" in capsys.readouterr().err
        assert not Path("a.png").exists()
        with pytest.raises(ArbstyleError, match="numbers"):
            stylizers[backend].style(f"{name}.safetensors")


def test_a_style_file_keeps_its_name_unless_another_is_given(stylizers: dict[str, Any]):
    for stylizer in stylizers.values():
        assert stylizer.style("woodcut").name == "woodcut"
        assert stylizer.style("woodcut", name="other").name == "other"


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 3, 8, 8), {}, "3×H×W, got 1×3×8×8"),
        ((3, 8, 0), {}, "3×H×W"),
        ((3, 8, 8), {"strength": -1}, "strength from 0"),
        ((3, 8, 8), {"style_size": 4}, "style size of at least 16"),
        ((3, 8, 8), {"seed": 0.5}, "whole number for the seed"),
    ],
)
def test_options_out_of_range_from_python(shape: tuple[int, ...], options: dict[str, Any], message: str):
    with pytest.raises(ArbstyleError, match=message):
        OnnxStylizer().stylize(np.zeros(shape, np.float32), ["woodcut"], **options)


def test_it_can_be_sent_to_another_process():
    here = OnnxStylizer(threads=1)
    there = pickle.loads(pickle.dumps(here))
    assert np.array_equal(there.parameters_of(NIGHT, 64), here.parameters_of(NIGHT, 64))
