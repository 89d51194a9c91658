"""Conditional norm and transformers: against oracles, and what must hold at any size and for any style."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.networks import (
    AdaINEncoder,
    AdaINTransformer,
    ArbitraryStyler,
    ConditionalInstanceNorm2d,
    FastTransformer,
    JohnsonTransformer,
    MomentsEncoder,
    NormalizationNetwork,
    NormRule,
    PooledStatisticsEncoder,
    StyleBank,
    StyleEncoder,
    StylePredictor,
    TransformerNetwork,
    blend,
    interpolate,
)
from arbstyle.networks.transformers.layers import SubPixelConv, UnshuffledConv
from arbstyle.perception import FrozenNetwork, channel_moments

pytestmark = pytest.mark.usefixtures("quick_calibration")

TRANSFORMERS: dict[str, Callable[[], TransformerNetwork]] = {
    "fast": FastTransformer,
    "fast with noise": lambda: FastTransformer(noise=True),
    "johnson": JohnsonTransformer,
    "ghiasi": lambda: JohnsonTransformer(styled_encoder=False),
    "adain": lambda: AdaINTransformer(weights="random"),
}
ENCODERS: dict[str, Callable[[], StyleEncoder]] = {
    "pooled": PooledStatisticsEncoder,
    "normalization": NormalizationNetwork,
    "bank": lambda: StyleBank(2),
    "vgg19": lambda: StylePredictor("vgg19", "random"),
    "inception_v3": lambda: StylePredictor("inception_v3", "random"),
    "mobilenet_v3": lambda: StylePredictor("mobilenet_v3", "random"),
    "adain": lambda: AdaINEncoder(weights="random"),
}
ANY_SIZE = [(1, 1), (2, 3), (7, 5), (1, 70), (16, 16), (33, 47), (64, 64), (65, 71)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@cache
def fixed_transformer(name: str) -> TransformerNetwork:
    """In evaluation mode, and seeded; not to be changed."""
    torch.manual_seed(0)
    return awake(TRANSFORMERS[name]()).eval()


def awake(transformer: TransformerNetwork) -> TransformerNetwork:
    """With some weights, as after training, where it starts with none: what is zero can't show a mistake."""
    for module in transformer.modules():
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.kaiming_normal_(module.weight)
    return transformer


@cache
def fixed_encoder(name: str) -> StyleEncoder:
    torch.manual_seed(0)
    return ENCODERS[name]()


def some_parameters(transformer: TransformerNetwork, count: int, seed: int = 0) -> Tensor:
    """N×P, every row another style."""
    return transformer.neutral_parameters() + 0.5 * normal(count, transformer.num_style_parameters, seed=seed)


# --- one site -----------------------------------------------------------------------------------


def site_at(offset: int, channels: int) -> ConditionalInstanceNorm2d:
    site = ConditionalInstanceNorm2d(channels)
    site.offset = offset
    return site


def instance_norm_oracle(x: Tensor, own: Tensor) -> Tensor:
    """PyTorch's own instance norm in float64, one sample after the other."""
    channels = x.shape[1]
    samples = [
        F.instance_norm(sample[None].double(), weight=row[:channels].double(), bias=row[channels:].double())
        for sample, row in zip(x, own.expand(len(x), -1), strict=True)
    ]
    return torch.cat(samples)


@pytest.mark.parametrize("grad", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("count", "styles"), [(1, 1), (3, 3), (3, 1)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_site_is_instance_norm_with_each_samples_own_scale_and_shift(
    count: int, styles: int, grad: bool, memory_format: torch.memory_format
):
    x = (3 + 2 * normal(count, 5, 9, 7)).contiguous(memory_format=memory_format)
    parameters = normal(styles, 30, seed=1)
    with torch.set_grad_enabled(grad):
        out = site_at(11, 5)(x, parameters)
    expected = instance_norm_oracle(x, parameters[:, 11:21])
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grad", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("side", [20, 40])  # below and above the 1,024 positions where kernels change
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loses_no_more_than_its_own_rounding(
    dtype: torch.dtype, side: int, count: int, grad: bool
):
    # Squares of 300 overflow float16, and the sum over positions swamps what either type can resolve.
    x = (300 + 20 * normal(count, 4, side, side)).to(dtype)
    parameters = normal(count, 8, seed=1)
    with torch.set_grad_enabled(grad):
        out = site_at(0, 4)(x, parameters)
    assert out.dtype == dtype
    resolution = torch.finfo(dtype).eps
    torch.testing.assert_close(
        out.double(), instance_norm_oracle(x, parameters), rtol=resolution, atol=resolution / 2
    )


def test_site_reads_its_own_numbers_and_no_others():
    x, parameters = normal(2, 3, 6, 6), normal(2, 20, seed=1)
    elsewhere = torch.full_like(parameters, torch.nan)
    elsewhere[:, 7:13] = parameters[:, 7:13]
    site = site_at(7, 3)
    assert torch.equal(site(x, elsewhere), site(x, parameters))


@pytest.mark.parametrize("shape", [(2, 6), (1, 6)], ids=["each", "one for all"])
def test_site_has_the_right_gradients(shape: tuple[int, ...]):
    x = normal(2, 3, 4, 3).double().requires_grad_()
    parameters = normal(*shape, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(site_at(0, 3), (x, parameters))


# --- the parameters of a transformer ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        # stem, before, down, deep, merge, after, fine
        ("fast", [64, *[64] * 2, 128, *[128] * 8, 64, *[64] * 2, 32]),
        # Dumoulin et al. 2017, table 1: 3 layers down, 5 residual blocks of 2, 2 layers up, the picture
        ("johnson", [32, 64, 128, *[128] * 10, 64, 32, 3]),
        ("ghiasi", [*[128] * 10, 64, 32, 3]),
        ("adain", [512]),
    ],
)
def test_sites_are_those_of_the_architecture(name: str, channels: list[int]):
    transformer = fixed_transformer(name)
    norms = [site for site in transformer.sites if isinstance(site, ConditionalInstanceNorm2d)]
    assert [site.channels for site in norms] == channels
    assert transformer.num_style_parameters == 2 * sum(channels)
    starts = [sum(2 * c for c in channels[:i]) for i in range(len(channels))]
    assert [site.offset for site in transformer.sites] == starts


def test_published_counts():
    assert (fixed_transformer("ghiasi").num_style_parameters, len(fixed_transformer("ghiasi").sites)) == (
        2758,
        13,
    )
    assert fixed_transformer("adain").num_style_parameters == 1024
    decoder = [p.numel() for p in fixed_transformer("adain").parameters() if p.requires_grad]
    assert sum(decoder) == 3_505_219  # the published decoder.pth


def test_sites_follow_the_hyperparameters():
    assert len(FastTransformer(blocks=0, deep_blocks=2).sites) == 4 + 4
    assert JohnsonTransformer(width=8, blocks=1).num_style_parameters == 2 * (
        8 + 16 + 32 + 2 * 32 + 16 + 8 + 3
    )


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_neutral_parameters_leave_normalised_features_alone(name: str):
    transformer = fixed_transformer(name)
    neutral = transformer.neutral_parameters()
    assert neutral.shape == (transformer.num_style_parameters,)
    site = [site for site in transformer.sites if isinstance(site, ConditionalInstanceNorm2d)][-1]
    x = normal(1, site.channels, 6, 6)
    torch.testing.assert_close(site(x, neutral[None]), F.instance_norm(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_every_site_shapes_the_picture(name: str):
    transformer = fixed_transformer(name)
    parameters = some_parameters(transformer, 1).requires_grad_()
    out = transformer.repaint(random(1, 3, 32, 32), parameters)
    (gradient,) = torch.autograd.grad((out * normal(*out.shape, seed=1)).sum(), parameters)
    for site in transformer.sites:
        assert site.take(gradient).abs().max() > 1e-7, f"the site at {site.offset} does nothing"


# --- pictures of any size -----------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("size", ANY_SIZE, ids=str)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_output_has_the_size_of_the_input_and_values_of_a_picture(name: str, size: tuple[int, int]):
    transformer = fixed_transformer(name)
    out = transformer(random(2, 3, *size), some_parameters(transformer, 2))
    assert out.shape == (2, 3, *size)
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    assert out.min() >= 0
    assert out.max() <= 1


class Unchanged(TransformerNetwork):
    """Gives back what it is given to repaint, having looked at its size."""

    multiple = 8
    smallest = 24

    def __init__(self) -> None:
        super().__init__()

    def repaint(self, content: Tensor, parameters: Tensor | NormRule, noise: Sequence[Tensor] = ()) -> Tensor:
        assert all(side % self.multiple == 0 and side >= self.smallest for side in content.shape[2:])
        return content


@pytest.mark.parametrize("size", ANY_SIZE, ids=str)
def test_what_is_padded_is_cropped_again(size: tuple[int, int]):
    content = random(1, 3, *size)
    assert torch.equal(Unchanged()(content, torch.empty(1, 0)), content)


SMALL: dict[str, Callable[[], TransformerNetwork]] = {
    "fast": lambda: FastTransformer(width=16, deep_width=16, deep_blocks=1, fine_width=8),
    "johnson": lambda: JohnsonTransformer(width=8, blocks=1),
    "adain": lambda: AdaINTransformer(weights="random").train(),  # unclamped
}


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL)
def test_a_moved_motif_is_painted_the_same(name: str):
    """On a plain ground, so that moving it leaves the statistics alone; seen far from the borders."""
    torch.manual_seed(0)
    transformer = awake(SMALL[name]())
    step = transformer.multiple
    content = torch.full((1, 3, 208, 208), 0.4)
    content[..., 98:111, 93:109] = random(1, 3, 13, 16)
    parameters = some_parameters(transformer, 1)
    move = (-step, 2 * step)
    painted = transformer(content, parameters)
    expected = painted.roll(move, (2, 3))[..., 88:120, 88:120]
    moved = transformer(content.roll(move, (2, 3)), parameters)[..., 88:120, 88:120]
    contrast = (expected - painted[..., 88:120, 88:120]).abs().max()
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-3 * contrast.item())


@torch.no_grad()
def make_kernels_symmetric(network: nn.Module) -> None:
    """Average each kernel with its mirror images, so that only the sampling grids could shift a picture."""
    for conv in (module for module in network.modules() if isinstance(module, nn.Conv2d)):
        conv.weight.copy_((conv.weight + conv.weight.flip(2)) / 2)
        conv.weight.copy_((conv.weight + conv.weight.flip(3)) / 2)
    if isinstance(network, FastTransformer):  # blocks of pixels are channels to its first layers
        for conv, side in ((network.stem.conv, 4), (network.detail, 2)):
            weight = conv.weight.unflatten(1, (3, side, side))
            weight = (weight + weight.flip(2, 4)) / 2
            conv.weight.copy_(((weight + weight.flip(3, 5)) / 2).flatten(1, 3))


@torch.no_grad()
@pytest.mark.parametrize("name", ["fast", "adain"])
def test_the_response_to_a_dot_is_centred_on_it(name: str):
    """Of FastTransformer without its 1/8 path, whose stride-2 convolution samples half a cell off."""
    torch.manual_seed(0)
    transformer = awake(SMALL[name]())
    make_kernels_symmetric(transformer)
    if isinstance(transformer, FastTransformer):
        transformer.up.weight.zero_()
    side = 160
    dot = torch.full((1, 3, side, side), 0.5)
    dot[..., side // 2 - 2 : side // 2 + 2, side // 2 - 2 : side // 2 + 2] = 1
    painted = transformer(dot, transformer.neutral_parameters()[None])
    energy = (painted - painted[..., :1, :1]).square().sum(1)[0].double()
    place = torch.arange(side).double() + 0.5
    for along in (0, 1):
        centre = (energy.sum(1 - along) @ place / energy.sum()).item()
        assert centre == pytest.approx(side / 2, abs=0.05)


@torch.no_grad()
def test_sub_pixels_agree_at_the_start():
    conv = SubPixelConv(6, 5)
    assert conv.weight.std() > 0.01
    shuffled = F.pixel_shuffle(conv(normal(1, 6, 9, 8)), 2)
    plain = F.interpolate(shuffled[..., ::2, ::2], scale_factor=2, mode="nearest")
    torch.testing.assert_close(shuffled, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("factor", "number"), [(2, 1), (4, 1), (4, 3)])
def test_unshuffled_conv_is_an_unshuffle_and_a_convolution(factor: int, number: int):
    conv = UnshuffledConv(3, 5, factor).double()
    picture = torch.rand(number, 3, 6 * factor, 4 * factor, dtype=torch.double)
    blocks = F.pad(F.pixel_unshuffle(picture, factor), (1, 1, 1, 1), mode="reflect")
    expected = F.conv2d(blocks, conv.weight)
    for layout in (torch.contiguous_format, torch.channels_last):
        for gradients in (True, False):
            with torch.set_grad_enabled(gradients):
                found = conv(picture.contiguous(memory_format=layout))
            torch.testing.assert_close(found, expected)


def some_sub_pixel_conv(factor: int = 2) -> SubPixelConv:
    conv = SubPixelConv(4, 3, factor)
    with torch.no_grad():
        for i, values in enumerate(conv.parameters()):
            values.copy_(normal(*values.shape, seed=i))
    return conv


@torch.no_grad()
@pytest.mark.parametrize("factor", [2, 3])
def test_whatever_the_weights_sub_pixels_agree_on_flat_inputs(factor: int):
    conv = some_sub_pixel_conv(factor)
    shuffled = F.pixel_shuffle(conv(normal(2, 4, 1, 1).expand(-1, -1, 6, 7)), factor)
    assert shuffled.std(dim=1).min() > 0.1, "channels differ"
    torch.testing.assert_close(shuffled, shuffled[..., :1, :1].expand_as(shuffled), rtol=0, atol=1e-5)
    uneven = F.pixel_shuffle(conv(normal(2, 4, 6, 7)), factor)
    assert (uneven[..., ::factor, :] - uneven[..., 1::factor, :]).abs().mean() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("noise", [False, True])
def test_the_bias_that_old_files_have_changes_nothing(noise: bool, flat: bool):
    transformer = FastTransformer(noise=noise).double()
    parameters = 0.5 * normal(1, transformer.num_style_parameters).double()
    photo = random(1, 3, 40, 56).double()
    photo = photo.mean().expand_as(photo) if flat else photo
    without = transformer(photo, parameters)
    old = SubPixelConv(transformer.to_fine.in_channels, transformer.fine.conv.in_channels).double()
    with torch.no_grad():
        old.weight.copy_(transformer.to_fine.weight)
        old.load_state_dict({"weight": old.weight, "bias": normal(old.out_channels)})
    transformer.to_fine = old
    torch.testing.assert_close(transformer(photo, parameters), without, rtol=0, atol=1e-9)


@torch.no_grad()
def test_sub_pixel_kernels_keep_all_but_their_sums():
    conv = some_sub_pixel_conv()
    x = normal(1, 4, 8, 8)
    x -= x.mean(dim=(2, 3), keepdim=True)
    plain = F.conv2d(x, conv.weight)  # without padding
    difference = conv(x)[..., 1:-1, 1:-1] - plain
    sums = F.avg_pool2d(x, 3, stride=1)  # all that the difference may depend on
    basis = torch.cat([sums, torch.ones_like(sums[:, :1])], dim=1).flatten(2)[0].T
    for row in difference.flatten(2)[0]:
        fit = basis @ torch.linalg.lstsq(basis, row[:, None]).solution
        torch.testing.assert_close(fit[:, 0], row, atol=1e-4, rtol=1e-4)


def test_sub_pixel_gradients():
    conv = some_sub_pixel_conv().double()
    values = dict(conv.named_parameters())
    x = normal(1, 4, 3, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, weight, bias: torch.func.functional_call(conv, {"weight": weight, "bias": bias}, (x,)),
        (x, values["weight"], values["bias"]),
    )


@torch.no_grad()
def test_fast_transformer_starts_without_checkerboard():
    torch.manual_seed(0)
    transformer = FastTransformer()
    painted = transformer(random(1, 3, 40, 48), some_parameters(transformer, 1))
    coarse = painted[..., ::2, ::2]
    assert coarse.std() > 0.01
    torch.testing.assert_close(
        painted, F.interpolate(coarse, scale_factor=2, mode="nearest"), rtol=0, atol=1e-6
    )


# --- several styles -----------------------------------------------------------------------------


@pytest.mark.parametrize("grad", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_styles_in_one_batch_paint_as_each_alone(name: str, grad: bool):
    transformer = fixed_transformer(name)
    content, parameters = random(3, 3, 37, 42), some_parameters(transformer, 3)
    with torch.set_grad_enabled(grad):
        together = transformer(content, parameters)
        alone = [transformer(content[i : i + 1], parameters[i : i + 1]) for i in range(3)]
    assert (together[0] - transformer(content[:1], parameters[1:2])[0]).abs().max() > 1e-4
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_one_style_serves_a_whole_batch(name: str):
    transformer = fixed_transformer(name)
    content, parameters = random(2, 3, 24, 33), some_parameters(transformer, 1)
    expected = transformer(content, parameters.expand(2, -1))
    torch.testing.assert_close(transformer(content, parameters), expected, rtol=0, atol=1e-6)


# --- encoders and transformers together ---------------------------------------------------------

COMBINATIONS = [(encoder, name) for encoder in ENCODERS for name in TRANSFORMERS if encoder != "adain"]
COMBINATIONS.append(("adain", "adain"))


def styler_of(encoder: str, transformer: str) -> ArbitraryStyler:
    torch.manual_seed(0)
    return ArbitraryStyler(fixed_encoder(encoder), TRANSFORMERS[transformer]())


def two_styles(encoder: StyleEncoder) -> Tensor:
    return torch.tensor([0, 1]) if encoder.takes_index else random(2, 3, 56, 40, seed=5)


@pytest.mark.parametrize(("encoder", "transformer"), COMBINATIONS)
def test_gradient_reaches_all_that_trains_and_nothing_frozen(encoder: str, transformer: str):
    styler = styler_of(encoder, transformer).train()
    styler.zero_grad()
    painted = styler(random(2, 3, 32, 40), two_styles(styler.style_encoder))
    (painted * normal(*painted.shape, seed=1)).sum().backward()
    frozen = {
        parameter
        for module in styler.modules()
        if isinstance(module, FrozenNetwork)
        for parameter in module.parameters()
    }
    unreached = set()
    for name, parameter in styler.named_parameters():
        assert parameter.requires_grad == (parameter not in frozen), name
        if parameter in frozen:
            assert parameter.grad is None, name
        elif parameter.grad is None or parameter.grad.norm() < 1e-5:
            unreached.add(name)
    assert not unreached


@torch.no_grad()
@pytest.mark.parametrize(("encoder", "transformer"), COMBINATIONS)
def test_pairs_in_one_batch_paint_as_each_alone(encoder: str, transformer: str):
    styler = styler_of(encoder, transformer).eval()
    content, style = random(2, 3, 33, 40), two_styles(styler.style_encoder)
    if not styler.style_encoder.takes_index:  # random weights magnify rounding
        styler, content, style = deepcopy(styler).double(), content.double(), style.double()
    together = styler(content, style)
    alone = torch.cat([styler(content[i : i + 1], style[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@torch.no_grad()
def test_frozen_networks_stay_in_evaluation_mode():
    for name in ("inception_v3", "vgg19", "adain"):
        styler = styler_of(name, "adain").train()
        frozen = [module for module in styler.modules() if isinstance(module, FrozenNetwork)]
        assert styler.training
        assert len(frozen) >= 2
        assert not any(part.training for network in frozen for part in network.modules())


@torch.no_grad()
@pytest.mark.parametrize(
    ("encoder", "transformer"),
    [("pooled", "fast"), ("normalization", "johnson"), ("bank", "ghiasi"), ("vgg19", "ghiasi")],
)
def test_half_precision_paints_nearly_the_same(encoder: str, transformer: str):
    styler = styler_of(encoder, transformer).eval()
    content, style = random(2, 3, 48, 40), two_styles(styler.style_encoder)
    full = styler(content, style)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = styler(content, style)
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.05 * full.std()


@torch.no_grad()
def test_styler_is_encoder_head_and_transformer():
    styler = styler_of("pooled", "fast").eval()
    content, style = random(2, 3, 24, 24), random(2, 3, 32, 32, seed=1)
    code = styler.encode(style)
    assert code.shape == (2, styler.style_encoder.code_size)
    assert styler.parameters_of(code).shape == (2, styler.transformer.num_style_parameters)
    assert torch.equal(styler(content, style), styler.paint(content, code))
    assert torch.equal(styler.paint(content, code), styler.transformer(content, styler.parameters_of(code)))


# --- AdaIN --------------------------------------------------------------------------------------


@torch.no_grad()
def test_adain_gives_the_photo_the_styles_moments():
    encoder, transformer = AdaINEncoder(weights="random"), fixed_transformer("adain")
    assert isinstance(transformer, AdaINTransformer)
    content, style = random(2, 3, 64, 80), random(2, 3, 96, 72, seed=1) ** 2
    restyled = transformer.adain(content, encoder(style))
    of_photo = transformer.encoder(content)["relu4_1"].double()
    of_style = transformer.encoder(style)["relu4_1"].double()
    alive = of_photo.var(dim=(2, 3)) > 1e-2  # a channel that never fires can't be given a deviation
    assert alive.double().mean() > 0.8
    torch.testing.assert_close(
        restyled.double().mean(dim=(2, 3)), of_style.mean(dim=(2, 3)), rtol=1e-3, atol=1e-3
    )
    deviation = restyled.double().std(dim=(2, 3), correction=0)
    wanted = (of_style.var(dim=(2, 3), correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(deviation[alive], wanted[alive], rtol=1e-3, atol=0)


@torch.no_grad()
def test_adain_of_a_photo_with_its_own_moments_is_the_photo():
    encoder, transformer = AdaINEncoder(weights="random"), fixed_transformer("adain")
    assert isinstance(transformer, AdaINTransformer)
    content = random(1, 3, 64, 80)
    features = transformer.encoder(content)["relu4_1"]
    torch.testing.assert_close(transformer.adain(content, encoder(content)), features, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_adain_with_real_weights(vgg19_weights):
    encoder, transformer = AdaINEncoder(weights=vgg19_weights), AdaINTransformer(weights=vgg19_weights)
    content, style = random(1, 3, 64, 64), random(1, 3, 64, 64, seed=1) ** 3
    wanted = encoder(style)
    restyled = transformer.adain(content, wanted)
    mean, deviation = restyled.mean(dim=(2, 3)), restyled.std(dim=(2, 3), correction=0)
    alive = channel_moments(transformer.encoder(content)["relu4_1"])[1][0] > 0.1
    assert alive.float().mean() > 0.5
    torch.testing.assert_close(mean, wanted[:, 512:], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(deviation[0, alive], wanted[0, :512][alive], rtol=1e-3, atol=0)


def test_adain_encoder_refuses_a_transformer_that_it_does_not_fit():
    with pytest.raises(ArbstyleError, match=r"1024.*3136.*AdaINTransformer"):
        ArbitraryStyler(fixed_encoder("adain"), FastTransformer())


@torch.no_grad()
def test_adain_transformer_clamps_only_when_training_is_over():
    torch.manual_seed(0)
    transformer = AdaINTransformer(weights="random")
    last = transformer.decoder[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    last.bias.copy_(torch.tensor([-3.0, 0.5, 3.0]))
    content, parameters = random(1, 3, 16, 16), transformer.neutral_parameters()[None]
    assert transformer.train()(content, parameters).amin() < -1
    out = transformer.eval()(content, parameters)
    assert out[:, 0].max() == 0
    assert out[:, 2].min() == 1


# --- arithmetic on codes ------------------------------------------------------------------------

CODES = [normal(1, 8, seed=seed) for seed in range(3)]


def test_blend_is_the_weighted_mean():
    expected = (1 * CODES[0] + 2 * CODES[1] + 5 * CODES[2]) / 8
    torch.testing.assert_close(blend(CODES, [1, 2, 5]), expected)
    torch.testing.assert_close(blend(CODES, [0.5, 1, 2.5]), expected)
    torch.testing.assert_close(blend(CODES[::-1], [5, 2, 1]), expected)


def test_blend_of_one_style_is_exactly_that_style():
    assert torch.equal(blend(CODES, [0, 0.3, 0]), CODES[1])
    batch, one = torch.rand(3, 4), torch.rand(1, 4)
    torch.testing.assert_close(blend([batch, one], [1, 3]), batch / 4 + one * 0.75)
    assert torch.equal(blend([CODES[0]], [7]), CODES[0])
    torch.testing.assert_close(blend([CODES[0]] * 3, [1, 2, 3]), CODES[0])


@pytest.mark.parametrize(
    "weights",
    [[1, 2], [1, 2, 3, 4], [1, -1, 1], [0, 0, 0], [1, float("nan"), 1], [1, float("inf"), 1], []],
    ids=str,
)
def test_blend_refuses_weights_that_make_no_mean(weights: list[float]):
    with pytest.raises(ArbstyleError, match="expected 3 weights") as caught:
        blend(CODES, weights)
    assert "\n" not in str(caught.value)


def test_blend_of_nothing_is_refused():
    with pytest.raises(ArbstyleError):
        blend([], [])


def test_interpolate_from_start_to_end_and_beyond():
    start, end = CODES[:2]
    assert torch.equal(interpolate(start, end, 0), start)
    assert torch.equal(interpolate(start, end, 1), end)
    torch.testing.assert_close(interpolate(start, end, 0.25), 0.75 * start + 0.25 * end)
    torch.testing.assert_close(interpolate(start, end, 2), 2 * end - start)
    torch.testing.assert_close(interpolate(start, end, 0.25), blend([start, end], [3, 1]))


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_flat_photos_are_finite(
    value: float, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    transformer = FastTransformer(width=8, deep_width=8, blocks=8, deep_blocks=8, fine_width=4)
    parameters = transformer.neutral_parameters().expand(2, -1).clone().requires_grad_()
    photos = torch.rand(2, 3, 32, 32)
    photos[0] = value
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        transformer(photos.contiguous(memory_format=layout), parameters).square().sum().backward()
    for each in (parameters, *transformer.parameters()):
        assert each.grad is not None
        assert each.grad.isfinite().all()
        assert each.grad.norm() < 1e6


def test_a_norm_has_the_same_gradient_wherever_a_channel_is_not_flat() -> None:
    norm = ConditionalInstanceNorm2d(3)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    parameters = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x, parameters))
    with torch.no_grad():
        x[0, 1] = 7.0
    norm(x, parameters).square().sum().backward()
    assert x.grad is not None
    assert not x.grad[0, 1].any()
    assert x.grad[1].any()


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: FastTransformer(width=0), "width"),
        (lambda: FastTransformer(fine_width=-1), "fine_width"),
        (lambda: JohnsonTransformer(width=0), "width"),
        (lambda: NormalizationNetwork(widths=(8, 0)), "widths"),
        (lambda: NormalizationNetwork(widths=()), "widths"),
        (lambda: PooledStatisticsEncoder(code_size=0), "code_size"),
        (lambda: MomentsEncoder(depths=(1, 0, 1, 1)), "depths"),
        (lambda: StylePredictor("vgg19", "random", code_size=0), "code_size"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_layers_without_channels_are_refused(build: Callable[[], nn.Module], name: str):
    with pytest.raises(ArbstyleError, match=f"expected {name} of at least 1"):
        build()
