"""Each measure against another implementation, or against a case worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from arbstyle.errors import ArbstyleError
from arbstyle.evaluation import paired_bootstrap
from arbstyle.perception import (
    content_loss,
    gram_style_losses,
    luminance,
    moment_style_losses,
    psnr,
    ssim,
    style_statistics,
)


def random_pictures(count: int = 2, height: int = 40, width: int = 53, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def smooth_pictures(count: int = 2, size: int = 64) -> torch.Tensor:
    """Nearly flat pictures, where the cancellation in the local variances would show."""
    ramp = torch.linspace(0.8, 0.83, size).expand(count, 3, size, size)
    return ramp + 0.002 * random_pictures(count, size, size)


# --- pixels -------------------------------------------------------------------------------------


def test_psnr_agrees_with_skimage():
    a, b = random_pictures(seed=1), random_pictures(seed=2)
    expected = [
        peak_signal_noise_ratio(y.numpy(), x.numpy(), data_range=1) for x, y in zip(a, b, strict=True)
    ]
    torch.testing.assert_close(psnr(a, b).double(), torch.tensor(expected), rtol=1e-5, atol=0)


def test_psnr_of_a_known_error():
    grey = torch.full((1, 3, 4, 4), 0.5)
    assert psnr(grey + 0.1, grey).item() == pytest.approx(20, abs=1e-4)
    assert psnr(grey, grey).item() == float("inf")


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("pictures", [random_pictures(), smooth_pictures()], ids=["noise", "smooth"])
def test_ssim_agrees_with_skimage(pictures: torch.Tensor, noise: float):
    image = (
        pictures + noise * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(3))
    ).clamp(0, 1)
    expected = [
        structural_similarity(
            luma(x), luma(y), data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for x, y in zip(image, pictures, strict=True)
    ]
    torch.testing.assert_close(ssim(image, pictures).double(), torch.tensor(expected), rtol=0, atol=1e-5)


def luma(picture: torch.Tensor) -> np.ndarray:
    red, green, blue = picture.double().numpy()
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_ssim_properties():
    a, b = random_pictures(seed=1), random_pictures(seed=2)
    torch.testing.assert_close(ssim(a, a), torch.ones(2))
    torch.testing.assert_close(ssim(a, b), ssim(b, a))
    assert (ssim(a, 1 - a) < 0).all()
    torch.testing.assert_close(ssim(a, a.flip(0))[0], ssim(a[:1], a[1:])[0])


def test_ssim_looks_at_structure_not_hue():
    """Two colours of equal luminance are the same to it."""
    red = torch.tensor([0.587, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    green = torch.tensor([0.0, 0.299, 0.0]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    torch.testing.assert_close(luminance(red), luminance(green))
    assert ssim(red, green).item() == pytest.approx(1, abs=1e-5)


def test_pictures_that_cannot_be_compared_are_refused():
    with pytest.raises(ArbstyleError, match="equal size"):
        ssim(random_pictures(height=40), random_pictures(height=41))
    with pytest.raises(ArbstyleError, match="equal size"):
        psnr(random_pictures(count=1), random_pictures(count=2))
    with pytest.raises(ArbstyleError, match="equal size"):
        content_loss(torch.zeros(1, 4, 3, 3), torch.zeros(1, 4, 3, 4))
    with pytest.raises(ArbstyleError, match="11×11"):
        ssim(random_pictures(height=10), random_pictures(height=10))


# --- features -----------------------------------------------------------------------------------


def test_style_losses_worked_by_hand():
    """Two channels of two positions: [0, 2] and [1, 1] against [3, 3] and [0, 4]."""
    image = {"relu1_1": torch.tensor([[[[0.0, 2.0]], [[1.0, 1.0]]]])}
    style = {"relu1_1": torch.tensor([[[[3.0, 3.0]], [[0.0, 4.0]]]])}
    a, b = style_statistics(image), style_statistics(style)
    # Means 1, 1 against 3, 2; standard deviations 1, 0 against 0, 2.
    moments = (2**2 + 1**2) / 2 + (1**2 + 2**2) / 2
    # Gram matrices [[2, 1], [1, 1]] against [[9, 6], [6, 8]].
    gram = (7**2 + 5**2 + 5**2 + 7**2) / 4
    assert moment_style_losses(a, b)["relu1_1"].item() == pytest.approx(moments, rel=1e-2)
    assert gram_style_losses(a, b)["relu1_1"].item() == pytest.approx(gram, rel=1e-6)


def test_style_losses_against_numpy_on_a_batch_of_other_size():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, 5, 6, 7, generator=generator)
    style = 2 * torch.randn(1, 5, 4, 9, generator=generator) + 1
    a, b = (
        style_statistics({"x": image, "y": image.relu()}),
        style_statistics({"x": style, "y": style.relu()}),
    )
    moments, grams = moment_style_losses(a, b), gram_style_losses(a, b)
    assert list(moments) == list(grams) == ["x", "y"]
    for layer, activation in {"x": lambda f: f, "y": lambda f: np.maximum(f, 0)}.items():
        target = activation(style[0].double().numpy()).reshape(5, -1)
        for number, picture in enumerate(image.double().numpy()):
            maps = activation(picture).reshape(5, -1)
            expected = ((maps.mean(1) - target.mean(1)) ** 2).mean() + (
                (maps.std(1) - target.std(1)) ** 2
            ).mean()
            assert moments[layer][number].item() == pytest.approx(expected, rel=1e-4)
            expected = ((maps @ maps.T / 42 - target @ target.T / 36) ** 2).mean()
            assert grams[layer][number].item() == pytest.approx(expected, rel=1e-4)


def test_style_losses_ignore_where_things_are():
    features = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    shuffled = features.flatten(2)[..., torch.randperm(64)].view_as(features)
    a, b = style_statistics({"x": features}), style_statistics({"x": shuffled})
    assert moment_style_losses(a, b)["x"].item() < 1e-10
    assert gram_style_losses(a, b)["x"].item() < 1e-10
    assert content_loss(features, shuffled).item() > 0.1


def test_content_loss_worked_by_hand():
    image = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(2, 1, 1, 2)
    content = torch.tensor([1.0, 4.0, 0.0, 4.0]).view(2, 1, 1, 2)
    assert content_loss(image, content).tolist() == [2.0, 4.5]


# --- bootstrap ----------------------------------------------------------------------------------


def test_bootstrap_agrees_with_scipy():
    a, b = np.random.default_rng(1).gamma(2, size=(2, 60))
    ours = paired_bootstrap(a, b, resamples=20_000, seed=2)
    theirs = stats.bootstrap(
        (a, b),
        lambda x, y, axis: (x - y).mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(3),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.mean == pytest.approx((a - b).mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_bootstrap_of_many_values_is_the_normal_interval():
    values = np.random.default_rng(0).normal(3, 2, size=400)
    interval = paired_bootstrap(values, confidence=0.9, resamples=5000)
    half_width = stats.norm.ppf(0.95) * values.std() / np.sqrt(400)
    assert interval.high - interval.mean == pytest.approx(half_width, rel=0.05)
    assert interval.mean - interval.low == pytest.approx(half_width, rel=0.05)


def test_pairing_removes_what_both_sides_share():
    shared = np.random.default_rng(0).normal(0, 10, size=50)
    interval = paired_bootstrap(shared + 1, shared)
    assert (interval.low, interval.mean, interval.high) == pytest.approx((1, 1, 1))


def test_bootstrap_is_a_function_of_its_seed():
    values = np.random.default_rng(0).normal(size=30)
    assert paired_bootstrap(values, seed=1) == paired_bootstrap(values, seed=1)
    assert paired_bootstrap(values, seed=1) != paired_bootstrap(values, seed=2)


def test_clusters_draw_photos_and_styles_not_pairs():
    """With values that depend on the photo alone, styles add no certainty: k photos count as k values."""
    generator = np.random.default_rng(0)
    by_photo = generator.normal(size=12)
    photos, styles = np.repeat(np.arange(12), 30), np.tile(np.arange(30), 12)
    crossed = paired_bootstrap(
        by_photo[photos], clusters=[photos.tolist(), styles.tolist()], resamples=20_000
    )
    alone = paired_bootstrap(by_photo, resamples=20_000, seed=5)
    assert crossed.high - crossed.low == pytest.approx(alone.high - alone.low, rel=0.05)
    naive = paired_bootstrap(by_photo[photos], resamples=2000)
    assert crossed.high - crossed.low > 3 * (naive.high - naive.low)


def test_clusters_of_an_incomplete_cross():
    """Some resamples draw no pair at all; they must not turn the bounds into NaN."""
    interval = paired_bootstrap([1.0, 3.0], clusters=[["a", "b"], ["x", "y"]])
    assert (interval.low, interval.mean, interval.high) == (1, 2, 3)


def test_bootstrap_refuses_what_it_cannot_use():
    with pytest.raises(ArbstyleError, match="at least one value"):
        paired_bootstrap([])
    with pytest.raises(ArbstyleError, match="2 and 3"):
        paired_bootstrap([1, 2], [1, 2, 3])
    with pytest.raises(ArbstyleError, match="one label per value"):
        paired_bootstrap([1, 2], clusters=[["a"]])
