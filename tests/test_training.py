"""Training from its command line on: what it writes, how it stops, goes on, and what it trains."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import wandb
from PIL import Image
from pytorch_lightning.loggers import CSVLogger
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from arbstyle.cli import main
from arbstyle.errors import ArbstyleError
from arbstyle.images.locking import locked
from arbstyle.networks import (
    ArbitraryStyler,
    FastTransformer,
    MomentsEncoder,
    NormalizationNetwork,
    StyleEncoder,
    load_styler,
)
from arbstyle.training.callbacks import Checkpoints
from arbstyle.training.grids import picture_grid
from arbstyle.training.loggers import ForgivingWandbLogger, default_loggers
from arbstyle.training.module import StyleTransferTraining
from arbstyle.training.objective import Objective
from arbstyle.training.schedule import WarmAverage, learning_rate_factor
from arbstyle.training.settings import LossSettings, OptimizationSettings

REPOSITORY = Path(__file__).resolve().parent.parent
STEPS = 8

TINY = """
seed_everything: 0
model:
  style_encoder:
    class_path: arbstyle.networks.PooledStatisticsEncoder
    init_args: {widths: [4, 8], hidden: 16, code_size: 8}
  transformer:
    class_path: arbstyle.networks.FastTransformer
    init_args: {width: 8, deep_width: 8, blocks: 1, deep_blocks: 1, fine_width: 4, noise: true}
  loss:
    style_layers: {relu1_1: 1.0, relu2_1: 0.5}
    content_layers: {relu2_1: 1.0}
    style_weight: 2.0
    identity_weight: 1.0
    evenness_weight: 3.0
    marks_weight: 5.0
    noise_weight: 7.0
    vgg_weights: random
    normalize_filters: false
  optimization: {optimizer: muon, learning_rate: 0.01, average_decay: 0.9}
  logging: {picture_every: 4}
data:
  batch_size: 2
  crop_size: 32
  resize: 32
  style_size: 32
  style_resize: 32
  num_workers: 0
  validation_pairs: 2
trainer:
  max_steps: 8
  max_epochs: -1
  accelerator: cpu
  devices: 1
  deterministic: true
  log_every_n_steps: 2
  val_check_interval: 4
  check_val_every_n_epoch: null
  enable_progress_bar: false
  enable_model_summary: false
checkpoint: {every_steps: 3}
"""

MOMENTS = """
model:
  style_encoder:
    class_path: arbstyle.networks.MomentsEncoder
    init_args: {widths: [4, 8], depths: [1, 2], hidden: 16, code_size: 8}
  loss: {moments_weight: 1.0}
"""

BANK = """
model:
  style_encoder: {class_path: arbstyle.networks.StyleBank, init_args: {num_styles: 2}}
  transformer: {class_path: arbstyle.networks.JohnsonTransformer, init_args: {width: 4, blocks: 1}}
data: {hold_out_styles: false}
"""


def paint(folder: Path, number: int, seed: int) -> Path:
    """A folder of small smooth pictures."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for index in range(number):
        coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        coarse.resize((40, 36), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the pictures, the tiny config and an overlay that makes it a style bank."""
    folder = tmp_path_factory.mktemp("sets")
    paint(folder / "content", 9, seed=1)
    paint(folder / "style", 7, seed=2)
    paint(folder / "two", 2, seed=3)
    paint(folder / "new", 1, seed=4)
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "bank.yaml").write_text(BANK)
    (folder / "moments.yaml").write_text(MOMENTS)
    return folder


def command(sets: Path, run: Path, *more: str, style: str = "style", overlay: str | None = None) -> list[str]:
    configs = ["--config", str(sets / "tiny.yaml")]
    configs += ["--config", str(sets / overlay)] if overlay else []
    data = ["--data.content", str(sets / "content"), "--data.style", str(sets / style)]
    return ["train", "fit", *configs, *data, "--trainer.default_root_dir", str(run), *more]


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that are not about wandb do without."""
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def whole(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from beginning to end, with wandb offline."""
    run = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb, "init", spied_on(wandb.init))
        assert main(command(sets, run, "--checkpoint.upload_best", "true")) == 0
    return run


WANDB_RUNS: list[Any] = []
"""Runs of wandb whose calls are remembered."""


def spied_on(init: Callable[..., Any]) -> Callable[..., Any]:
    """`wandb.init` that remembers its runs, and what they are given to log."""

    def remembering(*arguments: Any, **keywords: Any) -> Any:
        run = init(*arguments, **keywords)
        run.log, run.log_artifact = Mock(wraps=run.log), Mock(wraps=run.log_artifact)
        WANDB_RUNS.append(run)
        return run

    return remembering


def checkpoint(run: Path, name: str = "last.ckpt") -> dict[str, Any]:
    return torch.load(run / "checkpoints" / name, weights_only=True)


def curves(run: Path) -> dict[str, dict[int, float]]:
    """Every curve in metrics.csv: values by step."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = set(rows[0]) - {"step", "epoch"}
    return {name: {int(row["step"]): float(row[name]) for row in rows if row[name]} for name in names}


def assert_same_training(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["global_step"] == other["global_step"]
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for key, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][key]), key
    states = (run["optimizer_states"][0]["state"] for run in (one, other))
    torch.testing.assert_close(*states, atol=0, rtol=0)
    assert torch.equal(one["random_state"]["cpu"], other["random_state"]["cpu"])


def painted_by(run: Path) -> torch.Tensor:
    styler, _ = load_styler(run / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    photo, style = torch.rand(2, 1, 3, 32, 32, generator=generator)
    with torch.no_grad():
        return styler(photo, style)


# --- what a run writes --------------------------------------------------------------------------


def test_curves_are_complete(whole: Path):
    found = curves(whole)
    layers = ["content/relu2_1", "style/relu1_1", "style/relu2_1"]
    expected = {"content", "style", "tv", "total"} | {
        f"{kind}/{x}" for x in layers for kind in ("raw", "weighted")
    }
    assert {f"train/{name}" for name in expected} <= found.keys()
    assert {f"val/{name}" for name in expected} | {"val/identity_psnr"} <= found.keys()
    other = {
        "identity",
        "unevenness",
        "marks",
        "noise",
        "gradient_norm",
        "learning_rate",
        "images_per_second",
        "waiting_for_data",
    }
    for name in other | {"total", "peak_memory_mib"}:
        assert found[f"train/{name}"].keys() == {1, 3, 5, 7}
        assert all(math.isfinite(value) for value in found[f"train/{name}"].values())
    assert found["val/total"].keys() == {3, 7}


def test_weighted_terms_add_up_to_the_loss(whole: Path):
    found = curves(whole)
    for step in (1, 7):
        at = {name.removeprefix("train/"): values.get(step, math.nan) for name, values in found.items()}
        assert at["weighted/style/relu2_1"] == pytest.approx(2.0 * 0.5 * at["raw/style/relu2_1"], rel=1e-5)
        assert at["style"] == pytest.approx(
            at["weighted/style/relu1_1"] + at["weighted/style/relu2_1"], rel=1e-5
        )
        assert at["unevenness"] > 0
        assert at["marks"] > 0
        assert at["noise"] > 0
        weighted = at["content"] + at["style"] + at["tv"] + at["identity"]
        weighted += 3 * at["unevenness"] + 5 * at["marks"] + 7 * at["noise"]
        assert at["total"] == pytest.approx(weighted, rel=1e-5)


def test_logged_values_are_of_the_step_they_are_logged_at(whole: Path):
    rates = curves(whole)["train/learning_rate"]
    assert rates == {
        s: pytest.approx(0.01 * learning_rate_factor(s, OptimizationSettings(), STEPS)) for s in rates
    }


def test_wandb_is_given_curves_pictures_and_settings(whole: Path):
    (run,) = WANDB_RUNS
    rows = [call.args[0] for call in run.log.call_args_list]
    kept = {row["trainer/global_step"]: row["train/total"] for row in rows if "train/total" in row}
    assert kept == pytest.approx(curves(whole)["train/total"])
    grids = [row[key] for row in rows for key in row if key.startswith("pictures/")]
    assert len(grids) == 2 * STEPS // 4, "of training and of held-out pictures"
    for (picture,) in grids:
        assert picture.image.size == (3 * 32, 3 * 32), "two photos × two styles, and the headers"
    assert run.config["trainer"]["max_steps"] == STEPS
    assert run.config["information"]["data"]["crop_size"] == 32
    assert "revision" in run.config["information"]
    (call,) = run.log_artifact.call_args_list
    assert list(call.args[0].manifest.entries) == ["best.ckpt"], "as asked for"
    assert call.kwargs["aliases"] == ["best"]


def test_picture_files(whole: Path):
    names = sorted(path.name for path in (whole / "pictures").iterdir())
    assert names == [f"{kind}_000000{step}.png" for kind in ("training", "validation") for step in (4, 8)]


def test_checkpoint_holds_what_is_trained_and_nothing_frozen(whole: Path):
    state = checkpoint(whole)["state_dict"]
    styler, _ = load_styler(whole / "model.safetensors")
    own = set(styler.state_dict())
    expected = {f"styler.{key}" for key in own} | {f"average.module.{key}" for key in own}
    assert set(state) == expected | {"average.n_averaged"}
    assert int(state["average.n_averaged"]) == STEPS


def test_export_is_the_models_file(whole: Path, tmp_path: Path):
    exported = tmp_path / "exported.safetensors"
    assert main(["export", str(whole / "checkpoints" / "last.ckpt"), "-o", str(exported)]) == 0
    here, there = load_file(exported), load_file(whole / "model.safetensors")
    assert here.keys() == there.keys()
    assert all(torch.equal(here[key], there[key]) for key in here)
    information = load_styler(exported)[1]
    assert information == load_styler(whole / "model.safetensors")[1]
    assert information["steps"] == STEPS
    assert information["data"]["style"]["pictures"] == 7 - 2


def test_export_of_pretrained_parts_does_not_make_them_random(tmp_path: Path):
    """Frozen weights are in no checkpoint; the file must ask for the real ones."""
    described = {"class": "AdaINEncoder", "arguments": {"layer": "relu4_1", "weights": None}}
    architecture = {"style_encoder": described, "transformer": {"class": "elsewhere:X", "arguments": {}}}
    content = {"state_dict": {"average.module.a": torch.ones(1), "styler.a": torch.zeros(1)}}
    torch.save(content | {"architecture": architecture, "information": {}}, tmp_path / "a.ckpt")
    assert main(["export", str(tmp_path / "a.ckpt"), "-o", str(tmp_path / "a.safetensors")]) == 0
    from safetensors import safe_open

    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert json.loads(file.metadata()["architecture"]) == architecture
        assert file.get_tensor("a").item() == 1


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_not_a_checkpoint(content: bytes | None, sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / "x.ckpt"
    if content is not None:
        path.write_bytes(content)
    assert main(["export", str(path), "-o", str(tmp_path / "x.safetensors")]) == 2
    assert main(command(sets, tmp_path, "--ckpt_path", str(path))) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "Seed set" not in line]
    assert len(lines) == 2
    assert all(line.startswith("arbstyle: error: ") and str(path) in line for line in lines)


# --- stopping and going on ----------------------------------------------------------------------


def at_step(step: int, action: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Do something right after an optimiser step."""
    original = StyleTransferTraining.on_train_batch_end

    def hook(self: StyleTransferTraining, *args: Any) -> None:
        original(self, *args)
        if self.trainer.global_step == step:
            action()

    patch.setattr(StyleTransferTraining, "on_train_batch_end", hook)


KILL_AT_STEP_5 = """
import os, signal, sys
from arbstyle.cli import main
from arbstyle.training.module import StyleTransferTraining
def hook(self, *args):
    if self.trainer.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
StyleTransferTraining.on_train_batch_end = hook
main(sys.argv[1:])
"""


def test_killed_and_resumed_is_the_uninterrupted_run(sets: Path, whole: Path, tmp_path: Path, quiet: None):
    arguments = command(sets, tmp_path, "--model.logging.picture_every", "0")
    killed = subprocess.run([sys.executable, "-c", KILL_AT_STEP_5, *arguments], cwd=REPOSITORY)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoint(tmp_path)["global_step"] == 3
    before = curves(tmp_path)
    assert before["train/total"].keys() == {1, 3}, "what was logged before lies on the disk"
    assert main([*arguments, "--ckpt_path", str(tmp_path / "checkpoints" / "last.ckpt")]) == 0
    assert_same_training(checkpoint(whole), checkpoint(tmp_path))
    after = curves(tmp_path)["train/total"]
    assert after == {step: curves(whole)["train/total"][step] for step in (3, 5, 7)}
    assert (tmp_path / "metrics-1.csv").exists(), "earlier curves are kept"


@pytest.mark.parametrize(
    ("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_stopped_and_resumed_is_the_uninterrupted_run(
    sign: signal.Signals,
    code: int,
    sets: Path,
    whole: Path,
    tmp_path: Path,
    quiet: None,
    monkeypatch: pytest.MonkeyPatch,
):
    original = WarmAverage.update_parameters
    steps = iter(range(1, 99))

    def signalled(*args: Any) -> None:
        if next(steps) == 5:  # in the middle of the step: the weights are new, their average is old
            signal.raise_signal(sign)
        original(*args)

    hang_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup changes
    with monkeypatch.context() as patch:
        patch.setattr(WarmAverage, "update_parameters", signalled)
        assert main(command(sets, tmp_path)) == code
    assert signal.signal(signal.SIGHUP, hang_up) is signal.SIG_DFL
    assert checkpoint(tmp_path)["global_step"] == 5
    assert main(command(sets, tmp_path, "--ckpt_path", "last")) == 0
    assert_same_training(checkpoint(whole), checkpoint(tmp_path))


def test_control_c_twice_leaves_the_last_checkpoint(
    sets: Path, tmp_path: Path, quiet: None, monkeypatch: pytest.MonkeyPatch
):
    def twice(self: Objective, styler: ArbitraryStyler, photos: torch.Tensor, step: int) -> torch.Tensor:
        if step == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return photos.new_zeros(())

    monkeypatch.setattr(Objective, "identity_error", twice)
    assert main(command(sets, tmp_path)) == 130
    assert checkpoint(tmp_path)["global_step"] == 3


def one_complaint(arguments: Sequence[str], capsys: pytest.CaptureFixture) -> str:
    assert main(list(arguments)) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("accumulate_grad_batches", "0"),
        ("log_every_n_steps", "-1"),
        ("val_check_interval", "0"),
        ("val_check_interval", "-3"),
        ("check_val_every_n_epoch", "0"),
    ],
)
def test_intervals_of_nothing(
    setting: str, value: str, sets: Path, tmp_path: Path, quiet: None, capsys: pytest.CaptureFixture
):
    line = one_complaint(command(sets, tmp_path, f"--trainer.{setting}", value), capsys)
    assert setting in line


def test_no_run_replaces_the_results_of_another(
    sets: Path, whole: Path, tmp_path: Path, quiet: None, capsys: pytest.CaptureFixture
):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    for more in ((), ("--ckpt_path", str(copied(whole / "checkpoints" / "last.ckpt", tmp_path)))):
        assert "holds an earlier run's results" in one_complaint(command(sets, whole, *more), capsys)
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before
    (tmp_path / "new").mkdir()
    line = one_complaint(command(sets, tmp_path / "new", "--ckpt_path", "last"), capsys)
    assert str(tmp_path / "new" / "checkpoints" / "last.ckpt") in line
    assert not any((tmp_path / "new").iterdir())


def copied(file: Path, folder: Path) -> Path:
    return Path(shutil.copy(file, folder))


def test_two_runs_do_not_share_a_folder(
    sets: Path, tmp_path: Path, quiet: None, capsys: pytest.CaptureFixture
):
    with locked(tmp_path, "training run"):
        assert "another training run is at work in" in one_complaint(command(sets, tmp_path), capsys)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_settings_that_a_user_wrote_are_not_replaced(
    sets: Path, tmp_path: Path, quiet: None, capsys: pytest.CaptureFixture
):
    own = tmp_path / "run" / "config.yaml"
    own.parent.mkdir()
    own.write_text("# mine\n" + TINY)
    line = one_complaint(command(sets, own.parent, "--config", str(own)), capsys)
    assert f"{own} is not from a run and would be replaced" in line
    assert own.read_text() == "# mine\n" + TINY
    assert [path.name for path in own.parent.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("setting", ["--export.path", "--checkpoint.directory"])
def test_places_that_can_not_be_written_are_known_before_training(
    setting: str, sets: Path, tmp_path: Path, quiet: None, capsys: pytest.CaptureFixture
):
    (tmp_path / "file").touch()
    line = one_complaint(command(sets, tmp_path / "run", setting, str(tmp_path / "file" / "x")), capsys)
    assert f"cannot write '{tmp_path / 'file' / 'x'}" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("--data.style_size", "1", "pictures need 2 pixels a side"),
        ("--trainer.devices", "1000", "on this CPU"),  # a process each, begun at once
        ("--trainer.overfit_batches", "0.0001", "settings of the trainer"),
    ],
)
def test_settings_that_fail_late(
    setting: str,
    value: str,
    reason: str,
    sets: Path,
    tmp_path: Path,
    quiet: None,
    capsys: pytest.CaptureFixture,
):
    assert reason in one_complaint(command(sets, tmp_path, setting, value), capsys)


@pytest.mark.parametrize("option", ["--config", "--data"])
def test_settings_are_text(option: str, sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "settings.yaml").write_bytes(b"data: {content: caf\xe9}")
    line = one_complaint(command(sets, tmp_path, option, str(tmp_path / "settings.yaml")), capsys)
    assert "no text in UTF-8" in line


def test_no_earlier_curves_are_lost(tmp_path: Path, quiet: None):
    (tmp_path / "metrics.csv").write_text("last")
    (tmp_path / "metrics-2.csv").write_text("second")  # somebody has put the first away
    default_loggers(tmp_path)
    default_loggers(tmp_path)
    kept = {path.name: path.read_text() for path in tmp_path.glob("metrics-*.csv")}
    assert kept == {"metrics-1.csv": "last", "metrics-2.csv": "second"}


def test_resuming_takes_the_configurations_learning_rate(
    sets: Path, whole: Path, tmp_path: Path, quiet: None
):
    more = (
        "--model.optimization.learning_rate",
        "0.005",
        "--trainer.max_steps",
        "10",
        "--trainer.log_every_n_steps",
        "1",
    )
    resume = ("--ckpt_path", str(whole / "checkpoints" / "last.ckpt"))
    assert main(command(sets, tmp_path, *more, *resume)) == 0
    rates = curves(tmp_path)["train/learning_rate"]
    assert rates == {
        s: pytest.approx(0.005 * learning_rate_factor(s, OptimizationSettings(), 10)) for s in (8, 9)
    }


def test_the_encoder_may_learn_at_a_rate_of_its_own(sets: Path, tmp_path: Path, quiet: None):
    more = (
        "--model.optimization.encoder_rate",
        "0.1",
        "--trainer.max_steps",
        "4",
        "--model.optimization.schedule",
        "constant",
    )
    resume = (
        "--ckpt_path",
        "last",
        "--model.optimization.learning_rate",
        "0.02",
    )
    for run, rate in (((), 0.01), (resume, 0.02)):
        assert main(command(sets, tmp_path, *more, *run, "--trainer.max_steps", "6" if run else "4")) == 0
        groups = checkpoint(tmp_path)["optimizer_states"][0]["param_groups"]
        assert [group["lr"] for group in groups] == pytest.approx([rate / 10, rate])


def test_with_another_loss_the_best_is_sought_anew(sets: Path, whole: Path, tmp_path: Path, quiet: None):
    last = copied(whole / "checkpoints" / "last.ckpt", tmp_path)
    more = ("--trainer.max_steps", "12", "--ckpt_path", str(last), "--model.loss.style_weight", "200")
    assert main(command(sets, tmp_path, *more)) == 0
    assert checkpoint(tmp_path, "best.ckpt")["global_step"] == 12


def test_resuming_with_another_optimizer_is_refused(
    sets: Path, whole: Path, tmp_path: Path, quiet: None, capsys: pytest.CaptureFixture
):
    resume = (
        "--model.optimization.optimizer",
        "adam",
        "--ckpt_path",
        str(whole / "checkpoints" / "last.ckpt"),
    )
    assert main(command(sets, tmp_path, *resume)) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "trained with model.optimizer muon, the configuration says adam" in line


def not_a_number(self: Objective, styler: ArbitraryStyler, photos: torch.Tensor, step: int) -> torch.Tensor:
    return photos.new_tensor(math.nan if step == 5 else 0.0)


def infinite_slope(self: Objective, styler: ArbitraryStyler, photos: torch.Tensor, step: int) -> torch.Tensor:
    weight = next(styler.parameters())
    return (0 * weight).sum().sqrt() if step == 5 else weight.new_zeros(())


@pytest.mark.parametrize("logged_every", [2, 1000])
@pytest.mark.parametrize(
    ("broken", "message"), [(not_a_number, "the loss is nan"), (infinite_slope, "the gradient's norm is nan")]
)
def test_stops_where_the_loss_is_not_finite(
    broken: Callable[..., torch.Tensor],
    message: str,
    logged_every: int,
    sets: Path,
    tmp_path: Path,
    quiet: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    monkeypatch.setattr(Objective, "identity_error", broken)
    assert main(command(sets, tmp_path, "--trainer.log_every_n_steps", str(logged_every))) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith(f"arbstyle: error: {message} at step 5, on ")
    assert line.count(".png") == 4, "two pairs of files"
    saved = checkpoint(tmp_path)
    assert str(tmp_path / "checkpoints") in line
    assert saved["global_step"] == 3, "the good checkpoint is still there"
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())


UNWATCHED = [
    *("--trainer.log_every_n_steps", "1000", "--trainer.val_check_interval", "1000"),
    *("--checkpoint.every_steps", "1000", "--model.logging.picture_every", "0"),
]
"""Nothing that looks at a number before the end."""


@pytest.mark.parametrize("broken", [not_a_number, infinite_slope])
@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_what_is_not_finite_is_not_averaged_and_no_model_is_written(
    optimizer: str,
    broken: Callable[..., torch.Tensor],
    sets: Path,
    tmp_path: Path,
    quiet: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    modules: list[StyleTransferTraining] = []
    monkeypatch.setattr(
        StyleTransferTraining, "on_train_start", lambda self: modules.append(self), raising=True
    )
    monkeypatch.setattr(Objective, "identity_error", broken)
    assert main(command(sets, tmp_path, *UNWATCHED, "--model.optimization.optimizer", optimizer)) == 2
    assert " at step 5, on " in capsys.readouterr().err
    assert not (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()
    [module] = modules
    assert module.global_step > 5, "nothing looked earlier"
    assert all(value.isfinite().all() for value in module.state_dict().values())
    states = [each for state in module.trainer.optimizers[0].state.values() for each in state.values()]
    assert all(torch.as_tensor(each).isfinite().all() for each in states)


def test_sigterm_saves_nothing_that_is_not_finite(
    sets: Path, tmp_path: Path, quiet: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def terminated(self: Checkpoints, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 7:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", terminated)
    monkeypatch.setattr(Objective, "identity_error", not_a_number)
    assert main(command(sets, tmp_path, *UNWATCHED)) == 2
    assert "the loss is nan at step 5" in capsys.readouterr().err
    assert not list((tmp_path / "checkpoints").glob("*.ckpt"))


class ReadNumbers(TorchDispatchMode):
    """Counts the numbers that Python reads from tensors: on a GPU, each read waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.where: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            frames = [each for each in traceback.extract_stack() if "_python_dispatch" not in each.filename]
            # Adam counts its steps on the CPU, whatever the device.
            if not any(each.filename.endswith(os.path.join("optim", "adam.py")) for each in frames):
                self.where.append(f"{frames[-2].filename}:{frames[-2].lineno}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("overlay", [None, "moments.yaml"])
def test_a_plain_step_waits_for_no_number(
    overlay: str | None,
    optimizer: str,
    sets: Path,
    tmp_path: Path,
    quiet: None,
    monkeypatch: pytest.MonkeyPatch,
):
    mode = ReadNumbers()
    start, end = StyleTransferTraining.on_train_batch_start, Checkpoints.on_train_batch_end

    def begin(self: StyleTransferTraining, *arguments: Any) -> None:
        start(self, *arguments)
        if self.global_step == 3:  # an epoch begins
            mode.__enter__()

    def finish(self: Checkpoints, trainer: Any, *arguments: Any) -> None:
        end(self, trainer, *arguments)
        if trainer.global_step == 5:
            mode.__exit__(None, None, None)

    monkeypatch.setattr(StyleTransferTraining, "on_train_batch_start", begin)
    monkeypatch.setattr(Checkpoints, "on_train_batch_end", finish)
    options = [*UNWATCHED, "--model.optimization.optimizer", optimizer]
    assert main(command(sets, tmp_path, *options, overlay=overlay)) == 0
    assert mode.where == []


# --- optimisation -------------------------------------------------------------------------------


def test_learning_rate_factor():
    warm = OptimizationSettings(schedule="constant", warmup_steps=3)
    assert [learning_rate_factor(s, warm) for s in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    inverse = OptimizationSettings(schedule="inverse", inverse_decay=5e-5)
    assert learning_rate_factor(20_000, inverse) == pytest.approx(0.5)
    cosine = [learning_rate_factor(s, OptimizationSettings(), 100) for s in (0, 50, 100, 150)]
    assert cosine == pytest.approx([1, 0.51, 0.02, 0.02])
    assert learning_rate_factor(10**6, OptimizationSettings(), math.inf) == 1


def test_average_weighs_recent_steps_more():
    model = torch.nn.Linear(1, 1)
    average = WarmAverage(model, 0.25)
    expected = 0.0
    for step, value in enumerate([2.0, 3.0, -1.0, 4.0, 1.5]):
        torch.nn.init.constant_(model.weight, value)
        if step == 3:  # as after a checkpoint
            average.load_state_dict(average.state_dict())
        average.update_parameters(model)
        decay = min(0.25, (1 + step) / (10 + step)) if step else 0
        expected = decay * expected + (1 - decay) * value
    weight = average.state_dict()["module.weight"]
    assert weight.item() == pytest.approx(expected)
    assert average.n_averaged == 5


def test_no_averaging(sets: Path, tmp_path: Path, quiet: None):
    assert (
        main(command(sets, tmp_path, "--model.optimization.average_decay", "0", "--trainer.max_steps", "3"))
        == 0
    )
    state = checkpoint(tmp_path)["state_dict"]
    own = [key for key in state if key.startswith("styler.")]
    assert own
    for key in own:
        assert torch.allclose(state[key], state[f"average.module.{key.removeprefix('styler.')}"], atol=1e-7)


def test_accumulated_batches_are_one_large_batch(sets: Path, tmp_path: Path, quiet: None):
    """As are two processes: their gradients' mean is that of one large batch."""
    # In float64, since Adam turns rounding errors of gradients near zero into whole steps.
    common = [
        *("--model.loss.identity_weight", "0", "--trainer.max_steps", "4", "--trainer.precision", "64-true"),
        *("--data.batches_per_epoch", "100"),  # an epoch's end would cut an accumulated batch short
    ]
    small = ("--data.batch_size", "1", "--trainer.accumulate_grad_batches", "2")
    assert main(command(sets, tmp_path / "small", *common, *small)) == 0
    assert main(command(sets, tmp_path / "large", *common)) == 0
    assert checkpoint(tmp_path / "small")["global_step"] == 4
    assert torch.allclose(painted_by(tmp_path / "small"), painted_by(tmp_path / "large"), atol=1e-3)
    assert len(list((tmp_path / "small" / "pictures").iterdir())) == 2, "one pair of grids, at step 4"

    two = ("--data.batch_size", "1", "--trainer.strategy", "ddp", "--trainer.devices", "2")
    broken_wandb = tmp_path / "broken" / "wandb"
    broken_wandb.mkdir(parents=True)
    (broken_wandb / "__init__.py").write_text("raise RuntimeError('out of order')")
    variables = os.environ | {"PYTHONPATH": str(broken_wandb.parent), "OMP_NUM_THREADS": "1"}
    variables.pop("WANDB_MODE")
    arguments = command(sets, tmp_path / "two", *common, *two)
    done = subprocess.run(
        [sys.executable, "-m", "arbstyle", *arguments],
        cwd=REPOSITORY,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "out of order" in done.stderr, "said, and gone on with CSV"
    assert curves(tmp_path / "two")["train/total"].keys() == {1, 3}
    assert torch.allclose(painted_by(tmp_path / "two"), painted_by(tmp_path / "large"), atol=1e-3)
    torch.manual_seed(0)
    assert not torch.allclose(painted_by(tmp_path / "two"), torch.rand(1, 3, 32, 32), atol=0.1)


STOPPED = """
import os, signal, sys
from arbstyle.cli import main
from arbstyle.training.objective import Objective

identity_error, rank = Objective.identity_error, int(os.environ.get("LOCAL_RANK", "0"))

def stopped(self, styler, photos, step):
    if step == (2, 3)[rank]:
        os.kill(os.getpid(), signal.SIGTERM)
    return identity_error(self, styler, photos, step)

if __name__ == "__main__":
    Objective.identity_error = stopped
    sys.exit(main(sys.argv[1:]))
"""


def test_two_processes_stop_at_the_same_step(sets: Path, tmp_path: Path):
    """Each is told within a step, and each within another one."""
    program = tmp_path / "stopped.py"
    program.write_text(STOPPED)
    two = ("--data.batch_size", "1", "--trainer.strategy", "ddp", "--trainer.devices", "2")
    run = subprocess.run(
        [sys.executable, str(program), *command(sets, tmp_path, *two, "--trainer.max_steps", "6")],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.returncode == 143, run.stderr
    assert checkpoint(tmp_path)["global_step"] == 3
    assert "stopped at step 3" in run.stderr + run.stdout


def test_remembered_targets_train_the_same(sets: Path, tmp_path: Path, quiet: None):
    common = ["--data.crops_per_picture", "2", "--trainer.precision", "64-true", "--trainer.max_steps", "6"]
    for name, remember in (("anew", "false"), ("remembered", "true")):
        arguments = command(sets, tmp_path / name, *common, "--model.loss.cache_targets", remember)
        assert main(arguments) == 0
    assert torch.allclose(painted_by(tmp_path / "anew"), painted_by(tmp_path / "remembered"), atol=1e-4)
    once, again = (curves(tmp_path / name)["train/total"] for name in ("anew", "remembered"))
    assert once == pytest.approx(again)


# --- the style encoder alone ---------------------------------------------------------------------


def test_without_painting_only_the_encoder_is_trained(sets: Path, tmp_path: Path, quiet: None):
    runs = tmp_path / "painting", tmp_path / "reading"
    assert main(command(sets, runs[0], "--trainer.max_steps", "2", overlay="moments.yaml")) == 0
    assert curves(runs[0])["train/moments"].keys() == {1}
    more = (
        "--model.optimization.encoder_only",
        "true",
        "--model.start.model",
        str(runs[0] / "model.safetensors"),
    )
    assert main(command(sets, runs[1], *more, "--trainer.max_steps", "120", overlay="moments.yaml")) == 0
    before, after = (load_styler(run / "model.safetensors")[0].state_dict() for run in runs)
    changed = {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
    assert changed == {"style_encoder"}
    errors = curves(runs[1])["val/total"]
    assert errors[max(errors)] < 0.6 * errors[min(errors)]


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_an_old_run_of_the_encoder_alone_goes_on(optimizer: str, sets: Path, tmp_path: Path, quiet: None):
    """Its optimiser was given all parameters, and kept a state of those that had gradients."""
    alone = ["--model.optimization.encoder_only", "true", "--model.optimization.optimizer", optimizer]
    new, old = tmp_path / "new", tmp_path / "old"
    steps = ["--trainer.max_steps", "2"]
    assert main(command(sets, new, *alone, *steps, overlay="moments.yaml")) == 0
    saved = checkpoint(new)
    styler = load_styler(new / "model.safetensors")[0]
    encoder = [name for name, _ in styler.style_encoder.named_parameters()]
    (state,) = saved["optimizer_states"]
    (group,) = state["param_groups"]
    heads = 2  # weight and bias of the head of moments
    trained = [number for number, name in enumerate(encoder) if not name.startswith("to_code.")]
    trained += range(len(encoder), len(encoder) + heads)
    assert len(group["params"]) == len(trained)
    total = len(encoder) + heads + len([*styler.head.parameters(), *styler.transformer.parameters()])
    middle = len(encoder) + heads
    state["state"] = {trained[number]: value for number, value in state["state"].items()}
    state["param_groups"] = [
        {**group, "params": list(range(middle))},
        {**group, "params": list(range(middle, total))},
    ]
    old_names = {k.replace("moments_head.", "moments_reader."): v for k, v in saved["state_dict"].items()}
    (old / "checkpoints").mkdir(parents=True)
    torch.save(saved | {"state_dict": old_names}, old / "checkpoints" / "last.ckpt")
    for run in (new, old):
        go_on = ["--ckpt_path", "last", "--trainer.max_steps", "4"]
        assert main(command(sets, run, *alone, *go_on, overlay="moments.yaml")) == 0
    assert_same_training(checkpoint(new), checkpoint(old))


WRONG_SETTINGS = [
    "--trainer.accelerator gpu",
    "--trainer.precision 16-true",
    "--trainer.precision 3",
    "--trainer.max_steps -5",
    "--trainer.max_epochs -2",
    "--trainer.max_time soon",
    "--trainer.devices -1",
    "--trainer.devices 0",
    "--trainer.strategy nonsense",
    "--trainer.accumulate_grad_batches 0",
    "--trainer.log_every_n_steps -1",
    "--trainer.val_check_interval 0",
    "--trainer.limit_train_batches -1",
    "--trainer.gradient_clip_val -1",
    "--data.crop_size 1",
    "--data.batch_size 0",
    "--data.num_workers -1",
    "--checkpoint.every_steps 0",
    "--model.optimization.learning_rate -1",
    "--model.optimization.average_decay 2",
    "--model.optimization.betas [0.9,1.0]",
    "--model.optimization.encoder_rate nan",
    "--model.loss.style_weight -1",
    "--model.loss.style_layers {relu1_1: .inf}",
    "--model.logging.picture_every -1",
    "--seed_everything -7",
]


@pytest.mark.parametrize("settings", WRONG_SETTINGS)
def test_settings_out_of_range_are_one_line(
    settings: str, sets: Path, tmp_path: Path, quiet: None, capsys: pytest.CaptureFixture[str]
):
    assert main(command(sets, tmp_path / "run", *settings.split(" ", 1))) == 2
    complaint = capsys.readouterr().err
    assert "Traceback" not in complaint
    assert complaint.splitlines()[-1].startswith(("arbstyle: error: ", "arbstyle train: error: "))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_refused_run_leaves_no_folder(
    sets: Path, tmp_path: Path, quiet: None, capsys: pytest.CaptureFixture[str]
):
    assert main(command(sets, tmp_path / "run", "--data.content", str(tmp_path / "nothing"))) == 2
    assert "nothing" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_no_words_at_all_are_one_line(capsys: pytest.CaptureFixture[str]):
    assert main(["train"]) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert "fit,validate" in complaint


def test_moments_are_learned_while_painting(sets: Path, tmp_path: Path, quiet: None):
    more = ("--trainer.max_steps", "60", "--trainer.log_every_n_steps", "1")
    assert main(command(sets, tmp_path, *more, overlay="moments.yaml")) == 0
    errors = curves(tmp_path)["train/moments"]
    late, early = (statistics.mean(errors[s] for s in steps) for steps in (range(50, 60), range(10)))
    assert late < 0.8 * early


def test_two_processes_train_the_style_encoder_alone(sets: Path, tmp_path: Path):
    alone = ("--model.optimization.encoder_only", "true", "--data.validation_pairs", "0")
    two = ("--trainer.strategy", "ddp", "--trainer.devices", "2", "--trainer.max_steps", "4")
    arguments = command(sets, tmp_path, *alone, *two, overlay="moments.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "arbstyle", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    encoder = load_styler(tmp_path / "model.safetensors")[0].style_encoder
    assert isinstance(encoder, MomentsEncoder)
    assert encoder.standardize.mean.abs().max() > 0, "found from training styles, with nothing held out"


@pytest.mark.parametrize("alone", ["true", "false"])
def test_the_style_encoder_runs_once_a_step(
    alone: str, sets: Path, tmp_path: Path, quiet: None, monkeypatch: pytest.MonkeyPatch
):
    sizes = []
    describe = MomentsEncoder.describe

    def counted(self: MomentsEncoder, style: torch.Tensor) -> torch.Tensor:
        sizes.append(len(style))
        return describe(self, style)

    monkeypatch.setattr(MomentsEncoder, "describe", counted)
    more: tuple[str, ...] = ("--model.loss.identity_weight", "0", "--model.optimization.encoder_only", alone)
    more += ("--data.validation_pairs", "0", "--model.logging.picture_every", "0", "--trainer.max_steps", "3")
    assert main(command(sets, tmp_path, *more, overlay="moments.yaml")) == 0
    assert sizes == [2, 2, 2]


def test_moments_error_is_the_style_loss_of_what_was_predicted():
    encoder = MomentsEncoder(widths=(4, 8), depths=(1, 2), hidden=16, code_size=8)
    module = StyleTransferTraining(
        encoder,
        FastTransformer(8, 8, 1, 1, 4),
        LossSettings(
            content_layers={"relu2_1": 1.0},
            style_layers={"relu1_1": 1.0, "relu2_1": 0.5},
            vgg_weights="random",
            moments_weight=1.0,
        ),
        OptimizationSettings(encoder_only=True),
    )
    assert module.moments_head is not None
    torch.nn.init.zeros_(module.moments_head.weight)
    pictures = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = module.loss.encoder(pictures)
    expected = sum(
        ((1 - f.mean((2, 3))) ** 2).mean() + ((1 - f.var((2, 3), unbiased=False).sqrt()) ** 2).mean()
        for f in (features["relu1_1"], features["relu2_1"])
    )
    targets = module.loss.targets(None, pictures)
    found = module.moments_head.error(encoder.describe(pictures), targets)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_power_of_noise_is_the_mean_square_of_its_amplitudes():
    settings = LossSettings(vgg_weights="random", noise_weight=1)
    encoder = MomentsEncoder(widths=(4,), depths=(1,), hidden=8, code_size=8)
    module = StyleTransferTraining(encoder, FastTransformer(8, 8, 1, 1, 4, noise=True), settings)
    head = module.styler.head
    with torch.no_grad():
        head.get_parameter("weight").zero_()
        head.get_parameter("bias").fill_(0.5)
    power = module.objective.noise_power(module.styler, torch.rand(3, 8)).detach()
    assert float(power) == pytest.approx((2 * math.tanh(0.25)) ** 2)


def test_a_small_tolerance_of_evenness_leaves_what_is_nearly_alike_free():
    photo = torch.linspace(0.4, 0.6, 64).expand(1, 3, 64, 64)
    painted = photo + 0.2 * (torch.arange(64) >= 32)
    encoder, transformer = MomentsEncoder(widths=(4,), depths=(1,), hidden=8, code_size=8), FastTransformer(8)
    found = []
    for tolerance in (1.0, 0.001):
        settings = LossSettings(vgg_weights="random", evenness_weight=1, evenness_tolerance=tolerance)
        module = StyleTransferTraining(encoder, transformer, settings)
        found.append(float(module.objective.evenness_error(painted, photo)))
    assert found[0] > 0.01 > 100 * found[1]


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan"), float("inf")])
def test_tolerance_of_evenness_out_of_range(tolerance: float):
    with pytest.raises(ArbstyleError, match="above 0"):
        LossSettings(evenness_tolerance=tolerance)


# --- style banks --------------------------------------------------------------------------------


def test_adding_a_style_trains_only_its_row(sets: Path, tmp_path: Path, quiet: None):
    bank = {"overlay": "bank.yaml"}
    assert main(command(sets, tmp_path / "two", style="two", **bank)) == 0
    trained = tmp_path / "two" / "model.safetensors"
    assert load_styler(trained)[1]["styles"] == [str(sets / "two" / f"{i}.png") for i in range(2)]
    more = ("--model.start.model", str(trained), "--model.start.new_styles_only", "true")
    rows = ("--model.style_encoder.init_args.num_styles", "3")
    assert main(command(sets, tmp_path / "three", *more, *rows, style="new", **bank)) == 0
    old, new = load_file(trained), load_file(tmp_path / "three" / "model.safetensors")
    assert new.keys() - old.keys() == {"head.rows.2"}
    assert all(torch.equal(new[key], old[key]) for key in old), "nothing that was learned has moved"
    start = torch.stack([old["head.rows.0"], old["head.rows.1"]]).float().mean(dim=0)
    assert (new["head.rows.2"].float() - start).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("style", "more", "remedy"),
    [
        ("style", (), "set model.style_encoder.init_args.num_styles to 7"),
        (
            "two",
            ("--data.hold_out_styles", "true", "--data.validation_pairs", "1"),
            "hold_out_styles to false",
        ),
        ("two", ("--model.start.new_styles_only", "true"), "model.start.model"),
    ],
)
def test_bank_that_does_not_fit_its_styles(
    style: str, more: Sequence[str], remedy: str, sets: Path, tmp_path: Path, quiet: None, capsys: Any
):
    assert main(command(sets, tmp_path, *more, style=style, overlay="bank.yaml")) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("arbstyle: error: ")
    assert remedy in line


# --- pictures that are no photographs -----------------------------------------------------------


def test_trains_through_odd_and_broken_pictures(
    sets: Path, tmp_path: Path, quiet: None, caplog: pytest.LogCaptureFixture
):
    folder = paint(tmp_path / "odd", 16, seed=5)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture at all")  # 1 of 20
    Image.new("L", (50, 33), 90).save(folder / "grey.png")
    Image.new("RGBA", (33, 50), (10, 200, 30, 100)).save(folder / "clear.png")
    Image.new("RGB", (1, 1), (250, 20, 30)).save(folder / "pixel.png")
    arguments = command(
        sets, tmp_path / "run", "--trainer.max_steps", "12", "--model.logging.picture_every", "0"
    )
    arguments[arguments.index("--data.content") + 1] = str(folder)
    arguments[arguments.index("--data.style") + 1] = str(folder)
    assert main(arguments) == 0
    assert [r.getMessage() for r in caplog.records if "skipped: 1" in r.getMessage()]
    assert all(math.isfinite(value) for value in curves(tmp_path / "run")["train/total"].values())
    assert load_styler(tmp_path / "run" / "model.safetensors")[1]["data"]["skipped"] == 1


# --- loggers ------------------------------------------------------------------------------------


def test_wandb_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    def fail(**_: Any) -> None:
        raise wandb.errors.CommError("no such server")

    monkeypatch.setattr(wandb, "init", fail)
    loggers = default_loggers(tmp_path)
    assert [type(each) for each in loggers] == [CSVLogger]
    assert "no such server" in caplog.text


def test_wandb_missing_or_disabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "wandb", None)  # what `import` finds where there is none
        assert [type(each) for each in default_loggers(tmp_path)] == [CSVLogger]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert [type(each) for each in default_loggers(tmp_path)] == [CSVLogger]


def test_wandb_that_breaks_on_the_way(caplog: pytest.LogCaptureFixture):
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    config = SimpleNamespace(update=fail)
    run: Any = SimpleNamespace(log=fail, finish=fail, id="x", config=config)
    broken = ForgivingWandbLogger(experiment=run)
    broken.log_metrics({"a": 1.0}, step=1)
    broken.log_metrics({"a": 2.0}, step=2)
    broken.log_hyperparams({"a": 1})
    broken.finalize("success")
    assert caplog.text.count("disk full") == 1


def test_picture_grid_puts_every_photo_in_every_style(whole: Path):
    styler, _ = load_styler(whole / "model.safetensors")
    photos, styles = torch.rand(3, 3, 16, 16), torch.rand(2, 3, 24, 24)
    grid = picture_grid(styler, photos, styles, styles)
    assert grid.shape == (1, 3, 4 * 16, 3 * 16)
    assert torch.equal(grid[0, :, 16:32, :16], photos[0])
    with torch.no_grad():
        alone = styler(photos[2:], styles[1:])
    assert torch.allclose(grid[..., 48:64, 32:48], alone, atol=1e-5)


def test_what_cannot_be_predicted_is_refused():
    transformer = FastTransformer(8, 8, 1, 1, 4)
    encoder = MomentsEncoder(widths=(4, 8), depths=(1, 2), hidden=16, code_size=8)

    def train(encoder: StyleEncoder, **settings: Any) -> None:
        layers: dict[str, Any] = {"content_layers": {}, "style_layers": {"relu1_1": 1.0}}
        only = OptimizationSettings(encoder_only=not settings)
        StyleTransferTraining(
            encoder, transformer, LossSettings(vgg_weights="random", **layers, **settings), only
        )

    with pytest.raises(ArbstyleError, match="set it above 0"):
        train(encoder)
    with pytest.raises(ArbstyleError, match="MomentsEncoder and gram"):
        train(encoder, moments_weight=1, style_statistic="gram")
    with pytest.raises(ArbstyleError, match="got NormalizationNetwork"):
        train(NormalizationNetwork(), moments_weight=1)


@pytest.mark.parametrize("settings", [{"every_minutes": 0}, {"every_steps": 0}])
def test_impossible_checkpoint_times(settings: dict[str, Any]):
    with pytest.raises(ArbstyleError, match="every_minutes above 0"):
        Checkpoints(**settings)
