"""Styles as augmentation: what is painted, what passes, and that it goes into workers and into `datasets`."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from arbstyle import ArbstyleError, Stylizer
from arbstyle.images import read_image
from arbstyle.networks import ArbitraryStyler, FastTransformer, PooledStatisticsEncoder
from arbstyle.painting import Style
from arbstyle.transforms import RandomStylize, StylizeBatch

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PAINTINGS = [EXAMPLES / f"painting-{name}.jpg" for name in ("venice", "night", "storm")]


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    torch.manual_seed(0)
    styler = ArbitraryStyler(
        PooledStatisticsEncoder(widths=(8, 8), hidden=16, code_size=8),
        FastTransformer(width=16, deep_width=16, blocks=1, deep_blocks=1, fine_width=8),
    )
    for parameter in styler.head.parameters():  # an untrained head paints every style alike
        torch.nn.init.normal_(parameter, std=0.5)
    return Stylizer(styler, {"name": "small"}, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return read_image(EXAMPLES / "photo-cat.jpg", size=48)[0]


@pytest.fixture(scope="module")
def styles(stylizer) -> list[Style]:
    return [stylizer.style(painting, style_size=64) for painting in PAINTINGS]


@pytest.fixture(scope="module")
def always(stylizer, styles) -> RandomStylize:
    return RandomStylize(styles, p=1, model=stylizer)


# --- the Stylizer in other people's processes and training steps ------------------------------------


def test_a_stylizer_comes_back_from_pickle_and_paints_the_same(stylizer, photo):
    stylizer(photo, PAINTINGS[0], strength=0.5)  # fills the caches
    again = pickle.loads(pickle.dumps(stylizer))
    assert torch.equal(again(photo, PAINTINGS[0]), stylizer(photo, PAINTINGS[0]))
    assert (again.name, again.fingerprint, again.dtype) == ("small", stylizer.fingerprint, torch.float32)


def test_the_packaged_stylizer_pickles():
    stylizer = Stylizer.from_pretrained(device="cpu", precision="bf16")
    again = pickle.loads(pickle.dumps(stylizer))
    assert again.dtype == torch.bfloat16
    assert again.fingerprint == stylizer.fingerprint


@pytest.mark.parametrize("strength", [0, 0.5, 1])
def test_what_is_painted_can_be_trained_on(stylizer, photo, strength):
    weights = torch.ones(3, 3, 1, 1, requires_grad=True)
    style = stylizer.style(PAINTINGS[0])
    parameters = stylizer.parameters_of(PAINTINGS[0])
    for result in (stylizer(photo, style, strength), style.code, parameters):
        assert not result.is_inference()
        assert not result.requires_grad
    torch.conv2d(stylizer(photo, style, strength)[None], weights).sum().backward()
    assert weights.grad is not None


# --- RandomStylize ----------------------------------------------------------------------------------


def test_only_pictures_are_painted(always, photo):
    height, width = photo.shape[1:]
    sample = {
        "image": tv_tensors.Image(photo),
        "mask": tv_tensors.Mask(torch.ones(1, height, width)),
        "boxes": tv_tensors.BoundingBoxes([[1, 2, 3, 4]], format="XYXY", canvas_size=(height, width)),
        "features": torch.rand(7),
        "label": 3,
    }
    done = always(sample)
    assert type(done["image"]) is tv_tensors.Image
    assert done["image"].shape == photo.shape
    assert not torch.equal(done["image"], photo)
    for key in ("mask", "boxes", "features", "label"):
        assert done[key] is sample[key]


def test_it_paints_what_the_stylizer_paints(stylizer, photo):
    transform = RandomStylize(PAINTINGS[0], p=1, strength=0.6, model=stylizer)
    expected = stylizer(photo, stylizer.style(PAINTINGS[0]), 0.6)
    torch.testing.assert_close(transform(photo), expected)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_pictures_keep_their_kind(always, photo, mode, channels):
    image = v2.functional.to_pil_image(photo).convert(mode)
    if mode == "RGBA":
        image.putalpha(77)
    done = always(image)
    assert (done.mode, done.size) == (image.mode, image.size)
    assert done.tobytes() != image.tobytes()
    pixels = v2.functional.pil_to_tensor(image)
    assert pixels.shape[0] == channels
    torch.manual_seed(1)
    from_tensor = always(pixels)
    torch.manual_seed(1)
    from_floats = always(pixels / 255)
    assert (from_tensor.dtype, from_floats.dtype) == (torch.uint8, torch.float32)
    assert (from_tensor / 255 - from_floats).abs().max() < 0.51 / 255
    if mode == "RGBA":
        assert from_tensor[3].unique().tolist() == [77]


def test_a_turned_photo_stays_turned_as_its_boxes_are(always):
    encoded = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 20), "red").save(encoded, "JPEG", exif=exif)
    assert always(Image.open(encoded)).size == (40, 20)


def styles_seen(transform: RandomStylize, pictures: list[Tensor], photo: Tensor) -> list[int | None]:
    """Which style each picture was painted in; a picture painted in none of them is an error."""
    painted = [transform.stylizer.stylize(photo[None], style)[0] for style in transform.styles]
    candidates: list[tuple[int | None, Tensor]] = [(None, photo), *enumerate(painted)]
    return [
        next(number for number, candidate in candidates if (picture - candidate).abs().max() < 1e-4)
        for picture in pictures
    ]


def test_every_sample_of_a_batch_draws_for_itself(stylizer, styles, photo):
    transform = RandomStylize(styles, p=0.7, model=stylizer)
    torch.manual_seed(3)
    batch = photo.expand(24, -1, -1, -1)
    seen = styles_seen(transform, list(transform(batch)), photo)
    assert set(seen) == {None, 0, 1, 2}
    torch.manual_seed(3)
    assert styles_seen(transform, list(transform(batch)), photo) == seen


def test_frames_and_views_of_one_sample_share_a_style(stylizer, styles, photo):
    transform = RandomStylize(styles, p=0.7, model=stylizer)
    torch.manual_seed(0)
    drawn = set()
    for _ in range(12):
        image, video = transform(tv_tensors.Image(photo), tv_tensors.Video(photo.expand(3, -1, -1, -1)))
        seen = set(styles_seen(transform, [image, *video], photo))
        assert len(seen) == 1
        drawn |= seen
    assert len(drawn) > 2
    clips = transform(tv_tensors.Video(photo.expand(8, 2, -1, -1, -1)))
    rows = [styles_seen(transform, list(clip), photo) for clip in clips]
    assert all(one == other for one, other in rows)
    assert len({row[0] for row in rows}) > 1


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_probability_and_range_of_strength(stylizer, styles, p):
    params = RandomStylize(styles, p, (0.2, 0.6), model=stylizer).make_params([torch.zeros(4000, 3, 1, 1)])
    painted = np.mean([style is not None for style in params["styles"]])
    assert painted == pytest.approx(p, abs=0.03)
    assert min(params["strengths"]) >= 0.2
    assert max(params["strengths"]) <= 0.6
    assert np.std(params["strengths"]) == pytest.approx(0.4 / 12**0.5, rel=0.05)


def test_it_stands_among_other_transforms(always, photo):
    chain = v2.Compose(
        [v2.RandomCrop(32), always, v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]
    )
    assert chain(tv_tensors.Image((photo * 255).byte())).shape == (3, 32, 32)
    assert "styles=3, p=1" in repr(chain)


class Photos(Dataset):
    def __init__(self, transform: RandomStylize, photo: Tensor) -> None:
        self.transform, self.photo = transform, photo

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.transform(self.photo, number)


def test_spawned_workers_paint(always, photo):
    loader = DataLoader(Photos(always, photo), batch_size=2, num_workers=1, multiprocessing_context="spawn")
    batches: Iterator = iter(loader)
    pictures = torch.cat([pictures for pictures, _ in batches])
    assert None not in styles_seen(always, list(pictures), photo)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"styles": []}, "at least one style"),
        ({"p": 1.5}, "probability"),
        ({"strength": -1}, "strength"),
        ({"strength": (0.8, 0.2)}, "low to high"),
        ({"strength": float("nan")}, "strength"),
        ({"styles": "no-such.jpg"}, "no such file"),
    ],
)
def test_wrong_arguments(stylizer, styles, arguments, expected):
    with pytest.raises(ArbstyleError, match=expected):
        RandomStylize(**({"styles": styles, "model": stylizer} | arguments))


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (torch.zeros(2, 8, 8), "1, 3 or 4 channels"),
        (torch.zeros(()), "1, 3 or 4 channels"),
        (torch.full((3, 8, 8), 200.0), "divide by 255"),
        (Image.new("CMYK", (8, 8)), "mode L, RGB, RGBA, got CMYK"),
    ],
)
def test_what_cannot_be_painted(always, picture, expected):
    with pytest.raises(ArbstyleError, match=expected):
        always(picture)


# --- StylizeBatch -----------------------------------------------------------------------------------


@pytest.fixture
def dataset(photo):
    datasets = pytest.importorskip("datasets")
    image = v2.functional.to_pil_image(photo)
    return datasets.Dataset.from_dict({"image": [image] * 6, "label": list(range(6))}).cast_column(
        "image", datasets.Image()
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_hidden_colours_do_not_matter(stylizer, styles, dtype):
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (2, 4, 32, 40), dtype=torch.uint8)
    pictures[:, 3, :, 20:], pictures[:, 3, :, :20] = 0, 255
    other = pictures.clone()
    other[:, :3, :, 20:] = 255 - other[:, :3, :, 20:]
    if dtype == torch.float32:
        pictures, other = pictures / 255, other / 255
    paint = RandomStylize(styles[0], p=1, model=stylizer)
    assert torch.equal(paint(pictures)[..., :20], paint(other)[..., :20])


@pytest.mark.parametrize("seed", [-1, 0.5])
def test_a_seed_that_numpy_does_not_take_is_refused_at_once(stylizer, styles, seed):
    with pytest.raises(ArbstyleError, match="seed"):
        StylizeBatch(styles, model=stylizer, seed=seed)


def test_map_over_a_dataset_does_not_depend_on_batches(stylizer, styles, dataset, photo):
    stylize = StylizeBatch(styles, model=stylizer, into="painted", seed=5)
    options = {"batched": True, "with_indices": True, "load_from_cache_file": False}
    one, other = (dataset.map(stylize, batch_size=size, **options) for size in (6, 4))
    pictures = [np.asarray(row["painted"]) for row in one]
    assert all(np.array_equal(a, row["painted"]) for a, row in zip(pictures, other, strict=True))
    assert all(np.array_equal(np.asarray(row["image"]), np.asarray(dataset[0]["image"])) for row in one)
    assert one["label"][:] == list(range(6))
    assert 1 < len({picture.tobytes() for picture in pictures}) <= 3


def test_the_cache_of_datasets_knows_it_again(stylizer, styles):
    from datasets.fingerprint import Hasher

    def hashed(seed: int) -> str:
        return Hasher.hash(StylizeBatch(styles, model=pickle.loads(pickle.dumps(stylizer)), seed=seed))

    assert hashed(1) == hashed(1) != hashed(2)


def test_rows_of_other_modes_and_none(stylizer, styles):
    rows = [None, Image.new("P", (20, 10)), Image.new("LA", (20, 10)), Image.new("CMYK", (20, 10))]
    done = StylizeBatch(styles, model=stylizer)({"image": rows})["image"]
    assert [row and row.mode for row in done] == [None, "RGB", "RGBA", "RGB"]


@pytest.mark.parametrize(("batch", "expected"), [({"x": []}, "choose among x"), ({"image": [1]}, "got int")])
def test_columns_that_are_not_there_or_hold_no_pictures(stylizer, styles, batch, expected):
    with pytest.raises(ArbstyleError, match=expected):
        StylizeBatch(styles, model=stylizer)(batch)
