"""Files that lie: whatever stands in a file that is read back, one line comes out, soon and within memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.evaluation.pairs import Pair
from arbstyle.evaluation.results import MEASURES, ResultsTable, Row
from arbstyle.networks import ArbitraryStyler, JohnsonTransformer, MomentsEncoder, load_styler, save_styler
from arbstyle.networks.model_file import describe_styler
from arbstyle.networks.state import own_state
from arbstyle.painting.style_contents import StyleContents
from arbstyle.painting.style_file import Style
from arbstyle.perception import filters
from arbstyle.stored import MAX_DEPTH, read_json
from arbstyle.training.checkpoint import export_checkpoint

STRANGE: list[Any] = [None, -1, 0, 3, 10**9, 10**400, 0.5, True, "", "random", "/etc/passwd", [], {}, [[[]]]]
ARCHITECTURE = "architecture"


def small_styler() -> ArbitraryStyler:
    torch.manual_seed(0)
    encoder = MomentsEncoder((4, 6), (1, 1), hidden=5, code_size=7)
    return ArbitraryStyler(encoder, JohnsonTransformer(width=4, blocks=1, styled_encoder=False))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_styler(small_styler(), tmp_path / "model.safetensors")


@pytest.fixture
def style(tmp_path: Path) -> Path:
    thumbnail = Image.new("RGB", (8, 6), "red")
    made = Style("a", torch.ones(1, 7), torch.ones(1, 9), "0123456789abcdef", "m", thumbnail, {"artist": "b"})
    return made.save(tmp_path / "style.safetensors")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "a.ckpt"
    torch.save(checkpoint_of(small_styler()), path)
    return path


def checkpoint_of(styler: ArbitraryStyler) -> dict[str, Any]:
    state = {f"average.module.{key}": value for key, value in own_state(styler).items()}
    return {"state_dict": state, ARCHITECTURE: describe_styler(styler), "information": {}}


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def damaged(value: Any, chance: random.Random) -> Any:
    """One value somewhere inside, replaced or left out."""
    if isinstance(value, dict | list) and value and chance.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = chance.choice(keys)
        copy = value.copy()
        if chance.random() < 0.1:
            del copy[key]
        else:
            copy[key] = damaged(value[key], chance)
        return copy
    return chance.choice(STRANGE)


def damaged_bytes(content: bytes, chance: random.Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
    return bytes(spoilt[: chance.randrange(len(spoilt))] if chance.random() < 0.2 else spoilt)


def damaged_safetensors(path: Path, number: int) -> bytes:
    chance = random.Random(number)
    if chance.random() < 0.3:
        return damaged_bytes(path.read_bytes(), chance)
    header, data = split(path)
    metadata = header.get("__metadata__", {})
    texts = [name for name, text in metadata.items() if text.startswith(("{", "["))]
    if texts and chance.random() < 0.7:
        name = chance.choice(texts)
        metadata[name] = json.dumps(damaged(json.loads(metadata[name]), chance))
    else:
        header = damaged(header, chance)
    return joined(header, data)


def escapes(read: Callable[[Path], object], path: Path, contents: list[bytes]) -> list[str]:
    """Everything but an ArbstyleError of one line that reading raises."""
    found = []
    for number, content in enumerate(contents):
        path.write_bytes(content)
        try:
            read(path)
        except ArbstyleError as error:
            if "\n" in str(error):
                found.append(f"{number}: several lines: {error}")
        except BaseException as error:
            found.append(f"{number}: {type(error).__name__}: {error}")
    return found


def test_only_one_line_comes_out_of_damaged_models(model: Path, tmp_path: Path):
    contents = [damaged_safetensors(model, number) for number in range(1000)]
    assert escapes(load_styler, tmp_path / "damaged.safetensors", contents) == []


def test_only_one_line_comes_out_of_damaged_styles(style: Path, tmp_path: Path):
    contents = [damaged_safetensors(style, number) for number in range(2000)]
    assert escapes(StyleContents.load, tmp_path / "damaged.safetensors", contents) == []


def test_only_one_line_comes_out_of_damaged_checkpoints(checkpoint: Path, tmp_path: Path):
    def export(path: Path) -> None:
        export_checkpoint(path, tmp_path / "exported.safetensors")

    whole = checkpoint.read_bytes()
    contents = [damaged_bytes(whole, random.Random(number)) for number in range(500)]
    content = torch.load(checkpoint, weights_only=True)
    for number in range(500):
        file = io.BytesIO()
        torch.save(damaged(content, random.Random(number)), file)
        contents.append(file.getvalue())
    assert escapes(export, tmp_path / "damaged.ckpt", contents) == []


# --- models -------------------------------------------------------------------------------------


def rewritten(model: Path, part: str, **arguments: Any) -> Path:
    header, data = split(model)
    architecture = json.loads(header["__metadata__"][ARCHITECTURE])
    architecture[part]["arguments"] |= arguments
    header["__metadata__"][ARCHITECTURE] = json.dumps(architecture)
    model.write_bytes(joined(header, data))
    return model


@pytest.mark.parametrize(
    ("part", "arguments"),
    [
        ("style_encoder", {"hidden": 10**9}),
        ("style_encoder", {"widths": [-4, 6]}),
        ("style_encoder", {"depths": [1, 10**6]}),
        ("style_encoder", {"depths": [1, 0]}),
        ("transformer", {"width": -4}),
        ("transformer", {"width": 0}),
        ("transformer", {"blocks": 10**9}),
        ("transformer", {"width": 64}),
    ],
)
def test_sizes_are_compared_before_anything_is_allocated(
    part: str, arguments: dict[str, Any], model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("arbstyle.networks.model_file.build_styler", lambda *a, **k: pytest.fail("was built"))
    with pytest.raises(ArbstyleError, match=r"does not describe a model|another architecture"):
        load_styler(rewritten(model, part, **arguments))


def test_a_model_file_can_not_name_another_file(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("arbstyle.perception.weights.read_weights", lambda *a: pytest.fail("was opened"))
    header, data = split(model)
    architecture = json.loads(header["__metadata__"][ARCHITECTURE])
    architecture["transformer"] = {"class": "AdaINTransformer", "arguments": {"weights": "/etc/passwd"}}
    header["__metadata__"][ARCHITECTURE] = json.dumps(architecture)
    model.write_bytes(joined(header, data))
    with pytest.raises(ArbstyleError, match="may not name other files"):
        load_styler(model)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_models_hold_finite_numbers(number: float, model: Path, tmp_path: Path):
    header, data = split(model)
    begin = header["head.bias"]["data_offsets"][0]
    model.write_bytes(joined(header, data[:begin] + np.float16(number).tobytes() + data[begin + 2 :]))
    with pytest.raises(ArbstyleError, match=r"'head\.bias'.* not finite"):
        load_styler(model)


def test_models_hold_no_huge_numbers(model: Path):
    """In half precision, in which we write them, there are none; in single precision there are."""
    from safetensors import safe_open

    with safe_open(model, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    tensors["head.bias"][0] = 1e30
    save_file(tensors, model, metadata)
    with pytest.raises(ArbstyleError, match=r"'head\.bias'.* too large"):
        load_styler(model)


def test_what_is_not_finite_is_not_painted():
    from arbstyle import Stylizer

    styler = small_styler()
    assert isinstance(styler.head, nn.Linear)
    torch.nn.init.constant_(styler.head.bias, float("nan"))
    stylizer = Stylizer(styler, device="cpu", precision="fp32")
    for dtype in (torch.float32, torch.uint8):
        with pytest.raises(ArbstyleError, match="not finite"):
            stylizer.stylize(torch.ones(1, 3, 16, 16, dtype=dtype), torch.rand(1, 3, 16, 16))


def test_weights_too_large_for_half_precision_are_not_saved(tmp_path: Path):
    styler = small_styler()
    assert isinstance(styler.head, nn.Linear)
    with torch.no_grad():
        styler.head.bias[0] = 1e6
    with pytest.raises(ArbstyleError, match="half precision"):
        save_styler(styler, tmp_path / "large.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_json_is_bounded():
    assert read_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for text in ("[" * 100_000, "[" * 17 + "]" * 17, "NaN", "[1e999]", '"' + "a" * 2_000_000 + '"'):
        with pytest.raises(ValueError, match=r"nested|finite|at most|Expecting"):
            read_json(text)


# --- styles -------------------------------------------------------------------------------------


def test_a_style_of_the_right_form_is_read(style: Path):
    contents = StyleContents.load(style)
    assert contents.code.shape == (1, 7)
    assert contents.thumbnail.size == (8, 6)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("code", torch.ones(7)),
        ("code", torch.ones(2, 7)),
        ("code", torch.ones(1, 7, dtype=torch.int32)),
        ("code", torch.full((1, 7), float("nan"))),
        ("parameters", torch.full((1, 9), float("inf"))),
        ("code", torch.full((1, 7), 1e30)),
        ("parameters", torch.full((1, 9), -20_000.0)),
        ("thumbnail", torch.ones(3)),
        ("thumbnail", torch.ones(3, dtype=torch.uint8)),
    ],
)
def test_styles_of_another_form_are_refused(name: str, tensor: Tensor, style: Path):
    rewrite_style(style, name, tensor)
    with pytest.raises(ArbstyleError, match="not a readable style file"):
        StyleContents.load(style)


def test_numbers_that_would_not_be_read_are_not_written(tmp_path: Path):
    style = Style("a", torch.full((1, 7), 1e30), None, "0" * 16, "m", Image.new("RGB", (8, 6)))
    with pytest.raises(ArbstyleError, match="up to 10000"):
        style.save(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_huge_thumbnail_is_not_decoded(style: Path):
    file = io.BytesIO()
    Image.new("1", (8000, 8000)).save(file, "PNG")
    rewrite_style(style, "thumbnail", torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8))
    with pytest.raises(ArbstyleError, match="8000×8000"):
        StyleContents.load(style)


def rewrite_style(path: Path, name: str, tensor: Tensor) -> None:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors | {name: tensor}, path, metadata)


def test_a_forged_style_of_the_right_model_is_refused():
    from arbstyle import Stylizer

    stylizer = Stylizer(small_styler(), device="cpu", precision="fp32")
    photo = torch.rand(1, 3, 16, 16)
    size = stylizer.styler.transformer.num_style_parameters
    for code, parameters in (
        (torch.ones(1, 8), None),
        (torch.ones(1, 7), torch.ones(1, 9)),
        (torch.full((1, 7), 1e30), None),
        (torch.ones(1, 7), torch.full((1, size), float("nan"))),
    ):
        style = Style("a", code, parameters, stylizer.fingerprint, "m", Image.new("RGB", (1, 1)))
        with pytest.raises(ArbstyleError, match="numbers"):
            stylizer(photo, style)


# --- checkpoints --------------------------------------------------------------------------------


def test_a_checkpoint_without_weights_is_not_exported(tmp_path: Path):
    torch.save(checkpoint_of(small_styler()) | {"state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(ArbstyleError, match="no trained weights"):
        export_checkpoint(tmp_path / "a.ckpt", tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


class RunsCode:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("executed",)


def test_refused_pickles_are_told_in_our_own_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "a.ckpt"
    for write in (lambda: torch.save(RunsCode(), path), lambda: path.write_bytes(pickle.dumps(RunsCode()))):
        write()
        with pytest.raises(ArbstyleError, match="could run code") as caught:
            export_checkpoint(path, tmp_path / "a.safetensors")
        assert "weights_only" not in str(caught.value)
    assert capsys.readouterr().out == ""


# --- the cache of activations -------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda means: {},
        lambda means: {"conv1_1": means["conv1_1"]},
        lambda means: means | {"conv1_2": means["conv1_2"][:, :1]},
        lambda means: means | {"conv1_2": means["conv1_2"].long()},
        lambda means: means | {"conv1_2": means["conv1_2"] * float("nan")},
        lambda means: means | {"conv1_2": -1 - means["conv1_2"]},
    ],
)
def test_a_broken_cache_is_made_anew(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    picture = tmp_path / "noise.png"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(picture)
    monkeypatch.setattr(filters, "calibration_files", lambda: iter([picture]))
    monkeypatch.setenv("ARBSTYLE_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    names = ["conv1_1", "relu1_1", "conv1_2", "relu1_2"]
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU())
    whole = filters.cached_mean_activations(network, names, "max")
    (file,) = (tmp_path / "cache").iterdir()
    save_file(change(whole), file)
    again = filters.cached_mean_activations(network, names, "max")
    torch.testing.assert_close(again, whole)
    assert filters.known_activations(file, network, names) is not None


# --- results of an evaluation -------------------------------------------------------------------


def test_damaged_results_are_measured_again(tmp_path: Path):
    row = Row("=m", "a", "b", 4, 5, dict.fromkeys(MEASURES, 0.5), 1.0, None, 2.0, "p", "s", "n")
    path = tmp_path / "results.csv"
    ResultsTable(path).add(row)
    pair = Pair(Path("a.png"), Path("b.png"))
    assert ResultsTable(path).find("=m", pair) == row
    whole = path.read_bytes()
    cut = whole + b"m,c"
    contents = [cut, whole.decode().encode("utf-16"), whole.replace(b"0.5", b"nan"), b'"' * 200_000]
    contents += [damaged_bytes(whole, random.Random(number)) for number in range(1000)]
    assert escapes(ResultsTable, path, contents) == []
    path.write_bytes(whole.replace(b"0.5", b"nan"))
    assert ResultsTable(path).find("=m", pair) is None


# --- settings of a training ---------------------------------------------------------------------


def laughs(merge: str) -> str:
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, 30):
        below = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} {merge % below}")
    return "\n".join(lines)


@pytest.mark.parametrize("text", [laughs("[%s]"), laughs("{<<: [%s]}"), "a: &a [*a]"])
def test_a_billion_laughs_are_refused(text: str):
    from arbstyle.training.command_line import load_settings

    with pytest.raises(ArbstyleError, match="YAML"):
        load_settings(text)


def test_references_in_settings_may_be_used():
    from arbstyle.training.command_line import load_settings

    assert load_settings("a: &a {x: 1}\nb: *a\n") == {"a": {"x": 1}, "b": {"x": 1}}


# --- names in folders ---------------------------------------------------------------------------


def test_patterns_end_and_pipes_are_never_opened(tmp_path: Path):
    from arbstyle.restyling.styles import find_style_files
    from arbstyle.training.pictures import PictureSet
    from arbstyle.training.sources import open_pictures

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "about").symlink_to(tmp_path, target_is_directory=True)
    pattern = str(tmp_path / "**" / "*.png")
    pictures = open_pictures(pattern)
    assert isinstance(pictures, PictureSet)
    assert len(pictures) == 1
    assert [file.name for file in find_style_files([pattern])] == ["a.png"]
    with pytest.raises(ArbstyleError, match="not a regular file"):
        open_pictures(str(tmp_path / "pipe.png"))
