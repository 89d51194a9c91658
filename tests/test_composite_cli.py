"""`arbstyle composite` and `stylize --seamless` as command lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from arbstyle.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A textured foreground, a smooth background, and a disc as mask."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(90, 120, (24, 30, 3), np.uint8)).save("above.png")
    y, x = np.mgrid[:40, :50]
    Image.fromarray(np.stack([100 + 2 * x, 60 + 3 * y, 90 + x + y], axis=-1).astype(np.uint8)).save(
        "below.png"
    )
    Image.fromarray(
        np.kron(generator.integers(0, 256, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    ).save("style.png")
    disc = (np.mgrid[:24, :30][0] - 12) ** 2 + (np.mgrid[:24, :30][1] - 15) ** 2 < 81
    Image.fromarray(disc.astype(np.uint8) * 255).save("mask.png")
    return tmp_path


def pixels(name: str) -> np.ndarray:
    with Image.open(name) as image:
        return np.asarray(image).astype(float)


def laplacian(picture: np.ndarray) -> np.ndarray:
    around = sum(np.roll(picture, step, axis) for step in (-1, 1) for axis in (0, 1))
    return 4 * picture - around


def composite(*words: str) -> int:
    return main(["composite", "above.png", "below.png", *words])


def test_sets_the_masked_part_in_and_leaves_the_rest(folder: Path):
    assert composite("--mask", "mask.png", "--at", "7,9", "-o", "out.png") == 0
    inside = np.zeros((40, 50), bool)
    inside[9:33, 7:37] = pixels("mask.png") > 0
    out, below, above = pixels("out.png"), pixels("below.png"), pixels("above.png")
    assert np.array_equal(out[~inside], below[~inside])
    centre = (slice(6, 18), slice(9, 21))
    of_result, of_foreground = (laplacian(picture)[centre] for picture in (out[9:33, 7:37], above))
    assert np.abs(of_foreground).max() > 20
    assert np.abs(of_result - of_foreground).max() <= 4, "eight roundings of half a level"


@pytest.mark.parametrize("words", [["--at=-5,-4"], ["--at=40,30"], ["--scale", "3"], []])
def test_a_foreground_may_reach_beyond_the_frame(words: list[str], folder: Path):
    assert composite(*words, "-o", "out.png") == 0
    assert pixels("out.png").shape == (40, 50, 3)
    assert not np.array_equal(pixels("out.png"), pixels("below.png"))


def test_a_transparent_foreground_needs_no_mask(folder: Path):
    above = Image.open("above.png")
    above.putalpha(Image.open("mask.png"))
    above.save("cut.png")
    assert main(["composite", "cut.png", "below.png", "--at", "7,9", "-o", "cut-out.png"]) == 0
    assert composite("--mask", "mask.png", "--at", "7,9", "-o", "out.png") == 0
    # The colours that transparency hides are not used, those that a mask leaves out are: at the border.
    assert np.abs(pixels("cut-out.png") - pixels("out.png")).mean() < 3


def test_alpha_of_the_background_survives_and_is_covered(folder: Path):
    below = Image.open("below.png")
    alpha = np.full((40, 50), 255, np.uint8)
    alpha[:, 22:] = 0
    below.putalpha(Image.fromarray(alpha))
    below.save("half.png")
    assert main(["composite", "above.png", "half.png", "--mask", "mask.png", "-o", "out.png"]) == 0
    expected = alpha.copy()
    expected[8:32, 10:40][pixels("mask.png") > 0] = 255
    assert np.array_equal(pixels("out.png")[..., 3], expected)


def test_colour_profiles_are_resolved(folder: Path):
    """A background in another space blends as its sRGB version does."""
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    Image.open("below.png").save("tagged.png", icc_profile=wide.tobytes())
    assert main(["composite", "above.png", "tagged.png", "--mask", "mask.png", "-o", "a.png"]) == 0
    assert composite("--mask", "mask.png", "-o", "b.png") == 0
    assert np.abs(pixels("a.png") - pixels("b.png")).max() <= 1


def test_a_style_paints_the_whole_composite(folder: Path):
    assert composite("--mask", "mask.png", "-o", "plain.png") == 0
    assert composite("--mask", "mask.png", "--style", "style.png", "-o", "painted.png") == 0
    assert main(["stylize", "plain.png", "--style", "style.png", "--bits", "8", "-o", "twice.png"]) == 0
    assert np.abs(pixels("painted.png") - pixels("twice.png")).mean() < 3, "but for rounding in between"


def test_seamless_leaves_the_photo_outside_and_no_step_at_the_border(folder: Path):
    mask = np.zeros((40, 50), np.uint8)
    mask[8:30, 10:40] = 255
    Image.fromarray(mask).save("region.png")
    stylize = ["stylize", "below.png", "--style", "style.png", "--mask", "region.png"]
    assert main([*stylize, "-o", "hard.png"]) == 0
    assert main([*stylize, "--seamless", "-o", "soft.png"]) == 0
    below, hard, soft = (pixels(name) for name in ("below.png", "hard.png", "soft.png"))
    assert np.array_equal(soft[mask == 0], below[mask == 0])
    assert not np.array_equal(soft, below)
    hard_step, soft_step = (np.abs(out[8:30, 10] - out[8:30, 9]).mean() for out in (hard, soft))
    assert soft_step < hard_step / 1.5


def test_seamless_paints_with_all_options_of_painting(folder: Path):
    Image.fromarray(np.pad(np.full((20, 30), 255, np.uint8), 10)).save("region.png")
    command = ["stylize", "below.png", "--style", "style.png", "--mask", "region.png", "--seamless"]
    painted = {}
    for options in (
        "",
        "--stroke 2",
        "--seed 9",
        "--strength 0.5",
        "--keep-colors luminance",
        "--style-size 32",
    ):
        assert main([*command, *options.split(), "--overwrite", "-o", "out.png"]) == 0
        painted[pixels("out.png").tobytes()] = options
    assert len(painted) == 6, painted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--at", "7"], "X,Y"),
        (["--at", "500,0"], "outside the background"),
        (["--scale", "0"], "scale"),
        (["--mask", "nothing.png"], "nothing.png"),
        (["--mask", "black.png"], "nothing to blend"),
        (["--gradients", "both"], "normal"),
        (["-o", "below.png"], "is an input"),
        (["--bits", "16", "-o", "out.jpg"], "16 bits"),
        (["--strength", "0.3"], "give a --style"),
        (["--device", "cpu"], "give a --style"),
        (["--quality", "500"], "--quality from 1 to 100"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
    Image.new("L", (30, 24)).save("black.png")
    before = set(folder.iterdir())
    assert composite(*(words if "-o" in words else [*words, "-o", "out.png"])) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert set(folder.iterdir()) == before


def test_seamless_needs_a_mask(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["stylize", "below.png", "--style", "above.png", "--seamless", "-o", "out.png"]) == 2
    assert "--mask" in capsys.readouterr().err


def test_strength_beyond_one_is_told_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
):
    assert composite("--style", "style.png", "--strength", "1.5", "-o", "out.png") == 0
    assert capsys.readouterr().err.count("beyond 1") == 1
    assert not [warning for warning in recwarn if "beyond 1" in str(warning.message)]


@pytest.mark.parametrize("strength", ["-1", "nan", "inf"])
def test_a_strength_is_checked_before_the_work(
    strength: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert composite(f"--strength={strength}", "-o", "out.png") == 2
    assert "expected a strength" in capsys.readouterr().err
    assert not Path("out.png").exists()


def test_hidden_colours_of_the_background_are_not_painted(folder: Path):
    seen = []
    for name, hidden in (("green", (0, 255, 0, 0)), ("pink", (255, 0, 255, 0))):
        below = np.full((96, 128, 4), hidden, np.uint8)
        below[:, :64] = (200, 60, 30, 255)
        Image.fromarray(below).save(f"{name}.png")
        Image.new("RGB", (16, 16), "blue").save("above.png")
        assert (
            main(
                [
                    "composite",
                    "above.png",
                    f"{name}.png",
                    "--at",
                    "8,8",
                    "--style",
                    "woodcut",
                    "-o",
                    f"{name}-made.png",
                ]
            )
            == 0
        )
        seen.append(pixels(f"{name}-made.png")[:, :64].astype(int))
    assert np.abs(seen[0] - seen[1]).max() == 0
