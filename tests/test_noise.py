"""Seeded noise: a hash of position, the same wherever and however a picture is painted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from arbstyle.networks import (
    ArbitraryStyler,
    ConditionalInstanceNorm2d,
    ConditionalNoise,
    ConditionalSite,
    FastTransformer,
    NormRule,
    PooledStatisticsEncoder,
    load_styler,
    save_styler,
)
from arbstyle.networks.growing import graft
from arbstyle.networks.noise import NoiseGate, grey_of, noise_maps, position_noise


def murmur(x: int) -> int:
    """MurmurHash3's 32-bit finaliser, in Python's unbounded integers."""
    x = ((x ^ (x >> 16)) * 0x85EBCA6B) % 2**32
    x = ((x ^ (x >> 13)) * 0xC2B2AE35) % 2**32
    return x ^ (x >> 16)


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 3])
def test_noise_is_the_hash_of_its_position(seed: int):
    found = position_noise(3, 4, channel=2, seed=seed, top=70_000, left=5)
    start = murmur((murmur((seed % 2**32 + 0x9E3779B9) % 2**32) ^ 2) + 0x9E3779B9 & 0xFFFFFFFF)
    for row in range(3):
        for column in range(4):
            mixed = murmur(murmur(start ^ (70_000 + row)) ^ (5 + column))
            expected = ((mixed >> 8) / 2**23 - 1) * 3**0.5
            assert float(found[row, column]) == pytest.approx(expected, abs=1e-6)


def test_noise_is_white_and_of_variance_one():
    noise = torch.stack([position_noise(256, 256, channel=i, seed=seed) for i in (0, 1) for seed in (0, 1)])
    # 65,536 values: the standard error of a correlation is 0.004.
    assert np.corrcoef(noise.flatten(1)) == pytest.approx(np.eye(4), abs=0.02)
    assert noise.var(dim=(1, 2)).tolist() == pytest.approx([1.0] * 4, abs=0.02)
    for map_ in noise:
        for shifted in (
            map_[1:, :] * map_[:-1, :],
            map_[:, 1:] * map_[:, :-1],
            map_[1:, 1:] * map_[:-1, :-1],
        ):
            assert abs(float(shifted.mean())) < 0.02


def test_coarse_maps_vary_as_much_and_more_slowly():
    maps = noise_maps(256, 256, (1, 2, 4))[0]
    assert maps.var(dim=(1, 2)).tolist() == pytest.approx([1.0] * 3, abs=0.06)
    steps = [float((map_[1:] - map_[:-1]).square().mean()) for map_ in maps]
    assert steps[0] > 1.5 * steps[1] > 3 * steps[2]


@pytest.mark.parametrize(("top", "left"), [(0, 0), (24, 40), (3, 1)])
def test_part_of_the_noise_is_the_noise_of_the_part(top: int, left: int):
    whole = noise_maps(64, 80, (1, 2, 4), seed=5)
    part = noise_maps(20, 30, (1, 2, 4), seed=5, top=top, left=left)
    torch.testing.assert_close(part, whole[..., top : top + 20, left : left + 30], rtol=0, atol=1e-5)


def test_noise_goes_on_at_any_whole_number():
    far = 10**20
    there, later = (noise_maps(8, 8, (1, 4), seed=far, top=top, left=-far) for top in (far, far + 4))
    torch.testing.assert_close(there[..., 4:, :], later[..., :4, :], rtol=0, atol=1e-5)


class Everywhere(NormRule):
    """The same style parameters 1×P at every position, given position by position, as masks do."""

    def __init__(self, parameters: torch.Tensor) -> None:
        self.parameters = parameters

    def apply(self, site: ConditionalInstanceNorm2d, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a site of noise does not normalise")

    def parameters_of(self, site: ConditionalSite, x: torch.Tensor) -> torch.Tensor:
        return site.take(self.parameters)[:, :, None, None].expand(-1, -1, *x.shape[2:])


def test_amplitudes_are_the_styles_and_bounded():
    site = ConditionalNoise(channels=3, maps=2, limit=2.0)
    noise = torch.randn(1, 2, 5, 6)
    amplitudes = torch.tensor([0.1, -0.2, 0.0, 0.0, 50.0, 0.0])
    added = site(torch.zeros(1, 3, 5, 6), noise, amplitudes[None])
    small = 2 * np.tanh(0.05) * noise[0, 0] + 2 * np.tanh(-0.1) * noise[0, 1]
    torch.testing.assert_close(added[0, 0], small)
    assert not added[0, 1].any()
    torch.testing.assert_close(added[0, 2], 2 * noise[0, 0])
    everywhere = site(torch.zeros(1, 3, 5, 6), noise, Everywhere(amplitudes[None]))
    torch.testing.assert_close(everywhere, added)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.05)])
def test_noise_is_the_same_with_and_without_gradients_in_both_layouts(dtype: torch.dtype, tolerance: float):
    site = ConditionalNoise(channels=5, maps=3)
    x, noise = torch.randn(1, 5, 6, 4).to(dtype), torch.randn(1, 3, 6, 4)
    parameters = torch.randn(1, site.num_style_parameters)
    expected = x + torch.einsum("kc,khw->chw", 2 * torch.tanh(parameters / 2).view(5, 3).T, noise[0])
    for layout in (torch.contiguous_format, torch.channels_last):
        for gradients in (True, False):
            with torch.set_grad_enabled(gradients):
                found = site(x.contiguous(memory_format=layout), noise, parameters)
            assert found.dtype == dtype
            torch.testing.assert_close(found.float(), expected.float(), rtol=0, atol=tolerance)


def test_gate_closes_where_the_photo_has_contrast():
    photo = torch.full((1, 3, 16, 32), 0.5)
    photo[..., 16::2] = 1.0
    gate = NoiseGate(maps=2, stride=4)(grey_of(photo))
    assert gate.shape == (1, 2, 4, 8)
    assert (gate[..., :4] > 0.85).all()
    assert (gate[..., 4:] < 0.3).all()


@torch.no_grad()
def test_seed_changes_the_painting_and_nothing_else_does():
    torch.manual_seed(0)
    transformer = FastTransformer(width=8, deep_width=16, deep_blocks=1, fine_width=8, noise=True).eval()
    parameters = transformer.neutral_parameters()[None] + 0.5 * torch.randn(
        1, transformer.num_style_parameters
    )
    photo = torch.rand(1, 3, 64, 64)
    assert torch.equal(transformer(photo, parameters, seed=3), transformer(photo, parameters, seed=3))
    assert (
        transformer(photo, parameters, seed=3) - transformer(photo, parameters, seed=4)
    ).abs().mean() > 1e-3
    silent = transformer.neutral_parameters()[None]
    assert torch.equal(transformer(photo, silent, seed=3), transformer(photo, silent, seed=4))


@torch.no_grad()
def test_model_grafted_onto_one_with_noise_paints_as_before_without_it(tmp_path):
    torch.manual_seed(0)
    old, new = (
        ArbitraryStyler(PooledStatisticsEncoder((4, 8), 16, 8), FastTransformer(8, 16, 1, 1, 8, noise)).eval()
        for noise in (False, True)
    )
    graft(old, new)
    photo, style = torch.rand(1, 3, 40, 48), torch.rand(1, 3, 32, 32)
    parameters = new.parameters_of(new.encode(style))
    for site in new.transformer.sites:
        if isinstance(site, ConditionalNoise):
            assert 0 < site.take(parameters).abs().mean() < 0.2
            site.take(parameters).zero_()
    torch.testing.assert_close(new.transformer(photo, parameters), old(photo, style))
    loaded, _ = load_styler(save_styler(new, tmp_path / "model.safetensors"))
    assert loaded.transformer.hyperparameters["noise"] is True
    torch.testing.assert_close(loaded(photo, style), new(photo, style), rtol=0, atol=0.02)
