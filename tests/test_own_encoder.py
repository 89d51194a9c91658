"""A style encoder from outside the package: trained, exported, and loaded where its code is trusted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from arbstyle import ArbstyleError, StyleEncoder, TransformerNetwork
from arbstyle.cli import main
from arbstyle.networks import FastTransformer, load_styler

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "examples"


def run(*words: str | Path, path: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), path]))}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    for kind in ("photos", "paintings"):
        (folder / kind).mkdir()
        for number in range(3):
            pixels = random.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    configs = [REPOSITORY / "configs" / "default.yaml", EXAMPLES / "own_encoder.yaml"]
    settings = {
        "data.content": folder / "photos",
        "data.style": folder / "paintings",
        "data.batch_size": 2,
        "data.crop_size": 32,
        "data.resize": 32,
        "data.style_size": 32,
        "data.style_resize": 32,
        "data.num_workers": 0,
        "data.validation_pairs": 1,
        "model.loss.vgg_weights": "random",
        "model.loss.normalize_filters": "false",
        "model.logging.picture_every": 0,
        "trainer.max_steps": 2,
        "trainer.precision": "32-true",
        "trainer.limit_val_batches": 0,
        "trainer.logger": "false",
        "trainer.accelerator": "cpu",
        "trainer.default_root_dir": folder,
    }
    words = [word for config in configs for word in ("--config", str(config))]
    words += [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        assert main(["train", "fit", *words]) == 0
    return folder / "model.safetensors"


def test_the_file_names_module_and_class(trained: Path):
    with safe_open(trained, framework="pt") as file:
        architecture = json.loads(file.metadata()["architecture"])
    assert architecture["style_encoder"] == {
        "class": "own_encoder:PaletteEncoder",
        "arguments": {"cells": 8, "code_size": 64},
    }


def test_code_from_outside_is_only_run_where_it_is_allowed(trained: Path, tmp_path: Path):
    load = "import sys; from arbstyle import load_styler; load_styler(sys.argv[1])"
    refused = run("-c", load, trained, path=str(EXAMPLES))
    assert refused.returncode == 1
    last = refused.stderr.strip().splitlines()[-1]
    assert "the module 'own_encoder', and importing that would run its code" in last
    photo, style = EXAMPLES / "photo-cat.jpg", EXAMPLES / "painting-storm.jpg"
    painted = run(
        EXAMPLES / "own_encoder.py", trained, photo, style, tmp_path / "cat.png", path=str(EXAMPLES)
    )
    assert painted.returncode == 0, painted.stderr
    with Image.open(photo) as before, Image.open(tmp_path / "cat.png") as after:
        assert after.size == before.size
    nowhere = run("-c", load.replace("argv[1])", "argv[1], trust_code=True)"), trained, path="")
    assert "can't be imported" in nowhere.stderr.strip().splitlines()[-1]


def test_what_is_no_encoder_is_not_built(trained: Path):
    with safe_open(trained, framework="pt") as file:
        architecture = json.loads(file.metadata()["architecture"])
    from arbstyle.networks.model_file import build_styler

    architecture["style_encoder"]["class"] = "collections:OrderedDict"
    with pytest.raises(ArbstyleError, match="'collections:OrderedDict', and that is no StyleEncoder"):
        build_styler(architecture, trust_code=True)
    with pytest.raises(ArbstyleError, match="importing that would run its code"):
        build_styler(architecture)


class Forgetful(StyleEncoder):
    def forward(self, style: Tensor) -> Tensor:
        return style.mean(dim=(2, 3))


class Sizeless(TransformerNetwork):
    smallest = 8

    def repaint(self, content: Tensor, *_: object) -> Tensor:
        return content


class LateStyle(FastTransformer):
    """A site that its own constructor adds after that of the class it builds on."""

    def __init__(self) -> None:
        super().__init__(8, 8, 1, 1, 4)
        from arbstyle.networks import ConditionalInstanceNorm2d

        self.last: nn.Module = ConditionalInstanceNorm2d(3)


def test_what_was_forgotten_is_said_at_construction():
    with pytest.raises(
        ArbstyleError, match=r"Forgetful does not say how long its codes are: set self.code_size"
    ):
        Forgetful()
    with pytest.raises(
        ArbstyleError, match="Sizeless does not say which sizes of picture it takes: set multiple"
    ):
        Sizeless()


def test_sites_collect_themselves():
    late, plain = LateStyle(), FastTransformer(8, 8, 1, 1, 4)
    assert late.num_style_parameters == plain.num_style_parameters + 6
    assert late.neutral_parameters()[-6:].tolist() == [1, 1, 1, 0, 0, 0]


def test_a_class_that_is_imported_already_needs_no_permission(trained: Path):
    assert "own_encoder" in sys.modules
    styler, _ = load_styler(trained)
    assert type(styler.style_encoder).__name__ == "PaletteEncoder"
