"""Further measures: each against another implementation, or against a case worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr
from torch.nn import functional as F
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
from torchmetrics.functional.image.lpips import _LPIPS

from arbstyle.errors import ArbstyleError
from arbstyle.measures import LPIPS, cfsd, color_histogram_distance, ms_ssim, normalized_style_losses
from arbstyle.measures.content import CFSD_POSITIONS, MS_SSIM_MIN_SIZE
from arbstyle.measures.lpips import find_vgg16_weights
from arbstyle.perception import luminance, style_statistics


def blurred(seed: int, height: int = 200, width: int = 230, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, height // 8, width // 8, generator=generator)
    return F.interpolate(coarse, (height, width), mode="bilinear")


# --- content ------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_ms_ssim_agrees_with_torchmetrics(noise: float):
    photo = blurred(0)
    image = (photo + noise * torch.randn(photo.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    expected = multiscale_structural_similarity_index_measure(
        luminance(image), luminance(photo), reduction="none", data_range=1.0
    )
    torch.testing.assert_close(ms_ssim(image, photo), expected, rtol=0, atol=2e-4)


def test_ms_ssim_of_equal_and_of_opposite_pictures():
    photo = blurred(0)
    torch.testing.assert_close(ms_ssim(photo, photo), torch.ones(2))
    assert (ms_ssim(photo, 1 - photo) == 0).all()


def test_ms_ssim_needs_room_for_five_scales():
    smallest = torch.rand(1, 3, MS_SSIM_MIN_SIZE, MS_SSIM_MIN_SIZE)
    assert ms_ssim(smallest, smallest).item() == pytest.approx(1)
    with pytest.raises(ArbstyleError, match="at least 176×176 pixels, got 200×175"):
        ms_ssim(torch.rand(1, 3, 175, 200), torch.rand(1, 3, 175, 200))


def test_cfsd_agrees_with_scipy():
    generator = torch.Generator().manual_seed(0)
    image, content = torch.rand(2, 3, 6, 5, 7, generator=generator) * 20
    expected = []
    for ours, theirs in zip(image.double().numpy(), content.double().numpy(), strict=True):
        logs = [log_softmax(f.reshape(6, -1).T @ f.reshape(6, -1) / 36, axis=1) for f in (ours, theirs)]
        expected.append(rel_entr(np.exp(logs[1]), np.exp(logs[0])).sum(axis=1).mean())
    torch.testing.assert_close(cfsd(image, content).double(), torch.tensor(expected), rtol=1e-4, atol=0)


def test_cfsd_sees_which_places_are_alike_and_not_how_they_look():
    """Channels in another order keep every similarity; positions in another order keep none."""
    features = torch.rand(1, 8, 6, 6, generator=torch.Generator().manual_seed(0)) * 30
    assert cfsd(features.flip(1), features).item() == pytest.approx(0, abs=1e-5)
    assert cfsd(features.flip(2), features).item() > 0.1


def test_cfsd_of_large_maps_is_that_of_their_local_means():
    small = torch.rand(1, 4, CFSD_POSITIONS, CFSD_POSITIONS, generator=torch.Generator().manual_seed(0)) * 20
    other = small.flip(3)
    enlarged = (F.interpolate(each, scale_factor=2.0) for each in (small, other))
    torch.testing.assert_close(cfsd(*enlarged), cfsd(small, other))
    with pytest.raises(ArbstyleError, match="equal shape"):
        cfsd(small, small[..., :5])


# --- style --------------------------------------------------------------------------------------


def test_normalized_style_loss_worked_by_hand():
    """Gram matrices [[2, 1], [1, 1]] and [[9, 6], [6, 8]]: 148 over 7 + 217."""
    image = {"relu1_1": torch.tensor([[[[0.0, 2.0]], [[1.0, 1.0]]]])}
    style = {"relu1_1": torch.tensor([[[[3.0, 3.0]], [[0.0, 4.0]]]])}
    loss = normalized_style_losses(style_statistics(image), style_statistics(style))
    assert loss["relu1_1"].item() == pytest.approx(148 / (7 + 217), rel=1e-6)


def test_normalized_style_loss_is_bounded_and_blind_to_contrast():
    generator = torch.Generator().manual_seed(0)
    image, style = (torch.randn(4, 6, 9, 9, generator=generator).relu() for _ in range(2))

    def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return normalized_style_losses(style_statistics({"x": a}), style_statistics({"x": b}))["x"]

    assert (loss(image, style) > 0).all()
    assert (loss(image, style) < 1).all()
    torch.testing.assert_close(loss(30 * image, 30 * style), loss(image, style))
    torch.testing.assert_close(loss(style, style), torch.zeros(4))
    apart = torch.cat([torch.rand(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)], dim=1)
    assert loss(apart, apart.flip(1)).item() == pytest.approx(1)
    assert loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)).item() == 0


# --- colour -------------------------------------------------------------------------------------


def test_color_distance_agrees_with_numpy():
    """Colours on the bins' centres fall into one bin each, as in any histogram."""
    generator = torch.Generator().manual_seed(0)
    image, style = (
        torch.randint(lowest, lowest + 4, (1, 3, 16, 20), generator=generator).double() / 7
        for lowest in (0, 2)
    )
    shares = [
        np.histogramdd(x[0].flatten(1).T.numpy(), bins=8, range=[(-1 / 14, 15 / 14)] * 3)[0] / 320
        for x in (image, style)
    ]
    expected = np.sqrt(1 - np.sqrt(shares[0] * shares[1]).sum())
    assert 0.2 < expected < 0.98
    assert color_histogram_distance(image, style).item() == pytest.approx(expected, abs=1e-6)


def test_color_distance_worked_by_hand():
    """A grey a quarter of the way between two bins against the lower: (3/4)³ of it falls there."""
    grey, between = (torch.full((1, 3, 4, 4), x, dtype=torch.double) for x in (2 / 7, 2.25 / 7))
    expected = (1 - 0.75**1.5) ** 0.5
    assert color_histogram_distance(between, grey).item() == pytest.approx(expected, abs=1e-4)


def test_color_distance_ignores_places_and_knows_its_ends():
    photo = blurred(0)
    shuffled = photo.flatten(2)[..., torch.randperm(200 * 230)].view_as(photo)
    torch.testing.assert_close(
        color_histogram_distance(shuffled, photo), torch.zeros(2).double(), rtol=0, atol=1e-5
    )
    black, white = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 9, 9)
    assert color_histogram_distance(black, white).item() == 1


# --- LPIPS --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lpips() -> LPIPS:
    return LPIPS("random")


def test_lpips_agrees_with_torchmetrics(lpips: LPIPS):
    """The same backbone, with random weights, behind their channel weights and normalisation."""
    theirs = _LPIPS(pretrained=True, net="vgg", pnet_rand=True)
    state = {key.split(".", 1)[1]: value for key, value in theirs.net.state_dict().items()}
    ours = [module for module in lpips.encoder.layers if isinstance(module, torch.nn.Conv2d)]
    for name, module in zip(sorted({int(key.split(".")[0]) for key in state}), ours, strict=True):
        state[f"{name}.weight"].copy_(module.weight)
        state[f"{name}.bias"].copy_(module.bias)
    a, b = blurred(0, 48, 64), blurred(1, 48, 64)
    with torch.no_grad():
        expected = theirs(a, b, normalize=True).flatten()
        torch.testing.assert_close(lpips(a, b), expected, rtol=1e-3, atol=1e-5)
        assert (expected > 0.01).all()
        assert (lpips(a, a) == 0).all()


def test_lpips_is_offered_where_its_weights_are(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("ARBSTYLE_VGG16", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert find_vgg16_weights() is None
    download = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    download.parent.mkdir()
    download.touch()
    assert find_vgg16_weights() == download
    monkeypatch.setenv("ARBSTYLE_VGG16", str(tmp_path / "mine.pth"))
    assert find_vgg16_weights() == tmp_path / "mine.pth"
