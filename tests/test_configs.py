"""Every shipped config: it is complete, it trains what it should, and its mistakes are said in one line."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import yaml
from PIL import Image

from arbstyle.cli import main
from arbstyle.networks.state import frozen_prefixes
from arbstyle.training.old_keys import NEW_KEYS, renamed_settings
from arbstyle.training.settings import LoggingSettings, LossSettings, OptimizationSettings, StartSettings

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
OLD_CONFIGS = Path(__file__).resolve().parent / "old_configs"  # as they were before settings had groups
GROUPS = {"loss", "optimization", "start", "logging"}
NOISE = 1e-12
"""Gradients of this size, over the largest, are rounding in double precision: its unit is 1e-16."""

OVERLAYS = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "default")

RANDOM_WEIGHTS = {  # where networks are that would be downloaded
    "adain": [
        *("--model.style_encoder.init_args.weights", "random"),
        *("--model.transformer.init_args.weights", "random"),
    ],
    "predictor": [
        *("--model.style_encoder.init_args.backbone", "vgg19"),
        *("--model.style_encoder.init_args.weights", "random"),
    ],
    "style_bank": ["--model.style_encoder.init_args.num_styles", "2"],
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for kind, number in (("content", 4), ("styles", 4), ("two", 2), ("one", 1)):
        (folder / kind).mkdir()
        for index in range(number):
            coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((60, 56), Image.Resampling.BICUBIC).save(folder / kind / f"{index}.png")
    return folder


def arguments(name: str, pictures: Path, run: Path) -> list[str]:
    style = {"johnson": "one", "style_bank": "two"}.get(name, "styles")
    files = ["default"] if name == "default" else ["default", name]
    small = {
        "data.content": str(pictures / "content"),
        "data.style": str(pictures / style),
        "data.batch_size": "2",
        "data.crop_size": "48",
        "data.resize": "48",
        "data.style_size": "48",
        "data.style_resize": "48",
        "data.num_workers": "0",
        "data.validation_pairs": "1",
        "model.loss.vgg": "vgg19",
        "model.loss.vgg_weights": "random",
        "model.logging.picture_every": "0",
        "model.optimization.compile": "false",
        "trainer.max_steps": "1",
        "trainer.precision": "64-true",  # so that a gradient that is nothing but rounding stands out
        "trainer.limit_val_batches": "0",
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
        "trainer.logger": "false",
        "trainer.accelerator": "cpu",
        "trainer.default_root_dir": str(run),
    }
    configs = [word for file in files for word in ("--config", str(CONFIGS / f"{file}.yaml"))]
    return [
        *configs,
        *(word for key, value in small.items() for word in (f"--{key}", value)),
        *RANDOM_WEIGHTS.get(name, []),
    ]


class Gradients(pl.Callback):
    """Remembers what one training step gives every parameter."""

    largest: dict[str, float | None]

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        self.largest = {
            name: None if parameter.grad is None else float(parameter.grad.abs().max())
            for name, parameter in pl_module.named_parameters()
        }
        self.optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("name", ["default", *OVERLAYS])
def test_gradient_reaches_everything_that_trains(
    name: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from arbstyle.training.module import StyleTransferTraining

    seen = Gradients()
    held: list[StyleTransferTraining] = []

    def before_fit(cli: Any) -> None:
        cli.trainer.callbacks.append(seen)
        held.append(cli.model)

    monkeypatch.setattr("arbstyle.training.command_line.TrainingCLI.before_fit", before_fit)
    assert main(["train", "fit", *arguments(name, pictures, tmp_path)]) == 0
    model = held[0]
    frozen = frozen_prefixes(model)
    assert any(key.startswith("loss.encoder.") for key in seen.largest)
    largest = max(gradient for gradient in seen.largest.values() if gradient is not None)
    for key, parameter in model.named_parameters():
        trains = key.startswith(("styler.", "moments_head.")) and not key.startswith(frozen)
        assert parameter.requires_grad == trains, key
        assert (id(parameter) in seen.optimized) == trains, key
        gradient = seen.largest[key]
        if trains:
            assert gradient is not None
            assert gradient > NOISE * largest, f"only rounding noise reaches {key}"
        else:
            assert gradient is None, f"{key} is frozen and gets a gradient"


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_are_short_and_say_whose_recipe_they_are(name: str):
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert f"--config configs/{name}.yaml" in text, "the command that uses it"
    settings = yaml.safe_load(text)
    known = yaml.safe_load((CONFIGS / "default.yaml").read_text(encoding="utf-8"))
    assert settings.keys() <= known.keys()
    if "style_encoder" in settings["model"] and name not in ("campaign", "gpu"):
        assert settings["model"]["optimization"]["optimizer"] == "adam", "what was published"


def test_published_recipes_that_need_no_conversion():
    adain = yaml.safe_load((CONFIGS / "adain.yaml").read_text(encoding="utf-8"))
    model, data = adain["model"], adain["data"]
    optimization = model["optimization"]
    assert model["loss"]["style_weight"] == 10
    assert (optimization["learning_rate"], optimization["inverse_decay"]) == (1e-4, 5e-5)
    assert (data["batch_size"], data["crop_size"], data["resize"]) == (8, 256, 512)
    assert adain["trainer"]["max_steps"] == 160_000
    ghiasi = yaml.safe_load((CONFIGS / "predictor.yaml").read_text(encoding="utf-8"))["data"][
        "style_augmentation"
    ]
    from arbstyle.training.augmentation import StyleAugmentation

    assert StyleAugmentation(**ghiasi) == StyleAugmentation(
        saturation=ghiasi["saturation"], scale=ghiasi["scale"]
    ), "the defaults are the published ones"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model.no_such_setting", "1"], "no_such_setting"),
        (["--data.batch_size", "many"], "batch_size"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--data.content", "nowhere"], "no such picture set: 'nowhere'"),
        (["--data.style", "{empty}"], "{empty}"),
        (["--data.batch_size", "0"], "data.batch_size must be at least 1, got 0"),
        (["--model.loss.content_target", "adain"], "needs AdaINTransformer"),
        (["--ckpt_path", "nowhere.ckpt"], "nowhere.ckpt"),
        (["--model.loss.style_layers", "{relu9_9: 1.0}"], "relu9_9"),
    ],
)
def test_mistakes_are_one_line(
    more: list[str], said: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    (tmp_path / "empty").mkdir()
    filled = [word.replace("{empty}", str(tmp_path / "empty")) for word in more]
    assert main(["train", "fit", *arguments("default", pictures, tmp_path), *filled]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "Seed set" not in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("arbstyle")
    assert "error: " in lines[0]
    assert said.replace("{empty}", str(tmp_path / "empty")) in lines[0]


def test_unknown_key_in_a_config_file(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "typo.yaml").write_text("model: {learning_rat: 1.0e-3}\n")
    command = ["train", "fit", *arguments("default", pictures, tmp_path)]
    assert main([*command, "--config", str(tmp_path / "typo.yaml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "learning_rat" in line


@pytest.mark.parametrize("words", [["--config", "{}"], ["-c", "{}"], ["--config={}"]])
def test_a_pipe_is_no_config(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture):
    pipe = tmp_path / "settings.yaml"
    os.mkfifo(pipe)
    assert main(["train", "fit", *(word.format(pipe) for word in words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not a regular file" in line


# --- configs of before ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.stem for path in OLD_CONFIGS.glob("*.yaml")))
def test_old_config_says_the_same_as_the_new_one(name: str, caplog: pytest.LogCaptureFixture):
    today, then = CONFIGS / f"{name}.yaml", OLD_CONFIGS / "renamed" / f"{name}.yaml"  # of a recipe given up
    old, new = (
        yaml.safe_load(path.read_text())
        for path in (OLD_CONFIGS / f"{name}.yaml", then if then.exists() else today)
    )
    if name == "johnson":  # mended since: the published weights are for filters as they are
        assert new["model"]["loss"].pop("normalize_filters") is False
    assert renamed_settings(old) == new
    has_old_keys = old != new
    (record,) = caplog.records if has_old_keys else (None,)
    caplog.clear()
    assert renamed_settings(new) == new
    assert not caplog.records
    if record is not None:
        said = record.getMessage()
        assert "\n" not in said
        assert all(f"model.{group}." in said for group in new["model"] if group in GROUPS)


def printed_config(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert main(["train", "fit", *arguments, "--print_config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_old_config_and_old_flags_train_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sets = ["--data.content", "photos", "--data.style", "paintings"]
    old = [
        *("--config", str(OLD_CONFIGS / "default.yaml"), "--config", str(OLD_CONFIGS / "cpu.yaml"), *sets),
        *("--model.learning_rate", "0.002", "--model.paint=false", "--model.init_from", "a.safetensors"),
    ]
    new = [
        *("--config", str(CONFIGS / "default.yaml"), "--config", str(CONFIGS / "cpu.yaml"), *sets),
        *("--model.optimization.learning_rate", "0.002", "--model.optimization.encoder_only", "true"),
        *("--model.start.model", "a.safetensors"),
    ]
    from_old, from_new = printed_config(old, capsys), printed_config(new, capsys)
    assert from_old == from_new
    assert from_new["model"]["optimization"]["learning_rate"] == 0.002
    assert from_new["model"]["loss"]["cache_targets"] is True
    assert from_new["data"]["crops_per_picture"] == 2


def test_every_new_key_exists():
    groups = {
        "loss": LossSettings,
        "optimization": OptimizationSettings,
        "start": StartSettings,
        "logging": LoggingSettings,
    }
    for key in NEW_KEYS.values():
        section, *path = key.split(".")
        if section == "model":
            group, name = path
            assert name in {field.name for field in fields(groups[group])}, key
