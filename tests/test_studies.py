"""The studies: what they compute, on small pictures with a random VGG, and what they write."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from arbstyle import studies
from arbstyle.errors import ArbstyleError
from arbstyle.perception import PerceptualLoss
from arbstyle.studies.arbitrary import Pictures, from_one_style_to_any, read_pictures
from arbstyle.studies.compressed_vgg import CompressedVGG
from arbstyle.studies.drawing import plot, sheet
from arbstyle.studies.transfer import VARIANTS

pytestmark = pytest.mark.usefixtures("quick_calibration")

PHOTO = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(9))
STYLE = torch.rand(1, 3, 36, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def real_photo() -> torch.Tensor:
    """Smooth, so that a few evaluations get somewhere."""
    coarse = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, (32, 40), mode="bicubic").clamp(0, 1)


def test_low_layers_keep_more_of_a_photo(real_photo):
    finding = studies.content_reconstruction(
        real_photo, weights="random", layers=["conv1_1", "block3"], steps=25
    )
    table = finding.tables["layers"]
    low, high = (float(value) for value in table.column("PSNR, first noise"))
    assert low > high
    assert all(0 < float(left) < 1 for left in table.column("loss left"))
    first = studies.content_reconstruction(real_photo, weights="random", layers=["conv1_1"], steps=25)
    assert first.tables["layers"].column("PSNR, first noise")[0] == pytest.approx(low)


def test_a_texture_of_more_layers_is_nearer_at_those_layers():
    sets = {"1": ["relu1_1"], "1–2": ["relu1_1", "relu2_1"]}
    finding = studies.texture_synthesis(STYLE, weights="random", layer_sets=sets, steps=15)
    rows = finding.tables["gram"].rows
    assert [(row["layers"], row["noise"]) for row in rows] == [("1", 0), ("1", 1), ("1–2", 0), ("1–2", 1)]
    for row in rows:
        layers = [float(row[f"relu{block}_1"]) for block in range(1, 6)]
        assert float(row["mean"]) == pytest.approx(sum(layers) / 5)
        assert 0 <= min(layers) <= max(layers) <= 1
    assert float(rows[2]["relu2_1"]) < float(rows[0]["relu2_1"])


def test_starts_are_in_percent_of_the_white_noise():
    finding = studies.transfer_starts(PHOTO, STYLE, weights="random", steps=6, every=3)
    rows = finding.tables["terms"].rows
    assert [row["evaluations"] for row in rows] == [1, 3, 6]
    assert rows[0]["style, from white-noise"] == rows[0]["content, from white-noise"] == 100
    assert float(rows[0]["content, from content"]) < 0.1
    assert float(rows[-1]["style, from white-noise"]) < 100


def test_variants_change_one_thing_at_a_time():
    variants = {name: VARIANTS[name] for name in ("style-weight", "balance")}
    finding = studies.transfer_variants(PHOTO, STYLE, weights="random", variants=variants, size=32, steps=3)
    rows = finding.tables["losses"].rows
    assert [row["variant"] for row in rows[:5]] == [
        "style weight 1", "1/2", "1/10", "balanced", "not balanced",
    ]  # fmt: skip
    usual, half, _, balanced, unbalanced, whole, *_ = rows
    losses = ("style loss, normalised", "content loss")
    assert [usual[name] for name in losses] == [balanced[name] for name in losses]
    assert [usual[name] for name in losses] == [whole[name] for name in losses]
    assert [usual[name] for name in losses] != [half[name] for name in losses]
    assert [usual[name] for name in losses] != [unbalanced[name] for name in losses]
    for row in finding.tables["shares"].rows:
        assert sum(float(value) for name, value in row.items() if name != "variant") == pytest.approx(1)


def test_the_grid_has_every_photo_in_every_style():
    finding = studies.style_transfer_grid([PHOTO, PHOTO.flip(3)], [STYLE], weights="random", steps=2)
    assert [(row["photo"], row["style"]) for row in finding.tables["losses"].rows] == [(1, 1), (2, 1)]


# --- from one style to any ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    generator = torch.Generator().manual_seed(0)
    photos, styles, held_out, unseen = (torch.rand(n, 3, 16, 16, generator=generator) for n in (5, 10, 2, 8))
    return Pictures(photos, styles, held_out, unseen)


def test_every_system_is_trained_and_judged(pictures):
    finding = from_one_style_to_any(pictures, counts=[8, 500], seconds=0.01, weights="random")
    rows = {(row["system"], row["styles"]): row for row in finding.tables["losses"].rows}
    any_style = ("AdaIN", "normalisation network", "predictor", "ours")
    expected = {("photo copy", 0), ("Johnson", 1), ("style bank", 8), ("style bank", 10)}
    assert set(rows) == expected | {(name, count) for name in any_style for count in (8, 10)}
    for (name, _), row in rows.items():
        assert 0 <= float(row["style loss, seen"]) <= 1
        assert (row["style loss, unseen"] == "–") == (name in ("Johnson", "style bank"))
        assert name == "photo copy" or int(row["steps"]) >= 1
    assert rows["photo copy", 0]["content loss, seen"] == 0
    assert set(finding.figures) == {"pictures", "styles", "added-style"}


def test_held_out_styles_are_never_learned(tmp_path):
    for kind, count in (("photos", 5), ("styles", 20)):
        for number in range(count):
            folder = tmp_path / kind
            folder.mkdir(exist_ok=True)
            Image.new("RGB", (20, 16), (number * 10, 0, 0)).save(folder / f"{number:02}.png")
    paths = {kind: sorted((tmp_path / kind).iterdir()) for kind in ("photos", "styles")}
    read = read_pictures(paths["photos"], paths["styles"], size=16)
    assert (len(read.photos), len(read.held_out_photos)) == (1, 4)
    levels = [
        {round(level * 255) for level in x[:, 0, 0, 0].tolist()} for x in (read.styles, read.unseen_styles)
    ]
    assert len(levels[0]) == 12
    assert len(levels[1]) == 8
    assert not levels[0] & levels[1]
    with pytest.raises(ArbstyleError, match="at least 16 styles, got 5 and 10"):
        read_pictures(paths["photos"], paths["styles"][:10], size=16)


def test_the_compressed_vgg_has_the_layers_and_channels_of_the_loss(shared_data):
    network = CompressedVGG(shared_data.parent / "weights" / "vgg19_16x.safetensors")
    features = network(PHOTO)
    assert {name: maps.shape[1] for name, maps in features.items()} == network.channels
    assert network.channels == {"relu1_1": 64, "relu2_1": 128, "relu3_1": 256, "relu4_1": 512}
    assert [maps.shape[2] for maps in features.values()] == [32, 16, 8, 4]
    loss = PerceptualLoss(network, {"relu4_1": 1.0}, {"relu1_1": 1.0})  # type: ignore[arg-type]
    assert loss(PHOTO, loss.targets(PHOTO, PHOTO)).total.item() == pytest.approx(0, abs=1e-6)


def test_other_weights_are_no_compressed_vgg(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ArbstyleError, match="can't be read as the weights of a compressed VGG-19"):
        CompressedVGG(path)


# --- tables, figures, files -----------------------------------------------------------------------


def test_a_finding_is_written_whole(tmp_path):
    table = studies.Table([{"name": "a|b", "value": 0.5}, {"name": "<c>", "value": 1234.5}])
    figure = sheet([[("one", PHOTO)], [("one\ntwo", PHOTO), ("three", STYLE)]], width=50)
    finding = studies.Finding("x", {"t": table}, {"f": figure}, {"seed": 3})
    finding.save(tmp_path / "out", {"date": "today"})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "x-f.webp",
        "x-t.csv",
        "x-t.md",
        "x.json",
    ]
    with (tmp_path / "out" / "x-t.csv").open(newline="") as file:
        assert list(csv.DictReader(file))[1] == {"name": "<c>", "value": "1234.5"}
    assert (tmp_path / "out" / "x-t.md").read_text().splitlines()[-1] == "| <c> | 1234 |"
    assert json.loads((tmp_path / "out" / "x.json").read_text()) == {"settings": {"seed": 3}, "date": "today"}
    assert "&lt;c&gt;" in table._repr_html_()


def test_a_sheet_shows_its_pictures_where_they_belong():
    red, blue = (
        torch.tensor(color).view(1, 3, 1, 1).expand(1, 3, 20, 20) for color in ([1.0, 0, 0], [0, 0, 1.0])
    )
    image = sheet([[("", red), ("", blue)]], width=40)
    assert image.width == 2 * 48
    assert image.getpixel((24, image.height - 20)) == (255, 0, 0)
    assert image.getpixel((72, image.height - 20)) == (0, 0, 255)


def test_a_plot_has_its_size_and_its_curve():
    image = plot({"a": ([1, 2, 3], [1.0, 10.0, 100.0])}, x="n", y="loss", log_y=True)
    assert image.size == (720, 400)
    assert len(image.convert("RGB").getcolors(1 << 24) or []) > 10


def test_the_benchmark_writes_a_study(tmp_path: Path, monkeypatch):
    import importlib.util

    path = Path(__file__).resolve().parent.parent / "benchmarks" / "studies.py"
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location("studies_benchmark", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("ARBSTYLE_VGG19", "random")
    arguments = ["studies.py", "texture", "--size", "32", "--steps", "1", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    module.main()
    record = json.loads((tmp_path / "texture.json").read_text())
    assert record["settings"]["size"] == 32
    assert record["settings"]["seeds"] == [0, 1]
    assert f"PyTorch {torch.__version__}" in record["machine"]
