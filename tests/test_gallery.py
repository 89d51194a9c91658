"""Named styles: of this model, small, and good wherever a style picture is."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from arbstyle import Stylizer
from arbstyle.cli import main
from arbstyle.errors import ArbstyleError
from arbstyle.images import from_pil, read_image, resize
from arbstyle.networks import ArbitraryStyler
from arbstyle.painting.gallery import gallery, gallery_files
from arbstyle.perception import PerceptualEncoder, PerceptualLoss

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PHOTO = str(EXAMPLES / "photo-cat.jpg")
NAMES = sorted(gallery_files())


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    return Stylizer.from_pretrained(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return read_image(PHOTO, size=96)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_as_many_as_the_page_says_and_they_are_small():
    page = (EXAMPLES.parent / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert f"{len(NAMES)} works in the public domain" in page
    assert {"ink", "woodcut", "pointillism", "cubism", "fresco", "hatching", "watercolor"} < set(NAMES)
    assert sum(path.stat().st_size for path in gallery_files().values()) <= 1e6
    assert all(re.fullmatch(r"[a-z]+", name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_styles_are_of_the_packaged_model_and_say_whose_they_are(name: str, stylizer: Stylizer):
    style = gallery()[name]
    assert style.name == name
    assert style.model == stylizer.fingerprint, "stale: run scripts/package_model.py"
    assert set(style.about) == {"title", "artist", "year", "technique", "licence"}
    assert int(re.findall(r"\d{4}", style.about["year"])[0]) <= 1930
    assert style.about["licence"] == "public domain"


def test_styles_differ(stylizer: Stylizer, photo: torch.Tensor):
    means = torch.cat([stylizer.stylize(photo, name).mean(dim=(2, 3)) for name in NAMES])
    distances = torch.cdist(means, means) + torch.eye(len(means))
    assert distances.min() > 0.005


def test_a_name_is_as_good_as_its_file(stylizer: Stylizer, photo: torch.Tensor):
    by_name = stylizer.stylize(photo, "woodcut")
    torch.testing.assert_close(by_name, stylizer.stylize(photo, gallery_files()["woodcut"]))
    torch.testing.assert_close(by_name, stylizer.stylize(photo, stylizer.gallery["woodcut"]))


def test_codes_are_no_worse_than_a_glance_at_the_picture(stylizer: Stylizer, vgg19_weights: Path):
    """Most are refined; a stale or damaged one would be worse. On a photo that they were not refined on."""
    encoder = PerceptualEncoder("vgg19", ("relu1_1", "relu2_1", "relu3_1", "relu4_1"), weights=vgg19_weights)
    loss = PerceptualLoss(
        encoder, {}, dict.fromkeys(encoder.channels, 1.0), style_statistic="moments", style_bound=True
    )
    photo = read_image(EXAMPLES / "photo-pagoda.jpg", size=224)
    share = {}
    for name in NAMES[::4]:
        style = stylizer.gallery[name]
        glance = stylizer.style(style.thumbnail, style_size=min(style.thumbnail.size))
        goal = loss.targets(None, from_pil(style.thumbnail))
        losses = [float(loss(stylizer.stylize(photo, each), goal).style) for each in (style, glance)]
        share[name] = losses[0] / losses[1]
    assert max(share.values()) < 1.1
    assert sum(share.values()) < 0.95 * len(share)


def test_another_model_looks_at_the_picture(stylizer: Stylizer, photo: torch.Tensor):
    torch.manual_seed(0)
    encoder = type(stylizer.styler.style_encoder)()
    other = Stylizer(ArbitraryStyler(encoder, stylizer.styler.transformer), device="cpu", precision="fp32")
    wanted = other.stylize(photo, gallery()["ink"].thumbnail)
    torch.testing.assert_close(other.stylize(photo, "ink"), wanted)
    assert other.gallery["ink"].model == other.fingerprint


def test_colours_can_be_kept_by_changing_the_styles_picture(stylizer: Stylizer, photo: torch.Tensor):
    kept = stylizer.stylize(photo, "fauvism", keep_colors="coral").mean(dim=(2, 3))
    plain = stylizer.stylize(photo, "fauvism").mean(dim=(2, 3))
    own = photo.mean(dim=(2, 3))
    assert (kept - own).norm() < 0.5 * (plain - own).norm()


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_command_line(backend: str, folder: Path):
    if backend == "onnx":
        pytest.importorskip("onnxruntime")
    call = ["stylize", PHOTO, "--size", "96", "--precision", "fp32", "--backend", backend]
    assert main([*call, "--style", "woodcut", "-o", "name.png"]) == 0
    assert main([*call, "--style", str(gallery_files()["woodcut"]), "-o", "file.png"]) == 0
    one, other = (np.asarray(Image.open(name), int) for name in ("name.png", "file.png"))
    assert np.abs(one - other).max() == 0
    assert main([*call, "--style", "woodcut:1", "ink:2", "-o", "blend.png"]) == 0
    assert main([*call, "--style", "woodcut", "ink", "-o", "out/"]) == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "photo-cat__ink.jpg",
        "photo-cat__woodcut.jpg",
    ]


def test_a_file_of_that_name_wins_and_that_is_said(folder: Path, capsys: pytest.CaptureFixture[str]):
    Path("woodcut").write_bytes((EXAMPLES / "drawing-oz.jpg").read_bytes())
    call = ["stylize", PHOTO, "--size", "96", "--precision", "fp32", "--style"]
    assert main([*call, "woodcut", "-o", "mine.png"]) == 0
    assert "'woodcut' is a file here" in capsys.readouterr().err
    assert main([*call, str(EXAMPLES / "drawing-oz.jpg"), "-o", "oz.png"]) == 0
    assert Image.open("mine.png").tobytes() == Image.open("oz.png").tobytes()


def test_a_mistyped_name_gets_a_suggestion_from_python():
    with pytest.raises(ArbstyleError, match="did you mean 'woodcut'"):
        Stylizer.from_pretrained()(EXAMPLES / "photo-cat.jpg", "woodcutt")


def test_an_unknown_name_gets_a_suggestion(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["stylize", PHOTO, "--style", "woodcot"]) == 2
    assert "did you mean 'woodcut'?" in capsys.readouterr().err
    assert main(["stylize", PHOTO, "--style", "zzz"]) == 2
    assert "'arbstyle styles' lists them" in capsys.readouterr().err
    assert main(["stylize", PHOTO, "--style", "no/such.jpg"]) == 2
    assert "gallery" not in capsys.readouterr().err


def test_list(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["styles"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert any("Hokusai" in line and "about 1831" in line for line in lines)
    assert main(["styles", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["woodcut"]["artist"] == "Katsushika Hokusai"
    assert main(["styles", "-o", "sheet.jpg"]) == 2
    assert "needs a photo" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["photo.png", "link.png"])
def test_the_photo_is_not_replaced_by_the_sheet(
    output: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
    Image.new("RGB", (48, 32), "teal").save("photo.png")
    Path("link.png").symlink_to("photo.png")
    before = Path("photo.png").read_bytes()
    assert main(["styles", "photo.png", "-o", output, "--overwrite", "--size", "32"]) == 2
    assert "is an input (PHOTO)" in capsys.readouterr().err
    assert Path("photo.png").read_bytes() == before


@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_sheet(
    device: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Without PyTorch and with it."""
    if device == "torch":
        monkeypatch.setattr("arbstyle.cli._onnx_painter.is_possible", lambda device: False)
    assert main(["styles", PHOTO, "--size", "48", "-o", "sheet.png"]) == 0
    sheet = np.asarray(Image.open("sheet.png"), int)
    height, width = resize(read_image(PHOTO), 48).shape[2:]
    cells = (sheet.shape[0] // height) * (sheet.shape[1] // width)
    assert cells >= len(NAMES)
    assert sheet[:8].min() == 255, "a white margin"
    colours = {tuple(sheet[8 + height // 2, 8 + i * (width + 8) + width // 2]) for i in range(4)}
    assert len(colours) == 4, "a style a column"
    assert main(["styles", PHOTO, "--size", "48", "-o", "sheet.png"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_refined_and_kept_under_its_name(folder: Path, stylizer: Stylizer, vgg19_weights: Path):
    assert main(["style", "save", "woodcut", "-o", "mine.safetensors"]) == 0
    refined = stylizer.refine(
        "woodcut", [read_image(PHOTO, size=64)], 1, style_size=64, vgg_weights=vgg19_weights
    )
    assert refined.name == "woodcut"
    assert refined.parameters is not None


def test_optimisation_takes_the_picture(
    folder: Path, monkeypatch: pytest.MonkeyPatch, quick_calibration: None
):
    monkeypatch.setenv("ARBSTYLE_VGG19", "random")
    assert main(["optimize", "--style", "woodcut", "--size", "48", "--steps", "1", "-o", "texture.png"]) == 0
    assert max(Image.open("texture.png").size) == 48


def test_commands_of_the_page(folder: Path):
    page = (EXAMPLES.parent / "docs" / "gallery.md").read_text(encoding="utf-8")
    block = re.findall(r"<!-- tested -->\n```bash\n(.*?)```", page, re.DOTALL)[0]
    shutil.copytree(EXAMPLES, "examples")
    for line in block.splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "arbstyle"
        assert main(words) == 0, line
