"""What the scripts say of files made by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from arbstyle.networks import (
    ArbitraryStyler,
    FastTransformer,
    PooledStatisticsEncoder,
    load_styler,
    save_styler,
)

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_mean_of_models_is_that_of_their_weights(tmp_path: Path):
    script = loaded("package_model")
    sizes: dict[str, Any] = {"width": 8, "deep_width": 16, "blocks": 1, "deep_blocks": 1, "fine_width": 8}
    files = [tmp_path / "one.safetensors", tmp_path / "other.safetensors"]
    stylers = []
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        stylers.append(ArbitraryStyler(PooledStatisticsEncoder((8, 16), 16, 12), FastTransformer(**sizes)))
        save_styler(stylers[-1], file, {"name": "other"})
    output = script.mean_of([(1.0, str(files[0])), (3.0, str(files[1]))], str(tmp_path / "mean.safetensors"))
    mean, information = load_styler(output)
    one, other = (styler.state_dict() for styler in stylers)
    for name, value in mean.state_dict().items():
        torch.testing.assert_close(value, 0.25 * one[name] + 0.75 * other[name], atol=2e-3, rtol=2e-3)
    kept = dict.fromkeys(("stem_noise", "deep_noise", "merge_noise"), 1.0)
    parents = [{"weight": weight, "information": {"name": "other"}} for weight in (1.0, 3.0)]
    assert information == {"name": "arbstyle", "mean_of": parents, "noise_kept": kept}


def test_shares_of_the_noise_are_kept_and_all_else_stays(tmp_path: Path):
    script = loaded("package_model")
    transformer = FastTransformer(8, deep_width=16, blocks=1, deep_blocks=1, fine_width=8, noise=True)
    styler = ArbitraryStyler(PooledStatisticsEncoder((8, 16), 16, 12), transformer)
    with torch.no_grad():
        for numbers in styler.head.parameters():
            numbers.normal_()
    save_styler(styler, tmp_path / "loud.safetensors")
    one = [(1.0, str(tmp_path / "loud.safetensors"))]
    quiet, _ = load_styler(
        script.mean_of(one, str(tmp_path / "quiet.safetensors"), stem_noise=0.5, other_noise=0.25)
    )
    code = torch.randn(1, 12)
    expected = styler.head(code).detach()
    transformer.stem_noise.take(expected).mul_(0.5)
    for site in (transformer.deep_noise, transformer.merge_noise):
        site.take(expected).mul_(0.25)
    torch.testing.assert_close(quiet.head(code), expected, atol=2e-3, rtol=2e-3)


def test_models_that_are_built_otherwise_have_no_mean(tmp_path: Path):
    script = loaded("package_model")
    files = [tmp_path / "one.safetensors", tmp_path / "other.safetensors"]
    for width, file in zip((8, 12), files, strict=True):
        transformer = FastTransformer(width, deep_width=16, blocks=1, deep_blocks=1, fine_width=8)
        save_styler(ArbitraryStyler(PooledStatisticsEncoder((8, 16), 16, 12), transformer), file)
    with pytest.raises(SystemExit, match="built alike"):
        script.mean_of([(0.5, str(file)) for file in files], str(tmp_path / "mean.safetensors"))
    assert not (tmp_path / "mean.safetensors").exists()


def test_a_grown_encoder_begins_with_the_old_one_and_learns_its_codes(monkeypatch: pytest.MonkeyPatch):
    script = loaded("grow_encoder")
    monkeypatch.setattr(script, "RIDGE", 1e-3)  # few examples
    torch.manual_seed(0)
    old = PooledStatisticsEncoder((4, 8, 8, 8), 16, 12)
    styler = ArbitraryStyler(old, FastTransformer(8, 16, 1, 1, 8)).eval()
    # Pictures of one colour with some grain each.
    noise = torch.randn(600, 3, 32, 32) * torch.rand(600, 1, 1, 1) * 40
    crops = (255 * torch.rand(600, 3, 1, 1) + noise).clamp(0, 255).byte()
    encoder = script.begun_from(old, 64, 12)
    convolutions = [layer for layer in old.stages.modules() if isinstance(layer, torch.nn.Conv2d)]
    for place, convolution in zip((0, 1, 3, 6), convolutions, strict=True):
        assert torch.equal(encoder.layers[place].weight, convolution.weight)
    features = torch.rand(1, 8, 9, 9)
    between = torch.relu(encoder.layers[2](features))
    assert (between - features).square().mean() < 0.1 * features.square().mean(), "hardly changes anything"
    encoder.prepare([script.as_pictures(crops)])
    script.fit_codes(encoder, styler, crops, 100)
    held_out = script.as_pictures(crops[:100])
    wanted, found = old(held_out), encoder(held_out)
    spread = (wanted - wanted.mean(dim=0)).square().sum()
    assert (found - wanted).square().sum() < 0.1 * spread


def test_ridge_finds_a_linear_map(monkeypatch: pytest.MonkeyPatch):
    script = loaded("grow_encoder")
    monkeypatch.setattr(script, "RIDGE", 1e-6)
    inputs, layer = torch.randn(50, 7), torch.nn.Linear(7, 3)
    weight, bias = script.ridge(inputs, layer(inputs).detach())
    torch.testing.assert_close(weight, layer.weight.detach(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(bias, layer.bias.detach(), atol=1e-4, rtol=1e-4)


def test_same_pictures_sees_one_value_in_the_last_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    script = loaded("same_pictures")
    picture = np.random.default_rng(0).random((1, 3, 8, 9), np.float32)
    moved = picture.copy()
    moved[0, 1, 2, 3] = np.nextafter(moved[0, 1, 2, 3], np.float32(2))
    for folder, tiles in (("one", picture), ("same", picture), ("other", moved)):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "pair.npz", plain=picture, tiles=tiles)
    assert script.compare(tmp_path / "one", tmp_path / "same")
    assert capsys.readouterr().out.split("\n")[1].split() == ["tiles", "the", "same"]
    assert not script.compare(tmp_path / "one", tmp_path / "other")
    first_line, second_line = capsys.readouterr().out.splitlines()
    assert first_line.split() == ["plain", "the", "same"]
    assert second_line.startswith("tiles")
    assert "differ by up to" in second_line
