"""The data module: formats, crops and colours, order and resuming, broken files, errors."""

from __future__ import annotations

import colorsys
import io
import json
import logging
import os
import signal
import tarfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest
import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser
from lightning_fabric.utilities import move_data_to_device
from PIL import Image
from torch.nn.functional import interpolate

from arbstyle.errors import ArbstyleError
from arbstyle.images import read_image
from arbstyle.training.augmentation import StyleAugmentation, crop
from arbstyle.training.batches import PairLoader, StyleBatch
from arbstyle.training.data import StyleTransferData
from arbstyle.training.decoding import Record, decode
from arbstyle.training.pictures import PictureSet, PictureStream, Share
from arbstyle.training.sources import open_pictures

SMALL = {"batch_size": 3, "crop_size": 8, "resize": 10, "style_size": 8, "style_resize": 10, "num_workers": 0}


def noise(seed: int, width: int = 14, height: int = 12) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def make_folder(folder: Path, number: int, first_seed: int = 0) -> Path:
    folder.mkdir()
    for i in range(number):
        noise(first_seed + i).save(folder / f"{i:02}.png")
    return folder


def encoded(image: Image.Image, suffix: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data") / "content", 14)


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data") / "style", 11, first_seed=100)


@pytest.fixture
def make(content: Path, style: Path, tmp_path: Path) -> Iterator:
    """Makes data modules with small settings, and ends their workers."""
    made = []

    def make(**settings: Any) -> StyleTransferData:
        defaults: dict[str, Any] = {
            "content": str(content),
            "style": str(style),
            "validation_pairs": 2,
            **SMALL,
        }
        data = StyleTransferData(**(defaults | {"cache_dir": str(tmp_path / "cache")} | settings))
        made.append(data)
        return data

    yield make
    for data in made:
        data.teardown()


@pytest.mark.parametrize("pairs", [0, 2])
def test_examples_of_styles_are_training_styles(make, pairs: int) -> None:
    data = make(validation_pairs=pairs)
    data.setup()
    examples = data.style_examples()
    assert len(examples) == data.num_styles
    assert torch.equal(examples, data.style_examples())
    held_out = [style for batch in data.validation_batches for style in batch.style]
    assert len(held_out) == pairs
    assert not any(torch.equal(style, each) for style in held_out for each in examples)


def batches(loader: PairLoader, number: int) -> list[StyleBatch]:
    """The next batches, over the ends of epochs."""
    found: list[StyleBatch] = []
    while len(found) < number:
        found.extend(islice(loader, number - len(found)))
    return found


def assert_same(first: Iterable[StyleBatch], second: Iterable[StyleBatch]) -> None:
    for a, b in zip(first, second, strict=True):
        assert a.names == b.names
        assert all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))


def as_rank(data: StyleTransferData, rank: int, world_size: int) -> StyleTransferData:
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)  # type: ignore[assignment]
    return data


# --- what a batch is ----------------------------------------------------------------------------------------


def test_batch_format(make) -> None:
    data = make(crop_size=8, style_size=6)
    batch = next(iter(data.train_dataloader()))
    assert batch.content.shape == (3, 3, 8, 8)
    assert batch.style.shape == (3, 3, 6, 6)
    assert batch.content.dtype == batch.style.dtype == torch.float32
    for pixels in (batch.content, batch.style):
        assert 0 <= pixels.min() < 0.3
        assert 0.7 < pixels.max() <= 1
    assert batch.style_index.dtype == torch.int64
    assert [data.style_names[i] for i in batch.style_index] == batch.style_names
    assert all(Path(photo).parent.name == "content" for photo, _ in batch.names)


def test_batch_moves_to_a_device_whole(make) -> None:
    batch = next(iter(make().train_dataloader()))
    moved = move_data_to_device(batch, torch.device("meta"))
    assert isinstance(moved, StyleBatch)
    assert moved.content.is_meta
    assert moved.style.is_meta
    assert moved.style_index.is_meta
    assert moved.names == batch.names


def test_style_size_is_drawn_for_each_batch(make) -> None:
    data = make(style_size=(16, 100), style_resize=100)
    drawn = [batch.style.shape[-2:] for batch in batches(data.train_dataloader(), 12)]
    assert {height for height, width in drawn} == {16, 48, 80}
    assert all(height == width for height, width in drawn)
    assert data.validation_batches[0].style.shape[-1] == 100


# --- crops --------------------------------------------------------------------------------------------------


def test_crop_is_pillows_resize_of_the_whole() -> None:
    image = noise(0, 40, 40)
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)) / 255
    np.testing.assert_allclose(crop(image, 16, 16, 0.5, 0.5).permute(1, 2, 0), expected, atol=1e-6)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 1), (0.5, 0), (0.25, 0.75)])
def test_crop_is_antialiased_resize_then_crop(x: float, y: float) -> None:
    """Against torch's antialiased resize of the whole picture, at positions that fall on whole pixels."""
    image = noise(1, 96, 64)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    resized = interpolate(tensor, (32, 48), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    left, top = int(x * (48 - 16)), int(y * (32 - 16))
    expected = resized[0, :, top : top + 16, left : left + 16]
    torch.testing.assert_close(crop(image, 16, 32, x, y), expected, atol=3 / 255, rtol=0)


def test_crop_of_a_single_pixel_is_its_colour() -> None:
    image = Image.new("RGB", (1, 1), (10, 200, 30))
    expected = torch.tensor([10, 200, 30]).view(3, 1, 1).expand(3, 8, 8) / 255
    torch.testing.assert_close(crop(image, 8, 16, 0.3, 0.9), expected)


def test_crops_and_flips_vary_from_pass_to_pass(make, tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (64, 64, 3))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    settings = {"content": str(tmp_path / "ramp.png"), "validation_pairs": 0, "batch_size": 40, "resize": 16}
    (batch,) = batches(make(**settings).train_dataloader(), 1)
    rises = (batch.content[:, 0, 0, -1] > batch.content[:, 0, 0, 0]).tolist()
    assert 8 < sum(rises) < 32
    means = batch.content.mean((1, 2, 3))
    # The crop is half as wide as the ramp: its mean runs from a quarter to three quarters of the range.
    assert 0.23 < means.min() < 0.35
    assert 0.65 < means.max() < 0.77
    (unflipped,) = batches(make(**settings, horizontal_flip=False).train_dataloader(), 1)
    assert (unflipped.content[:, 0, 0, -1] > unflipped.content[:, 0, 0, 0]).all()


def test_short_side_is_drawn_for_each_photograph(make, tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (64, 64, 3))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    settings = {"content": str(tmp_path / "ramp.png"), "validation_pairs": 0, "batch_size": 60}
    (batch,) = batches(make(**settings, resize=(8, 32), horizontal_flip=False).train_dataloader(), 1)
    rise = batch.content[:, 0, 0, -1] - batch.content[:, 0, 0, 0]
    # From the whole ramp (seven eighths of it between the middles of its pixels) down to a quarter of it.
    assert 0.2 < rise.min() < 0.28
    assert 0.7 < rise.max() < 0.9


def test_few_variants_come_again_and_again(make) -> None:
    def different(variants: int | None) -> list[int]:
        data = make(
            crops_per_picture=variants, style_augmentation=StyleAugmentation(), style_size=16, batch_size=20
        )
        loaded = batches(data.train_dataloader(), 20)
        photos, styles = (torch.cat(pictures) for pictures in zip(*(b[:2] for b in loaded), strict=True))
        return [len(torch.unique(pictures, dim=0)) for pictures in (photos, styles)]

    assert different(1) == [12, 9]  # all but the validation pictures
    assert different(3) == [36, 27]
    assert min(different(None)) > 300


def pictures_of_all_modes(folder: Path) -> list[Path]:
    rgb = noise(3, 20, 16).resize((60, 48), Image.Resampling.BICUBIC)
    alpha = Image.fromarray(np.linspace(0, 255, 60 * 48).reshape(48, 60).astype(np.uint8))
    with_alpha = rgb.copy()
    with_alpha.putalpha(alpha)
    grey_alpha = rgb.convert("L")
    grey_alpha.putalpha(alpha)
    deep = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    paths: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "grey.png": (rgb.convert("L"), {}),
        "alpha.png": (with_alpha, {}),
        "grey_alpha.png": (grey_alpha, {}),
        "palette.png": (rgb.quantize(64), {}),
        "palette_transparent.png": (rgb.quantize(64), {"transparency": 3}),
        "key_colour.png": (rgb, {"transparency": rgb.getpixel((0, 0))}),
        "bits.png": (rgb.convert("1"), {}),
        "deep.png": (deep, {}),
        "cmyk.jpg": (rgb.convert("CMYK"), {"quality": 95}),
        "rotated.jpg": (rgb, {"exif": rotated, "quality": 95}),
        "rotated.webp": (rgb, {"exif": rotated, "lossless": True}),
        "rotated.tif": (rgb, {"exif": rotated}),
        "animated.gif": (rgb.quantize(32), {"save_all": True, "append_images": [Image.new("P", rgb.size)]}),
    }
    for name, (image, options) in paths.items():
        image.save(folder / name, **options)
    return [folder / name for name in paths]


def test_pictures_of_all_modes_look_as_read_image_reads_them(tmp_path: Path) -> None:
    for path in pictures_of_all_modes(tmp_path):
        whole = interpolate(read_image(path), scale_factor=0.5, mode="bicubic", antialias=True).clamp(0, 1)
        expected = whole[0, :, 3:27] if whole.shape[-1] == 24 else whole[0, :, :, 3:27]
        image = decode(Record(path.name, 0, str(path)), 60)
        difference = (crop(image, 24, 24, 0.5, 0.5) - expected).abs()
        # Pillow rounds, and clips what overshoots, after each of its two directions.
        assert difference.max() < 15 / 255, path.name
        assert difference.mean() < 1 / 255, path.name


def test_large_jpegs_are_decoded_at_a_fraction_of_their_size() -> None:
    smooth = noise(5, 6, 6).resize((640, 480), Image.Resampling.BICUBIC)
    image = decode(Record("", 0, encoded(smooth, "JPEG", quality=95)), 100)
    assert image.size == (160, 120)
    expected = crop(smooth, 100, 100, 0.5, 0.5)
    torch.testing.assert_close(crop(image, 100, 100, 0.5, 0.5), expected, atol=4 / 255, rtol=0)


# --- style augmentation -------------------------------------------------------------------------------------

NEUTRAL = StyleAugmentation(0, (1, 1), 0, False, False, None)


@pytest.fixture
def colours() -> torch.Tensor:
    return torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(0))


def changed(image: torch.Tensor, seed: int = 0, **fields: Any) -> torch.Tensor:
    from dataclasses import replace

    return replace(NEUTRAL, **fields).change_colours(image, np.random.default_rng(seed))


def test_switched_off_changes_nothing(colours: torch.Tensor) -> None:
    assert torch.equal(changed(colours), colours)


def test_brightness_is_added_and_clamped(colours: torch.Tensor) -> None:
    shifts = []
    for seed in range(40):
        shift = np.random.default_rng(seed).uniform(-0.8, 0.8)
        torch.testing.assert_close(changed(colours, seed, brightness=0.8), (colours + shift).clamp(0, 1))
        shifts.append(shift)
    assert min(shifts) < -0.6
    assert max(shifts) > 0.6


def test_saturation_blends_with_luma(colours: torch.Tensor) -> None:
    luma = (colours * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)
    grey = changed(colours, saturation=(0, 0))
    torch.testing.assert_close(grey, luma.expand(3, -1, -1), atol=1e-3, rtol=0)
    expected = (luma + 1.5 * (colours - luma)).clamp(0, 1)
    torch.testing.assert_close(changed(colours, saturation=(1.5, 1.5)), expected, atol=1e-3, rtol=0)


def test_hue_turns_on_the_colour_circle(colours: torch.Tensor) -> None:
    turn = np.random.default_rng(0).uniform(-0.2, 0.2)
    result = changed(colours, hue=0.2)
    for y, x in [(0, 0), (3, 7), (8, 10)]:
        hue, saturation, value = colorsys.rgb_to_hsv(*colours[:, y, x].tolist())
        expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
        assert result[:, y, x].tolist() == pytest.approx(expected, abs=1e-5)


def test_scale_and_flips_are_switchable(make, tmp_path: Path) -> None:
    vertical, horizontal = np.mgrid[0:64, 0:64].astype(np.uint8) * 4
    Image.fromarray(np.stack([horizontal, vertical, vertical], -1)).save(tmp_path / "ramps.png")
    settings = {"style": str(tmp_path / "ramps.png"), "hold_out_styles": False, "batch_size": 64}

    def styles(**fields: Any) -> torch.Tensor:
        from dataclasses import replace

        data = make(**settings, style_resize=8, style_augmentation=replace(NEUTRAL, **fields))
        return batches(data.train_dataloader(), 1)[0].style

    plain = styles()
    assert torch.equal(plain, plain[:1].expand_as(plain))  # the whole picture each time
    for fields, dimension in (({"horizontal_flip": True}, -1), ({"vertical_flip": True}, -2)):
        mirrored = [torch.equal(one, plain[0].flip(dimension)) for one in styles(**fields)]
        assert all(
            is_mirrored or torch.equal(one, plain[0])
            for is_mirrored, one in zip(mirrored, styles(**fields), strict=True)
        )
        assert 16 < sum(mirrored) < 48
    # A crop of 1/s of the ramp has 1/s of its range.
    scaled = styles(scale=(1.0, 2.0))[:, 0]
    scales = (plain[0, 0].amax() - plain[0, 0].amin()) / (scaled.amax((1, 2)) - scaled.amin((1, 2)))
    assert 0.9 < scales.min() < 1.2
    assert 1.7 < scales.max() < 2.3


def test_default_augmentation_is_ghiasis() -> None:
    augmentation = StyleAugmentation()
    assert (augmentation.brightness, augmentation.saturation, augmentation.hue) == (0.8, (0.5, 1.5), 0.2)
    assert augmentation.horizontal_flip
    assert augmentation.vertical_flip
    assert augmentation.scale == pytest.approx(((256 + 2) / 256, (256 + 200) / 256), abs=0.02)


# --- order, pairs, seeds ------------------------------------------------------------------------------------


def test_every_pass_shows_every_photograph_once_in_a_new_order(make) -> None:
    data = make(validation_pairs=2, batch_size=4)  # 12 photographs: 3 batches a pass
    loader = data.train_dataloader()
    assert len(loader) == 3
    passes = [[name for batch in loader for name in batch.content_names] for _ in range(3)]
    assert all(len(set(names)) == 12 for names in passes)
    assert passes[0] != passes[1] != passes[2]
    assert sorted(passes[0]) == sorted(passes[1])


def test_pairs_are_random(make) -> None:
    loader = make(batch_size=4).train_dataloader()
    pairs = [pair for batch in batches(loader, 30) for pair in batch.names]
    assert len(set(pairs)) > 50  # 120 draws of 12 × 9 pairs: 72 different ones are to be expected
    counts = np.unique([painting for _, painting in pairs], return_counts=True)[1]
    assert len(counts) == 9
    assert counts.min() >= 13
    assert counts.max() <= 14


def test_same_seed_same_batches_other_seed_others(make) -> None:
    first, same, other = (
        batches(make(seed=seed, style_augmentation=StyleAugmentation()).train_dataloader(), 5)
        for seed in (3, 3, 4)
    )
    assert_same(first, same)
    assert [batch.names for batch in first] != [batch.names for batch in other]


def test_settings_of_one_side_leave_the_other_alone(make) -> None:
    plain = batches(make().train_dataloader(), 4)
    augmented = batches(make(style_augmentation=StyleAugmentation(), style_size=10).train_dataloader(), 4)
    assert all(torch.equal(a.content, b.content) for a, b in zip(plain, augmented, strict=True))
    assert [batch.names for batch in plain] == [batch.names for batch in augmented]


def test_any_number_of_workers_gives_the_same_batches(make) -> None:
    settings = {"style_augmentation": StyleAugmentation(), "style_size": (4, 8)}
    assert_same(
        batches(make(**settings, num_workers=0).train_dataloader(), 9),
        batches(make(**settings, num_workers=2).train_dataloader(), 9),
    )


def test_ranks_share_the_batches_of_one_process(make) -> None:
    whole = batches(make(batch_size=6).train_dataloader(), 5)
    parts = [batches(as_rank(make(batch_size=3), rank, 2).train_dataloader(), 5) for rank in (0, 1)]
    for one, first, second in zip(whole, *parts, strict=True):
        assert one.names == first.names + second.names
        assert torch.equal(one.content, torch.cat([first.content, second.content]))
        assert torch.equal(one.style, torch.cat([first.style, second.style]))
    assert len(as_rank(make(batch_size=3), 0, 2).train_dataloader()) == 2


def test_positions_of_ranks_interleave() -> None:
    shares = [Share(rank, 2, 3, start=12) for rank in (0, 1)]
    assert [list(islice(share.positions(), 6)) for share in shares] == [
        [12, 13, 14, 18, 19, 20],
        [15, 16, 17, 21, 22, 23],
    ]


# --- resuming -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 2, 4, 7])  # 4 batches a pass: within, at and after its end
def test_resumed_stream_goes_on_where_training_was(make, workers: int, stop: int) -> None:
    uninterrupted = batches(make().train_dataloader(), 10)
    stopped = make(num_workers=workers)
    assert_same(batches(stopped.train_dataloader(), stop), uninterrupted[:stop])
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = make(num_workers=workers)
    resumed.load_state_dict(state)
    assert_same(batches(resumed.train_dataloader(), 10 - stop), uninterrupted[stop:])


def test_state_loaded_into_a_running_loader(make) -> None:
    data = make(num_workers=2)
    loader = data.train_dataloader()
    first = batches(loader, 3)
    loader.load_state_dict({"samples": 0})
    assert_same(batches(loader, 3), first)
    data.load_state_dict({"samples": 3})
    assert_same(batches(loader, 2), first[1:])


def test_a_loader_made_anew_goes_on(make) -> None:
    data = make()
    expected = batches(make().train_dataloader(), 5)
    batches(data.train_dataloader(), 2)
    assert_same(batches(data.train_dataloader(), 3), expected[2:])


class Recorder(pl.LightningModule):
    """Records the names of the batches that it trains on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[tuple[str, str]]] = []
        self.validated = 0

    def training_step(self, batch: StyleBatch, _: int) -> torch.Tensor:
        self.seen.append(batch.names)
        return (self.weight - batch.content.mean()) ** 2

    def validation_step(self, batch: StyleBatch, _: int) -> None:
        self.validated += len(batch.content)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(data: StyleTransferData, folder: Path, resume: Path | None = None, **settings: Any) -> Recorder:
    recorder = Recorder()
    checkpoint = pl.callbacks.ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[checkpoint],
        **settings,
    )
    trainer.fit(recorder, data, ckpt_path=resume)
    return recorder


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "settings",
    [
        {"max_steps": 9, "max_epochs": -1},
        {"max_epochs": 2, "max_steps": -1},
        {"max_steps": 9, "max_epochs": -1, "limit_train_batches": 3},
    ],
    ids=["steps", "epochs", "short epochs"],
)
def test_lightning_resumes_exactly(make, tmp_path: Path, settings: dict[str, Any], recwarn) -> None:
    uninterrupted = fit(make(num_workers=1), tmp_path / "all", **settings)
    assert uninterrupted.validated > 0
    total = len(uninterrupted.seen)
    assert len(set(map(str, uninterrupted.seen))) == total >= 8
    for step in (2, 4):  # within an epoch, and (of the first two settings) at its end
        resumed = fit(make(), tmp_path / f"from{step}", tmp_path / "all" / f"step={step}.ckpt", **settings)
        assert resumed.seen == uninterrupted.seen[step:]
    assert not [str(w.message) for w in recwarn if "not resumable" in str(w.message)]


# --- workers ------------------------------------------------------------------------------------------------


def worker_pids(loader: PairLoader) -> list[int]:
    return [worker.pid for worker in loader._batches._workers]  # type: ignore[union-attr]


def test_workers_outlive_a_sigterm_and_end_on_teardown(make) -> None:
    data = make(num_workers=2)
    loader = data.train_dataloader()
    batches(loader, 2)  # one of each worker, so both are ready
    pids = worker_pids(loader)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    assert_same(batches(loader, 6), batches(make().train_dataloader(), 8)[2:])
    assert worker_pids(loader) == pids
    data.teardown()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_live_through_epochs(make) -> None:
    loader = make(num_workers=2).train_dataloader()
    pids = set()
    for _ in range(3):
        assert len(list(loader)) == 4
        pids.add(tuple(worker_pids(loader)))
    assert len(pids) == 1


# --- validation ---------------------------------------------------------------------------------------------


def test_held_out_pictures_are_never_trained_on(make) -> None:
    data = make(validation_pairs=4)
    data.setup()
    held_out = {name for batch in data.validation_batches for pair in batch.names for name in pair}
    trained = {
        name for batch in batches(data.train_dataloader(), 20) for pair in batch.names for name in pair
    }
    assert len(held_out) == 8
    assert len(trained) == 10 + 7
    assert not held_out & trained
    assert all(index == -1 for batch in data.validation_batches for index in batch.style_index)
    assert data.num_styles == 7
    assert [len(batch.content) for batch in data.val_dataloader()] == [3, 1]


def test_held_out_pictures_depend_on_the_seed_alone(make) -> None:
    names = []
    for settings in ({"seed": 1}, {"seed": 1, "batch_size": 5, "crop_size": 10}, {"seed": 2}):
        data = make(**settings)
        data.setup()
        names.append([pair for batch in data.validation_batches for pair in batch.names])
    assert names[0] == names[1] != names[2]


def test_validation_pictures_are_whole_and_fixed(make, content: Path) -> None:
    data = make(batch_size=2)
    data.setup()
    (batch,) = data.val_dataloader()
    image = Image.open(batch.content_names[0])
    expected = image.resize((8, 8), Image.Resampling.BICUBIC, box=(1, 0, 13, 12))  # of 14×12 pixels
    np.testing.assert_allclose(batch.content[0].permute(1, 2, 0), np.asarray(expected) / 255, atol=1e-6)


def test_validation_on_training_styles(make) -> None:
    data = make(hold_out_styles=False)
    data.setup()
    assert data.num_styles == 11
    for batch in data.validation_batches:
        assert [data.style_names[i] for i in batch.style_index] == batch.style_names


def test_a_single_style_picture(make, style: Path) -> None:
    data = make(style=str(style / "03.png"), hold_out_styles=False)
    for batch in batches(data.train_dataloader(), 2):
        assert batch.style_index.tolist() == [0, 0, 0]
        assert set(batch.style_names) == {str(style / "03.png")}
    with pytest.raises(ArbstyleError, match=r"left to train on.*hold_out_styles"):
        make(style=str(style / "03.png"), validation_pairs=1).setup()


def test_validation_on_other_sets(make, tmp_path: Path) -> None:
    other = make_folder(tmp_path / "other", 3, first_seed=500)
    data = make(validation_content=str(other), validation_style=str(other / "01.png"), validation_pairs=8)
    data.setup()
    assert data.num_styles == 11
    (batch,) = data.validation_batches
    assert sorted(batch.content_names) == [str(other / f"{i:02}.png") for i in range(3)]
    assert batch.style_names == [str(other / "01.png")] * 3
    assert batch.style_index.tolist() == [-1] * 3


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_validation(make, tmp_path: Path) -> None:
    data = make(validation_pairs=0)
    assert fit(data, tmp_path, max_steps=2).validated == 0
    assert data.num_styles == 11


# --- broken pictures ----------------------------------------------------------------------------------------


def break_some(folder: Path) -> set[str]:
    """Adds broken and odd pictures; returns the paths of the broken ones."""
    png, jpeg = encoded(noise(9, 64, 64)), encoded(noise(9, 64, 64), "JPEG")
    broken = {
        "05_truncated.png": png[: len(png) // 2],
        "05_truncated.jpg": jpeg[: len(jpeg) // 2],
        "06_text.jpg": b"not a picture",
        "07_empty.png": b"",
    }
    for name, data in broken.items():
        (folder / name).write_bytes(data)
    noise(1).convert("L").save(folder / "grey.png")
    noise(1).convert("RGBA").save(folder / "rgba.png")
    noise(1, 1, 1).save(folder / "pixel.png")
    return {str(folder / name) for name in broken}


@pytest.mark.skipif(os.name != "posix", reason="such names are of Linux")
def test_pictures_whose_names_are_no_text_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = make_folder(tmp_path / "pictures", 3)
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded(noise(7)))
    with caplog.at_level(logging.WARNING, "arbstyle.training"):
        pictures = open_pictures(str(folder))
        assert isinstance(pictures, PictureSet)
        assert len(pictures) == 3
    (line,) = caplog.messages
    assert "1 pictures have names that are no UTF-8, such as" in line


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache", [None, 12])
def test_broken_pictures_are_skipped_and_named_once(
    make, tmp_path: Path, caplog: pytest.LogCaptureFixture, workers: int, cache: int | None
) -> None:
    folders = [make_folder(tmp_path / name, 10, seed) for name, seed in (("content", 0), ("style", 50))]
    broken = break_some(folders[0]) | break_some(folders[1])
    data = make(
        content=str(folders[0]),
        style=str(folders[1]),
        num_workers=workers,
        cache_short_side=cache,
        batch_size=5,
    )
    with caplog.at_level(logging.WARNING, "arbstyle"):
        seen = batches(data.train_dataloader(), 12)
    trained = {name for batch in seen for pair in batch.names for name in pair}
    assert not trained & broken
    assert {Path(name).stem for name in trained} >= {"grey", "rgba", "pixel"}
    assert data.skipped.keys() == broken
    assert data.summary()["skipped"] == 8
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 8
    assert all(sum(name in message for message in messages) == 1 for name in broken)
    for batch in seen:  # the index is of the style that is shown, not of the broken one that it stands in for
        assert [data.style_names[i] for i in batch.style_index] == batch.style_names


def test_the_next_picture_takes_a_broken_ones_place(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", 4)
    (folder / "01.png").write_bytes(b"broken")
    pictures = open_pictures(str(folder))
    assert [Path(record.name).name for record in pictures.candidates([3, 1], 1)] == [
        "01.png",
        "02.png",
        "03.png",
        "00.png",
    ]


def test_resuming_with_broken_pictures(make, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", 10)
    break_some(folder)
    expected = batches(make(content=str(folder)).train_dataloader(), 8)
    resumed = make(content=str(folder), num_workers=1)
    resumed.load_state_dict({"samples": 9})
    assert_same(batches(resumed.train_dataloader(), 5), expected[3:])


def test_files_that_vanish_end_training_with_a_reason(make, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", 5)
    loader = make(content=str(folder)).train_dataloader()
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(ArbstyleError, match="not one picture"):
        next(iter(loader))


# --- kinds of sets ------------------------------------------------------------------------------------------


def rows(number: int, first_seed: int = 0) -> list[bytes]:
    return [encoded(noise(first_seed + i), "PNG" if i % 2 else "JPEG") for i in range(number)]


def make_parquet(path: Path, number: int, first_seed: int = 0) -> Path:
    images = [
        {"bytes": data, "path": f"{path.stem}{i:02}.img"} for i, data in enumerate(rows(number, first_seed))
    ]
    features = datasets.Features({"caption": datasets.Value("string"), "picture": datasets.Image()})
    dataset = datasets.Dataset.from_dict({"caption": ["a"] * number, "picture": images}, features=features)
    dataset.to_parquet(path, batch_size=4)
    return path


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            for member, content in ((f"{name}.png", data), (f"{name}.json", b"{}")):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def make_tars(folder: Path) -> str:
    folder.mkdir()
    for shard in range(2):
        files = {f"{shard}{i}": encoded(noise(10 * shard + i)) for i in range(7)}
        make_tar(folder / f"shard{shard}.tar", files)
    return str(folder / "*.tar")


def make_arrow(folder: Path) -> str:
    make_parquet(folder / "temporary.parquet", 14)
    datasets.Dataset.from_parquet(str(folder / "temporary.parquet"), cache_dir=str(folder)).save_to_disk(
        folder / "saved"
    )
    return str(folder / "saved" / "*.arrow")


def make_set(kind: str, folder: Path) -> str:
    if kind == "tars":
        return make_tars(folder / "tars")
    if kind == "parquet":
        return str(make_parquet(folder / "set.parquet", 14))
    if kind == "parquet folder":
        (folder / "sub" / "data").mkdir(parents=True)
        make_parquet(folder / "sub" / "data" / "a.parquet", 7)
        make_parquet(folder / "sub" / "data" / "b.parquet", 7, first_seed=7)
        return str(folder / "sub")
    if kind == "saved":
        return str(Path(make_arrow(folder)).parent)
    if kind == "arrow":
        return make_arrow(folder)
    if kind == "binary parquet":
        table = pyarrow.table({"id": list(range(14)), "data": rows(14)})
    else:
        table = pyarrow.table(
            {"x": [{"bytes": data, "path": None} for data in rows(14)], "id": list(range(14))}
        )
    pyarrow.parquet.write_table(table, folder / "plain.parquet")
    return str(folder / "plain.parquet")


KINDS = ["tars", "parquet", "parquet folder", "saved", "arrow", "binary parquet", "struct parquet"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_sets(
    make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, streaming: bool
) -> None:
    monkeypatch.setattr(
        datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.1
    )  # seconds after a parquet stream
    source = make_set(kind, tmp_path)
    data = make(content=source, streaming=streaming, validation_pairs=2, batch_size=4, shuffle_buffer=5)
    loader = data.train_dataloader()
    names = [name for batch in batches(loader, 3) for name in batch.content_names]
    held_out = [name for batch in data.validation_batches for name in batch.content_names]
    assert len(set(names)) == 12
    assert len({*names, *held_out}) == 14
    assert not data.skipped
    described = data.summary()["content"]
    assert described["streaming"] == (streaming and kind != "saved")
    assert described["pictures"] == (None if described["streaming"] else 12)
    assert len(loader) == (1000 if described["streaming"] else 3)


def test_column_named_image_is_taken_of_several(tmp_path: Path) -> None:
    picture = {"bytes": encoded(noise(0)), "path": None}
    features = datasets.Features({"mask": datasets.Image(), "image": datasets.Image()})
    dataset = datasets.Dataset.from_dict({"mask": [picture], "image": [picture]}, features=features)
    dataset.to_parquet(tmp_path / "set.parquet")
    assert open_pictures(str(tmp_path / "set.parquet"), cache_dir=str(tmp_path)).column == "image"


def test_hub_names_and_presets(make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    images = [{"bytes": data, "path": None} for data in rows(6)]
    dataset = datasets.Dataset.from_dict({"image": images}).cast_column("image", datasets.Image())

    def load_dataset(*arguments: object, split: str, streaming: bool, cache_dir: str) -> object:
        asked.append((*arguments, split, streaming))
        return dataset.to_iterable_dataset() if streaming else dataset

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = make(content="coco", style="owner/art:big", style_split="test[:50%]", validation_pairs=0)
    batch = next(iter(data.train_dataloader()))
    assert asked == [
        ("detection-datasets/coco", None, "train", False),
        ("owner/art", "big", "test[:50%]", False),
    ]
    assert batch.content_names[0].startswith("coco[")
    assert data.summary()["content"]["source"] == "detection-datasets/coco"
    streamed = make(content="coco", style="wikiart", streaming=True, validation_pairs=1)
    assert next(iter(streamed.train_dataloader())).style_index.tolist() == [-1, -1, -1]
    assert asked[-1] == ("huggan/wikiart", None, "train", True)
    assert streamed.num_styles is None
    assert streamed.style_names == []


def test_pictures_kept_in_memory_give_the_same_batches(make) -> None:
    expected = batches(make().train_dataloader(), 5)
    data = make(cache_short_side=12)  # as large as the pictures are
    assert_same(batches(data.train_dataloader(), 5), expected)


def test_pictures_kept_in_memory_are_reduced(content: Path) -> None:
    pictures = open_pictures(str(content))
    assert isinstance(pictures, PictureSet)
    pictures.keep_decoded(6)
    assert len(pictures.decoded) == 14
    expected = np.asarray(Image.open(content / "03.png").resize((7, 6), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(pictures[3].data, expected)


# --- streams ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_tars(tmp_path_factory.mktemp("data") / "shards")


def stream(make, shards: str, **settings: Any) -> StyleTransferData:
    return make(content=shards, streaming=True, shuffle_buffer=5, validation_pairs=2, **settings)


def test_stream_resumes_where_training_was(make, shards: str) -> None:
    uninterrupted = batches(stream(make, shards).train_dataloader(), 9)  # 27 samples of 12 pictures
    stopped = stream(make, shards, num_workers=2)
    assert_same(batches(stopped.train_dataloader(), 5), uninterrupted[:5])
    resumed = stream(make, shards, num_workers=2)
    resumed.load_state_dict(stopped.state_dict())
    assert_same(batches(resumed.train_dataloader(), 4), uninterrupted[5:])


def test_stream_is_shuffled_anew_in_each_pass(make, shards: str) -> None:
    names = [
        name for batch in batches(stream(make, shards).train_dataloader(), 12) for name in batch.content_names
    ]
    passes = [tuple(names[first : first + 12]) for first in (0, 12, 24)]
    assert len(set(passes)) == 3
    assert all(len(set(names)) == 12 for names in passes)


def test_ranks_read_different_parts_of_a_stream(make, shards: str) -> None:
    parts = []
    for rank in (0, 1):
        loader = as_rank(stream(make, shards, batch_size=5), rank, 2).train_dataloader()
        parts.append(batches(loader, 1)[0].content_names)
    assert len({*parts[0], *parts[1]}) == 10


def test_epoch_length_of_a_stream(make, shards: str) -> None:
    loader = stream(make, shards, batches_per_epoch=7).train_dataloader()
    assert len(loader) == len(list(loader)) == 7


@pytest.mark.parametrize("batch_size", [1, 3])
def test_broken_pictures_in_a_stream(make, tmp_path: Path, batch_size: int) -> None:
    files = {f"{i:02}": b"broken" if i % 4 == 3 else encoded(noise(i)) for i in range(12)}
    source = make_tar(tmp_path / "set.tar", files)
    data = make(
        content=str(source), streaming=True, shuffle_buffer=4, batch_size=batch_size, validation_pairs=0
    )
    names = [name for batch in batches(data.train_dataloader(), 12) for name in batch.content_names]
    assert data.skipped.keys() == {"03.png", "07.png", "11.png"}
    assert {*names} == {f"{i:02}.png" for i in range(12) if i % 4 != 3}


@pytest.mark.parametrize("kind", ["tars", "parquet folder"])
def test_reading_a_stream_in_the_background_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(
        datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.1
    )  # seconds after a parquet stream
    source = make_set(kind, tmp_path)
    share = Share(1, 2, 2, start=8)
    found = []
    for background in (False, True):
        pictures = open_pictures(source, streaming=True, background=background, shuffle_buffer=5)
        assert isinstance(pictures, PictureStream)
        found.append([record.name for record in islice(pictures.requests(share), 9)])
    assert found[0] == found[1]


# --- errors -------------------------------------------------------------------------------------------------


def test_a_summary_does_not_name_the_folders_above_a_set(make, content: Path, monkeypatch) -> None:
    monkeypatch.chdir(content.parent)
    for source in (str(content), f"{content}/", content.name, f"./{content.name}"):
        data = make(content=source, validation_content=source, validation_pairs=1)
        data.setup("fit")
        summary = data.summary()["content"]
        assert (summary["source"], summary["validation_source"]) == (content.name, content.name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("./missing", "no such picture set.*'./missing'"),
        ("{folder}/missing", "no such picture set"),
        ("{folder}/*.zip", "no such picture set"),
        ("cocoa", "preset \\(coco, wikiart\\)"),
        ("{folder}/empty", "no pictures.*empty"),
        ("{folder}/broken", "not one picture.*can be decoded"),
        ("{folder}/text.parquet", "column of images.*columns are caption"),
        ("{folder}/none.parquet", "empty|no data"),
        ("{folder}/bad.parquet", "can't read the picture set"),
        ("{folder}/bad.tar", "can't read the picture set"),
        ("{folder}/*.*", "files of one kind"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_impossible_sets(make, tmp_path: Path, source: str, message: str, streaming: bool) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for i in range(3):
        (tmp_path / "broken" / f"{i}.jpg").write_bytes(b"broken")
    datasets.Dataset.from_dict({"caption": ["a", "b"]}).to_parquet(tmp_path / "text.parquet")
    features = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": []}, features=features).to_parquet(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "bad.tar").write_bytes(b"no" * 400)
    for role in ("content", "style"):
        with pytest.raises(ArbstyleError, match=message) as error:
            make(**{role: source.format(folder=tmp_path)}, streaming=streaming).setup()
        assert "\n" not in str(error.value)


def test_hub_failures_are_explained(make, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("can't reach\nthe hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ArbstyleError, match=r"^can't read the picture set 'wikiart': can't reach the hub$"):
        make(style="wikiart").setup()


def test_picture_files_have_no_splits(make) -> None:
    with pytest.raises(ArbstyleError, match=r"no splits.*'test'"):
        make(content_split="test").setup()


def test_too_few_pictures_to_hold_some_out(make, style: Path) -> None:
    with pytest.raises(
        ArbstyleError, match=r"no content picture.*14 can be decoded and 14.*validation_pairs"
    ):
        make(validation_pairs=14, hold_out_styles=False).setup()


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"crop_size": 0},
        {"crop_size": 11},
        {"style_size": 11},
        {"style_size": (9, 4)},
        {"style_size": (4, 12)},
        {"num_workers": -1},
        {"seed": -1},
        {"validation_pairs": -1},
        {"batches_per_epoch": 0},
        {"cache_short_side": 0},
        {"shuffle_buffer": 0},
    ],
    ids=str,
)
def test_impossible_settings(make, settings: dict[str, Any]) -> None:
    with pytest.raises(ArbstyleError, match=r"^data\.\w+.* must be at least "):
        make(**settings)


@pytest.mark.parametrize(
    "fields", [{"brightness": -1}, {"hue": 0.6}, {"saturation": (1.5, 0.5)}, {"scale": (0.5, 1)}], ids=str
)
def test_impossible_augmentations(fields: dict[str, Any]) -> None:
    with pytest.raises(ArbstyleError, match=f"^style_augmentation.{next(iter(fields))} must be"):
        StyleAugmentation(**fields)


# --- configuration and summary ------------------------------------------------------------------------------


def test_yaml_configuration(content: Path, style: Path) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=pl.LightningDataModule)
    config = {
        "class_path": "arbstyle.training.data.StyleTransferData",
        "init_args": {
            "content": str(content),
            "style": str(style),
            "style_size": [128, 300],
            "style_augmentation": {"hue": 0, "scale": [1.0, 1.5]},
            **{name: value for name, value in SMALL.items() if "style" not in name},
        },
    }
    # jsonargparse 4.49 renames it
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    data = instantiate(parser.parse_object({"data": config})).data
    assert data.transform.style_size == (128, 300)
    assert data.transform.augmentation == StyleAugmentation(hue=0, scale=(1.0, 1.5))
    data.setup()
    assert data.num_styles == 3


def test_summary_is_plain_json(make, content: Path) -> None:
    summary = make(style_augmentation=StyleAugmentation()).summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["content"]["source"] == content.name
    assert (summary["content"]["pictures"], summary["style"]["pictures"]) == (12, 9)
    assert summary["validation_pairs"] == 2


def test_a_picture_too_large_for_the_memory_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("RGB", (1200, 1200)).save(tmp_path / "bomb.webp", lossless=True)
    monkeypatch.setattr("arbstyle.images.decoding.available_ram", lambda: 30_000_000)
    with pytest.raises(ArbstyleError, match="1200×1200 pixels need"):
        decode(Record("bomb.webp", 0, str(tmp_path / "bomb.webp")), 32)
