"""The contract that every style encoder keeps, found by itself; then what is special to each."""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import json
import pickle
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor
from torchvision.models import inception_v3, mobilenet_v3_large

import arbstyle.networks
from arbstyle.errors import ArbstyleError
from arbstyle.networks import (
    AdaINEncoder,
    ArbitraryStyler,
    JohnsonTransformer,
    MomentsEncoder,
    NormalizationNetwork,
    PooledStatisticsEncoder,
    StyleBank,
    StyleEncoder,
    StylePredictor,
    blend,
)
from arbstyle.networks.growing import extend_bank
from arbstyle.networks.style_encoders.bank import StyleTable
from arbstyle.networks.style_encoders.moments import Standardize
from arbstyle.networks.style_encoders.tools import patches as in_patches
from arbstyle.perception import IMAGENET_MEAN, IMAGENET_STD, FrozenNetwork

pytestmark = pytest.mark.usefixtures("quick_calibration")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# --- what there is to test ----------------------------------------------------------------------


def subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for subclass in base.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def all_encoders() -> list[type[StyleEncoder]]:
    """Every final encoder of the package, in whichever file of ``networks`` it stands."""
    for module in pkgutil.walk_packages(arbstyle.networks.__path__, "arbstyle.networks."):
        importlib.import_module(module.name)
    ours = {each for each in subclasses(StyleEncoder) if each.__module__.startswith("arbstyle.")}
    return sorted((each for each in ours if not inspect.isabstract(each)), key=lambda each: each.__name__)


def variants(kind: type[StyleEncoder]) -> Iterator[dict[str, Any]]:
    """Constructor arguments: all combinations of its choices, and random weights where it takes any."""
    hints = get_type_hints(kind.__init__)
    choices = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}
    weights = {"weights": "random"} if "weights" in hints else {}
    for chosen in itertools.product(*choices.values()):
        yield dict(zip(choices, chosen, strict=True)) | weights


CASES = [(kind, arguments) for kind in all_encoders() for arguments in variants(kind)]


def case_id(case: tuple[type[StyleEncoder], dict[str, Any]]) -> str:
    kind, arguments = case
    return "-".join([kind.__name__, *(str(v) for v in arguments.values() if v != "random")])


@pytest.fixture(scope="module", params=CASES, ids=case_id)
def encoder(request: pytest.FixtureRequest, quick_calibration: None) -> StyleEncoder:
    kind, arguments = request.param
    torch.manual_seed(0)
    return kind(**arguments)


def styles(encoder: StyleEncoder, count: int, height: int = 48, width: int = 64, seed: int = 0) -> Tensor:
    """Pictures of different colour and contrast; or numbers."""
    if encoder.takes_index:
        return torch.arange(count) % encoder.code_size
    return random(count, 3, height, width, seed=seed) ** torch.linspace(0.3, 3, count).view(-1, 1, 1, 1)


def assert_close_codes(codes: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    torch.testing.assert_close(codes, expected, rtol=0, atol=relative * max(1.0, expected.abs().max().item()))


def test_the_known_encoders_are_found():
    found = {kind for kind, _ in CASES}
    ours = {PooledStatisticsEncoder, MomentsEncoder}
    assert found >= ours | {AdaINEncoder, NormalizationNetwork, StyleBank, StylePredictor}
    assert len([kind for kind, _ in CASES if kind is StylePredictor]) == 3  # its backbones


# --- the contract -------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (2, 40), (16, 16), (33, 47), (300, 40), (96, 128)], ids=str)
def test_any_picture_has_a_code(encoder: StyleEncoder, size: tuple[int, int]):
    codes = encoder(styles(encoder, 2, *size))
    assert codes.shape == (2, encoder.code_size)
    assert codes.dtype == torch.float32
    assert codes.isfinite().all()


@torch.no_grad()
def test_a_flat_picture_has_a_finite_code(encoder: StyleEncoder):
    for value in (0.0, 1.0):
        flat = torch.zeros(1, dtype=torch.long) if encoder.takes_index else torch.full((1, 3, 40, 40), value)
        assert encoder(flat).isfinite().all()


def test_finite_gradient_even_of_a_flat_picture(encoder: StyleEncoder):
    if encoder.takes_index:
        pytest.skip("takes the numbers of known styles")
    flat = torch.zeros(1, 3, 40, 40, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(flat).sum(), flat)
    assert gradient.isfinite().all()


@torch.no_grad()
def test_code_depends_on_the_style(encoder: StyleEncoder):
    if encoder.takes_index and encoder.code_size == 1:
        pytest.skip("knows one style only")
    first, second = encoder(styles(encoder, 2))
    assert (first - second).norm() > 0.01 * first.norm()


@torch.no_grad()
def test_a_batch_gives_each_style_the_code_that_it_has_alone(encoder: StyleEncoder):
    batch = styles(encoder, 3)
    alone = torch.cat([encoder(style[None]) for style in batch])
    assert_close_codes(encoder(batch), alone)


def test_gradient_reaches_all_that_trains_and_nothing_frozen(encoder: StyleEncoder):
    frozen = {p for m in encoder.modules() if isinstance(m, FrozenNetwork) for p in m.parameters()}
    head = encoder.make_head(random(encoder.code_size, seed=2))
    encoder.zero_grad()
    outputs = head(encoder(styles(encoder, 2)))
    if outputs.requires_grad:
        (outputs * random(*outputs.shape, seed=1)).sum().backward()
    for name, parameter in itertools.chain(encoder.named_parameters(), head.named_parameters("head")):
        assert parameter.requires_grad == (parameter not in frozen), name
        if parameter in frozen:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.norm() > 1e-6, name


@torch.no_grad()
def test_training_and_evaluation_encode_the_same(encoder: StyleEncoder):
    style = styles(encoder, 2)
    training = encoder.train()(style)
    assert not any(m.training for m in encoder.modules() if isinstance(m, FrozenNetwork))
    assert_close_codes(encoder.eval()(style), training)


def test_description_rebuilds_the_encoder(encoder: StyleEncoder):
    described = json.loads(json.dumps(encoder.hyperparameters))
    rebuilt = type(encoder)(**described)
    assert type(rebuilt) is type(encoder)
    assert rebuilt.hyperparameters.keys() == encoder.hyperparameters.keys()
    assert rebuilt.code_size == encoder.code_size
    rebuilt.load_state_dict(encoder.state_dict())
    style = styles(encoder, 2)
    assert_close_codes(rebuilt(style), encoder(style))


def test_copies_encode_the_same_and_share_nothing(encoder: StyleEncoder):
    style = styles(encoder, 2)
    expected = encoder(style).detach()
    for copied in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert copied.hyperparameters == encoder.hyperparameters
        ours = {p.data_ptr() for p in encoder.parameters()}
        assert not ours & {p.data_ptr() for p in copied.parameters()}
        assert_close_codes(copied(style).detach(), expected)


@pytest.mark.parametrize("count", [None, 38], ids=["own", "another"])
def test_head_turns_codes_into_parameters(encoder: StyleEncoder, count: int | None):
    if count and isinstance(encoder, AdaINEncoder):
        pytest.skip("its code is the parameters")
    size = count or encoder.code_size
    outputs = encoder.make_head(random(size))(encoder(styles(encoder, 2)))
    assert outputs.shape == (2, size)
    assert outputs.isfinite().all()


@torch.no_grad()
def test_half_precision_encodes_nearly_the_same(encoder: StyleEncoder):
    style = styles(encoder, 2)
    full = encoder(style)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(style).float()
    assert (half - full).norm() < 0.05 * full.norm()


def test_a_strip_of_one_row_costs_no_more_than_a_picture(
    encoder: StyleEncoder, monkeypatch: pytest.MonkeyPatch
):
    """Enlarged in its own shape until it is high enough, it would not fit into memory."""
    if encoder.takes_index:
        pytest.skip("takes the numbers of known styles")
    pixels = []
    for module in encoder.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(lambda _, inputs: pixels.append(inputs[0][0, 0].numel()))
    try:
        with torch.no_grad():
            assert encoder(random(1, 3, 1, 4000)).isfinite().all()
    finally:
        for module in encoder.modules():
            module._forward_pre_hooks.clear()
    assert 0 < max(pixels) < 1_000_000


# --- how heads start ----------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("kind", [PooledStatisticsEncoder, MomentsEncoder, NormalizationNetwork])
def test_head_starts_near_neutral(kind: type[StyleEncoder]):
    torch.manual_seed(0)
    neutral = torch.cat([torch.ones(100), torch.zeros(100)])
    encoder = kind()
    head = encoder.make_head(neutral)
    assert torch.equal(head(torch.zeros(1, encoder.code_size))[0], neutral)
    spread = (head(torch.randn(64, encoder.code_size)) - neutral).std().item()
    assert spread == pytest.approx(0.3, rel=0.1)


# --- our own ------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("kind", [PooledStatisticsEncoder, MomentsEncoder])
def test_pooled_statistics_forget_how_often_a_texture_repeats(kind: type[StyleEncoder]):
    torch.manual_seed(0)
    encoder = kind()
    texture, other = random(1, 3, 256, 256), random(1, 3, 256, 256, seed=1) ** 2
    code = encoder(texture)
    repeated = (encoder(texture.tile(1, 1, 2, 2)) - code).norm()
    assert repeated < 0.25 * (encoder(other) - code).norm()


@torch.no_grad()
@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 16, 24, 32, 40)], ids=str)
def test_pooled_statistics_at_any_depth(widths: tuple[int, ...]):
    pooled = PooledStatisticsEncoder(widths=widths, hidden=20, code_size=7)
    deeper = MomentsEncoder(widths=widths, depths=(2,) * len(widths), hidden=20, code_size=7)
    for encoder in (pooled, deeper):
        assert encoder(random(2, 3, 50, 39)).shape == (2, 7)
        assert encoder(random(2, 3, 1, 1)).shape == (2, 7)


def test_standardized_examples_have_mean_0_and_deviations_of_about_1():
    examples = random(40, 6) * torch.tensor([1.0, 2, 3, 4, 5, 1e-9]) + torch.arange(6)
    standardize = Standardize(6, limit=3)
    before = standardize(examples)
    torch.testing.assert_close(before, examples.clamp(-3, 3))
    standardize.fit(examples)
    after = standardize(examples)
    torch.testing.assert_close(after.mean(dim=0), torch.zeros(6), atol=1e-5, rtol=0)
    assert (after[:, :5].std(dim=0) > 0.6).all()
    assert (after[:, :5].std(dim=0) < 1).all()
    assert after[:, 5].abs().max() < 1e-3, "what is constant stays small"
    assert standardize(examples + 100).max() == 3
    torch.testing.assert_close(standardize(examples[:1]), after[:1])


@torch.no_grad()
def test_a_prepared_encoder_describes_its_examples_evenly():
    torch.manual_seed(0)
    encoder = MomentsEncoder(widths=(8, 16), depths=(2, 1), hidden=20, code_size=7)
    assert [layer.stride for layer in encoder.layers] == [(1, 1), (1, 1), (2, 2)]
    styles = random(12, 3, 32, 32) ** torch.linspace(0.3, 3, 12).view(-1, 1, 1, 1)
    linear = encoder.description_size - 20
    assert linear == 2 * (3 + 8 + 8 + 16)
    encoder.prepare(styles.split(5))
    description = encoder.describe(styles)
    torch.testing.assert_close(description.mean(dim=0)[:linear], torch.zeros(linear), atol=1e-4, rtol=0)
    expected = encoder.to_code(description / encoder.description_size**0.5)
    torch.testing.assert_close(encoder(styles), expected)


@torch.no_grad()
def test_large_pictures_are_read_in_patches():
    patches = in_patches(torch.arange(70 * 100.0).view(1, 1, 70, 100).expand(2, -1, -1, -1), side=16)
    assert patches.shape == (2 * 2 * 3, 1, 16, 16)
    corners = [(8, 8), (8, 40), (8, 72), (40, 8), (40, 40), (40, 72)]
    assert patches[:6, 0, 0, 0].tolist() == [100 * y + x for y, x in corners]
    torch.testing.assert_close(patches[6:], patches[:6])
    assert in_patches(random(1, 3, 63, 100), side=16).shape == (1, 3, 63, 100)


@torch.no_grad()
def test_the_moments_of_patches_are_those_of_all_their_pixels():
    features = random(6, 4, 9, 7) * torch.arange(1.0, 7).view(-1, 1, 1, 1)
    mean, deviation = MomentsEncoder._moments(features, 2)
    together = features.view(2, 3, 4, 9, 7).transpose(1, 2).flatten(2)
    torch.testing.assert_close(mean, together.mean(dim=2))
    torch.testing.assert_close(deviation, together.std(dim=2, unbiased=False), rtol=1e-4, atol=1e-5)


def test_a_depth_for_every_width():
    with pytest.raises(ArbstyleError, match=r"as many depths as widths \(2\), got 3"):
        MomentsEncoder(widths=(8, 16), depths=(1, 2, 3))


@torch.no_grad()
def test_a_large_picture_has_nearly_the_code_of_its_texture():
    torch.manual_seed(0)
    encoder = MomentsEncoder()
    texture, other = random(1, 3, 256, 256), random(1, 3, 256, 256, seed=1) ** 2
    code = encoder(texture.tile(1, 1, 2, 2))
    large = (encoder(texture.tile(1, 1, 5, 4)) - code).norm()
    assert large < 0.25 * (encoder(other) - code).norm()


# --- the pretrained backbone --------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["inception_v3", "mobilenet_v3"])
def test_random_backbones_are_the_same_each_time_and_leave_the_generator_alone(backbone: Any):
    """They are frozen, so in no file: another one after loading would be another network."""
    torch.manual_seed(1)
    first = StylePredictor(backbone, "random")
    torch.manual_seed(2)
    second = StylePredictor(backbone, "random")
    frozen, again = first.backbone.state_dict(), second.backbone.state_dict()
    assert all(torch.equal(frozen[key], again[key]) for key in frozen)
    assert not torch.equal(first.bottleneck.weight, second.bottleneck.weight)
    torch.manual_seed(2)
    bottleneck = torch.nn.Linear(second.bottleneck.in_features, 100)
    assert torch.equal(second.bottleneck.weight, bottleneck.weight)


@pytest.mark.parametrize(
    ("backbone", "build", "layer"),
    [
        # transform_input: torchvision's pretrained Inception turns ImageNet's normalisation into its own.
        ("inception_v3", lambda: inception_v3(transform_input=True, init_weights=False), "Mixed_6e"),
        ("mobilenet_v3", mobilenet_v3_large, "features"),
    ],
)
def test_backbones_compute_what_torchvision_computes(backbone: Any, build: Any, layer: str):
    predictor = StylePredictor(backbone, "random")
    network = predictor.backbone.get_submodule("network")
    model = build().eval()
    _, unexpected = model.load_state_dict(network.state_dict(), strict=False)
    assert not unexpected
    seen: list[Tensor] = []
    model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: seen.append(output))
    style = random(2, 3, 112, 96)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    model((style - mean) / std)
    expected = predictor.bottleneck(seen[0].mean(dim=(2, 3)))
    assert_close_codes(predictor(style), expected, relative=1e-4)


def test_backbones_give_what_was_published():
    """Ghiasi et al. 2017, section 3: 768 features of Mixed_6e, through 100 numbers."""
    predictor = StylePredictor(weights="random")
    assert predictor.hyperparameters["backbone"] == "inception_v3"
    assert predictor.bottleneck.weight.shape == (100, 768)
    assert predictor.backbone(random(1, 3, 128, 160)).shape == (1, 768, 6, 8)
    assert [name for name, p in predictor.named_parameters() if p.requires_grad] == [
        "bottleneck.weight",
        "bottleneck.bias",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "resnet50", "weights": "random"}, "resnet50"),
        ({"backbone": "mobilenet_v3", "weights": "some.safetensors"}, "some.safetensors"),
        ({"backbone": "vgg19", "weights": "missing.safetensors"}, "missing.safetensors"),
    ],
    ids=str,
)
def test_predictor_names_what_it_cannot_use(arguments: dict[str, Any], message: str):
    with pytest.raises(ArbstyleError, match=message) as caught:
        StylePredictor(**arguments)
    assert "\n" not in str(caught.value)


# --- AdaIN --------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(("layer", "channels"), [("relu1_1", 64), ("relu3_1", 256), ("relu4_1", 512)])
def test_adain_code_is_deviation_then_mean_of_the_layer(layer: str, channels: int):
    encoder = AdaINEncoder(layer, weights="random")
    style = random(2, 3, 40, 56)
    features = encoder.encoder(style)[layer].double()
    code = encoder(style).double()
    assert code.shape == (2, 2 * channels)
    variance = features.var(dim=(2, 3), correction=0)
    torch.testing.assert_close(code[:, :channels], (variance + 1e-5).sqrt(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(code[:, channels:], features.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)


# --- the bank -----------------------------------------------------------------------------------


def bank_styler(num_styles: int) -> ArbitraryStyler:
    torch.manual_seed(0)
    return ArbitraryStyler(StyleBank(num_styles), JohnsonTransformer(width=4, blocks=1))


@torch.no_grad()
def test_bank_gives_each_number_its_row():
    styler = bank_styler(3)
    assert isinstance(styler.head, StyleTable)
    parameters = styler.parameters_of(styler.encode(torch.tensor([2, 0, 2])))
    rows = torch.stack(list(styler.head.rows))
    assert torch.equal(parameters, rows[[2, 0, 2]])
    assert (rows[0] - rows[1]).abs().max() > 0.01


@torch.no_grad()
def test_bank_blends_rows():
    styler = bank_styler(3)
    assert isinstance(styler.head, StyleTable)
    codes = [styler.encode(torch.tensor([index])) for index in range(3)]
    first, _, third = styler.head.rows
    expected = (first + 3 * third) / 4
    torch.testing.assert_close(styler.parameters_of(blend(codes, [1, 0, 3]))[0], expected)


def test_only_the_rows_in_the_batch_get_a_gradient():
    styler = bank_styler(3)
    assert isinstance(styler.head, StyleTable)
    painted = styler(random(2, 3, 16, 16), torch.tensor([1, 1]))
    (painted * random(*painted.shape, seed=1)).sum().backward()
    touched = [row.grad is not None and bool(row.grad.any()) for row in styler.head.rows]
    assert touched == [False, True, False]


def test_a_new_row_trains_alone_and_leaves_the_others_alone():
    """Dumoulin et al. 2017, section 3.2: a style added to a trained network needs its row only."""
    trained, larger = bank_styler(2), bank_styler(4)
    before = copy.deepcopy(trained.state_dict())
    assert extend_bank(trained, larger) == 2
    larger.load_state_dict(trained.state_dict())
    assert isinstance(larger.head, StyleTable)
    mean = (before["head.rows.0"] + before["head.rows.1"]) / 2
    torch.testing.assert_close(larger.head.rows[2].detach(), mean)

    larger.requires_grad_(False)
    larger.head.rows[3].requires_grad_(True)
    optimizer = torch.optim.Adam([p for p in larger.parameters() if p.requires_grad], lr=0.1)
    content, style = random(1, 3, 16, 16), torch.tensor([3])
    painted = larger(content, style)
    (painted * random(*painted.shape, seed=1)).sum().backward()
    optimizer.step()
    assert (larger.head.rows[3] - mean).abs().max() > 0.01
    after = larger.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("wanted", [1, 2])
def test_a_bank_is_extended_by_a_larger_one_only(wanted: int):
    with pytest.raises(ArbstyleError, match="2 styles"):
        extend_bank(bank_styler(2), bank_styler(wanted))


def test_only_banks_are_extended():
    other = ArbitraryStyler(NormalizationNetwork((4, 4)), JohnsonTransformer(width=4, blocks=1))
    for pair in ((other, bank_styler(2)), (bank_styler(2), other)):
        with pytest.raises(ArbstyleError, match="StyleBank"):
            extend_bank(*pair)


@pytest.mark.parametrize("numbers", [[3], [0, 7], [-1]], ids=str)
def test_bank_names_the_styles_that_it_has(numbers: list[int]):
    with pytest.raises(ArbstyleError, match=r"0 to 2.*num_styles") as caught:
        StyleBank(3)(torch.tensor(numbers))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [0, -2])
def test_an_empty_bank_is_refused(count: int):
    with pytest.raises(ArbstyleError, match="at least 1 style"):
        StyleBank(count)


def test_weights_may_be_a_path(tmp_path: Path):
    with pytest.raises(ArbstyleError, match="no such file"):
        AdaINEncoder(weights=tmp_path / "vgg19.safetensors")
