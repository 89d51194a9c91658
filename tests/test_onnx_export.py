"""The ONNX graphs paint what PyTorch paints, at any size, from any of the ways to keep their weights."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from arbstyle import ArbstyleError, Stylizer
from arbstyle.cli import main
from arbstyle.images import read_image
from arbstyle.networks import (
    ArbitraryStyler,
    FastTransformer,
    JohnsonTransformer,
    NormalizationNetwork,
    PooledStatisticsEncoder,
    StyleBank,
    StylePredictor,
    load_styler,
    save_styler,
)
from arbstyle.networks.style_encoders.bank import StyleTable
from arbstyle.networks.style_encoders.base import StyleEncoder
from arbstyle.onnx.export import export_onnx
from arbstyle.onnx.storage import halve, header_hash

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

REPOSITORY = Path(__file__).resolve().parent.parent
ASSETS = REPOSITORY / "arbstyle" / "assets"
EXAMPLES = REPOSITORY / "examples"
SIZES = [(256, 256), (255, 201), (64, 400), (15, 9)]
"""Even, odd, elongated, and smaller than what the transformer takes."""


@pytest.mark.parametrize("words", [["-o", "link.safetensors"], ["--onnx", "graphs"]])
@pytest.mark.parametrize("role", ["MODEL", "--vgg-weights"])
def test_no_input_is_replaced(
    words: list[str],
    role: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    monkeypatch.chdir(tmp_path)
    Path("mine.safetensors").write_bytes(b"weights")
    Path("graphs").mkdir()
    for link in ("link.safetensors", "graphs/head.onnx"):
        Path(link).symlink_to(tmp_path / "mine.safetensors")
    inputs = ["mine.safetensors"] if role == "MODEL" else ["other.ckpt", role, "mine.safetensors"]
    assert main(["export", *inputs, *words]) == 2
    assert f"is an input ({role})" in capsys.readouterr().err
    assert Path("mine.safetensors").read_bytes() == b"weights"


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    return Stylizer.from_pretrained(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged model as three files that need no other."""
    folder = tmp_path_factory.mktemp("onnx")
    assert main(["export", "--onnx", str(folder)]) == 0
    return folder


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def paint(folder: Path, photo: torch.Tensor, parameters: torch.Tensor) -> np.ndarray:
    inputs = {"photo": photo.numpy(), "parameters": parameters.expand(len(photo), -1).contiguous().numpy()}
    painter = session(folder / "painter.onnx")
    if any(each.name == "seed" for each in painter.get_inputs()):
        inputs["seed"] = np.array([0])
    (painted,) = painter.run(None, inputs)
    return painted


def picture(name: str, size: tuple[int, int]) -> torch.Tensor:
    return torch.nn.functional.interpolate(read_image(EXAMPLES / f"{name}.jpg"), size, mode="area")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_packaged_graphs_paint_what_pytorch_paints(stylizer: Stylizer, size: tuple[int, int]):
    photos = torch.cat([picture("photo-cat", size), picture("photo-pagoda", size)])
    parameters = stylizer.parameters_of(EXAMPLES / "painting-night.jpg")
    painted = paint(ASSETS, photos, parameters)
    wanted = stylizer.styler.transformer(photos, parameters).numpy()
    assert painted.shape == wanted.shape
    assert np.abs(painted - wanted).max() < 0.1 / 255


@pytest.mark.parametrize(
    "size", [(256, 320), (300, 211), (64, 500), (16, 40), (1, 30), (1024, 1100)], ids=str
)
def test_style_graph_gives_the_code_and_the_parameters(stylizer: Stylizer, size: tuple[int, int]):
    styles = torch.cat([picture("painting-storm", size), picture("drawing-oz", size)])
    code, parameters = session(ASSETS / "style.onnx").run(None, {"style": styles.numpy()})
    (of_head,) = session(ASSETS / "head.onnx").run(None, {"code": code})
    wanted = stylizer.styler.encode(styles)
    np.testing.assert_allclose(code, wanted, atol=1e-3)
    np.testing.assert_allclose(parameters, stylizer.styler.parameters_of(wanted), atol=1e-3)
    np.testing.assert_allclose(of_head, parameters, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "encoder",
    [
        lambda: StylePredictor("mobilenet_v3", "random", code_size=8),
        lambda: PooledStatisticsEncoder((8, 16), 8, 8),
    ],
    ids=["mobilenet", "pooled"],
)
def test_style_graphs_enlarge_what_their_encoder_enlarges(
    encoder: Callable[[], StyleEncoder], tmp_path: Path
):
    torch.manual_seed(0)
    styler = ArbitraryStyler(encoder(), JohnsonTransformer(width=8, blocks=1)).eval()
    export_onnx(styler, tmp_path)
    graph = session(tmp_path / "style.onnx")
    for size in [(16, 16), (64, 70), (95, 200), (128, 96)]:
        style = picture("painting-storm", size)
        (code,) = graph.run(["code"], {"style": style.numpy()})
        wanted = styler.encode(style).numpy()
        assert np.abs(code - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_packaged_graphs_are_of_the_packaged_model(stylizer: Stylizer):
    for name in ("style", "head", "painter"):
        path = ASSETS / f"{name}.onnx"
        metadata = {each.key: each.value for each in onnx.load(path, load_external_data=False).metadata_props}
        assert metadata["fingerprint"] == stylizer.fingerprint, "run scripts/package_model.py"
        assert metadata["weights_header"] == header_hash(ASSETS / "arbstyle.safetensors")
        assert metadata["part"] == name
        assert path.stat().st_size < 500e3, "its weights are in the model's own file"


def test_exported_files_need_no_other_and_say_what_they_are(exported: Path, stylizer: Stylizer):
    assert sorted(path.name for path in exported.iterdir()) == ["head.onnx", "painter.onnx", "style.onnx"]
    photo = picture("photo-cat", (120, 91))
    parameters = stylizer.parameters_of(EXAMPLES / "painting-night.jpg")
    np.testing.assert_array_equal(paint(exported, photo, parameters), paint(ASSETS, photo, parameters))
    metadata = session(exported / "painter.onnx").get_modelmeta().custom_metadata_map
    assert metadata["name"] == stylizer.name
    assert metadata["fingerprint"] == stylizer.fingerprint
    assert json.loads(metadata["information"]) == stylizer.information
    numbers = sum(parameter.numel() for parameter in stylizer.styler.parameters())
    size = sum(path.stat().st_size for path in exported.iterdir())
    assert size < 1.35 * numbers, "nearly all in eight bits, and the head twice"


def test_exported_graphs_are_valid_and_free_of_this_machine(exported: Path):
    for path in exported.iterdir():
        onnx.checker.check_model(onnx.load(path), full_check=True)
        assert str(REPOSITORY).encode() not in path.read_bytes()


@pytest.fixture(scope="module")
def bank() -> ArbitraryStyler:
    torch.manual_seed(0)
    transformer = FastTransformer(width=16, deep_width=16, deep_blocks=1, fine_width=8, noise=True)
    styler = ArbitraryStyler(StyleBank(3), transformer).eval()
    for row in cast(StyleTable, styler.head).rows:  # no noise is where they start
        row.data += 0.3 * torch.randn_like(row)
    return styler


@pytest.fixture(scope="module")
def exported_bank(bank: ArbitraryStyler, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In half precision."""
    folder = tmp_path_factory.mktemp("bank")
    export_onnx(bank, folder, precision="fp16")
    return folder


@pytest.mark.parametrize("seed", [0, 7, 2**31 + 5])
def test_half_precision_and_noise(bank: ArbitraryStyler, exported_bank: Path, seed: int):
    photo = picture("photo-cat", (120, 91))
    parameters = bank.parameters_of(torch.tensor([[1.0, 0.0, 0.0]])).detach()
    inputs = {"photo": photo.numpy(), "parameters": parameters.numpy(), "seed": np.array([seed])}
    painter = session(exported_bank / "painter.onnx")
    (painted,) = painter.run(None, inputs)
    wanted, other = (bank.transformer(photo, parameters, each).detach().numpy() for each in (seed, seed + 1))
    difference = np.abs(painted - wanted) * 255
    assert 0 < difference.mean() < 0.3
    assert difference.max() < 6
    assert np.abs(painted - other).max() * 255 > 6, "the seed matters"
    assert painter.get_modelmeta().custom_metadata_map["precision"] == "fp16"


def test_a_bank_has_no_style_graph(bank: ArbitraryStyler, exported_bank: Path):
    assert sorted(path.name for path in exported_bank.iterdir()) == ["head.onnx", "painter.onnx"]
    (row,) = session(exported_bank / "head.onnx").run(None, {"code": np.array([[0, 1, 0]], np.float32)})
    np.testing.assert_allclose(
        row[0], bank.parameters_of(torch.tensor([[0.0, 1.0, 0.0]]))[0].detach(), rtol=1e-6
    )


def test_another_architecture(tmp_path: Path):
    torch.manual_seed(0)
    styler = ArbitraryStyler(
        NormalizationNetwork(widths=(8, 16)), JohnsonTransformer(width=8, blocks=1)
    ).eval()
    model = save_styler(styler, tmp_path / "model.safetensors")
    assert main(["export", str(model), "--onnx", str(tmp_path / "out")]) == 0
    photo, style = torch.rand(1, 3, 45, 38), torch.rand(1, 3, 70, 65)
    _, parameters = session(tmp_path / "out" / "style.onnx").run(None, {"style": style.numpy()})
    painted = paint(tmp_path / "out", photo, torch.from_numpy(parameters))
    wanted = Stylizer.from_pretrained(model, "cpu", "fp32").stylize(photo, style, style_size=65)
    assert np.abs(painted - wanted.numpy()).max() < 1 / 255


@pytest.mark.parametrize("packed", [False, True])
def test_graphs_that_take_their_weights_from_the_model_s_file(packed: bool, tmp_path: Path):
    torch.manual_seed(0)
    styler = ArbitraryStyler(PooledStatisticsEncoder((16, 48), 64, 32), FastTransformer(16, 48, 1, 1, 8))
    model = save_styler(styler, tmp_path / "model.safetensors", packed=packed)
    alone, beside = tmp_path / "alone", tmp_path
    styler, _ = load_styler(model)
    export_onnx(styler, alone, model=model)
    export_onnx(styler, beside, weights=model)
    halves = tmp_path / "halves" if packed else alone
    if packed:
        export_onnx(styler, halves)
    for name in ("style", "painter"):
        half, whole, outside = ((each / f"{name}.onnx").stat().st_size for each in (halves, alone, beside))
        assert outside < half / 2
        assert (whole - outside < 0.8 * (half - outside)) == packed
    photo, style = torch.rand(1, 3, 45, 38), torch.rand(1, 3, 70, 65)
    painted = []
    for folder in (halves, alone, beside):
        _, parameters = session(folder / "style.onnx").run(None, {"style": style.numpy()})
        painted.append(paint(folder, photo, torch.from_numpy(parameters)))
    np.testing.assert_array_equal(painted[0], painted[1])
    np.testing.assert_array_equal(painted[0], painted[2])
    wanted = Stylizer.from_pretrained(model, "cpu", "fp32").stylize(photo, style, style_size=65)
    assert np.abs(painted[1] - wanted.numpy()).max() < 1 / 255


def test_only_what_half_precision_holds_is_halved():
    exact = np.random.default_rng(0).normal(size=300).astype(np.float16).astype(np.float32)
    for values in (exact, exact + np.float32(1e-4)):
        tensor = onnx.numpy_helper.from_array(values, "weight")
        value = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_model(
            onnx.helper.make_graph(
                [onnx.helper.make_node("Add", ["x", "weight"], ["y"])],
                "sum",
                [value("x", onnx.TensorProto.FLOAT, [300])],
                [value("y", onnx.TensorProto.FLOAT, [300])],
                [tensor],
            ),
            ir_version=10,
            opset_imports=[onnx.helper.make_opsetid("", 18)],
        )
        full = len(graph.SerializeToString())
        halve(graph)
        assert (len(graph.SerializeToString()) < 0.7 * full) == (values is exact)
        runtime = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(runtime.run(None, {"x": np.zeros(300, np.float32)})[0], values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.safetensors", "--onnx", "out"], "no such file"),
        (["--onnx", "file.txt/out"], "cannot write"),
        ([], "--onnx"),
    ],
)
def test_mistakes_are_told_in_a_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("")
    assert main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("out").exists()


def test_missing_package_is_told(monkeypatch: pytest.MonkeyPatch, stylizer: Stylizer, tmp_path: Path):
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ArbstyleError, match=r"pip install 'arbstyle\[onnx\]'"):
        export_onnx(stylizer.styler, tmp_path)


def test_ctrl_c_is_no_failure_of_the_exporter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupted(*_: Any, **__: Any) -> None:
        try:
            raise KeyboardInterrupt
        except BaseException as error:  # as torch.onnx does
            raise RuntimeError("failed to export the model") from error

    monkeypatch.setattr(torch.onnx, "export", interrupted)
    assert main(["export", "--onnx", str(tmp_path / "graphs")]) == 130
    assert capsys.readouterr().err == "arbstyle: interrupted\n"
    assert not (tmp_path / "graphs").exists()


def test_graphs_are_written_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    graphs = {name: onnx.ModelProto() for name in ("style", "head", "painter")}
    monkeypatch.setattr("arbstyle.onnx.export.make_graphs", lambda *_: graphs)
    for name in graphs:
        (tmp_path / f"{name}.onnx").write_bytes(b"old")
    save = onnx.save_model
    written: list[Path] = []

    def full(graph: Any, path: Path) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        save(graph, path)

    monkeypatch.setattr(onnx, "save_model", full)
    with pytest.raises(ArbstyleError, match="no space left on device"):
        export_onnx(None, tmp_path)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.onnx", "painter.onnx", "style.onnx"]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"old"}
