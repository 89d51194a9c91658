"""The one file that a trained styler lives in: what is in it, and what is refused."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.networks import (
    AdaINEncoder,
    AdaINTransformer,
    ArbitraryStyler,
    ConditionalInstanceNorm2d,
    FastTransformer,
    JohnsonTransformer,
    NormalizationNetwork,
    PooledStatisticsEncoder,
    StyleBank,
    StyleEncoder,
    StylePredictor,
    load_styler,
    save_styler,
)
from arbstyle.networks.model_file import FILE_FORMAT, build_styler, describe_styler
from arbstyle.networks.state import frozen_prefixes, load_own_state, own_state

PACKAGED = Path(__file__).resolve().parent.parent / "arbstyle" / "assets" / "arbstyle.safetensors"

pytestmark = pytest.mark.usefixtures("quick_calibration")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def small_fast() -> FastTransformer:
    return FastTransformer(width=16, deep_width=16, deep_blocks=1, fine_width=8)


def small_johnson() -> JohnsonTransformer:
    return JohnsonTransformer(width=4, blocks=1, styled_encoder=False)


STYLERS: dict[str, Callable[[], ArbitraryStyler]] = {
    "ours": lambda: ArbitraryStyler(PooledStatisticsEncoder((8, 12), 24, code_size=10), small_fast()),
    "normalization": lambda: ArbitraryStyler(NormalizationNetwork((8, 16)), small_johnson()),
    "bank": lambda: ArbitraryStyler(StyleBank(3), small_johnson()),
    "vgg19": lambda: ArbitraryStyler(StylePredictor("vgg19", "random"), small_johnson()),
    "mobilenet_v3": lambda: ArbitraryStyler(StylePredictor("mobilenet_v3", "random"), small_johnson()),
    "adain": lambda: ArbitraryStyler(AdaINEncoder(weights="random"), AdaINTransformer(weights="random")),
}


def seeded(name: str, seed: int = 0) -> ArbitraryStyler:
    torch.manual_seed(seed)
    return STYLERS[name]().eval()


def a_pair(styler: ArbitraryStyler) -> tuple[Tensor, Tensor]:
    style = torch.tensor([0, 2]) if styler.style_encoder.takes_index else random(2, 3, 40, 33, seed=1)
    return random(2, 3, 21, 26), style


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


# --- there and back -----------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", STYLERS)
def test_what_is_loaded_is_what_was_saved(name: str, tmp_path: Path):
    styler = seeded(name)
    path = save_styler(styler, tmp_path / "model.safetensors", {"steps": 7})
    torch.manual_seed(99)
    loaded, information = load_styler(path)
    assert information == {"steps": 7}
    assert not loaded.training
    assert type(loaded.style_encoder) is type(styler.style_encoder)
    assert type(loaded.transformer) is type(styler.transformer)
    assert describe_styler(loaded) == describe_styler(styler)
    assert loaded.transformer.num_style_parameters == styler.transformer.num_style_parameters
    after = own_state(loaded)
    for key, value in own_state(styler).items():
        assert torch.equal(after[key], value.half().float()), key
    content, style = a_pair(styler)
    torch.testing.assert_close(loaded(content, style), styler(content, style), rtol=0, atol=5e-3)


@torch.no_grad()
def test_saving_what_was_loaded_changes_nothing(tmp_path: Path):
    first = save_styler(seeded("ours"), tmp_path / "first.safetensors", {"note": "Grüße"})
    styler, information = load_styler(first)
    second = save_styler(styler, tmp_path / "second.safetensors", information)
    assert header(first) == header(second)
    states = load_file(first), load_file(second)
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_an_encoder_of_ones_own_can_be_saved_and_loaded(tmp_path: Path):
    class MeanColour(StyleEncoder):
        code_size = 3

        def __init__(self, gain: float = 1.0) -> None:
            super().__init__()
            self.gain = gain

        def forward(self, style: Tensor) -> Tensor:
            return self.gain * style.mean(dim=(2, 3))

    styler = ArbitraryStyler(MeanColour(gain=2.5), small_johnson())
    loaded, _ = load_styler(save_styler(styler, tmp_path / "model.safetensors"))
    assert isinstance(loaded.style_encoder, MeanColour)
    assert loaded.style_encoder.gain == 2.5


def test_missing_folders_are_made_and_information_may_be_left_out(tmp_path: Path):
    path = save_styler(seeded("normalization"), tmp_path / "a" / "b" / "model.safetensors")
    assert load_styler(path)[1] == {}


# --- what is in the file ------------------------------------------------------------------------


def test_the_file_explains_itself(tmp_path: Path):
    information = {"version": "1.2", "data": {"style": ["a", "b"]}, "steps": 10}
    metadata = header(save_styler(seeded("ours"), tmp_path / "model.safetensors", information))
    assert metadata["format"] == FILE_FORMAT
    assert json.loads(metadata["information"]) == information
    assert json.loads(metadata["architecture"]) == {
        "style_encoder": {
            "class": "PooledStatisticsEncoder",
            "arguments": {"widths": [8, 12], "hidden": 24, "code_size": 10},
        },
        "transformer": {
            "class": "FastTransformer",
            "arguments": {
                **{"width": 16, "deep_width": 16, "blocks": 1, "deep_blocks": 1, "fine_width": 8},
                **{"noise": False, "norm_floor": 1e-5},
            },
        },
    }


def test_weights_are_stored_in_half_precision(tmp_path: Path):
    styler = seeded("ours")
    state = load_file(save_styler(styler, tmp_path / "model.safetensors"))
    assert state.keys() == styler.state_dict().keys()
    assert {value.dtype for value in state.values()} == {torch.float16}


def middling() -> ArbitraryStyler:
    """Large enough for some weights to be packed."""
    torch.manual_seed(0)
    return ArbitraryStyler(PooledStatisticsEncoder((32, 96), 192, code_size=128), small_fast())


def test_packed_weights_take_half_the_room_and_are_off_by_half_a_step(tmp_path: Path):
    styler = middling()
    halves = save_styler(styler, tmp_path / "halves.safetensors")
    packed = save_styler(styler, tmp_path / "packed.safetensors", packed=True)
    assert packed.stat().st_size < 0.65 * halves.stat().st_size
    stored, wanted = load_file(packed), load_file(halves)
    loaded, _ = load_styler(packed)
    for name, value in loaded.state_dict().items():
        if stored[name].dtype != torch.int8:
            assert torch.equal(value, wanted[name].float())
            continue
        rows, own = wanted[name].float().flatten(1), value.flatten(1)
        step = rows.abs().amax(dim=1, keepdim=True) / 127
        assert ((own - rows).abs() <= 0.5 * step + 2**-10 * rows.abs()).all()
        assert torch.equal(value, value.half().float())  # exact in half precision, for other runtimes
    assert torch.int8 in {each.dtype for each in stored.values()}


def test_rows_of_zeros_and_of_small_numbers_are_packed(tmp_path: Path):
    styler = middling()
    head = styler.head.get_parameter("weight")
    with torch.no_grad():
        head[3].zero_()
        head[4].mul_(1e-3 / head[4].abs().max())
    loaded, _ = load_styler(save_styler(styler, tmp_path / "packed.safetensors", packed=True))
    again = loaded.head.get_parameter("weight")
    assert not again[3].any()
    torch.testing.assert_close(again[4], head[4], rtol=2**-10, atol=1e-3 / 254)


@pytest.mark.parametrize("change", ["missing", "short", "not finite", "whole numbers", "vector"])
def test_packed_weights_whose_scales_do_not_fit_are_refused(change: str, tmp_path: Path):
    path = save_styler(middling(), tmp_path / "packed.safetensors", packed=True)
    tensors, about = load_file(path), header(path)
    name = next(each for each, value in tensors.items() if value.dtype == torch.int8)
    scales = f"{name}:scales"
    if change == "missing":
        del tensors[scales]
    elif change == "short":
        tensors[scales] = tensors[scales][:-1].clone()
    elif change == "not finite":
        tensors[scales][0] = float("nan")
    elif change == "whole numbers":
        tensors[scales] = tensors[scales].to(torch.int32)
    else:
        tensors[name] = tensors[name].flatten()
    save_file(tensors, path, about)
    with pytest.raises(ArbstyleError) as refusal:
        load_styler(path)
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_path_of_the_machine_that_trained_is_in_the_file(tmp_path: Path):
    styler = seeded("adain")
    for part in (styler.style_encoder, styler.transformer):
        part.hyperparameters["weights"] = str(tmp_path / "vgg19.safetensors")
    path = save_styler(styler, tmp_path / "model.safetensors", {"steps": 1})
    assert str(tmp_path).encode() not in path.read_bytes()
    architecture = json.loads(header(path)["architecture"])
    assert [part["arguments"]["weights"] for part in architecture.values()] == [None, None]
    assert styler.transformer.hyperparameters["weights"] is not None  # the styler itself is left as it was


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("adain", ("transformer.decoder.",)),
        ("vgg19", ("style_encoder.bottleneck.", "head.", "transformer.")),
        ("mobilenet_v3", ("style_encoder.bottleneck.", "head.", "transformer.")),
    ],
)
def test_frozen_networks_are_not_in_the_file(name: str, trained: tuple[str, ...], tmp_path: Path):
    styler = seeded(name)
    keys = load_file(save_styler(styler, tmp_path / "model.safetensors")).keys()
    assert keys == own_state(styler).keys()
    assert keys == {key for key, parameter in styler.named_parameters() if parameter.requires_grad}
    assert all(key.startswith(trained) for key in keys)


def test_a_failed_save_leaves_the_file_that_was_there(tmp_path: Path):
    path = save_styler(seeded("normalization"), tmp_path / "model.safetensors")
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_styler(seeded("normalization", seed=1), path, {"not JSON": object()})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_impossible_place_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArbstyleError, match="file") as caught:
        save_styler(seeded("normalization"), tmp_path / "file" / "model.safetensors")
    assert "\n" not in str(caught.value)


# --- own state ----------------------------------------------------------------------------------


def test_own_state_is_everything_but_the_frozen_networks():
    styler = seeded("adain")
    assert frozen_prefixes(styler) == ("style_encoder.encoder.", "transformer.encoder.")
    own = own_state(styler)
    assert 0 < len(own) < len(styler.state_dict())
    assert not any(key.startswith(frozen_prefixes(styler)) for key in own)
    assert own_state(nn.Linear(2, 2)).keys() == {"weight", "bias"}


def test_own_state_goes_into_another_module_that_keeps_its_frozen_networks():
    first, second = seeded("adain"), seeded("adain", seed=1)
    expected = copy.deepcopy(second.state_dict()) | own_state(first)
    load_own_state(second, own_state(first))
    assert all(torch.equal(value, expected[key]) for key, value in second.state_dict().items())


def without_one(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(list(state.items())[1:])


def with_one_more(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {"transformer.extra.weight": torch.zeros(1)}


def with_another_shape(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value[:1] for key, value in state.items()}


@pytest.mark.parametrize("change", [without_one, with_one_more, with_another_shape])
def test_a_state_that_does_not_fit_is_refused(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]):
    styler = seeded("ours")
    with pytest.raises(ArbstyleError, match="another architecture") as caught:
        load_own_state(styler, change(own_state(styler)))
    assert "\n" not in str(caught.value)


# --- files that are refused ---------------------------------------------------------------------

STATE = {"weight": torch.zeros(2)}
ARCHITECTURE = {
    "style_encoder": {"class": "NormalizationNetwork", "arguments": {"widths": [8, 16]}},
    "transformer": {
        "class": "JohnsonTransformer",
        "arguments": {"width": 4, "blocks": 1, "styled_encoder": False},
    },
}


def styler_file(path: Path, **changes: str) -> None:
    metadata = {"format": FILE_FORMAT, "architecture": json.dumps(ARCHITECTURE), "information": "{}"}
    state = {key: value.half() for key, value in own_state(build_styler(ARCHITECTURE)).items()}
    save_file(state, path, {key: value for key, value in (metadata | changes).items() if value})


def with_part(part: str, name: str, **arguments: Any) -> str:
    return json.dumps(ARCHITECTURE | {part: {"class": name, "arguments": arguments}})


def truncated(path: Path) -> None:
    styler_file(path)
    path.write_bytes(path.read_bytes()[:-100])


def pickled(path: Path) -> None:
    torch.save(STATE, path)


WRONG_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: None, "no such file"),
    "a folder": (Path.mkdir, "it is a folder"),
    "empty": (Path.touch, "not a safetensors file"),
    "text": (lambda path: path.write_text("hello\n" * 100), "not a safetensors file"),
    "a picture": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), "not a safetensors file"),
    "truncated": (truncated, "not a safetensors file"),
    "a pickle": (pickled, "not a safetensors file"),
    "bare weights": (lambda path: save_file(STATE, path), "got none"),
    "another format": (lambda path: save_file(STATE, path, {"format": "pt"}), "got pt"),
    "a later format": (lambda path: styler_file(path, format="arbstyle-styler-9"), "arbstyle-styler-9"),
    "no architecture": (lambda path: styler_file(path, architecture=""), "architecture"),
    "no information": (lambda path: styler_file(path, information=""), "information"),
    "broken architecture": (lambda path: styler_file(path, architecture='{"a":'), "does not describe"),
    "a list": (lambda path: styler_file(path, architecture="[1]"), "does not describe"),
    "no transformer": (lambda path: styler_file(path, architecture='{"style_encoder": {}}'), "class"),
    "unknown class": (
        lambda path: styler_file(path, architecture=with_part("style_encoder", "Telepathy")),
        "StyleEncoder 'Telepathy'",
    ),
    "abstract class": (
        lambda path: styler_file(path, architecture=with_part("transformer", "TransformerNetwork")),
        "'TransformerNetwork'",
    ),
    "class of the other part": (
        lambda path: styler_file(path, architecture=with_part("transformer", "StyleBank")),
        "TransformerNetwork 'StyleBank'",
    ),
    "any other name of the module": (
        lambda path: styler_file(path, architecture=with_part("style_encoder", "Path", x="y")),
        "StyleEncoder 'Path'",
    ),
    "unknown argument": (
        lambda path: styler_file(path, architecture=with_part("style_encoder", "StyleBank", colour=1)),
        "colour",
    ),
    "wrong argument": (
        lambda path: styler_file(path, architecture=with_part("style_encoder", "StyleBank", num_styles=0)),
        "num_styles: expected 1 to",
    ),
    "another architecture": (
        lambda path: styler_file(
            path, architecture=with_part("style_encoder", "NormalizationNetwork", widths=[8, 24])
        ),
        "another architecture",
    ),
    "another encoder": (
        lambda path: styler_file(path, architecture=with_part("style_encoder", "StyleBank", num_styles=2)),
        "another architecture",
    ),
}


def test_the_file_that_the_wrong_ones_differ_from_is_right(tmp_path: Path):
    styler_file(tmp_path / "model.safetensors")
    assert isinstance(load_styler(tmp_path / "model.safetensors")[0].style_encoder, NormalizationNetwork)


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_wrong_files_are_refused_in_one_line(kind: str, tmp_path: Path):
    write, message = WRONG_FILES[kind]
    path = tmp_path / "model.safetensors"
    write(path)
    with pytest.raises(ArbstyleError) as caught:
        load_styler(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# --- weights of frozen parts --------------------------------------------------------------------


def test_vgg_weights_given_on_loading_are_used(tmp_path: Path):
    path = save_styler(seeded("vgg19"), tmp_path / "model.safetensors")
    with pytest.raises(ArbstyleError, match=r"elsewhere\.safetensors"):
        load_styler(path, weights=tmp_path / "elsewhere.safetensors")


@pytest.mark.parametrize("name", ["ours", "mobilenet_v3"])
def test_vgg_weights_do_not_disturb_architectures_without_a_vgg(name: str, tmp_path: Path):
    path = save_styler(seeded(name), tmp_path / "model.safetensors")
    loaded, _ = load_styler(path, weights=tmp_path / "vgg19.safetensors")
    assert describe_styler(loaded) == describe_styler(seeded(name))


# --- modules that remember how they were built --------------------------------------------------


def test_arguments_are_remembered_with_their_defaults_however_given():
    expected = {"widths": (8, 12), "hidden": 24, "code_size": 256}
    assert PooledStatisticsEncoder((8, 12), 24).hyperparameters == expected
    assert PooledStatisticsEncoder(hidden=24, widths=(8, 12)).hyperparameters == expected
    assert StyleBank().hyperparameters == {"num_styles": 1}


def test_arguments_that_do_not_exist_are_refused():
    with pytest.raises(TypeError, match="colour"):
        StyleBank(colour="red")  # type: ignore[call-arg]


def test_a_subclass_remembers_its_own_arguments():
    class Deeper(NormalizationNetwork):
        def __init__(self, depth: int, width: int = 8) -> None:
            super().__init__((width,) * depth)

    assert Deeper(3).hyperparameters == {"depth": 3, "width": 8}


@torch.no_grad()
@pytest.mark.parametrize("name", ["ours", "bank", "mobilenet_v3"])
@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda styler: pickle.loads(pickle.dumps(styler))],
    ids=["deepcopy", "pickle"],
)
def test_copies_are_whole_and_independent(name: str, duplicate: Callable[[ArbitraryStyler], ArbitraryStyler]):
    styler = seeded(name)
    copied = duplicate(styler)
    assert describe_styler(copied) == describe_styler(styler)
    content, style = a_pair(styler)
    assert torch.equal(copied(content, style), styler(content, style))
    sites = [m for m in copied.transformer.modules() if isinstance(m, ConditionalInstanceNorm2d)]
    assert all(ours is theirs for ours, theirs in zip(copied.transformer.sites, sites, strict=True))
    assert not set(copied.transformer.sites) & set(styler.transformer.sites)
    before = styler(content, style)
    for parameter in copied.parameters():
        parameter.zero_()
    assert torch.equal(styler(content, style), before)


def test_loading_does_not_load_the_compiler():
    """It takes PyTorch a second; building networks without memory used to need it."""
    script = (
        "import sys; from arbstyle.networks import load_styler;"
        f"load_styler({str(PACKAGED)!r}); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=PACKAGED.parents[2]).returncode == 0
