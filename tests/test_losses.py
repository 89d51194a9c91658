"""Statistics and losses against float64 closed forms, numerical gradients, and what they promise."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.perception import (
    LossTerms,
    PerceptualLoss,
    channel_moments,
    gram_matrix,
    normalized_error,
    parse_layers,
    stray_marks,
    total_variation,
    unevenness,
)
from arbstyle.perception.cached_targets import CachedTargets, _Rows


class TinyEncoder(nn.Module):
    """Two smooth layers that stand in for VGG: gradcheck needs no kinks and float64."""

    channels: ClassVar = {"shallow": 4, "deep": 5}

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.randn(4, 3, 3, 3, generator=generator, dtype=torch.float64)
        self.second = torch.randn(5, 4, 3, 3, generator=generator, dtype=torch.float64)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        shallow = torch.tanh(nn.functional.conv2d(images, self.first.to(images.dtype)))
        return {
            "shallow": shallow,
            "deep": torch.tanh(nn.functional.conv2d(shallow, self.second.to(images.dtype))),
        }


def random_picture(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def tiny_loss(**settings) -> PerceptualLoss:
    layers = {"content_layers": {"deep": 2.0}, "style_layers": {"shallow": 1.0, "deep": 0.5}}
    return PerceptualLoss(TinyEncoder(), **(layers | settings))  # type: ignore[arg-type]


# --- statistics ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 5), (1, 16, 7, 3)])
def test_gram_matrix_is_the_sum_over_positions(shape: tuple[int, ...], dtype: torch.dtype, tolerance: float):
    features = random_picture(0, *shape).mul(4).sub(1)
    n, c, h, w = shape
    expected = np.zeros((n, c, c))
    for y in range(h):
        for x in range(w):
            vector = features[:, :, y, x].numpy()
            expected += vector[:, :, None] * vector[:, None, :] / (h * w)
    gram = gram_matrix(features.to(dtype))
    assert gram.dtype == dtype
    np.testing.assert_allclose(gram.numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("offset", [0, 10])
def test_channel_moments_are_numpys(
    dtype: torch.dtype, tolerance: float, offset: float, layout: torch.memory_format
):
    features = random_picture(1, 2, 6, 5, 9).mul(3) + offset
    mean, std = channel_moments(features.to(dtype).contiguous(memory_format=layout), eps=1e-5)
    np.testing.assert_allclose(mean.numpy(), features.numpy().mean(axis=(2, 3)), rtol=tolerance)
    np.testing.assert_allclose(std.numpy(), np.sqrt(features.numpy().var(axis=(2, 3)) + 1e-5), rtol=tolerance)


def test_statistics_of_half_precision_features_do_not_overflow():
    features = torch.full((1, 2, 64, 64), 300.0, dtype=torch.float16)  # 300² is beyond float16
    assert torch.allclose(gram_matrix(features), torch.full((1, 2, 2), 9e4))
    mean, std = channel_moments(features)
    assert torch.allclose(mean, torch.full((1, 2), 300.0))
    assert std.max() < 0.01


def test_gradient_of_channel_moments_in_half_precision():
    features = random_picture(1, 2, 6, 9, 7, dtype=torch.float32).mul(3).bfloat16()
    weights = random_picture(2, 2, 2, 6)
    ours, exact = features.clone().requires_grad_(), features.double().requires_grad_()
    mean, std = channel_moments(ours)
    (weights[0] * mean + weights[1] * std).sum().backward()
    var, mean = torch.var_mean(exact, dim=(2, 3), correction=0)
    (weights[0] * mean + weights[1] * (var + 1e-5).sqrt()).sum().backward()
    assert ours.grad is not None
    assert exact.grad is not None
    assert ours.grad.dtype == torch.bfloat16
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=0.02, atol=0.02 * float(exact.grad.std()))


def test_gram_matrix_ignores_where_things_are():
    features = random_picture(2, 1, 5, 8, 8)
    shuffled = features.flatten(2)[..., torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(gram_matrix(features), gram_matrix(shuffled.view_as(features)))


def test_total_variation_closed_form():
    ramp = torch.arange(5.0, dtype=torch.float64).view(1, 1, 1, 5).expand(1, 3, 4, 5)
    assert total_variation(ramp) == 1  # horizontally every difference is 1, vertically 0
    assert total_variation(torch.ones(1, 3, 1, 1)) == 0


# --- the loss -----------------------------------------------------------------------------------


def test_unevenness_is_the_change_where_the_photo_does_not_change():
    photo = torch.full((1, 3, 64, 64), 0.2, dtype=torch.float64)
    photo[..., 32:] = 0.8
    assert unevenness(photo, photo) < 1e-2  # only cells across the edge differ, and those do not count
    ramp = torch.arange(64, dtype=torch.float64).expand(1, 3, 64, 64) / 1000
    flat = torch.full_like(ramp, 0.5)
    # Cells 16, 32 and (none) 64 pixels apart: along the ramp they differ by so many thousandths, across by 0.
    pairs = {16: 5 * 7, 32: 3 * 7}
    expected = sum(n * (d / 1000) ** 2 for d, n in pairs.items()) / (2 * sum(pairs.values()))
    assert unevenness(ramp, flat) == pytest.approx(expected)
    assert unevenness(torch.rand(1, 3, 8, 40), torch.rand(1, 3, 8, 40)) == 0  # no cell fits


def test_unevenness_does_not_count_strokes_within_a_cell():
    stripes = (torch.arange(64) % 4 < 2).double().expand(2, 3, 64, 64)
    assert unevenness(stripes, torch.full_like(stripes, 0.5)) == pytest.approx(0, abs=1e-12)


def test_unevenness_of_a_batch_is_the_mean_of_its_pictures():
    photos, images = random_picture(1, 2, 3, 40, 48), random_picture(2, 2, 3, 40, 48)
    photos[0] = 0.5  # of which all cells count, and of the other few
    alone = [unevenness(image[None], photo[None]) for image, photo in zip(images, photos, strict=True)]
    torch.testing.assert_close(unevenness(images, photos), sum(alone) / 2)


def test_unevenness_has_the_right_gradient():
    photo, image = random_picture(1, 2, 3, 24, 32), random_picture(2, 2, 3, 24, 32).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: unevenness(x, photo), (image,))


def test_marks_count_on_plain_ground_only():
    """Scratches 4 pixels wide, 0.1 lighter, every 12 pixels."""
    plain = torch.full((1, 3, 48, 48), 0.5, dtype=torch.float64)
    scratched = plain + 0.1 * (torch.arange(48) % 12 < 4)
    assert stray_marks(plain, plain) == 0
    assert stray_marks(scratched, plain) > 1e-3
    assert stray_marks(scratched, scratched) < 1e-6  # they are the photo's own
    noise = 0.01 * (random_picture(1, 1, 3, 48, 48) - 0.5)
    torch.testing.assert_close(
        stray_marks(scratched, plain + noise), stray_marks(scratched, plain), rtol=0.1, atol=0
    )
    wide = plain + 0.001 * torch.arange(48)
    assert stray_marks(wide, plain) < 1e-4  # a sky may change from side to side


@pytest.mark.parametrize("statistic", ["gram", "moments", "both"])
@pytest.mark.parametrize("relative_errors", [False, True])
def test_gradients(statistic: str, relative_errors: bool):
    loss = tiny_loss(tv_weight=0.3, style_statistic=statistic, relative_errors=relative_errors)
    targets = loss.targets(random_picture(1, 2, 3, 7, 8), random_picture(2, 1, 3, 9, 7))
    image = random_picture(3, 2, 3, 7, 8).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, targets).total, (image,))


def test_terms_are_the_papers_sums():
    loss = tiny_loss(content_weight=3.0, style_weight=7.0, tv_weight=11.0)
    content, style, image = (random_picture(seed, 1, 3, 8, 8) for seed in (1, 2, 3))
    terms = loss(image, loss.targets(content, style))

    features = {
        name: TinyEncoder()(picture) for name, picture in (("c", content), ("s", style), ("x", image))
    }
    content_error = ((features["x"]["deep"] - features["c"]["deep"]) ** 2).mean()
    style_errors = {
        layer: ((gram_matrix(features["x"][layer]) - gram_matrix(features["s"][layer])) ** 2).mean()
        for layer in ("shallow", "deep")
    }
    torch.testing.assert_close(terms.content, 3 * 2 * content_error)
    torch.testing.assert_close(terms.style, 7 * (style_errors["shallow"] + 0.5 * style_errors["deep"]))
    torch.testing.assert_close(terms.tv, 11 * total_variation(image))
    torch.testing.assert_close(terms.total, terms.content + terms.style + terms.tv)
    torch.testing.assert_close(terms.layers["style/deep"], style_errors["deep"])
    assert list(terms.layers) == ["content/deep", "style/shallow", "style/deep"]


@pytest.mark.parametrize("statistic", ["gram", "moments", "both"])
def test_loss_is_zero_at_its_target(statistic: str):
    picture = random_picture(1, 1, 3, 8, 8)
    loss = tiny_loss(style_statistic=statistic)
    assert loss(picture, loss.targets(picture, picture)).total == 0


def test_relative_errors_make_the_loss_free_of_the_features_scale():
    class Louder(TinyEncoder):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {name: 1000 * features for name, features in super().forward(images).items()}

    content, style, image = (random_picture(seed, 1, 3, 8, 8) for seed in (1, 2, 3))
    quiet, loud = tiny_loss(relative_errors=True), tiny_loss(relative_errors=True)
    loud.encoder = Louder()  # type: ignore[assignment]
    torch.testing.assert_close(
        quiet(image, quiet.targets(content, style)).total, loud(image, loud.targets(content, style)).total
    )


def test_shares_of_each_term_add_up_to_one():
    loss = tiny_loss()
    picture = random_picture(3, 1, 3, 8, 8)
    shares = loss(
        picture, loss.targets(random_picture(1, 1, 3, 8, 8), random_picture(2, 1, 3, 8, 8))
    ).shares()
    assert sum(share for name, share in shares.items() if name.startswith("style/")) == pytest.approx(1)
    assert shares["content/deep"] == pytest.approx(1)
    assert shares["style/shallow"] > 0


def test_a_batch_is_the_mean_of_its_pictures():
    loss = tiny_loss()
    contents, styles, images = (random_picture(seed, 3, 3, 8, 8) for seed in (1, 2, 3))
    together = loss(images, loss.targets(contents, styles)).total
    one_by_one = [
        loss(images[i : i + 1], loss.targets(contents[i : i + 1], styles[i : i + 1])).total for i in range(3)
    ]
    torch.testing.assert_close(together, torch.stack(one_by_one).mean())


def test_several_styles_are_averaged_by_weight():
    loss = tiny_loss()
    first, second = random_picture(1, 1, 3, 8, 8), random_picture(2, 1, 3, 12, 6)
    mixed = loss.targets(None, [first, second], [3.0, 1.0]).style["deep"][0]
    grams = [gram_matrix(TinyEncoder()(picture)["deep"]) for picture in (first, second)]
    torch.testing.assert_close(mixed, 0.75 * grams[0] + 0.25 * grams[1])
    torch.testing.assert_close(
        loss.targets(None, [first, second], [1.0, 0.0]).style["deep"][0],
        loss.targets(None, first).style["deep"][0],
    )


def test_missing_pictures_take_no_part():
    loss = tiny_loss()
    picture, target = random_picture(1, 1, 3, 8, 8), random_picture(2, 1, 3, 8, 8)
    texture: LossTerms = loss(picture, loss.targets(None, target))
    reconstruction: LossTerms = loss(picture, loss.targets(target, None))
    assert texture.content == 0
    assert texture.style > 0
    assert reconstruction.style == 0
    assert reconstruction.content > 0


@pytest.mark.parametrize("statistic", ["moments", "gram", "both"])
def test_remembered_targets_are_the_loss_own_and_are_made_once(statistic: str):
    """Gram matrices are remembered in bfloat16, which has 8 bits of precision; all else as it is."""
    loss = tiny_loss(style_statistic=statistic)
    remembered = CachedTargets(loss)
    photos, styles = random_picture(1, 4, 3, 7, 8), random_picture(2, 4, 3, 9, 7)
    made = []
    loss.encoder.register_forward_pre_hook(lambda _, inputs: made.append(len(inputs[0])))
    for chosen in ([0, 1], [1, 2], [2, 0], [3, 3]):
        targets, expected = (
            remembered(photos[chosen], styles[chosen]),
            loss.targets(photos[chosen], styles[chosen]),
        )
        torch.testing.assert_close(targets.content, expected.content)
        for found, wanted in zip(targets.style["deep"], expected.style["deep"], strict=True):
            rounding = 2**-8 if wanted.dim() == 3 else 1e-6
            torch.testing.assert_close(found.to(wanted), wanted, rtol=rounding, atol=1e-6)
        del made[-2:]  # what was expected
    assert sum(made) == 4 + 4


def test_targets_are_remembered_as_far_as_there_is_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_Rows, "rows_a_block", 2)
    rooms = iter([math.inf, math.inf, _Rows.kept_free, _Rows.kept_free])
    loss = tiny_loss(style_statistic="moments")
    remembered = CachedTargets(loss, lambda _: next(rooms))
    photos, styles = random_picture(1, 5, 3, 7, 8), random_picture(2, 5, 3, 9, 7)
    for chosen in ([0, 1], [3, 4, 3], [1, 4, 0]):
        targets, expected = (
            remembered(photos[chosen], styles[chosen]),
            loss.targets(photos[chosen], styles[chosen]),
        )
        torch.testing.assert_close(targets.content, expected.content)
        torch.testing.assert_close(targets.style, expected.style)
    assert (len(remembered._content._row_of), len(remembered._style._row_of)) == (2, 2)
    assert next(rooms, None) is None, "once full, memory is not asked for again"


def test_targets_carry_no_gradient():
    target = random_picture(1, 1, 3, 8, 8).requires_grad_()
    targets = tiny_loss().targets(target, target)
    assert not targets.content["deep"].requires_grad
    assert not targets.style["deep"][0].requires_grad


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_style_weights_that_make_no_mixture(weights: list[float]):
    pictures = [random_picture(seed, 1, 3, 8, 8) for seed in (1, 2)]
    with pytest.raises(ArbstyleError, match="style weights"):
        tiny_loss().targets(None, pictures, weights)


def test_layers_the_encoder_lacks():
    with pytest.raises(ArbstyleError, match=r"'relu9_9'.*shallow, deep"):
        tiny_loss(content_layers={"relu9_9": 1.0})


def test_parse_layers():
    assert parse_layers(["relu1_1", "relu2_1:0.5", "conv4_2:0"]) == {
        "relu1_1": 1.0,
        "relu2_1": 0.5,
        "conv4_2": 0.0,
    }


@pytest.mark.parametrize("entry", ["relu1_1:x", "relu1_1:-1", "relu1_1:inf", "relu1_1:nan", ":1", ""])
def test_parse_layers_rejects(entry: str):
    with pytest.raises(ArbstyleError, match="LAYER"):
        parse_layers([entry])


def test_parse_layers_rejects_a_layer_named_twice():
    with pytest.raises(ArbstyleError, match="twice"):
        parse_layers(["relu1_1", "relu1_1:2"])


def test_normalized_error_is_the_share_of_its_bound():
    """Worked by hand: differences 1 and 2 of (1, 0) and (0, 2) against (0, 0) and (0, 4)."""
    value = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    target = torch.tensor([[0.0, 0.0], [0.0, 4.0]])
    assert float(normalized_error((value,), (target,))) == pytest.approx((1 / 1 + 4 / 20) / 2)


def test_normalized_error_lies_between_equal_and_disjoint():
    features = torch.rand(3, 4, 8, 8)
    same = (gram_matrix(features), *channel_moments(features))
    assert float(normalized_error(same, same)) == 0
    left, right = torch.eye(4)[:1].expand(3, 4), torch.eye(4)[1:2].expand(3, 4)
    assert float(normalized_error((left, left), (right, right))) == pytest.approx(2)


def test_normalized_error_counts_faint_and_violent_styles_alike():
    features, other = torch.rand(2, 4, 8, 8), torch.rand(2, 4, 8, 8)
    faint = normalized_error(channel_moments(0.1 * features, 0.0), channel_moments(0.1 * other, 0.0))
    violent = normalized_error(channel_moments(9 * features, 0.0), channel_moments(9 * other, 0.0))
    assert float(faint) == pytest.approx(float(violent), rel=1e-4)


@pytest.mark.parametrize("ratio", [10, 33])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradient_of_moments_in_half_precision(ratio: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    half = (torch.randn(2, 3, 16, 16, generator=generator) + ratio).to(dtype)
    gradients = []
    for features in (half.clone().requires_grad_(), half.double().requires_grad_()):
        channel_moments(features)[1].sum().backward()
        assert features.grad is not None
        gradients.append(features.grad.double())
    error = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert error < torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_flat_features_are_finite(dtype: torch.dtype, layout: torch.memory_format) -> None:
    for value in (0.0, 0.3, 1000.0):
        features = torch.full((1, 4, 8, 8), value).to(dtype).contiguous(memory_format=layout)
        features.requires_grad_()
        mean, deviation = channel_moments(features)
        (mean.sum() + deviation.sum()).backward()
        assert features.grad is not None
        assert features.grad.isfinite().all()
