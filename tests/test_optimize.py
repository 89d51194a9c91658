"""The optimisation: the canvas it works on, the budget it keeps, what it finds, and its command line."""

from __future__ import annotations

import csv
import itertools
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from arbstyle.cli import main
from arbstyle.errors import ArbstyleError
from arbstyle.images import read_image, read_picture, resize, write_image
from arbstyle.optimization import LossRecord, Optimized, Settings, optimize
from arbstyle.optimization.canvas import Canvas
from arbstyle.perception import LossTerms, PerceptualEncoder, PerceptualLoss, Targets

REPOSITORY = Path(__file__).resolve().parent.parent
LAYERS = {"content_layers": ["relu2_1"], "style_layers": ["relu1_1", "relu2_1:0.5"]}


def picture(height: int = 32, width: int = 40, seed: int = 0) -> Tensor:
    """A smooth random picture, away from black and white."""
    coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return resize(coarse, (height, width)) * 0.8 + 0.1


def paint(content: Tensor | Path | None, style: Any = None, **changes: Any) -> Optimized:
    """`optimize` through a network of random weights, shallow and not calibrated: quick."""
    defaults: dict[str, Any] = {"vgg_weights": "random", "normalize_filters": False, "steps": 12, **LAYERS}
    return optimize(content, style, **(defaults | changes))


def test_earlier_keywords_do_what_the_new_ones_do(caplog: pytest.LogCaptureFixture):
    old = paint(picture(), picture(seed=1), steps=3, balance=False, encoder="vgg16")
    assert sorted(record.getMessage() for record in caplog.records) == [
        "optimize: the keyword balance is now relative_errors",
        "optimize: the keyword encoder is now vgg",
    ]
    new = paint(picture(), picture(seed=1), steps=3, relative_errors=False, vgg="vgg16")
    assert [each.total for each in old.history] == pytest.approx(
        [each.total for each in new.history], rel=1e-4
    )
    relative = paint(picture(), picture(seed=1), steps=1, relative_errors=True, vgg="vgg16")
    assert relative.history[0].total != pytest.approx(new.history[0].total, rel=0.01)
    with pytest.raises(ArbstyleError, match="give one of them"):
        paint(picture(), balance=True, relative_errors=True)


# --- the canvas ---------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", ["fourier", "pixels"])
@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (1, 5)])
@pytest.mark.parametrize("unit", [1.0, 300.0])
def test_canvas_shows_what_it_is_given(basis, shape: tuple[int, int], unit: float):
    canvas = Canvas(*shape, basis=basis, unit=unit)
    image = picture(*shape)
    canvas.set_picture(image)
    torch.testing.assert_close(canvas(), image, rtol=1e-4, atol=1e-4)


def test_canvas_keeps_gradients_at_black_and_white():
    canvas = Canvas(4, 4)
    canvas.set_picture(torch.cat([torch.zeros(1, 3, 4, 2), torch.ones(1, 3, 4, 2)], dim=3))
    image = canvas()
    assert 0 < image.min() < 0.02
    assert 0.98 < image.max() < 1
    image.sum().backward()
    assert canvas.values.grad is not None
    assert (canvas.values.grad.abs() > 0).any()


def test_fourier_noise_is_smoother_than_white_noise():
    def roughness(basis: Any) -> float:
        canvas = Canvas(64, 64, basis=basis)
        canvas.randomize(seed=0)
        image = canvas().detach()
        return float(image.diff(dim=3).var() / image.var())

    assert roughness("pixels") == pytest.approx(2, rel=0.1)  # neighbours are independent
    assert roughness("fourier") < 1


# --- the three jobs -----------------------------------------------------------------------------


@pytest.mark.parametrize("job", ["transfer", "texture", "reconstruction"])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_jobs_lower_their_loss_within_the_budget(job: str, optimizer):
    content = None if job == "texture" else picture()
    style = None if job == "reconstruction" else picture(24, 24, seed=1)
    seen: list[tuple[LossRecord, Tensor]] = []
    result = paint(
        content, style, optimizer=optimizer, steps=25, callback=lambda *progress: seen.append(progress)
    )
    assert result.stopped == "finished"
    assert len(result.history) == len(seen) == 25
    assert [evaluation.number for evaluation in result.history] == list(range(1, 26))
    assert result.best.total < 0.7 * result.history[0].total
    assert result.best.total == min(evaluation.total for evaluation in result.history)
    assert result.image.shape == (content if content is not None else picture(24, 24)).shape
    assert torch.equal(result.image, seen[result.best.number - 1][1])
    names = {name.split("/")[0] for name in result.best.layers}
    assert (
        names == {"transfer": {"content", "style"}, "texture": {"style"}, "reconstruction": {"content"}}[job]
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_best_is_the_loss_of_the_picture_that_is_returned(precision):
    """In float32, whatever most evaluations were in."""
    content, style = picture(), picture(seed=1)
    weights = {"content_weight": 3.0, "style_weight": 0.5, "tv_weight": 2.0}
    result = paint(content, style, **weights, precision=precision)
    encoder = PerceptualEncoder("vgg19", ["relu1_1", "relu2_1"], weights="random", normalize_filters=False)
    loss = PerceptualLoss(
        encoder,
        {"relu2_1": 1.0},
        {"relu1_1": 1.0, "relu2_1": 0.5},
        content_weight=3.0,
        style_weight=0.5,
        tv_weight=2.0,
        relative_errors=Settings().relative_errors,
    )
    terms = loss(result.image, loss.targets(content, style))
    assert result.best.total == pytest.approx(float(terms.total), rel=1e-4)
    assert result.best.tv == pytest.approx(float(terms.tv), rel=1e-4)
    assert result.best.layers["style/relu1_1"] == pytest.approx(
        float(terms.layers["style/relu1_1"]), rel=1e-4
    )
    assert result.best.shares()["content/relu2_1"] == pytest.approx(1)
    assert result.best.shares() == pytest.approx(terms.shares(), rel=1e-3)


@pytest.mark.parametrize("scales", [1, 2])
def test_bf16_is_for_all_evaluations_but_the_last_tenth(scales: int, monkeypatch: pytest.MonkeyPatch):
    computed: list[tuple[torch.dtype, int]] = []
    forward = PerceptualEncoder.forward

    def watch(self: PerceptualEncoder, images: Tensor) -> dict[str, Tensor]:
        features = forward(self, images)
        if images.requires_grad:
            computed.append((features["relu2_1"].dtype, images.shape[-1]))
        return features

    monkeypatch.setattr(PerceptualEncoder, "forward", watch)
    content, style = picture(), picture(seed=1)
    in_bf16 = paint(content, style, steps=40, scales=scales, precision="bf16")
    each = 40 // scales
    expected = ([torch.bfloat16] * (each - each // 10) + [torch.float32] * (each // 10)) * scales
    assert [dtype for dtype, _ in computed] == expected
    assert len(in_bf16.history) == 40
    in_float32 = paint(content, style, steps=40, scales=scales)
    assert in_bf16.best.total == pytest.approx(in_float32.best.total, rel=0.1)


def test_same_seed_same_picture():
    style = picture(seed=1)
    first, again, other = (paint(None, style, seed=seed).image for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_common_factor_of_all_weights_changes_nothing():
    content, style = picture(), picture(seed=1)
    plain = paint(content, style)
    weights = {"content_weight": 4096 * Settings.content_weight, "style_weight": 4096 * Settings.style_weight}
    scaled = paint(content, style, **weights)
    torch.testing.assert_close(plain.image, scaled.image, rtol=0, atol=1e-3)
    assert scaled.best.total == pytest.approx(4096 * plain.best.total, rel=1e-2)


def test_starting_points():
    content, style, other = picture(seed=0), picture(seed=1), picture(16, 16, seed=2)

    def start(init: Any) -> Tensor:
        return paint(content, style, init=init, steps=1).image

    torch.testing.assert_close(start(None), content, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(start("content"), content, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(start("style"), style, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(start(other), resize(other, (32, 40)), rtol=1e-3, atol=1e-3)
    assert (start("noise") - content).abs().mean() > 0.1
    white = start("white-noise")
    assert white.mean() == pytest.approx(0.5, abs=0.02)
    assert white.std() == pytest.approx(12**-0.5, abs=0.02), "uniform"
    neighbours = torch.corrcoef(torch.stack([white[..., 1:].flatten(), white[..., :-1].flatten()]))[0, 1]
    assert abs(neighbours) < 0.05
    torch.testing.assert_close(start("white-noise"), white, rtol=0, atol=0)
    assert (paint(content, style, init="white-noise", steps=1, seed=1).image - white).abs().mean() > 0.1


def test_a_style_of_weight_zero_takes_no_part():
    first, second = picture(seed=1), picture(seed=2)
    alone = paint(picture(), first)
    weighted = paint(picture(), [first, second], style_weights=[2.0, 0.0])
    torch.testing.assert_close(alone.image, weighted.image, rtol=0, atol=1e-5)


def test_several_styles_give_another_picture_than_each_alone():
    first, second = picture(seed=1), picture(seed=2)
    mixed = paint(picture(), [first, second], style_weights=[0.5, 0.5])
    for style in (first, second):
        assert (mixed.image - paint(picture(), style).image).abs().max() > 0.01


def test_coarse_to_fine():
    result = paint(picture(48, 64), picture(64, 64, seed=1), scales=3, steps=20)
    sizes = [evaluation.size for evaluation in result.history]
    assert sizes == [(12, 16)] * 6 + [(24, 32)] * 7 + [(48, 64)] * 7
    assert result.best.size == (48, 64)
    assert result.best.total == min(evaluation.total for evaluation in result.history[13:])
    assert result.image.shape == (1, 3, 48, 64)


def test_size_is_the_longer_side():
    assert paint(picture(30, 40), picture(seed=1), size=20, steps=1).image.shape == (1, 3, 15, 20)
    assert paint(picture(40, 30), picture(seed=1), size=48, steps=1).image.shape == (1, 3, 48, 36)
    assert paint(None, picture(40, 30), size=48, steps=1).image.shape == (1, 3, 48, 36)


def test_files_are_reduced_to_512_pixels_unless_a_size_is_asked_for(tmp_path: Path):
    path = write_image(picture(8, 600), tmp_path / "wide.png")
    assert paint(path, picture(seed=1), steps=1).image.shape == (1, 3, 7, 512)
    assert paint(path, picture(seed=1), steps=1, size=600).image.shape == (1, 3, 8, 600)
    assert paint(picture(8, 600), picture(seed=1), steps=1).image.shape == (1, 3, 8, 600)


def test_stops_where_the_loss_falls_no_further():
    flat = torch.full((1, 3, 16, 16), 0.5)  # of which the canvas' zero is an exact copy
    result = paint(flat, None, init="content", steps=50)
    assert result.stopped == "converged"
    assert len(result.history) < 50
    assert result.best.total == 0
    torch.testing.assert_close(result.image, flat)


@pytest.mark.parametrize("scales", [1, 2])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("off", [0.0, 1e-7, 1e-5, 1e-3])
def test_a_start_at_or_beside_the_optimum_is_success(scales: int, optimizer: Any, off: float):
    photo = picture()
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(1))
    near = (photo + off * noise).clamp(0, 1)
    result = paint(photo, photo, init=near, scales=scales, optimizer=optimizer)
    assert result.stopped in ("converged", "finished")
    assert all(math.isfinite(record.total) for record in result.history)
    # At the coarser scale the picture is at the optimum, too, but enlarged again it is not.
    assert scales == 2 or (result.image - photo).abs().max() < 1e-3 + 10 * off
    if off == 0 and scales == 1:
        assert (result.stopped, len(result.history)) == ("converged", 1)


@pytest.mark.parametrize("off", [0.0, 1e-5, 1e-3])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_start_at_or_beside_the_optimum_is_success_in_bf16(optimizer: Any, off: float):
    photo = picture()
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(1))
    near = (photo + off * noise).clamp(0, 1)
    result = paint(photo, photo, init=near, optimizer=optimizer, precision="bf16", steps=20)
    assert result.stopped in ("converged", "finished")
    assert all(math.isfinite(record.total) for record in result.history)
    assert (result.image - photo).abs().max() < 0.02, "rounded to 8 bits of a mantissa on the way"


@pytest.mark.parametrize("weight", [1e-20, 1.0, 1e10])
def test_what_counts_as_rounding_does_not_depend_on_the_weights(weight: float):
    changes: dict[str, Any] = {"content_weight": weight, "style_weight": weight}
    assert paint(picture(), picture(), **changes).stopped == "converged"
    assert len(paint(picture(), picture(seed=1), **changes).history) == 12


# --- ends before the end ------------------------------------------------------------------------


@pytest.mark.parametrize(("scales", "at"), [(1, 7), (2, 3), (2, 9)])
def test_interruption_keeps_the_best_picture_so_far(scales: int, at: int):
    pictures: list[Tensor] = []

    def interrupt(evaluation: LossRecord, image: Tensor) -> None:
        pictures.append(image)
        if evaluation.number == at:
            raise KeyboardInterrupt

    result = paint(picture(), picture(seed=1), scales=scales, callback=interrupt)
    assert result.stopped == "interrupted"
    assert len(result.history) == at
    assert result.image.shape == (1, 3, 32, 40)
    same_scale = [evaluation for evaluation in result.history if evaluation.size == result.best.size]
    assert result.best.total == min(evaluation.total for evaluation in same_scale)
    torch.testing.assert_close(result.image, resize(pictures[result.best.number - 1], (32, 40)))


def test_interruption_before_anything_was_painted(monkeypatch: pytest.MonkeyPatch):
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Canvas, "forward", interrupt)
    with pytest.raises(KeyboardInterrupt):
        paint(picture(), picture(seed=1))


@pytest.fixture
def exploding_at_6(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the sixth evaluation on, the loss is not a number."""
    evaluate, calls = PerceptualLoss.forward, itertools.count(1)

    def explode(self: PerceptualLoss, image: Tensor, targets: Targets) -> LossTerms:
        return evaluate(self, image * (float("nan") if next(calls) >= 6 else 1.0), targets)

    monkeypatch.setattr(PerceptualLoss, "forward", explode)


def test_a_loss_that_explodes_keeps_the_last_good_picture(exploding_at_6: None):
    result = paint(picture(), picture(seed=1))
    assert result.stopped == "non-finite"
    assert len(result.history) == 5
    assert result.image.isfinite().all()
    assert result.best.total == min(evaluation.total for evaluation in result.history)


def test_a_loss_that_is_never_finite():
    with pytest.raises(ArbstyleError, match="not a finite number"):
        paint(picture(), picture(seed=1), style_weight=1e38, style_layers={"relu1_1": 1e38})


def test_no_memory_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(PerceptualLoss, "targets", full)
    with pytest.raises(ArbstyleError, match=r"not enough memory.* 40×32"):
        paint(picture(), picture(seed=1))


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"steps": 0}, "steps of 1 or more"),
        ({"scales": 0}, "scales from 1 to 16"),
        ({"scales": 10**9}, "scales from 1 to 16"),
        ({"size": 0}, "size of 1 or more"),
        ({"style_scale": 0.0}, "style_scale above 0"),
        ({"learning_rate": float("nan")}, "learning_rate above 0"),
        ({"learning_rate": 1e38}, "learning_rate above 0 and up to 1000"),
        ({"tv_weight": -1.0}, "tv_weight to be 0 or more"),
        ({"content_weight": float("inf")}, "content_weight to be 0 or more"),
        ({"seed": -1}, "seed"),
        ({"optimizer": "sgd"}, "lbfgs or adam"),
        ({"basis": "wavelets"}, "fourier or pixels"),
        ({"precision": "fp16"}, "auto or fp32 or bf16"),
        ({"style_statistic": "median"}, "gram, moments, both"),
        ({"device": "abacus"}, "a device .* got 'abacus'"),
        ({"content_weight": 0.0, "style_weight": 0.0}, "nothing to optimise"),
        ({"style_weights": [1.0, 2.0]}, "weight for each of 1"),
        ({"style_layers": ["relu7_1"]}, "no layer 'relu7_1'"),
        ({"style_layers": ["relu5_1"], "scales": 3}, "need 16 pixels a side"),
        ({"init": torch.zeros(3, 8, 8)}, r"1×3×H×W"),
        ({"init": "no such file.png"}, "no such file.png"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], complaint: str):
    with pytest.raises(ArbstyleError, match=complaint) as raised:
        paint(picture(), picture(seed=1), **changes)
    assert "\n" not in str(raised.value)


def test_pictures_that_are_missing():
    with pytest.raises(ArbstyleError, match="got neither"):
        paint(None, None)
    with pytest.raises(ArbstyleError, match="can't start from the style"):
        paint(picture(), None, init="style")
    with pytest.raises(ArbstyleError, match="can't start from the content"):
        paint(None, picture(), init="content")


# --- real weights -------------------------------------------------------------------------------


def test_reconstruction_from_a_shallow_layer(vgg19_weights: Path):
    photo = read_image(REPOSITORY / "examples" / "photo-astronaut.jpg", size=96)
    result = optimize(photo, vgg_weights=vgg19_weights, content_layers=["relu1_2"], steps=60)
    error = (result.image - photo).square().mean()
    assert -10 * error.log10() > 24


def test_texture_from_noise(vgg19_weights: Path):
    painting = read_image(REPOSITORY / "examples" / "painting-desert.jpg", size=64)
    layers = ["relu1_1", "relu2_1", "relu3_1"]
    result = optimize(None, painting, vgg_weights=vgg19_weights, style_layers=layers, steps=90)
    assert result.best.style < 0.01 * result.history[0].style


# --- the command line ---------------------------------------------------------------------------

QUICK = ["--vgg-weights", "random", "--no-normalize-filters", "--style-layers", "relu1_1", "relu2_1"]
QUICK += ["--content-layers", "relu2_1"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_image(picture(30, 40), tmp_path / "photo.png")


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    return write_image(picture(32, 32, seed=1), tmp_path / "painting.png")


def test_command_line_defaults_are_pythons():
    from arbstyle.cli import optimize
    from arbstyle.cli._signature import parse

    given = parse(optimize.optimize, "arbstyle optimize", ["photo.png", "-o", "out.png"])
    assert given["settings"] == Settings()


def test_records_are_not_replaced_by_a_new_picture(
    photo: Path, painting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    command = ["optimize", str(photo), "--style", str(painting), "--steps", "1", *QUICK]
    history = tmp_path / "h.csv"
    history.write_text("precious")
    assert main([*command, "--history", str(history), "--skip-existing", "-o", f"{tmp_path}/new.png"]) == 2
    assert "h.csv' exists" in capsys.readouterr().err
    assert history.read_text() == "precious"
    frames = tmp_path / "frames"
    assert main([*command, "--frames", str(frames), "-o", str(frames / "000002.png")]) == 2
    assert "one of the frames" in capsys.readouterr().err


def test_records(photo: Path, painting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("matplotlib")
    arguments = ["--style", f"{painting}:0.5", str(painting), "--scales", "2", "--steps", "9", *QUICK]
    records = ["--history", f"{tmp_path}/h.csv", "--plot", f"{tmp_path}/p.png"]
    frames = ["--frames", f"{tmp_path}/f", "--frames-every", "4"]
    assert main(["optimize", str(photo), "-o", f"{tmp_path}/out.png", *arguments, *records, *frames]) == 0
    assert Image.open(tmp_path / "out.png").size == (40, 30)
    assert Image.open(tmp_path / "p.png").size > (100, 100)
    film = sorted((tmp_path / "f").iterdir())
    assert [frame.name for frame in film] == ["000001.png", "000005.png", "000009.png"]
    assert {Image.open(frame).size for frame in film} == {(40, 30)}, "a film has one size"
    rows = list(csv.DictReader((tmp_path / "h.csv").open()))
    terms = ["evaluation", "total", "content", "style", "tv"]
    layers = ["content/relu2_1", "style/relu1_1", "style/relu2_1"]
    assert list(rows[0]) == [*terms, *layers, "height", "width"]
    assert [int(row["evaluation"]) for row in rows] == list(range(1, 10))
    for row in rows:
        parts = sum(float(row[term]) for term in ("content", "style", "tv"))
        assert float(row["total"]) == pytest.approx(parts)
    shown = capsys.readouterr().out
    assert "out.png: 40×30, 9 evaluations" in shown
    assert "style/relu1_1" in shown


def test_history_of_one_scale_has_the_loss_columns_only(photo: Path, painting: Path, tmp_path: Path):
    arguments = ["--style", str(painting), "--steps", "2", "--history", f"{tmp_path}/h.csv", *QUICK]
    assert main(["optimize", str(photo), "-o", f"{tmp_path}/out.png", *arguments]) == 0
    header = (tmp_path / "h.csv").read_text().splitlines()[0]
    assert header == "evaluation,total,content,style,tv,content/relu2_1,style/relu1_1,style/relu2_1"


def test_texture_and_reconstruction(photo: Path, painting: Path, tmp_path: Path):
    texture = ["optimize", "--style", str(painting), "--size", "24", "--steps", "2", *QUICK]
    assert main([*texture, "-o", f"{tmp_path}/texture.webp"]) == 0
    assert Image.open(tmp_path / "texture.webp").size == (24, 24)
    kept = ["optimize", str(photo), "--steps", "2", "-o", f"{tmp_path}/kept.jpg", *QUICK]
    assert main(kept) == 0
    assert Image.open(tmp_path / "kept.jpg").size == (40, 30)


def test_same_command_same_bytes(photo: Path, painting: Path, tmp_path: Path):
    for name in ("a.png", "b.png"):
        arguments = ["--style", str(painting), "--init", "noise", "--seed", "3", "--steps", "5", *QUICK]
        assert main(["optimize", str(photo), "-o", str(tmp_path / name), *arguments]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_photos_exif_and_transparency_are_kept(painting: Path, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "A. Photographer"  # orientation: lies on its side
    Image.new("RGBA", (40, 30), (200, 90, 30, 128)).save(tmp_path / "photo.png", exif=exif)
    arguments = ["--style", str(painting), "--steps", "2", *QUICK]
    assert main(["optimize", f"{tmp_path}/photo.png", "-o", f"{tmp_path}/out.png", *arguments]) == 0
    result = read_picture(tmp_path / "out.png", background=None)
    assert result.pixels.shape == (1, 3, 40, 30)
    assert result.alpha is not None
    torch.testing.assert_close(result.alpha.mean(), torch.tensor(128 / 255), rtol=0, atol=0.01)
    written = Image.open(tmp_path / "out.png").getexif()
    assert written[0x013B] == "A. Photographer"
    assert written.get(0x0112, 1) == 1


def test_an_exploding_loss_is_told_and_the_picture_kept(
    exploding_at_6: None, photo: Path, painting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["optimize", str(photo), "--style", str(painting), "-o", f"{tmp_path}/out.png", *QUICK]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "not a finite number" in message
    assert Image.open(tmp_path / "out.png").size == (40, 30)


def test_ctrl_c_saves_the_best_picture(photo: Path, painting: Path, tmp_path: Path):
    frames = tmp_path / "frames"
    command = [sys.executable, "-m", "arbstyle", "optimize", str(photo), "--style", str(painting)]
    command += ["--steps", "1000000", "--optimizer", "adam", "-o", f"{tmp_path}/out.png", *QUICK]
    command += ["--frames", str(frames), "--frames-every", "1", "--history", f"{tmp_path}/h.csv"]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        give_up = time.monotonic() + 120
        while not (frames / "000003.png").exists() and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert message.startswith("arbstyle: interrupted after ")
    assert message.count("\n") == 1
    assert Image.open(tmp_path / "out.png").size == (40, 30)
    assert len((tmp_path / "h.csv").read_text().splitlines()) > 3
