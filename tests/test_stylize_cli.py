"""`arbstyle stylize` and `arbstyle style`: real command lines, real pictures, a small random model."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from arbstyle import Stylizer
from arbstyle.cli import load, main
from arbstyle.cli._signature import parse
from arbstyle.devices import Precision
from arbstyle.networks import (
    ArbitraryStyler,
    FastTransformer,
    PooledStatisticsEncoder,
    StyleBank,
    save_styler,
)

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "examples"
CAT = "photos/cat.jpg"


def small_styler(seed: int = 0) -> ArbitraryStyler:
    torch.manual_seed(seed)
    return ArbitraryStyler(
        PooledStatisticsEncoder(widths=(8, 8), hidden=16, code_size=8), FastTransformer(8, 8, 1, 1, 8)
    )


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models, photos in folders and styles, all small."""
    folder = tmp_path_factory.mktemp("materials")
    save_styler(small_styler(), folder / "model.safetensors", {"name": "small"})
    save_styler(small_styler(seed=1), folder / "other.safetensors", {"name": "other"})
    torch.manual_seed(0)
    bank = ArbitraryStyler(StyleBank(2), FastTransformer(8, 8, 1, 1, 8))
    save_styler(bank, folder / "bank.safetensors")
    for name, place in {
        "photo-cat.jpg": "photos/cat.jpg",
        "photo-pagoda.jpg": "photos/pagoda.jpg",
        "photo-astronaut.jpg": "photos/more/cat.jpg",
        "painting-venice.jpg": "venice.jpg",
        "drawing-oz.jpg": "oz.png",
    }.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(EXAMPLES / name) as image:
            exif = Image.Exif()
            exif[0x013B] = "A. Painter"
            image.resize((60, 44)).save(folder / place, exif=exif)
    Image.fromarray(np.tile(np.repeat([255, 0], 30).astype(np.uint8), (44, 1))).save(folder / "mask.png")
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").touch()
    for other in ("model", "other"):
        style = [folder / "venice.jpg", "-o", folder / f"{other}.style.safetensors"]
        assert main(["style", "save", *map(str, style), "--model", str(folder / f"{other}.safetensors")]) == 0
    return folder


@pytest.fixture
def here(materials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the materials, as the current folder."""
    shutil.copytree(materials, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stylize(*words: str) -> int:
    return main(["stylize", *words, "--model", "model.safetensors"])


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), float)


def painted(
    style: Any, model: str = "model.safetensors", precision: Precision = "auto", **keywords: Any
) -> np.ndarray:
    """What Python paints of the cat, as pixels."""
    photo = pixels(CAT).astype(np.uint8)
    image = Stylizer.from_pretrained(model, "cpu", precision)(photo, style, **keywords)
    return np.asarray(image, float)


def assert_painted(path: str, style: Any, **keywords: Any) -> None:
    np.testing.assert_allclose(pixels(path), painted(style, **keywords), rtol=0, atol=1)


def results(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def no_leftovers(folder: Path) -> bool:
    return not list(folder.rglob(".arbstyle-*"))


# --- names --------------------------------------------------------------------------------------


def test_default_name(here, capsys):
    assert stylize("photos/cat.jpg", "--style", "venice.jpg") == 0
    assert capsys.readouterr().out == "cat__venice.jpg\n"
    assert Image.open("cat__venice.jpg").size == (60, 44)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("out.png", {"out.png"}),
        ("made/up/out.webp", {"made/up/out.webp"}),
        ("folder", {"folder/cat__venice.jpg"}),
        ("folder.v1/", {"folder.v1/cat__venice.jpg"}),
        ("{style}/{content}", {"venice/cat.jpg"}),
        ("x/{content}-in-{style}.tif", {"x/cat-in-venice.tif"}),
    ],
)
def test_outputs(here, output, expected):
    before = results(here)
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", "-o", output) == 0
    assert results(here) - before == expected


def test_every_content_with_every_style(here):
    assert stylize("photos", "--style", "venice.jpg", "oz.png", "-o", "out") == 0
    assert results(here / "out") == {
        f"{photo}__{style}.jpg" for photo in ("cat", "pagoda") for style in ("venice", "oz")
    }


def test_recursive_keeps_subfolders_and_passes_over_its_own_results(here):
    for _ in range(2):
        arguments = ["photos", "--recursive", "--style", "oz.png", "-o", "photos/out", "--overwrite"]
        assert stylize(*arguments) == 0
        assert results(here / "photos/out") == {"cat__oz.jpg", "pagoda__oz.jpg", "more/cat__oz.jpg"}


def test_equal_names_do_not_collide(here):
    shutil.copy("photos/cat.jpg", "photos/Cat.jpeg")
    assert (
        stylize("photos/cat.jpg", "photos/Cat.jpeg", "photos/more/cat.jpg", "--style", "oz.png", "-o", "out")
        == 0
    )
    assert len(results(here / "out")) == 3
    assert (
        stylize("photos/c*.jpg", "photos/cat.jpg", "./photos/cat.jpg", "--style", "oz.png", "-o", "once") == 0
    )
    assert results(here / "once") == {"cat__oz.jpg"}


def test_pairs(here):
    assert (
        stylize(
            "photos/cat.jpg", "photos/pagoda.jpg", "--style", "oz.png", "venice.jpg", "--pair", "-o", "out"
        )
        == 0
    )
    assert results(here / "out") == {"cat__oz.jpg", "pagoda__venice.jpg"}


# --- what is done -------------------------------------------------------------------------------


def test_strength_zero_is_the_photo(here):
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", "--strength", "0", "-o", "out.png") == 0
    assert np.array_equal(pixels("out.png"), pixels("photos/cat.jpg"))


def test_strength_beyond_one_says_so_once(here, capsys):
    assert stylize("photos", "--style", "venice.jpg", "--strength", "1.3", "-o", "out") == 0
    assert capsys.readouterr().err.count("beyond 1") == 1


def test_blends(here):
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", "-o", "one.png") == 0
    assert stylize("photos/cat.jpg", "--style", "venice.jpg:1", "oz.png:0", "-o", "same.png") == 0
    assert stylize("photos/cat.jpg", "--style", "venice.jpg:0.5", "oz.png:0.5", "-o", "half.png") == 0
    assert np.array_equal(pixels("one.png"), pixels("same.png"))
    assert_painted("half.png", ["venice.jpg", "oz.png"], weights=[1, 1])


def test_size_sets_the_short_side(here):
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", "--size", "32", "-o", "out.png") == 0
    assert Image.open("out.png").size == (44, 32)


@pytest.mark.parametrize(
    ("option", "keywords"),
    [
        (["--style-size", "16"], {"style_size": 16}),
        (["--stroke", "2"], {"stroke": 2}),
        (["--keep-colors", "luminance"], {"keep_colors": "luminance"}),
        (["--keep-colors", "histogram"], {"keep_colors": "histogram"}),
        (["--keep-colors", "coral"], {"keep_colors": "coral"}),
        (["--mask", "mask.png"], {"masks": ["mask.png"]}),
        (["--strength", "0.5"], {"strength": 0.5}),
    ],
    ids=str,
)
def test_options_are_those_of_python(here, option, keywords):
    words = ["--style", "venice.jpg", "-o", "out.png", "--precision", "fp32"]
    assert stylize(CAT, *words, *option) == 0
    assert_painted("out.png", "venice.jpg", precision="fp32", **keywords)
    assert np.abs(pixels("out.png") - painted("venice.jpg")).max() > 1, "it has an effect"


@pytest.mark.parametrize(
    "option", [["--tile", "64"], ["--precision", "fp32", "--device", "cpu"]], ids=" ".join
)
def test_options_that_hardly_change_the_picture(here, option):
    words = ["photos/cat.jpg", "--style", "venice.jpg", "--size", "96"]
    assert stylize(*words, "-o", "plain.png") == 0
    assert stylize(*words, "-o", "out.png", *option) == 0
    error = ((pixels("plain.png") - pixels("out.png")) ** 2).mean()
    assert error < 255**2 * 10**-3.5


def test_a_mask_a_style(here):
    words = ["photos/cat.jpg", "--style", "venice.jpg", "oz.png", "--mask", "mask.png"]
    assert stylize(*words, "-o", "out.png") == 0
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", "--mask", "mask.png", "-o", "part.png") == 0
    photo, part = pixels("photos/cat.jpg"), pixels("part.png")
    assert np.array_equal(part[:, 31:], photo[:, 31:])
    assert_painted("part.png", "venice.jpg", masks=["mask.png"])
    assert_painted("out.png", ["venice.jpg", "oz.png"], masks=["mask.png"])


def test_grid_and_strip(here):
    assert stylize("photos", "--style", "venice.jpg", "oz.png", "--grid", "--size", "20") == 0
    width = 8 * 4 + 3 * round(60 * 20 / 44)
    assert Image.open("grid.png").size == (width, 8 * 4 + 3 * 20)
    assert (
        stylize(
            "photos/cat.jpg", "--style", "venice.jpg", "oz.png", "--strip", "4", "--size", "20", "-o", "out"
        )
        == 0
    )
    strip = pixels("out/strip.png")
    assert strip.shape[:2] == (8 * 2 + 20, 8 * 5 + 4 * 27)
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", "--size", "20", "-o", "first.png") == 0
    assert np.array_equal(strip[8:28, 8:35], pixels("first.png"))
    assert stylize("photos", "--style", "venice.jpg", "--grid", "--skip-existing") == 0
    assert stylize("photos", "--style", "venice.jpg", "--grid") == 2


def test_numbers_of_a_bank(here):
    for number in "01":
        words = ["photos/cat.jpg", "--style", number, "-o", f"{number}.png", "--model", "bank.safetensors"]
        assert main(["stylize", *words]) == 0
        assert_painted(f"{number}.png", int(number), model="bank.safetensors")
    assert np.abs(pixels("0.png") - pixels("1.png")).max() > 2


# --- what is kept -------------------------------------------------------------------------------


def test_exif_and_notes(here):
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", "-o", "out.jpg") == 0
    exif = Image.open("out.jpg").getexif()
    assert exif[0x013B] == "A. Painter"
    assert exif[0x0131].startswith("arbstyle ")
    assert "Style: venice.jpg" in exif[0x010E]
    assert "Model: small (" in exif[0x010E]
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", "-o", "bare.jpg", "--no-metadata") == 0
    exif = Image.open("bare.jpg").getexif()
    assert exif[0x013B] == "A. Painter"
    assert 0x0131 not in exif


def test_transparency_is_kept(here):
    image = Image.open("photos/cat.jpg").convert("RGBA")
    image.putalpha(Image.open("mask.png"))
    image.save("clear.png")
    assert stylize("clear.png", "--style", "venice.jpg", "--size", "22", "-o", "out.png") == 0
    alpha = np.asarray(Image.open("out.png").getchannel("A"))
    assert alpha.shape == (22, 30)
    assert alpha[:, 0].min() == 255
    assert alpha[:, -1].max() == 0


def test_sixteen_bits_and_quality(here):
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", "-o", "deep.png", "--bits", "16") == 0
    assert Path("deep.png").read_bytes()[24] == 16
    for quality in ("30", "95"):
        assert (
            stylize("photos/cat.jpg", "--style", "venice.jpg", "-o", f"{quality}.jpg", "--quality", quality)
            == 0
        )
    assert Path("30.jpg").stat().st_size < Path("95.jpg").stat().st_size


# --- batches ------------------------------------------------------------------------------------


def test_bad_files_cost_only_themselves(here, capsys):
    words = [
        "photos/cat.jpg",
        "text.jpg",
        "nothing.jpg",
        "--style",
        "venice.jpg",
        "empty.png",
        "-o",
        "out",
        "--json",
    ]
    assert stylize(*words) == 1
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert (summary["done"], summary["skipped"], summary["failed"]) == (1, 0, 5)
    assert summary["model"]["name"] == "small"
    (done,) = [picture for picture in summary["pictures"] if picture["status"] == "done"]
    assert (done["width"], done["height"]) == (60, 44)
    assert results(here / "out") == {"cat__venice.jpg"}
    assert err.count("\n") == 3, "one line a bad file"


def test_skip_existing_goes_on(here, capsys):
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", "-o", "out") == 0
    before = Path("out/cat__venice.jpg").stat().st_mtime_ns
    assert stylize("photos", "--style", "venice.jpg", "-o", "out") == 2
    assert results(here / "out") == {"cat__venice.jpg"}
    assert stylize("photos", "--style", "venice.jpg", "-o", "out", "--skip-existing") == 0
    assert results(here / "out") == {"cat__venice.jpg", "pagoda__venice.jpg"}
    assert Path("out/cat__venice.jpg").stat().st_mtime_ns == before
    assert "1 skipped" in capsys.readouterr().err
    assert stylize("photos", "--style", "venice.jpg", "-o", "out", "--overwrite") == 0
    assert Path("out/cat__venice.jpg").stat().st_mtime_ns != before


def test_an_interrupted_batch_keeps_what_is_done(here, monkeypatch, capsys):
    from arbstyle.painting import Stylizer

    paint = Stylizer.stylize
    calls = []

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return paint(*args, **options)

    monkeypatch.setattr(Stylizer, "stylize", interrupted)
    assert stylize("photos", "--style", "venice.jpg", "-o", "out") == 130
    assert results(here / "out") == {"cat__venice.jpg"}
    assert "--skip-existing" in capsys.readouterr().err
    assert stylize("photos", "--style", "venice.jpg", "-o", "out", "--skip-existing") == 0
    assert len(results(here / "out")) == 2


def test_two_processes_on_one_folder_without_the_training_stack(here):
    script = (
        "import sys; from arbstyle.cli import main; code = main(['stylize', *sys.argv[1:]]); "
        "sys.exit(code or bool({'pytorch_lightning', 'lightning', 'wandb', 'datasets'} & set(sys.modules)))"
    )
    words = ["photos", "--style", "venice.jpg", "oz.png", "-o", "out", "--overwrite"]
    command = [sys.executable, "-c", script, *words, "--model", "model.safetensors"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(results(here / "out")) == 4
    assert no_leftovers(here)
    for path in (here / "out").iterdir():
        Image.open(path).verify()


# --- style files --------------------------------------------------------------------------------


def test_a_style_file_stands_for_its_picture(here, capsys):
    size = ("--style-size", "512")  # as 'style save' looks at it
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", *size, "-o", "one.png") == 0
    assert stylize("photos/cat.jpg", "--style", "model.style.safetensors", "-o", "same.png") == 0
    assert np.abs(pixels("one.png") - pixels("same.png")).max() <= 1
    assert (
        stylize("photos/cat.jpg", "--style", "model.style.safetensors:1", "oz.png:1", "-o", "blend.png") == 0
    )
    assert stylize("photos/cat.jpg", "--style", "model.style.safetensors") == 0
    assert Path("cat__model.jpg").is_file()


def test_a_styles_name_steers_no_terminal(here, capsys):
    save = ["style", "save", "oz.png", "--model", "model.safetensors", "-o", "odd.safetensors"]
    assert main([*save, "--name", "a\nb\x1b]0;c\x07é"]) == 0
    capsys.readouterr()
    assert main(["style", "show", "odd.safetensors"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "  name: a b\\x1b]0;c\\x07é"


def test_style_save_and_show(here, capsys):
    words = ["oz.png", "--name", "Emerald City", "-o", "emerald.safetensors", "--style-size", "64"]
    assert main(["style", "save", *words, "--model", "model.safetensors"]) == 0
    assert main(["style", "save", *words, "--model", "model.safetensors"]) == 2
    assert main(["style", "save", *words, "--model", "model.safetensors", "--overwrite"]) == 0
    assert main(["style", "save", "oz.png", "--model", "model.safetensors"]) == 0
    assert Path("oz.style.safetensors").is_file()
    capsys.readouterr()
    assert main(["style", "show", "emerald.safetensors", "--thumbnail", "thumb.png"]) == 0
    shown = capsys.readouterr().out
    assert "name: Emerald City" in shown
    assert "model: small (" in shown
    assert Image.open("thumb.png").size == (60, 44)
    assert main(["style", "show", "emerald.safetensors", "model.style.safetensors", "--json"]) == 0
    assert [style["name"] for style in json.loads(capsys.readouterr().out)] == ["Emerald City", "venice"]


# --- refinement ---------------------------------------------------------------------------------


def test_refining_for_a_photo_and_for_a_file(here, capsys):
    random_vgg = ["--vgg-weights", "random"]
    assert stylize(CAT, "--style", "venice.jpg", "-o", "refined.png", "--refine", "2", *random_vgg) == 0
    stylizer = Stylizer.from_pretrained("model.safetensors", "cpu")
    for_one = stylizer.refine("venice.jpg", [CAT], 2, vgg_weights="random")
    assert_painted("refined.png", for_one)
    words = ["venice.jpg", "-o", "refined.safetensors", "--refine", "2", "--photos", CAT, "photos/pagoda.jpg"]
    assert main(["style", "save", *words, *random_vgg, "--model", "model.safetensors"]) == 0
    assert stylize(CAT, "--style", "refined.safetensors", "-o", "again.png") == 0
    for_both = stylizer.refine("venice.jpg", [CAT, "photos/pagoda.jpg"], 2, vgg_weights="random")
    assert_painted("again.png", for_both)
    capsys.readouterr()
    assert main(["style", "show", "refined.safetensors"]) == 0
    assert "refined: True" in capsys.readouterr().out


# --- documentation ------------------------------------------------------------------------------


def documented_commands() -> list[list[str]]:
    text = (REPOSITORY / "docs" / "stylize.md").read_text(encoding="utf-8")
    lines = [
        line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("words", documented_commands(), ids=" ".join)
def test_documented_commands_parse(words):
    program, command, *rest = words
    assert program == "arbstyle"
    function = load(command)
    if isinstance(function, dict):
        function, rest = function[rest[0]], rest[1:]
    parse(function, program, rest)


# --- mistakes -----------------------------------------------------------------------------------

MISTAKES: list[tuple[list[str], str]] = [
    (["stylize"], "required"),
    (["stylize", CAT], "--style"),
    (["stylize", CAT, "--style"], "expected at least one argument"),
    (["stylize", "nothing.jpg", "--style", "oz.png"], "no such file"),
    (["stylize", "text.jpg", "--style", "oz.png"], "not a picture"),
    (["stylize", "empty.png", "--style", "oz.png"], "empty"),
    (["stylize", "none/*.jpg", "--style", "oz.png"], "no file matches"),
    (["stylize", "photos/more/none", "--style", "oz.png"], "no such file"),
    (["stylize", "vacant", "--style", "oz.png"], "no pictures found"),
    (["stylize", CAT, "--style", "nothing.jpg"], "no such file"),
    (["stylize", CAT, "--style", "text.jpg"], "not a picture"),
    (["stylize", CAT, "--style", "vacant"], "no pictures found"),
    (["stylize", CAT, "--style", "nothing.style.safetensors"], "no such file"),
    (["stylize", CAT, "--style", "model.safetensors"], "style file"),
    (["stylize", CAT, "--style", "damaged.safetensors"], "not a readable style file"),
    (["stylize", CAT, "--style", "other.style.safetensors"], "another model"),
    (["stylize", CAT, "--style", "model.style.safetensors", "--keep-colors", "coral"], "luminance"),
    (["stylize", CAT, "--style", "oz.png:much"], "WEIGHT"),
    (["stylize", CAT, "--style", "oz.png:-1"], "WEIGHT"),
    (["stylize", CAT, "--style", "oz.png:nan"], "WEIGHT"),
    (["stylize", CAT, "--style", "oz.png:0", "venice.jpg:0"], "positive"),
    (["stylize", CAT, "--style", "3"], "no such file"),
    (["stylize", CAT, "--style", "oz.png", "--strength", "-1"], "strength"),
    (["stylize", CAT, "--style", "oz.png", "--strength", "nan"], "strength"),
    (["stylize", CAT, "--style", "oz.png", "--strength", "much"], "invalid float"),
    (["stylize", CAT, "--style", "oz.png", "--size", "3"], "--size"),
    (["stylize", CAT, "--style", "oz.png", "--size", "1000000"], "megapixels"),
    (["stylize", CAT, "--style", "oz.png", "--style-size", "0"], "style size"),
    (["stylize", CAT, "--style", "oz.png", "--tile", "5"], "tiles"),
    (["stylize", CAT, "--style", "oz.png", "--quality", "0"], "--quality"),
    (["stylize", CAT, "--style", "oz.png", "--bits", "12"], "invalid choice"),
    (["stylize", CAT, "--style", "oz.png", "--bits", "16"], ".png"),
    (["stylize", CAT, "--style", "oz.png", "--keep-colors", "all"], "invalid choice"),
    (["stylize", CAT, "--style", "oz.png", "--precision", "int8"], "invalid choice"),
    (["stylize", CAT, "--style", "oz.png", "--device", "abacus"], "abacus"),
    (["stylize", CAT, "--style", "oz.png", "--device", "cuda:77"], "cuda:77"),
    (["stylize", CAT, "--style", "oz.png", "--mask", "nothing.png"], "no such file"),
    (["stylize", CAT, "--style", "oz.png", "--mask", "black.png"], "black"),
    (["stylize", CAT, "--style", "oz.png", "--mask", "mask.png", "mask.png"], "mask"),
    (["stylize", CAT, "--style", "oz.png:1", "--mask", "mask.png"], "one of them"),
    (["stylize", "photos", "--style", "oz.png", "--pair"], "--pair"),
    (["stylize", "photos", "--style", "oz.png", "-o", "one.jpg"], "one file"),
    (["stylize", "photos", "--style", "oz.png", "-o", "{style}.jpg"], "both become"),
    (["stylize", CAT, "--style", "oz.png", "-o", "{photo}.jpg"], "{content}"),
    (["stylize", CAT, "--style", "oz.png", "-o", "out.xyz"], "ends in"),
    (["stylize", CAT, "--style", "oz.png", "-o", CAT, "--overwrite"], "is an input"),
    (["stylize", CAT, "--style", "oz.png", "-o", "oz.png", "--overwrite"], "is an input"),
    (["stylize", CAT, "--style", "oz.png", "-o", "venice.jpg"], "exists"),
    (["stylize", CAT, "--style", "oz.png", "-o", "text.jpg/x.png"], "is a file, not a folder"),
    (["stylize", CAT, "--style", "oz.png", "--overwrite", "--skip-existing"], "not allowed with"),
    (["stylize", CAT, "--style", "oz.png", "--strip", "3"], "two or more"),
    (["stylize", CAT, "--style", "oz.png", "venice.jpg", "--strip", "1"], "2 or more"),
    (["stylize", CAT, "--style", "oz.png", "venice.jpg", "--strip", "9" * 20], "1000 at most"),
    (
        ["stylize", CAT, "--style", "oz.png", "--grid", "-o", "photos/cat.jpg", "--overwrite"],
        "is an input",
    ),
    (["stylize", CAT, "--style", "oz.png", "--grid", "--pair"], "--pair"),
    (["stylize", CAT, "--style", "oz.png", "--model", "nothing.safetensors"], "no such file"),
    (["stylize", CAT, "--style", "oz.png", "--model", "text.jpg"], "safetensors"),
    (["stylize", CAT, "--style", "oz.png", "--model", "model.style.safetensors"], "expected a model"),
    (["stylize", CAT, "--style", "oz.png", "--model", "bank.safetensors"], "by number"),
    (["stylize", CAT, "--style", "9", "--model", "bank.safetensors"], "0 to 1"),
    (["stylize", CAT, "--style", "oz.png", "--refine", "0"], "--refine"),
    (["stylize", CAT, "--style", "oz.png", "--refine", "5", "--mask", "mask.png"], "no mask"),
    (["stylize", CAT, "--style", "model.style.safetensors", "--refine", "5"], "style picture"),
    (["stylize", CAT, "--style", "oz.png", "--refine", "5", "--vgg-weights", "text.jpg"], "weights"),
    (["style", "save", "oz.png", "--refine", "5"], "--photos"),
    (["style"], "ACTION"),
    (["style", "keep"], "invalid choice"),
    (["style", "save", "nothing.jpg"], "no such file"),
    (["style", "save", "oz.png", "-o", "oz.txt"], ".safetensors"),
    (["style", "save", "oz.png", "--style-size", "1"], "style size"),
    (["style", "save", "oz.png", "-o", "x.safetensors", "--model", "bank.safetensors"], "number"),
    (["style", "show", "nothing.safetensors"], "no such file"),
    (["style", "show", "model.safetensors"], "style file"),
    (
        ["style", "show", "model.style.safetensors", "other.style.safetensors", "--thumbnail", "x.png"],
        "one picture",
    ),
]


@pytest.mark.parametrize(
    ("words", "expected"),
    MISTAKES,
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_one_line(here, capsys, words, expected):
    (here / "vacant").mkdir()
    (here / "damaged.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    Image.new("L", (60, 44)).save("black.png")
    before = results(here)
    needs_model = (
        words[:2] != ["style", "show"] and len(words) > 1 and "--model" not in words and "keep" not in words
    )
    assert main([*words, *(["--model", "model.safetensors"] if needs_model else [])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("arbstyle")
    assert expected in err
    assert results(here) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(here, capsys):
    Path("locked").mkdir(mode=0o500)
    assert stylize("photos/cat.jpg", "--style", "venice.jpg", "-o", "locked") == 2
    assert "permission" in capsys.readouterr().err


def test_a_full_disk_keeps_what_is_done(here, monkeypatch, capsys):
    write = Path.write_bytes
    written: list[Path] = []

    def full(path: Path, data: bytes) -> int:
        if len(written) == 1:
            write(path, data[: len(data) // 2])
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert stylize("photos", "--style", "venice.jpg", "-o", "out") == 1
    assert results(here / "out") == {"cat__venice.jpg"}
    assert no_leftovers(here)
    assert "no space left" in capsys.readouterr().err
