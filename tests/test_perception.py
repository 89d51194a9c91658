"""The perceptual encoder: layers against torchvision's own network, filter normalisation, weights files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.images import find_images, read_image, resize
from arbstyle.perception import IMAGENET_MEAN, IMAGENET_STD, PerceptualEncoder, Pooling, filters

POSITIONS = {  # of torchvision's `features`, read off the papers' table by hand
    "vgg19": {
        "conv1_1": 0,
        "relu1_2": 3,
        "pool2": 9,
        "conv3_1": 10,
        "block3": 17,
        "relu4_1": 20,
        "conv4_2": 21,
    },
    "vgg16": {
        "conv1_1": 0,
        "relu1_2": 3,
        "pool2": 9,
        "conv3_1": 10,
        "block3": 15,
        "relu4_1": 18,
        "conv4_2": 19,
    },
}
ALL_RELUS = [
    f"relu{block}_{i}" for block, count in enumerate((2, 2, 4, 4, 4), 1) for i in range(1, count + 1)
]


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Sequential]:
    """torchvision's own feature stacks, with random weights that keep deep features alive."""
    torch.manual_seed(0)
    return {name: getattr(torchvision.models, name)(weights=None).features.eval() for name in POSITIONS}


@pytest.fixture(scope="module")
def weights_file(networks: dict[str, nn.Sequential], tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("weights")

    def write(network: str, suffix: str = ".safetensors") -> Path:
        state = {f"features.{key}": value for key, value in networks[network].state_dict().items()}
        path = folder / f"{network}{suffix}"
        if not path.exists():
            save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
        return path

    return write


@pytest.fixture
def two_calibration_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Calibrate on two small pictures, and cache in this test's own folder."""
    generator = torch.Generator().manual_seed(0)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path in paths:
        noise = torch.randint(0, 256, (24, 32, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(noise.numpy()).resize((64, 48)).save(path)
    monkeypatch.setattr(filters, "calibration_files", lambda: iter(paths))
    monkeypatch.setenv("ARBSTYLE_CACHE", str(tmp_path / "cache"))
    return paths


def picture(height: int = 48, width: int = 64, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def normalized(image: Tensor) -> Tensor:
    return torchvision.transforms.functional.normalize(image, IMAGENET_MEAN, IMAGENET_STD)


# --- layers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["vgg19", "vgg16"])
@torch.no_grad()
def test_layers_are_torchvisions(network, networks: dict[str, nn.Sequential], weights_file):
    positions = POSITIONS[network]
    encoder = PerceptualEncoder(
        network, list(positions), weights=weights_file(network), normalize_filters=False
    )
    image = picture()
    features = encoder(image)
    assert list(features) == list(positions)
    x = normalized(image)
    expected = {}
    for index, module in enumerate(networks[network][: max(positions.values()) + 1]):
        x = module(x.clone())  # torchvision's ReLUs write in place
        expected[index] = x
    for name, index in positions.items():
        torch.testing.assert_close(features[name], expected[index], rtol=1e-4, atol=1e-5)
        assert encoder.channels[name] == features[name].shape[1]


@torch.no_grad()
def test_layer_before_its_activation_and_after():
    encoder = PerceptualEncoder("vgg19", ["conv2_2", "relu2_2"], weights="random", normalize_filters=False)
    features = encoder(picture())
    assert features["conv2_2"].min() < 0
    torch.testing.assert_close(features["relu2_2"], features["conv2_2"].relu())


@torch.no_grad()
def test_pooling():
    image = picture()
    features = {}
    references: dict[Pooling, Callable] = {"max": nn.functional.max_pool2d, "avg": nn.functional.avg_pool2d}
    for pooling, reference in references.items():
        encoder = PerceptualEncoder(
            "vgg19", ["relu1_2", "pool1"], weights="random", pooling=pooling, normalize_filters=False
        )
        features[pooling] = encoder(image)
        torch.testing.assert_close(features[pooling]["pool1"], reference(features[pooling]["relu1_2"], 2))
    assert not torch.equal(features["max"]["pool1"], features["avg"]["pool1"])


def test_stops_at_the_deepest_layer_asked_for():
    encoder = PerceptualEncoder("vgg19", ["relu2_1", "conv1_1"], weights="random", normalize_filters=False)
    assert [name for name, _ in encoder.layers.named_children()][-1] == "relu2_1"


def test_is_frozen_and_passes_gradients_to_the_picture():
    encoder = PerceptualEncoder("vgg19", ["relu2_1"], weights="random", normalize_filters=False).train()
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    image = picture().requires_grad_()
    encoder(image)["relu2_1"].sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("layers", "complaint"),
    [
        (["relu3_9"], "no layer 'relu3_9'; it has conv1_1"),
        (["features.3"], "no layer"),
        ([], "at least one layer"),
    ],
)
def test_unknown_layers(layers: list[str], complaint: str):
    with pytest.raises(ArbstyleError, match=complaint):
        PerceptualEncoder("vgg19", layers, weights="random")


def test_unknown_network_and_pooling():
    with pytest.raises(ArbstyleError, match="'vgg19' or 'vgg16'"):
        PerceptualEncoder("resnet18", weights="random")  # type: ignore[arg-type]
    with pytest.raises(ArbstyleError, match="'max' or 'avg'"):
        PerceptualEncoder("vgg19", weights="random", pooling="min", normalize_filters=False)  # type: ignore[arg-type]


# --- filter normalisation -----------------------------------------------------------------------


@torch.no_grad()
def test_filters_are_only_rescaled_to_one_common_mean(two_calibration_pictures: list[Path]):
    layers = ["relu1_1", "relu2_2", "relu3_1"]
    encoder = PerceptualEncoder("vgg19", layers, weights="random")
    plain = PerceptualEncoder("vgg19", layers, weights="random", normalize_filters=False)
    images = [read_image(path) for path in two_calibration_pictures]
    for layer in layers:
        means = torch.stack([encoder(image)[layer].mean(dim=(0, 2, 3)) for image in images]).mean(dim=0)
        common = means.median()
        off = int(((means / common - 1).abs() > 1e-3).sum())
        assert off == encoder.capped_filters.get(layer.replace("relu", "conv"), 0)
        assert off < len(means) / 4
        # What each filter responds to is as it was.
        before, after = plain(images[0])[layer], encoder(images[0])[layer]
        scale = after.mean(dim=(2, 3), keepdim=True) / before.mean(dim=(2, 3), keepdim=True).clamp_min(1e-30)
        torch.testing.assert_close(after, before * scale, rtol=1e-3, atol=1e-3)


def test_scales_leave_each_picture_out_in_turn():
    generator = torch.Generator().manual_seed(0)
    population = torch.rand(2000, 40, generator=generator) ** 6  # each filter fires in few pictures
    fitted, _ = filters.filter_scales(population[:12])
    naive = 1 / population[:12].mean(dim=0)
    assert (population[12:] * naive).mean() > 1.1
    assert (population[12:] * fitted).mean() == pytest.approx(1, abs=0.05)


def test_a_filter_that_never_fires_is_capped_and_counted(
    two_calibration_pictures: list[Path], weights_file: Callable[..., Path], tmp_path: Path
):
    state = load_file(weights_file("vgg19"))
    state["features.0.bias"][7] = -6e4
    save_file(state, tmp_path / "dead.safetensors")
    encoder = PerceptualEncoder("vgg19", ["relu1_1"], weights=tmp_path / "dead.safetensors")
    assert encoder.capped_filters["conv1_1"] == 1
    features = encoder(picture())["relu1_1"]
    assert features.isfinite().all()
    assert features[:, 7].max() == 0


def test_mean_activations_are_computed_once(
    two_calibration_pictures: list[Path], monkeypatch: pytest.MonkeyPatch
):
    first = PerceptualEncoder("vgg19", ["relu2_1"], weights="random")
    assert list(filters.cache_directory().iterdir())

    def must_not_run(*arguments: object) -> dict[str, Tensor]:
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(filters, "mean_activations", must_not_run)
    second = PerceptualEncoder("vgg19", ["relu2_1"], weights="random")
    torch.testing.assert_close(first(picture())["relu2_1"], second(picture())["relu2_1"], rtol=0, atol=0)
    with pytest.raises(AssertionError):  # other pooling has other mean activations
        PerceptualEncoder("vgg19", ["relu2_1"], weights="random", pooling="avg")


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    two_calibration_pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ARBSTYLE_CACHE", str(tmp_path / "file" / "below"))
    assert PerceptualEncoder("vgg19", ["relu1_1"], weights="random")(picture())


@torch.no_grad()
def test_normalization_makes_features_free_of_the_weights_scale(
    two_calibration_pictures: list[Path], weights_file: Callable[..., Path], tmp_path: Path
):
    """Loss weights carry over to weights whose activations are hundreds of times as large."""
    state = load_file(weights_file("vgg19"))
    for key in ("features.0.weight", "features.0.bias", "features.2.bias"):
        state[key] = state[key] * 300
    save_file(state, tmp_path / "loud.safetensors")
    layers = ["relu1_1", "relu1_2"]
    quiet = PerceptualEncoder("vgg19", layers, weights=weights_file("vgg19"))(picture())
    loud = PerceptualEncoder("vgg19", layers, weights=tmp_path / "loud.safetensors")(picture())
    for layer in layers:
        torch.testing.assert_close(quiet[layer], loud[layer], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_mean_activation_of_photos_that_did_not_calibrate(vgg19_weights: Path, shared_data: Path):
    photos = find_images(shared_data / "content")
    photos = photos[:: len(photos) // 30][:30]  # over all their sources
    encoder = PerceptualEncoder("vgg19", ALL_RELUS, weights=vgg19_weights)
    means = torch.zeros(len(ALL_RELUS))
    for photo in photos:
        features = encoder(resize(read_image(photo), 176))
        means += torch.stack([features[layer].mean() for layer in ALL_RELUS]) / len(photos)
    off = {
        layer: round(float(mean), 3)
        for layer, mean in zip(ALL_RELUS, means, strict=True)
        if abs(mean - 1) > 0.2
    }
    assert off == {}
    assert sum(encoder.capped_filters.values()) < 10


# --- weights ------------------------------------------------------------------------------------


def test_real_weights_load_strictly(vgg19_weights: Path):
    encoder = PerceptualEncoder("vgg19", ["conv5_4"], weights=vgg19_weights, normalize_filters=False)
    stored = load_file(vgg19_weights) if vgg19_weights.suffix == ".safetensors" else torch.load(vgg19_weights)
    last = encoder.layers.get_submodule("conv5_4").state_dict()
    assert torch.equal(last["weight"], stored["features.34.weight"].float())
    assert torch.equal(last["bias"], stored["features.34.bias"].float())


def test_a_pth_file_and_the_environment_variable(weights_file, monkeypatch: pytest.MonkeyPatch):
    named = PerceptualEncoder(
        "vgg16", ["relu1_2"], weights=weights_file("vgg16", ".pth"), normalize_filters=False
    )
    monkeypatch.setenv("ARBSTYLE_VGG16", str(weights_file("vgg16")))
    found = PerceptualEncoder("vgg16", ["relu1_2"], normalize_filters=False)
    assert torch.equal(named(picture())["relu1_2"], found(picture())["relu1_2"])


def complaint_about(weights: Path | None) -> str:
    with pytest.raises(ArbstyleError) as raised:
        PerceptualEncoder("vgg19", ["relu1_1"], weights=weights, normalize_filters=False)
    assert "\n" not in str(raised.value)
    assert "ARBSTYLE_VGG19" in str(raised.value), "the remedy is missing"
    return str(raised.value)


def test_weights_that_cannot_be_used(weights_file: Callable[..., Path], tmp_path: Path):
    assert "no such file" in complaint_about(tmp_path / "missing.safetensors")
    assert "is missing or of another shape" in complaint_about(weights_file("vgg16"))
    for name in ("garbage.safetensors", "garbage.pth"):
        (tmp_path / name).write_bytes(b"neither tensors nor pickle")
        assert "can't be read" in complaint_about(tmp_path / name) or "not a safe" in complaint_about(
            tmp_path / name
        )
    torch.save(
        {"features.0.weight": picture}, tmp_path / "code.pth"
    )  # a function: only an unsafe loader takes it
    assert "code.pth" in complaint_about(tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    assert "table of tensors" in complaint_about(tmp_path / "list.pth")
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(weights_file("vgg19").read_bytes()[:1000])
    assert "can't be read" in complaint_about(truncated)


def test_no_network_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch):
    def offline(*arguments: object, **settings: object) -> dict[str, Tensor]:
        raise URLError("no route to host")

    monkeypatch.delenv("ARBSTYLE_VGG19", raising=False)
    monkeypatch.setattr(torchvision.models.VGG19_Weights.DEFAULT.__class__, "get_state_dict", offline)
    assert "no route to host" in complaint_about(None)
