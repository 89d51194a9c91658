"""The Python class: what goes in and comes out, strength, blends, masks, colours, tiles, styles in files."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from arbstyle.devices import choose_device, choose_dtype
from arbstyle.errors import ArbstyleError
from arbstyle.images import (
    as_bytes,
    as_float,
    as_tensor,
    contact_sheet,
    read_image,
    read_style,
    reduced,
    resize,
    style_view,
)
from arbstyle.networks import (
    AdaINTransformer,
    ArbitraryStyler,
    FastTransformer,
    JohnsonTransformer,
    PooledStatisticsEncoder,
    StyleBank,
    TransformerNetwork,
    save_styler,
)
from arbstyle.painting import StrengthWarning, Style, Stylizer
from arbstyle.painting.colors import match_coral, match_histogram, transfer_luminance
from arbstyle.painting.masks import region_weights
from arbstyle.painting.options import style_size_for
from arbstyle.painting.site_rules import LocalRule, Moments
from arbstyle.painting.tiling import TiledPainter
from arbstyle.perception import LossTerms

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PHOTO, PAINTING, DRAWING = (
    EXAMPLES / name for name in ("photo-cat.jpg", "painting-venice.jpg", "drawing-oz.jpg")
)


def small_styler(seed: int = 0) -> ArbitraryStyler:
    torch.manual_seed(seed)
    return ArbitraryStyler(
        PooledStatisticsEncoder(widths=(8, 8), hidden=16, code_size=8),
        FastTransformer(width=16, deep_width=16, blocks=1, deep_blocks=1, fine_width=8),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    return save_styler(small_styler(), path, {"name": "small"})


@pytest.fixture(scope="module")
def stylizer(model: Path) -> Stylizer:
    return Stylizer.from_pretrained(model, "cpu", "fp32")


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return read_image(PHOTO, size=90)


@pytest.fixture(scope="module")
def painted(stylizer: Stylizer, photo: Tensor) -> Tensor:
    return stylizer.stylize(photo, PAINTING)


@torch.no_grad()
def painted_in(stylizer: Stylizer, photo: Tensor, style: Tensor) -> Tensor:
    """The painting by nothing but the networks, of a style picture that is looked at as it is."""
    styler = stylizer.styler
    return styler.transformer(photo, styler.parameters_of(styler.encode(style)))


def psnr(one: Tensor, other: Tensor) -> float:
    return float(-10 * (one - other).square().mean().clamp_min(1e-20).log10())


# --- in and out ---------------------------------------------------------------------------------


def test_pictures_of_any_kind_give_the_same(stylizer, photo, painted):
    pixels = (photo[0].permute(1, 2, 0) * 255).round().byte().numpy()
    exact = stylizer.stylize(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255, PAINTING)
    for given in (pixels, Image.fromarray(pixels), pixels.astype(np.float64) / 255):
        result = stylizer(given, PAINTING)
        assert isinstance(result, Image.Image)
        assert result.size == (photo.shape[3], photo.shape[2])
        assert np.abs(np.asarray(result, float) / 255 - exact[0].permute(1, 2, 0).numpy()).max() < 0.003
    assert psnr(exact, painted) > 40


def test_a_path_is_a_photo_and_size_is_its_short_side(stylizer, photo):
    result = stylizer(PHOTO, PAINTING, size=64)
    assert min(result.size) == 64
    assert isinstance(stylizer(str(PHOTO), str(PAINTING), size=32), Image.Image)


def test_tensors_give_tensors_of_their_shape_and_type(stylizer, photo, painted):
    assert stylizer(photo[0], PAINTING).shape == photo[0].shape
    torch.testing.assert_close(stylizer(photo, read_image(PAINTING)), painted, rtol=0, atol=1e-4)
    as_bytes = stylizer((photo * 255).round().byte(), PAINTING)
    assert as_bytes.dtype == torch.uint8
    assert psnr(as_bytes / 255, painted) > 40
    assert stylizer(np.zeros((20, 30), np.uint8), PAINTING).size == (30, 20)


def test_a_batch_gives_what_each_photo_gives_alone(stylizer, photo, painted):
    styles = torch.cat([read_image(path, size=64)[..., :64, :64] for path in (PAINTING, DRAWING)])
    both = stylizer.stylize(photo.repeat(2, 1, 1, 1), styles, 0.7)
    for one, style in zip(both, styles, strict=True):
        torch.testing.assert_close(one[None], stylizer.stylize(photo, style[None], 0.7))


def test_same_call_same_picture(stylizer, photo, painted):
    assert torch.equal(stylizer.stylize(photo, PAINTING), painted)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (torch.rand(1, 4, 8, 8), "N×3×H×W"),
        (torch.rand(8, 8), "N×3×H×W"),
        (torch.rand(1, 3, 8, 8) * 255, "divide by 255"),
        (torch.full((1, 3, 8, 8), torch.nan), "values in"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), "floats"),
        (np.zeros((8, 8, 2)), "H×W×3"),
        (np.zeros((8, 8, 3), np.int32), "uint8 or uint16"),
        (np.zeros((8, 8, 4)), "alpha"),
        (np.zeros((0, 8, 3)), "H×W×3"),
        ([[1]], "path, Pillow image, array or tensor"),
        (EXAMPLES, "it is a folder"),
        ("no-such.jpg", "no such file"),
    ],
)
def test_what_is_no_picture_is_told_in_one_line(picture, expected):
    with pytest.raises(ArbstyleError, match=expected) as caught:
        as_tensor(picture)
    assert "\n" not in str(caught.value)


def test_bytes_are_reduced_like_floats():
    picture = (read_image(PHOTO) * 255).round().byte()
    torch.testing.assert_close(reduced(picture, 64), reduced(as_float(picture), 64), atol=0.012, rtol=0)


def test_deep_arrays():
    assert float(as_tensor(np.full((4, 4), 65535, np.uint16)).min()) == 1
    assert as_tensor(np.full((4, 4, 4), 255, np.uint8)).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"strength": -0.1}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"strength": float("inf")}, "strength"),
        ({"keep_colors": "all"}, "luminance"),
        ({"style_size": 4}, "style size"),
        ({"tile": 3}, "tiles"),
        ({"tile": 100.5}, "whole number for the tile, got 100.5"),
        ({"style_size": 100.5}, "whole number for the style size"),
        ({"seed": 1.5}, "whole number for the seed"),
        ({"origin": (0, 1.5)}, "whole number for the origin"),
        ({"masks": [torch.ones(2, 1, 8, 8)]}, "one picture as a mask, got 2"),
        ({"weights": [1.0, 1.0]}, "weights"),
        ({"weights": [-1.0]}, "weights"),
        ({"masks": []}, "mask"),
        ({"masks": [torch.ones(1, 3, 8, 8)] * 2}, "mask"),
        ({"masks": [torch.zeros(1, 3, 8, 8)]}, "black"),
        ({"masks": [torch.ones(1, 3, 8, 8)], "weights": [1.0]}, "one of them"),
    ],
)
def test_options_out_of_range(stylizer, photo, options, expected):
    with pytest.raises(ArbstyleError, match=expected):
        stylizer.stylize(photo, PAINTING, **options)


def test_whole_numbers_of_any_type(stylizer, photo):
    plain = stylizer.stylize(photo, PAINTING, seed=3, tile=64, style_size=32, origin=(8, 16))
    wide = {"seed": np.int32(3), "tile": np.int64(64), "style_size": np.uint8(32)}
    origin = (np.int16(8), np.int32(16))
    assert torch.equal(stylizer.stylize(photo, PAINTING, **wide, origin=origin), plain)
    far = stylizer.stylize(photo, PAINTING, seed=10**30, origin=(10**20, -(10**20)))
    assert far.isfinite().all()


def test_each_photo_its_style_blended_with_one_for_all(stylizer, photo):
    photos, styles, one = photo.repeat(2, 1, 1, 1), torch.rand(2, 3, 48, 48), torch.rand(1, 3, 40, 40)
    both = stylizer.stylize(photos, [styles, one])
    alone = [stylizer.stylize(photo, [style[None], one]) for style in styles]
    torch.testing.assert_close(both, torch.cat(alone), rtol=0, atol=1e-4)


def test_no_style(stylizer, photo):
    with pytest.raises(ArbstyleError, match="at least one style"):
        stylizer.stylize(photo, [])
    with pytest.raises(ArbstyleError, match="bank"):
        stylizer.stylize(photo, 3)
    with pytest.raises(ArbstyleError, match="for 1 photos"):
        stylizer.stylize(photo, torch.rand(2, 3, 32, 32))


# --- device and precision -----------------------------------------------------------------------


def test_device_and_precision():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    assert choose_dtype("auto", torch.device("cuda")) == torch.float32
    assert choose_dtype("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)
    for wrong in ("gpu", "cuda:99", "xpu"):
        with pytest.raises(ArbstyleError):
            choose_device(wrong)
    with pytest.raises(ArbstyleError, match="precision"):
        choose_dtype("int8", torch.device("cpu"))


def test_half_precision_is_close_to_full(model, photo, painted):
    half = Stylizer.from_pretrained(model, "cpu", "bf16").stylize(photo, PAINTING)
    assert half.dtype == torch.float32
    assert 35 < psnr(half, painted) < 80  # bfloat16 has 8 bits of mantissa; float32 would agree to 100 dB


def test_no_packaged_model_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("arbstyle.painting.packaged.files", lambda package: tmp_path)
    with pytest.raises(ArbstyleError, match="--model"):
        Stylizer.from_pretrained()


# --- strength and blends ------------------------------------------------------------------------


def test_strength_zero_is_the_photo(stylizer, photo):
    assert torch.equal(stylizer.stylize(photo, PAINTING, 0), photo)
    assert psnr(stylizer.stylize(photo, PAINTING, 1e-4), photo) > 60


def test_strength_is_continuous(stylizer, photo, painted):
    steps = [stylizer.stylize(photo, PAINTING, i / 10) for i in range(11)]
    assert torch.equal(steps[-1], painted)
    whole = (steps[0] - steps[-1]).square().mean().sqrt()
    for one, next_one in itertools.pairwise(steps):
        assert (one - next_one).square().mean().sqrt() < whole / 4


@torch.no_grad()
def test_strength_beyond_one_exaggerates_and_warns(stylizer, photo, painted):
    with pytest.warns(StrengthWarning):
        beyond = stylizer.stylize(photo, PAINTING, 1.5)
    styler = stylizer.styler
    own, target = (
        styler.parameters_of(styler.encode(each)) for each in (resize(photo, 256), read_style(PAINTING, 256))
    )
    expected = styler.transformer(photo, own + 1.5 * (target - own))
    torch.testing.assert_close(beyond, expected, atol=1e-4, rtol=0)


def test_a_blend_of_one_is_that_one(stylizer, photo, painted):
    assert torch.equal(stylizer.stylize(photo, [PAINTING, DRAWING], weights=[1, 0]), painted)
    assert torch.equal(stylizer.stylize(photo, [PAINTING, DRAWING], weights=[7, 0]), painted)


def test_blends_depend_on_ratios_and_are_continuous(stylizer, photo):
    steps = [stylizer.stylize(photo, [PAINTING, DRAWING], weights=[1 - i / 8, i / 8]) for i in range(9)]
    whole = (steps[0] - steps[-1]).square().mean().sqrt()
    for one, next_one in itertools.pairwise(steps):
        assert (one - next_one).square().mean().sqrt() < whole / 4
    torch.testing.assert_close(stylizer.stylize(photo, [PAINTING, DRAWING], weights=[3, 3]), steps[4])
    torch.testing.assert_close(stylizer.stylize(photo, [PAINTING, DRAWING]), steps[4])


# --- colours ------------------------------------------------------------------------------------


def test_luminance_keeps_colour_differences(stylizer, photo, painted):
    kept = transfer_luminance(painted * 0.2 + 0.4, photo * 0.2 + 0.4)
    differences = kept[:, :2] - kept[:, 1:]
    torch.testing.assert_close(differences, (photo[:, :2] - photo[:, 1:]) * 0.2, atol=1e-5, rtol=0)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    torch.testing.assert_close((kept * luma).sum(1), ((painted * 0.2 + 0.4) * luma).sum(1))


def test_histogram_matching_against_scikit_image():
    exposure = pytest.importorskip("skimage.exposure")
    style, photo = (read_image(path, size=64) for path in (PAINTING, PHOTO))
    expected = exposure.match_histograms(
        style[0].permute(1, 2, 0).numpy(), photo[0].permute(1, 2, 0).numpy(), channel_axis=2
    )
    matched = match_histogram(style, photo)[0].permute(1, 2, 0).numpy()
    assert np.abs(matched - expected).max() < 0.02
    assert np.abs(matched - expected).mean() < 0.002


def test_coral_gives_mean_and_covariance():
    torch.manual_seed(0)
    mix = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    style = (0.5 + 0.04 * torch.einsum("ij,njhw->nihw", mix, torch.randn(1, 3, 64, 64))).double()
    photo = (0.5 + 0.05 * torch.randn(1, 3, 50, 40)).double()
    matched = match_coral(style, photo).flatten(2)[0]
    torch.testing.assert_close(matched.mean(1), photo.flatten(2)[0].mean(1), atol=1e-3, rtol=0)
    torch.testing.assert_close(matched.cov(), photo.flatten(2)[0].cov(), atol=2e-4, rtol=0.05)
    torch.testing.assert_close(match_coral(photo, photo), photo, atol=1e-6, rtol=0)


@pytest.mark.parametrize("how", ["luminance", "histogram", "coral"])
def test_keeping_colours_changes_the_painting_or_the_style(stylizer, photo, painted, how):
    kept = stylizer.stylize(photo, PAINTING, keep_colors=how)
    if how == "luminance":
        expected = transfer_luminance(painted, photo)
    else:
        match = {"histogram": match_histogram, "coral": match_coral}[how]
        style = read_image(PAINTING)
        seen = resize(style, style_view(style.shape[2], style.shape[3], 256))
        expected = painted_in(stylizer, photo, match(seen, photo))
    torch.testing.assert_close(kept, expected, atol=1e-3, rtol=0)
    assert psnr(kept, stylizer.stylize(photo, PAINTING, keep_colors=how, tile=64)) > 45


def test_grey_styles_can_be_matched():
    grey = torch.full((1, 3, 8, 8), 0.5)
    assert match_coral(grey, torch.rand(1, 3, 8, 8)).isfinite().all()
    assert match_histogram(grey, torch.rand(1, 3, 8, 8)).unique().numel() <= 3


# --- masks --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide_photo() -> Tensor:
    return read_image(PHOTO, size=64).repeat(1, 1, 1, 3)


def half_mask(photo: Tensor, softness: int = 0) -> Tensor:
    """White left of the middle, black right of it."""
    middle = photo.shape[3] // 2
    ramp = torch.arange(photo.shape[3]) - middle
    mask = (ramp < 0).float() if softness == 0 else (0.5 - ramp / (2 * softness)).clamp(0, 1)
    return mask.expand(1, 3, photo.shape[2], -1).contiguous()


@pytest.mark.parametrize("both_masks", [False, True])
def test_a_hard_mask_leaves_no_ghost_of_the_other_style(stylizer, wide_photo, both_masks):
    mask = half_mask(wide_photo)
    masks = [mask, 1 - mask] if both_masks else [mask]
    mixed = stylizer.stylize(wide_photo, [PAINTING, DRAWING], masks=masks)
    left, right = (stylizer.stylize(wide_photo, style) for style in (PAINTING, DRAWING))
    middle = wide_photo.shape[3] // 2
    for own, other, far, near in (
        (left, right, slice(0, middle - 80), slice(middle - 32, middle - 16)),
        (right, left, slice(middle + 80, None), slice(middle + 16, middle + 32)),
    ):
        assert psnr(mixed[..., far], own[..., far]) > 60
        towards = (other - own)[..., near]
        share = ((mixed - own)[..., near] * towards).sum() / towards.square().sum()
        assert abs(float(share)) < 0.03


def test_what_no_mask_covers_stays_the_photo(stylizer, wide_photo):
    mixed = stylizer.stylize(wide_photo, PAINTING, masks=[half_mask(wide_photo)])
    middle = wide_photo.shape[3] // 2
    torch.testing.assert_close(mixed[..., middle:], wide_photo[..., middle:])
    assert psnr(mixed[..., : middle - 80], stylizer.stylize(wide_photo, PAINTING)[..., : middle - 80]) > 60


def test_a_soft_mask_has_no_seam(stylizer, wide_photo):
    mixed = stylizer.stylize(wide_photo, [PAINTING, DRAWING], masks=[half_mask(wide_photo, softness=40)])
    singles = [stylizer.stylize(wide_photo, style) for style in (PAINTING, DRAWING)]
    steps = (mixed[..., 1:] - mixed[..., :-1]).abs().mean(dim=(0, 1, 2))
    usual = max(
        float((single[..., 1:] - single[..., :-1]).abs().mean(dim=(0, 1, 2)).max()) for single in singles
    )
    assert float(steps.max()) < 1.2 * usual


def test_masks_share_where_they_overlap():
    white, grey = torch.ones(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5)
    torch.testing.assert_close(
        region_weights([white, white], (6, 6))[0, :, 0, 0], torch.tensor([0.5, 0.5, 0.0])
    )
    torch.testing.assert_close(region_weights([grey], (6, 6))[0, :, 0, 0], torch.tensor([0.5, 0.5]))


def test_masks_with_strength_and_tiles(stylizer, wide_photo):
    options = {"masks": [half_mask(wide_photo, softness=8)], "strength": 0.6}
    whole = stylizer.stylize(wide_photo, PAINTING, **options)
    assert psnr(stylizer.stylize(wide_photo, PAINTING, tile=64, **options), whole) > 45


# --- tiles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [64, 96, 200])
@pytest.mark.parametrize("name", ["photo-cat.jpg", "photo-pagoda.jpg", "photo-astronaut.jpg"])
def test_tiles_give_the_untiled_picture(stylizer, name, tile):
    photo = read_image(EXAMPLES / name, size=203)
    whole = stylizer.stylize(photo, PAINTING)
    assert psnr(stylizer.stylize(photo, PAINTING, tile=tile), whole) > 45


@pytest.mark.parametrize(
    "build",
    [
        lambda: FastTransformer(8, 8, 1, 1, 8),
        lambda: FastTransformer(8, 8, 1, 1, 8, noise=True),
        lambda: JohnsonTransformer(4, 1),
        lambda: AdaINTransformer("random"),
    ],
    ids=["fast", "fast with noise", "johnson", "adain"],
)
def test_tiles_of_any_transformer(build: Callable[[], TransformerNetwork], photo):
    torch.manual_seed(0)
    transformer = build().eval()
    parameters = transformer.neutral_parameters()[None] + 0.1 * torch.randn(
        1, transformer.num_style_parameters
    )
    painter = TiledPainter(transformer, 64)
    photo = photo[..., :77, :139]
    with torch.inference_mode():
        whole = transformer(photo, parameters)
        result = torch.empty_like(whole)
        for box, part in painter.paint(photo, painter.find_values(photo, parameters)):
            box.cut(result).copy_(part)
    assert psnr(result, whole) > 45


def test_tiles_need_norms_that_can_be_told_their_statistics(photo):
    transformer = JohnsonTransformer(4, 1, styled_encoder=False).eval()
    painter = TiledPainter(transformer, 64)
    with torch.inference_mode(), pytest.raises(ArbstyleError, match="tiles"):
        painter.find_values(photo, transformer.neutral_parameters()[None])


def test_overlap_is_the_reach_of_the_network():
    transformer = FastTransformer(8, 8, 1, 1, 8).eval()
    photo = torch.rand(1, 3, 256, 256)
    rule = LocalRule(transformer.neutral_parameters()[None])
    overlap = TiledPainter(transformer).overlap
    with torch.inference_mode():
        before = transformer.repaint(photo, rule)
        photo[..., 128:136, 128:136] = 0
        changed = (transformer.repaint(photo, rule) != before).any(dim=1)[0].nonzero()
    assert 128 - overlap <= int(changed.min())
    assert int(changed.max()) < 136 + overlap
    assert overlap <= 104


def test_moments_join():
    torch.manual_seed(0)
    x = torch.randn(1, 4, 10, 12) * 3 + 100
    joined = Moments.of(x[..., :5]).joined(Moments.of(x[..., 5:]))
    torch.testing.assert_close(joined.mean, x.double().mean((0, 2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(joined.variance, x.double().var((0, 2, 3), correction=0), atol=1e-3, rtol=0)


def test_large_pictures_are_tiled_without_asking(stylizer, photo, painted, monkeypatch, caplog):
    monkeypatch.setattr("arbstyle.painting.picture_painter.available_bytes", lambda device: 1000)
    monkeypatch.setattr("arbstyle.painting.picture_painter.DEFAULT_TILE", 64)
    calls: list[tuple[int, int]] = []
    tiled = stylizer.stylize(photo, PAINTING, progress=lambda done, total: calls.append((done, total)))
    assert psnr(tiled, painted) > 45
    assert calls[-1][0] == calls[-1][1] > 1
    assert "in tiles" in caplog.text


def test_out_of_gpu_memory_falls_back_to_tiles(stylizer, photo, painted, monkeypatch, caplog):
    def fail(*args: object) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(stylizer.painter, "paint_whole", fail)
    assert psnr(stylizer.stylize(photo, PAINTING), painted) > 45
    assert "not enough memory: painting" in caplog.text


# --- banks, style files -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bank() -> Stylizer:
    torch.manual_seed(0)
    return Stylizer(
        ArbitraryStyler(StyleBank(3), FastTransformer(8, 8, 1, 1, 8)), device="cpu", precision="fp32"
    )


def test_a_bank_paints_by_number(bank, photo):
    first, second = bank.stylize(photo, 0), bank.stylize(photo, "1")
    assert psnr(first, second) < 60
    assert torch.equal(bank.stylize(photo, [0, 1], weights=[0, 2]), second)
    assert torch.equal(bank.stylize(photo, 1, 0), photo)
    torch.testing.assert_close(bank.stylize(photo, 1, 0.5), (photo + second) / 2)
    for wrong, expected in ((7, "0 to 2"), (PAINTING, "by number")):
        with pytest.raises(ArbstyleError, match=expected):
            bank.stylize(photo, wrong)
    with pytest.raises(ArbstyleError, match="number"):
        bank.style(PAINTING)


def test_a_masked_bank_keeps_the_photo_outside(bank, wide_photo):
    mixed = bank.stylize(wide_photo, 1, masks=[half_mask(wide_photo)])
    middle = wide_photo.shape[3] // 2
    torch.testing.assert_close(mixed[..., middle:], wide_photo[..., middle:])


def test_a_style_is_looked_at_in_the_size_of_the_photo(stylizer):
    for side, expected in ((100, 256), (300, 300), (3000, 2048)):
        assert style_size_for(torch.empty(1, 3, side, 2 * side, device="meta")) == expected
    photo = torch.rand(1, 3, 300, 320, generator=torch.Generator().manual_seed(0))
    for given, size in ((None, 300), (512, 512)):
        looked_at = painted_in(stylizer, photo, read_style(PAINTING, size))
        torch.testing.assert_close(stylizer.stylize(photo, PAINTING, style_size=given), looked_at)


def test_a_style_file_paints_like_its_picture(stylizer, photo, painted, tmp_path):
    style = stylizer.style(PAINTING, style_size=style_size_for(photo))
    assert style.name == "painting-venice"
    path = style.save(tmp_path / "venice.style.safetensors")
    for known in (style, path, Style.load(path)):
        torch.testing.assert_close(stylizer.stylize(photo, known), painted)
    blended = stylizer.stylize(photo, [path, DRAWING], weights=[1, 1])
    torch.testing.assert_close(blended, stylizer.stylize(photo, [PAINTING, DRAWING]))
    assert max(Style.load(path).thumbnail.size) == 256
    assert stylizer.style(path).code.equal(style.code)


def test_a_style_of_another_model_is_refused(stylizer, photo, tmp_path):
    other = Stylizer(small_styler(seed=1), device="cpu")
    path = other.style(PAINTING).save(tmp_path / "venice.style.safetensors")
    with pytest.raises(ArbstyleError, match="another model"):
        stylizer.stylize(photo, path)
    with pytest.raises(ArbstyleError, match="luminance"):
        other.stylize(photo, path, keep_colors="coral")


def test_the_cache_of_styles_follows_the_file(stylizer, photo, tmp_path):
    path = tmp_path / "style.png"
    for value in (0, 255):
        Image.fromarray(np.full((32, 32, 3), value, np.uint8)).save(path)
        expected = stylizer.stylize(photo, torch.full((1, 3, 32, 32), value / 255))
        torch.testing.assert_close(stylizer.stylize(photo, path), expected)


# --- refinement ---------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_refining_lowers_the_style_loss_and_keeps_the_content(stylizer, photo, precision):
    stylizer = Stylizer(stylizer.styler, precision=precision)
    start = stylizer.parameters_of(PAINTING).clone()
    steps: list[LossTerms] = []
    known = stylizer.refine(
        PAINTING,
        [photo, photo.flip(3)],
        steps=12,
        style_size=64,
        vgg_weights="random",
        callback=lambda number, terms: steps.append(terms),
    )
    assert len(steps) == 12
    for first, last in zip(steps[:2], steps[-2:], strict=True):
        assert last.style < 0.95 * first.style
        assert last.content < 1.1 * first.content
    assert known.parameters is not None
    assert known.parameters.shape == start.shape
    assert torch.equal(stylizer.parameters_of(PAINTING), start), "the model itself has changed"
    assert torch.equal(stylizer.parameters_of(known), known.parameters)


def test_what_cannot_be_refined(stylizer, photo):
    with pytest.raises(ArbstyleError, match="style picture"):
        stylizer.refine(stylizer.style(PAINTING), [photo])
    with pytest.raises(ArbstyleError, match="1 or more steps"):
        stylizer.refine(PAINTING, [photo], 0, vgg_weights="random")
    with pytest.raises(ArbstyleError, match="a photo"):
        stylizer.refine(PAINTING, [], vgg_weights="random")


def test_contact_sheet_places_pictures():
    red, blue = (torch.tensor(c).view(1, 3, 1, 1).expand(1, 3, 4, 6) for c in ([1.0, 0, 0], [0, 0, 1.0]))
    sheet = contact_sheet([[None, red], [blue, None]], gap=2)
    assert sheet.shape == (1, 3, 14, 18)
    assert torch.equal(sheet[..., 2:6, 10:16], red)
    assert torch.equal(sheet[..., 8:12, 2:8], blue)
    assert sheet[..., 2:6, 2:8].eq(1).all()


# --- wider strokes ------------------------------------------------------------------------------


@torch.no_grad()
def test_stroke_repaints_the_photo_mixed_with_a_smaller_painting(stylizer, photo):
    photo = photo[..., :80, :128]
    parameters = stylizer.parameters_of(PAINTING, 256)
    painter = stylizer.styler.transformer
    half = [(side + 1) // 2 for side in photo.shape[2:]]
    small = F.interpolate(photo, size=half, mode="bilinear", antialias=True)
    draft = F.interpolate(painter(small, parameters), size=photo.shape[2:], mode="bicubic").clamp(0, 1)
    missing = photo - draft
    wide = F.interpolate(F.avg_pool2d(missing, 8), size=photo.shape[2:], mode="bilinear")
    expected = painter((draft + 0.8 * (missing - wide)).clamp(0, 1), parameters)
    torch.testing.assert_close(stylizer.stylize(photo, PAINTING, stroke=2), expected, rtol=0, atol=1e-3)


def test_strokes_are_the_same_in_tiles(stylizer):
    photo = read_image(EXAMPLES / "photo-cat.jpg", size=203)
    whole = stylizer.stylize(photo, PAINTING, stroke=4)
    assert psnr(stylizer.stylize(photo, PAINTING, stroke=4, tile=96), whole) > 40


def test_bytes_and_floats_take_the_same_strokes(stylizer, photo):
    painted = stylizer.stylize(as_bytes(photo), PAINTING, stroke=2)
    expected = stylizer.stylize(as_float(as_bytes(photo)), PAINTING, stroke=2)
    assert (
        painted.float() - as_bytes(expected).float()
    ).abs().mean() < 1  # what repaints is rounded to bytes


@pytest.mark.parametrize("options", [{}, {"stroke": 2}, {"tile": 64}, {"masks": True}])
def test_photos_of_one_place_are_painted_alike(stylizer: Stylizer, options: dict[str, Any]):
    """A window moves over a picture by less than the network's grid: strokes stay where they are in it."""
    picture = read_image(PHOTO, size=150)
    mask = picture.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1).round()

    def painted(top: int, left: int, origin: tuple[int, int]) -> Tensor:
        window = (..., slice(top, top + 128), slice(left, left + 160))
        masks = {"masks": [mask[window]]} if "masks" in options else {}
        return stylizer.stylize(picture[window], PAINTING, origin=origin, **{**options, **masks})

    first, errors = painted(0, 0, (0, 0)), []
    for origin in ((0, 0), (5, 11)):
        second = painted(5, 11, origin)
        assert second.shape == first.shape
        errors.append(float((first[..., 30:100, 40:140] - second[..., 25:95, 29:129]).square().mean()))
    assert errors[1] < errors[0] / 3


def test_origin_by_whole_steps_of_the_grid_moves_the_noise_only(stylizer: Stylizer, photo: Tensor):
    plain = stylizer.stylize(photo, PAINTING)
    assert torch.equal(stylizer.stylize(photo, PAINTING, origin=(-8, 16)), plain)  # this model has no noise
    tiny = torch.rand(1, 3, 2, 3)
    assert stylizer.stylize(tiny, PAINTING, origin=(3, 7)).shape == tiny.shape
