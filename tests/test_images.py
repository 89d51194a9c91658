"""Pictures in and out, against Pillow, torchvision and closed forms."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps
from safetensors.torch import save_file
from torchvision.io import ImageReadMode, decode_png, read_file

from arbstyle import images
from arbstyle.errors import ArbstyleError

HALF_STEP = 0.5 / 255 + 1e-6


def random_bytes(height: int = 6, width: int = 9, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def random_image(height: int = 6, width: int = 9, channels: int = 3) -> torch.Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))


def smooth_picture(size: int = 32) -> np.ndarray:
    """H×W×3 ramps that survive lossy formats."""
    ramp = np.linspace(0, 255, size)
    red, green = np.meshgrid(ramp, ramp)
    return np.stack([red, green, 255 - red], -1).round().astype(np.uint8)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """H×W×C bytes → 1×C×H×W."""
    return torch.from_numpy(array.astype(np.float32) / 255).permute(2, 0, 1)[None]


def as_bytes(image: torch.Tensor) -> np.ndarray:
    """1×C×H×W → H×W×C in 0…255, not rounded."""
    return image[0].permute(1, 2, 0).numpy().astype(np.float64) * 255


def one_line(error: pytest.ExceptionInfo[ArbstyleError]) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


# --- colour profiles made by hand (ICC.1:2001-04) ---


def icc_profile(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    offset = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"test", 0x02100000, kind, space, pcs)
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + table + body


def xyz_tag(x: float, y: float, z: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in (x, y, z)))


def gamma_tag(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


WHITE_D50 = (0.9642, 1.0, 0.8249)
NAME_AND_WHITE = {
    b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"t\0" + bytes(78),
    b"wtpt": xyz_tag(*WHITE_D50),
}

# Adobe RGB (1998), section 4.3.5.3, primaries adapted to D50.
ADOBE_TO_XYZ = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
ADOBE_GAMMA = 563 / 256
# IEC 61966-2-1, primaries adapted to D50 as in the ICC's own profile.
SRGB_TO_XYZ = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)

ADOBE_RGB = icc_profile(
    b"RGB ",
    NAME_AND_WHITE
    | {b"%cXYZ" % name: xyz_tag(*primary) for name, primary in zip(b"rgb", ADOBE_TO_XYZ.T, strict=True)}
    | {b"%cTRC" % name: gamma_tag(ADOBE_GAMMA) for name in b"rgb"},
)
LINEAR_GREY = icc_profile(b"GRAY", NAME_AND_WHITE | {b"kTRC": gamma_tag(1.0)})


def cmyk_profile(cyan_lab: tuple[float, float, float]) -> bytes:
    """Paper is white, pure cyan as given, everything with black ink is black: a 2×2×2×2 table to Lab."""
    corners = np.zeros((2, 2, 2, 2, 3))
    corners[..., 0] = 50
    corners[0, 0, 0, 0] = (100, 0, 0)
    corners[1, 0, 0, 0] = cyan_lab
    corners[..., 1, :] = 0
    lab8 = np.rint(corners * (255 / 100, 1, 1) + (0, 128, 128)).astype(np.uint8)
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * value for value in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + identity * 4 + lab8.tobytes() + identity * 3
    return icc_profile(b"CMYK", NAME_AND_WHITE | {b"A2B0": lut}, pcs=b"Lab ", kind=b"prtr")


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def xyz_to_srgb(xyz: np.ndarray) -> np.ndarray:
    return encode_srgb(xyz @ np.linalg.inv(SRGB_TO_XYZ).T)


def lab_to_srgb(lab: tuple[float, float, float]) -> np.ndarray:
    fy = (lab[0] + 16) / 116
    f = np.array([fy + lab[1] / 500, fy, fy - lab[2] / 200])
    return xyz_to_srgb(np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * WHITE_D50)


# --- reading ---


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("1", ".png"),
        ("1", ".tif"),
        ("1", ".bmp"),
        ("L", ".png"),
        ("L", ".jpg"),
        ("L", ".pgm"),
        ("P", ".png"),
        ("P", ".gif"),
        ("P", ".bmp"),
        ("RGB", ".png"),
        ("RGB", ".jpg"),
        ("RGB", ".webp"),
        ("RGB", ".tiff"),
        ("RGB", ".bmp"),
        ("RGB", ".tga"),
        ("RGB", ".jp2"),
        ("CMYK", ".jpg"),
        ("CMYK", ".tif"),
        ("YCbCr", ".jpg"),
    ],
)
def test_reads_what_pillow_reads(tmp_path: Path, mode: str, suffix: str):
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(smooth_picture()).convert(mode).save(path)
    with Image.open(path) as reference:
        expected = as_tensor(np.asarray(reference.convert("RGB")))
    picture = images.read_picture(path)
    assert picture.pixels.dtype == torch.float32
    assert torch.equal(picture.pixels, expected)
    assert picture.alpha is None
    assert picture.path == path


def test_picture_without_suffix_is_known_by_its_content(tmp_path: Path):
    Image.fromarray(random_bytes()).save(tmp_path / "picture", "PNG")
    assert torch.equal(images.read_image(tmp_path / "picture"), as_tensor(random_bytes()))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_first_frame_of_several(tmp_path: Path, suffix: str):
    path = tmp_path / f"frames{suffix}"
    red, green = (Image.new("RGB", (8, 5), colour) for colour in ("red", "lime"))
    red.save(path, save_all=True, append_images=[green], lossless=True)
    assert torch.equal(images.read_image(path), as_tensor(np.full((5, 8, 3), (255, 0, 0))))


def half_transparent(mode: str) -> Image.Image:
    rgba = Image.fromarray(random_bytes(channels=4))
    if mode == "P":
        palette = Image.fromarray(random_bytes()).quantize(16)
        palette.info["transparency"] = bytes(range(0, 256, 16))
        return palette
    return rgba.convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGBA", ".png"), ("RGBA", ".tif"), ("RGBA", ".webp"), ("LA", ".png"), ("P", ".png")]
)
@pytest.mark.parametrize("background", ["white", "#ff8800", "rgb(10, 20, 30)"])
def test_transparency_is_composited(tmp_path: Path, mode: str, suffix: str, background: str):
    path = tmp_path / f"picture{suffix}"
    half_transparent(mode).save(path, lossless=True, exact=True)
    with Image.open(path) as reference:
        over = reference.convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", over.size, background), over).convert("RGB")
    picture = images.read_picture(path, background=background)
    assert picture.alpha is None
    assert np.abs(as_bytes(picture.pixels) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_carried(tmp_path: Path, mode: str):
    source = half_transparent(mode)
    source.save(tmp_path / "picture.png")
    picture = images.read_picture(tmp_path / "picture.png", background=None)
    rgba = as_tensor(np.asarray(source.convert("RGBA")))
    assert picture.alpha is not None
    assert torch.equal(picture.pixels, rgba[:, :3])
    assert torch.equal(picture.alpha, rgba[:, 3:])


def test_one_transparent_grey_value(tmp_path: Path):
    grey = np.array([[0, 100, 200]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "8.png", transparency=100)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png", transparency=100 * 257)
    for name in ("8.png", "16.png"):
        picture = images.read_picture(tmp_path / name, background=None)
        assert picture.alpha is not None
        assert picture.alpha.flatten().tolist() == [1, 0, 1]
        over_blue = images.read_image(tmp_path / name, background="blue")
        assert over_blue[0, :, 0, 1].tolist() == [0, 0, 1]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_keep_their_precision(tmp_path: Path, suffix: str):
    values = np.linspace(0, 65535, 300).round().astype(np.uint16).reshape(10, 30)
    path = tmp_path / f"deep{suffix}"
    if suffix == ".pgm":
        path.write_bytes(b"P5\n30 10\n65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    image = images.read_image(path)
    for channel in image[0]:
        np.testing.assert_allclose(channel.numpy(), values / 65535, atol=1e-6)


def test_dark_sixteen_bits_stay_dark(tmp_path: Path):
    Image.fromarray(np.full((4, 4), 200, np.uint16)).save(tmp_path / "dark.png")
    assert images.read_image(tmp_path / "dark.png").max() == pytest.approx(200 / 65535)


@pytest.mark.parametrize("full", [1, 255, 65535])
def test_float_pictures(tmp_path: Path, full: float):
    values = np.linspace(-0.02, 1.02, 60, dtype=np.float32).reshape(6, 10)
    Image.fromarray(values * full).save(tmp_path / "float.tif")
    image = images.read_image(tmp_path / "float.tif")
    np.testing.assert_allclose(image[0, 1].numpy(), values.clip(0, 1), atol=1e-6)


def test_thirty_two_bit_integers(tmp_path: Path):
    Image.fromarray(np.array([[0, 2**30, 2**31 - 1]], np.int32)).save(tmp_path / "int.tif")
    assert images.read_image(tmp_path / "int.tif")[0, 0, 0].tolist() == pytest.approx([0, 0.5, 1])


# What the stored rows and columns mean, from the table of EXIF 2.32, section 4.6.4, "Orientation".
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str):
    path = tmp_path / f"turned{suffix}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = random_bytes(5, 8, 4)
    Image.fromarray(stored).save(path, exif=exif, lossless=True, exact=True)
    picture = images.read_picture(path, background=None)
    upright = as_tensor(UPRIGHT[orientation](stored))
    assert picture.alpha is not None
    assert torch.equal(torch.cat([picture.pixels, picture.alpha], 1), upright)
    if picture.exif is not None:
        written = images.write_image(picture.pixels, tmp_path / "again.png", exif=picture.exif)
        assert torch.equal(images.read_image(written), upright[:, :3])


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_exif_orientation_as_pillow_does_it(tmp_path: Path, orientation: int, mode: str):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(random_bytes(8, 16)).convert(mode).save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as image:
        expected = as_tensor(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))
        assert torch.equal(images.from_pil(image), expected)
    picture = images.read_picture(tmp_path / "turned.jpg")
    assert torch.equal(picture.pixels, expected)
    assert picture.exif is not None
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept[ExifTags.Base.Orientation] == 1


@pytest.mark.parametrize("garbage", [b"garbage", b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\xff\xff\xff\xff"])
def test_broken_exif_does_not_cost_the_picture(tmp_path: Path, garbage: bytes):
    Image.fromarray(smooth_picture()).save(tmp_path / "photo.jpg", exif=b"Exif\0\0" + garbage)
    picture = images.read_picture(tmp_path / "photo.jpg")
    assert picture.pixels.shape == (1, 3, 32, 32)
    images.write_image(picture.pixels, tmp_path / "again.jpg", exif=picture.exif)


# --- colour profiles ---


def test_adobe_rgb_is_converted(tmp_path: Path):
    stored = random_bytes(16, 16)
    Image.fromarray(stored).save(tmp_path / "adobe.png", icc_profile=ADOBE_RGB)
    expected = xyz_to_srgb((stored / 255) ** ADOBE_GAMMA @ ADOBE_TO_XYZ.T)
    actual = as_bytes(images.read_image(tmp_path / "adobe.png"))
    assert np.abs(actual - stored).max() > 20
    assert np.abs(actual - expected * 255).max() < 1.6


def test_profile_beside_transparency_palette_and_grey(tmp_path: Path):
    stored = random_bytes(4, 4, 4)
    Image.fromarray(stored).save(tmp_path / "rgba.png", icc_profile=ADOBE_RGB)
    picture = images.read_picture(tmp_path / "rgba.png", background=None)
    Image.fromarray(stored[..., :3]).save(tmp_path / "rgb.png", icc_profile=ADOBE_RGB)
    assert torch.equal(picture.pixels, images.read_image(tmp_path / "rgb.png"))
    assert picture.alpha is not None
    assert torch.equal(picture.alpha, as_tensor(stored[..., 3:]))

    palette = Image.fromarray(stored[..., :3]).quantize(16)
    palette.save(tmp_path / "palette.png", icc_profile=ADOBE_RGB)
    palette.convert("RGB").save(tmp_path / "rgb.png", icc_profile=ADOBE_RGB)
    assert torch.equal(images.read_image(tmp_path / "palette.png"), images.read_image(tmp_path / "rgb.png"))

    grey = Image.fromarray(stored[..., 0])
    grey.save(tmp_path / "grey.png", icc_profile=ADOBE_RGB)
    grey.convert("RGB").save(tmp_path / "rgb.png", icc_profile=ADOBE_RGB)
    assert torch.equal(images.read_image(tmp_path / "grey.png"), images.read_image(tmp_path / "rgb.png"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_linear_grey_profile(tmp_path: Path, dtype: type[np.integer]):
    full = np.iinfo(dtype).max
    stored = np.linspace(0, full, 256).round().astype(dtype).reshape(16, 16)
    Image.fromarray(stored).save(tmp_path / "linear.png", icc_profile=LINEAR_GREY)
    actual = as_bytes(images.read_image(tmp_path / "linear.png"))[..., 1]
    assert np.abs(actual - 255 * encode_srgb(stored / full)).max() < 1.6


def test_cmyk_goes_through_its_profile(tmp_path: Path):
    cyan = (60.0, -20.0, -30.0)  # far from Pillow's own (0, 255, 255)
    stored = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)
    Image.fromarray(stored, "CMYK").save(tmp_path / "print.tif", icc_profile=cmyk_profile(cyan))
    actual = as_bytes(images.read_image(tmp_path / "print.tif"))[0]
    expected = np.stack([np.ones(3), lab_to_srgb(cyan), np.zeros(3)]) * 255
    assert np.abs(actual - expected).max() < 2.5


def test_lab_picture(tmp_path: Path):
    stored = np.array([[[255, 0, 0], [128, 0, 0], [153, 236, 226]]], np.uint8)  # a and b as signed bytes
    Image.frombytes("LAB", (3, 1), stored.tobytes()).save(tmp_path / "lab.tif")
    expected = [
        lab_to_srgb((100 / 255 * l8, float(a), float(b)))
        for l8, (a, b) in zip(stored[0, :, 0], stored[0, :, 1:].view(np.int8), strict=True)
    ]
    actual = as_bytes(images.read_image(tmp_path / "lab.tif"))[0]
    assert np.abs(actual - np.stack(expected) * 255).max() < 2.5


def test_srgb_profile_changes_nothing(tmp_path: Path):
    stored = random_bytes(64, 64)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(stored).save(tmp_path / "srgb.png", icc_profile=profile)
    assert torch.equal(images.read_image(tmp_path / "srgb.png"), as_tensor(stored))


@pytest.mark.parametrize(
    ("profile", "mode"),
    [
        (b"not a profile", "RGB"),
        (ADOBE_RGB[:200], "RGB"),
        (ADOBE_RGB.replace(b"rXYZ", b"....", 1), "RGB"),
        (LINEAR_GREY, "RGB"),
        (ADOBE_RGB, "CMYK"),
        (cmyk_profile((60.0, 0.0, 0.0)), "RGB"),
        (cmyk_profile((60.0, 0.0, 0.0)), "L"),
    ],
)
def test_unusable_profile_is_ignored(tmp_path: Path, profile: bytes, mode: str):
    source = Image.fromarray(random_bytes()).convert(mode)
    source.save(tmp_path / "picture.tif", icc_profile=profile)
    expected = as_tensor(np.asarray(source.convert("RGB")))
    assert torch.equal(images.read_image(tmp_path / "picture.tif"), expected)


# --- bad input ---


def png_of_size(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def encoded(image_format: str, size: int = 64, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(random_bytes(size, size)).save(buffer, image_format, **options)
    return buffer.getvalue()


def grey_float_tiff(*values: float) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.array([values], np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0xFF for byte in data[middle : middle + 20]) + data[middle + 20 :]


BAD_FILES = {
    "empty.png": (b"", "empty"),
    "words.png": (b"I am not a picture, believe me.\n" * 20, "not a picture"),
    "page.jpg": (b"<!DOCTYPE html><html><body>404</body></html>", "not a picture"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "not a picture"),
    "archive.png": (b"PK\3\4" + bytes(60), "not a picture"),
    "paper.pdf": (b"%PDF-1.7\n", "not a picture"),
    "noise.webp": (random_bytes().tobytes(), "not a picture"),
    "signature.png": (b"\x89PNG\r\n\x1a\n", "cannot read"),
    "start.jpg": (b"\xff\xd8\xff\xe0", "cannot read"),
    "cut.jpg": (encoded("JPEG")[:-2000], "truncated"),
    "cut.png": (encoded("PNG")[:-5000], "truncated"),
    "cut.webp": (encoded("WEBP")[:-500], "cannot read"),
    "cut.gif": (encoded("GIF")[:-2000], "truncated"),
    "cut.bmp": (encoded("BMP")[:-5000], "truncated"),
    "cut.tif": (encoded("TIFF")[:-5000], "truncated"),
    "cut.ppm": (encoded("PPM")[:-5000], "truncated"),
    "headless.jpg": (encoded("JPEG")[100:], "not a picture"),
    "damaged.png": (damaged(encoded("PNG")), "cannot read"),
    "damaged.tif": (damaged(encoded("TIFF", compression="tiff_lzw")), "cannot read"),
    "short.png": (png_of_size(40, 40), "cannot read"),
    "no-pixels.png": (png_of_size(0, 0), "cannot read"),
    "no-width.ppm": (b"P6\n0 4\n255\n", "cannot read"),
    "no-height.gif": (b"GIF89a\4\0\0\0\0\0\0;", "cannot read"),
    "bomb.png": (png_of_size(60_000, 60_000), "512 megapixels"),
    "bomb-2.png": (png_of_size(25_000, 25_000), "512 megapixels"),
    "bomb.ppm": (b"P6\n100000 100000\n255\n", "512 megapixels"),
    "nan.tif": (grey_float_tiff(0.0, float("nan")), "nan"),
    "far-out.tif": (grey_float_tiff(0.0, 1e9), "grey values"),
    "negative.tif": (grey_float_tiff(-5.0, 1.0), "grey values"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]):
    content, words = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArbstyleError) as error:
        images.read_picture(tmp_path / name)
    message = one_line(error)
    assert name in message
    assert words in message
    assert capfd.readouterr() == ("", "")


def make_fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def make_loop(folder: Path) -> Path:
    (folder / "loop.png").symlink_to(folder / "loop.png")
    return folder / "loop.png"


def make_file_as_folder(folder: Path) -> Path:
    (folder / "file.png").write_bytes(encoded("PNG"))
    return folder / "file.png" / "picture.png"


BAD_PATHS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "missing.png", "no such file"),
    "line break in the name": (lambda folder: folder / "two\nlines.png", "no such file"),
    "folder": (lambda folder: folder, "folder"),
    "nul in the name": (lambda folder: folder / "a\0b.png", "null"),
    "long name": (lambda folder: folder / ("long" * 100 + ".png"), "too long"),
    "pipe": (make_fifo, "regular file"),
    "link to itself": (make_loop, "symbolic links"),
    "file as a folder": (make_file_as_folder, "not a directory"),
}


@pytest.mark.parametrize("case", BAD_PATHS)
def test_bad_path(tmp_path: Path, case: str):
    make, words = BAD_PATHS[case]
    with pytest.raises(ArbstyleError) as error:
        images.read_image(make(tmp_path))
    assert words in one_line(error)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "secret.png"
    path.write_bytes(encoded("PNG"))
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything, so the refusal is made by hand

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ArbstyleError) as error:
        images.read_image(path)
    assert one_line(error) == f"cannot read '{path}': permission denied"


def test_own_pixel_limit_replaces_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "picture.png"
    Image.fromarray(random_bytes(20, 20)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert images.read_image(path).shape == (1, 3, 20, 20)
    assert Image.MAX_IMAGE_PIXELS == 10
    monkeypatch.setattr("arbstyle.images.decoding.MAX_PIXELS", 399)
    with pytest.raises(ArbstyleError, match="megapixels"):
        images.read_image(path)
    with pytest.raises(ArbstyleError, match="megapixels"):
        images.from_pil(Image.new("RGB", (20, 20)))
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("name", ["whitee", "", "#12", "#11223344", "rgb(1,2)", 3])
def test_bad_background(tmp_path: Path, name: str):
    Image.fromarray(random_bytes()).save(tmp_path / "picture.png")
    with pytest.raises(ArbstyleError) as error:
        images.read_image(tmp_path / "picture.png", background=name)
    assert "colour" in one_line(error)


def test_colours():
    assert images.parse_color("white") == (1, 1, 1)
    assert images.parse_color("#ff8000") == (1, 128 / 255, 0)
    assert images.parse_color("rgb(0, 51, 255)") == (0, 0.2, 1)


# --- Pillow images ---


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV"])
def test_from_pil(mode: str):
    source = Image.fromarray(random_bytes()).convert(mode)
    assert torch.equal(images.from_pil(source), as_tensor(np.asarray(source.convert("RGB"))))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_from_pil_with_alpha(mode: str):
    via = {"RGBa": "RGBA", "La": "LA"}.get(mode, mode)
    source = Image.fromarray(random_bytes(channels=4)).convert(via).convert(mode)
    straight = source.convert(via).convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", source.size, "white"), straight).convert("RGB")
    assert np.abs(as_bytes(images.from_pil(source)) - np.asarray(expected)).max() <= 1


def test_from_pil_leaves_its_argument_alone():
    source = Image.fromarray(random_bytes(4, 6))
    source.getexif()[ExifTags.Base.Orientation] = 6
    assert images.from_pil(source).shape == (1, 3, 6, 4)
    assert source.size == (6, 4)
    assert source.getexif()[ExifTags.Base.Orientation] == 6


def test_from_pil_refuses_other_things():
    with pytest.raises(ArbstyleError, match="expected a Pillow image, got ndarray"):
        images.from_pil(random_bytes())  # type: ignore[arg-type]


def test_to_pil_is_the_inverse():
    stored = random_bytes(channels=4)
    image = as_tensor(stored)
    assert np.array_equal(np.asarray(images.to_pil(image[:, :3])), stored[..., :3])
    assert np.array_equal(np.asarray(images.to_pil(image[0, :3])), stored[..., :3])
    assert np.array_equal(np.asarray(images.to_pil(image[:, :3], alpha=image[:, 3:])), stored)


def test_quantisation_rounds_and_clamps():
    def written(values: torch.Tensor) -> np.ndarray:
        return np.asarray(images.to_pil(values.expand(3, 1, -1)))[0, :, 1]

    levels = torch.arange(255, dtype=torch.float64)
    assert np.array_equal(written((levels + 0.49) / 255), levels.numpy())
    assert np.array_equal(written((levels + 0.51) / 255), levels.numpy() + 1)
    assert written(torch.tensor([-3.0, 7.0])).tolist() == [0, 255]


# --- resizing ---


@pytest.mark.parametrize("size", [(7, 11), (16, 24), (40, 30), (90, 100), (1, 1), (32, 5)])
def test_resize_is_pillows_antialiased_bicubic(size: tuple[int, int]):
    image = random_image(32, 48)
    resized = images.resize(image, size)
    assert resized.shape == (1, 3, *size)
    for channel, plane in enumerate(image[0]):
        expected = Image.fromarray(plane.numpy()).resize(size[::-1], Image.Resampling.BICUBIC)
        np.testing.assert_allclose(resized[0, channel], np.asarray(expected).clip(0, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "edge", "expected"),
    [
        (16, "short", (16, 24)),
        (16, "long", (11, 16)),
        (64, "short", (64, 96)),
        (96, "long", (64, 96)),
        ((5, 7), "short", (5, 7)),
        (1, "long", (1, 1)),
    ],
)
def test_resize_keeps_the_aspect(size, edge, expected):
    assert images.resize(random_image(32, 48), size, edge=edge).shape[-2:] == expected
    assert images.resize(random_image(48, 32), size, edge=edge).shape[-2:] == (
        expected if isinstance(size, tuple) else expected[::-1]
    )


def test_resize_has_no_aliasing():
    checkerboard = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * torch.ones(1, 3, 1, 1)
    inner = images.resize(checkerboard, 21)[..., 2:-2, 2:-2]
    assert (inner - 0.5).abs().max() < 0.02


def test_resize_stays_in_range_and_keeps_constants():
    edge = torch.zeros(2, 1, 8, 8)
    edge[..., 4:] = 1
    resized = images.resize(edge, 37)
    assert resized.min() == 0
    assert resized.max() == 1
    assert torch.allclose(images.resize(torch.full((1, 3, 9, 9), 0.3), 5), torch.tensor(0.3))


def test_resize_to_the_same_size_is_exact():
    image = random_image(32, 48)
    assert torch.equal(images.resize(image, 32), image)


def test_resize_keeps_half_precision_and_gradients():
    assert images.resize(random_image().half(), 4).dtype == torch.float16
    image = random_image().requires_grad_()
    images.resize(image, 4).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


@pytest.mark.parametrize("size", [0, -4, (0, 5), (5, -1)])
def test_resize_refuses_sizes_below_one(size):
    with pytest.raises(ArbstyleError) as error:
        images.resize(random_image(), size)
    assert "at least 1 pixel" in one_line(error)


def test_resize_refuses_to_explode():
    with pytest.raises(ArbstyleError) as error:
        images.resize(torch.zeros(1, 3, 1, 10_000), 512)
    assert "megapixels" in one_line(error)


@pytest.mark.parametrize("image", [torch.zeros(3, 4, 4), torch.zeros(1, 3, 4, 4).byte(), "picture"])
def test_resize_refuses_other_tensors(image):
    with pytest.raises(ArbstyleError) as error:
        images.resize(image, 4)
    assert "N×C×H×W" in one_line(error)


def test_read_image_resizes_the_short_side(tmp_path: Path):
    Image.fromarray(smooth_picture().repeat(2, axis=1)).save(tmp_path / "wide.png")
    image = images.read_image(tmp_path / "wide.png", size=10)
    assert torch.equal(image, images.resize(images.read_image(tmp_path / "wide.png"), (10, 20)))


# --- writing ---


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
def test_lossless_round_trip(tmp_path: Path, suffix: str):
    image = random_image(20, 30)
    path = images.write_image(image, tmp_path / f"picture{suffix}")
    assert path == tmp_path / f"picture{suffix}"
    again = images.read_image(path)
    assert (again - image).abs().max() <= HALF_STEP
    assert torch.equal(images.read_image(images.write_image(again, path)), again)


@pytest.mark.parametrize(
    ("suffix", "image_format", "tolerance"),
    [
        (".jpg", "JPEG", 6),
        (".jpeg", "JPEG", 6),
        (".JPG", "JPEG", 6),
        (".png", "PNG", 0),
        (".webp", "WEBP", 10),
        (".tif", "TIFF", 0),
        (".tiff", "TIFF", 0),
        (".bmp", "BMP", 0),
        (".gif", "GIF", 40),
    ],
)
def test_format_follows_the_suffix(tmp_path: Path, suffix: str, image_format: str, tolerance: float):
    stored = smooth_picture()
    path = images.write_image(as_tensor(stored), tmp_path / f"picture{suffix}")
    with Image.open(path) as written:
        assert written.format == image_format
        difference = np.asarray(written.convert("RGB")).astype(int) - stored
    assert np.abs(difference).max() <= tolerance


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_is_kept_where_the_format_allows(tmp_path: Path, suffix: str):
    image, alpha = as_tensor(smooth_picture()), random_image(32, 32, 1)
    path = images.write_image(image, tmp_path / f"picture{suffix}", alpha=alpha)
    picture = images.read_picture(path, background=None)
    assert picture.alpha is not None
    assert (picture.alpha - alpha).abs().max() <= HALF_STEP


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".gif"])
def test_alpha_is_over_white_elsewhere(tmp_path: Path, suffix: str):
    image, alpha = torch.zeros(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    alpha[..., 8:] = 0
    path = images.write_image(image, tmp_path / f"picture{suffix}", alpha=alpha)
    written = images.read_image(path, background="red")
    assert written[..., :8].max() < 0.02
    assert written[..., 8:].min() > 0.98


def test_same_picture_same_bytes(tmp_path: Path):
    for suffix in images.WRITABLE_SUFFIXES:
        first = images.write_image(random_image(), tmp_path / f"1{suffix}").read_bytes()
        assert images.write_image(random_image(), tmp_path / f"2{suffix}").read_bytes() == first


def test_quality_is_used(tmp_path: Path):
    for suffix in (".jpg", ".webp"):
        path = tmp_path / f"picture{suffix}"
        small = images.write_image(random_image(64, 64), path, quality=20).stat().st_size
        large = images.write_image(random_image(64, 64), path, quality=95).stat().st_size
        assert 2 * small < large


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_written_profile_is_srgb(tmp_path: Path, suffix: str):
    with Image.open(images.write_image(random_image(), tmp_path / f"picture{suffix}")) as written:
        embedded = written.info["icc_profile"]
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(embedded)))
    assert struct.unpack(">H", embedded[24:26]) == (
        2000,
    )  # not the day it was written: files stay reproducible


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_png(tmp_path: Path, channels: int):
    image = random_image(20, 30, channels)
    alpha = image[:, 3:] if channels == 4 else None
    notes = {"Style": "wave"}
    path = images.write_image(image[:, :3], tmp_path / "deep.png", alpha=alpha, bits=16, text=notes)
    written = decode_png(read_file(str(path)), ImageReadMode.UNCHANGED)
    assert written.dtype == torch.uint16
    assert (written.double() / 65535 - image[0].double()).abs().max() < 0.51 / 65535
    with Image.open(path) as pillows:
        pillows.load()
        assert pillows.mode == ("RGBA" if alpha is not None else "RGB")
        assert pillows.text == notes  # type: ignore[attr-defined]
        assert "icc_profile" in pillows.info


@pytest.fixture
def camera_photo(tmp_path: Path) -> Path:
    """A JPEG with what cameras write: two directories, GPS, UTF-8 text, a maker's note, orientation 6."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Leica"
    exif[ExifTags.Base.Artist] = "Käthe Kollwitz ☼".encode()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.ExifOffset] = {
        ExifTags.Base.DateTimeOriginal: "2024:05:01 12:00:00",
        ExifTags.Base.ExposureTime: 0.005,
        ExifTags.Base.ColorSpace: 65535,
        ExifTags.Base.ExifImageWidth: 4000,
        ExifTags.Base.MakerNote: b"secret\0words",
    }
    exif[ExifTags.Base.GPSInfo] = {
        ExifTags.GPS.GPSLatitudeRef: "N",
        ExifTags.GPS.GPSLatitude: (59.0, 54.0, 30.0),
    }
    path = tmp_path / "photo.jpg"
    Image.fromarray(smooth_picture()).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_is_kept(camera_photo: Path, tmp_path: Path, suffix: str):
    photo = images.read_picture(camera_photo)
    path = images.write_image(photo.pixels, tmp_path / f"painted{suffix}", exif=photo.exif)
    for _ in range(2):  # the second time around, from the painted picture
        with Image.open(path) as written:
            exif = written.getexif()
            details, gps = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
            assert exif[ExifTags.Base.Make] == "Leica"
            assert exif[ExifTags.Base.Artist].encode("latin-1").decode() == "Käthe Kollwitz ☼"
            assert exif.get(ExifTags.Base.Orientation, 1) == 1
        assert details[ExifTags.Base.DateTimeOriginal] == "2024:05:01 12:00:00"
        assert float(details[ExifTags.Base.ExposureTime]) == pytest.approx(0.005)
        assert details[ExifTags.Base.MakerNote] == b"secret\0words"
        assert details[ExifTags.Base.ColorSpace] == 1
        assert ExifTags.Base.ExifImageWidth not in details
        assert gps[ExifTags.GPS.GPSLatitude] == (59.0, 54.0, 30.0)
        again = images.read_picture(path)
        path = images.write_image(again.pixels, tmp_path / f"again{suffix}", exif=again.exif)


def test_tiff_layout_does_not_leak_into_exif(camera_photo: Path, tmp_path: Path):
    photo = images.read_picture(camera_photo)
    tiff = images.read_picture(images.write_image(photo.pixels, tmp_path / "painted.tif", exif=photo.exif))
    with Image.open(images.write_image(tiff.pixels, tmp_path / "painted.jpg", exif=tiff.exif)) as written:
        tags = set(written.getexif())
    assert ExifTags.Base.Make in tags
    assert not tags & {ExifTags.Base.StripOffsets, ExifTags.Base.ImageWidth, ExifTags.Base.InterColorProfile}


def test_picture_without_exif_has_none(tmp_path: Path):
    for suffix in images.WRITABLE_SUFFIXES:
        path = images.write_image(random_image(), tmp_path / f"plain{suffix}")
        assert images.read_picture(path).exif is None


def test_exif_too_long_for_jpeg_is_left_out(tmp_path: Path):
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "long " * 20_000
    path = images.write_image(random_image(), tmp_path / "picture.jpg", exif=exif.tobytes())
    assert images.read_picture(path).exif is None
    path = images.write_image(random_image(), tmp_path / "picture.png", exif=exif.tobytes())
    assert images.read_picture(path).exif is not None


def test_notes_in_png(tmp_path: Path):
    notes = {"Software": "arbstyle 0.1", "Style": "北斎 wave"}
    with Image.open(images.write_image(random_image(), tmp_path / "picture.png", text=notes)) as written:
        written.load()
        assert written.text == notes  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("has_exif", [False, True])
def test_notes_in_exif(tmp_path: Path, suffix: str, has_exif: bool):
    photo = Image.Exif()
    photo[ExifTags.Base.ImageDescription] = "Grandmother"
    photo[ExifTags.Base.Make] = "Leica"
    path = images.write_image(
        random_image(),
        tmp_path / f"picture{suffix}",
        exif=photo.tobytes() if has_exif else None,
        text={"Software": "arbstyle 0.1", "Style": "北斎", "Strength": "1"},
    )
    with Image.open(path) as written:
        tags = written.getexif()
        assert tags[ExifTags.Base.Software] == "arbstyle 0.1"
        assert tags.get(ExifTags.Base.Make) == ("Leica" if has_exif else None)
        description = tags[ExifTags.Base.ImageDescription].encode("latin-1").decode()
    assert description == ("Grandmother; " if has_exif else "") + "Style: 北斎; Strength: 1"


@pytest.mark.parametrize("suffix", [".bmp", ".gif"])
def test_metadata_is_dropped_where_there_is_no_place(camera_photo: Path, tmp_path: Path, suffix: str):
    photo = images.read_picture(camera_photo)
    path = images.write_image(photo.pixels, tmp_path / f"p{suffix}", exif=photo.exif, text={"Style": "wave"})
    assert images.read_image(path).shape == photo.pixels.shape


BAD_TENSORS: dict[str, tuple[Any, str]] = {
    "NaN": (torch.full((1, 3, 4, 4), float("nan")), "finite"),
    "infinity": (torch.full((1, 3, 4, 4), float("inf")), "finite"),
    "integers": (torch.zeros(1, 3, 4, 4, dtype=torch.int32), "floats"),
    "two pictures": (torch.zeros(2, 3, 4, 4), "1×3×H×W"),
    "one channel": (torch.zeros(1, 1, 4, 4), "1×3×H×W"),
    "channels last": (torch.zeros(1, 4, 4, 3), "1×3×H×W"),
    "no pixels": (torch.zeros(1, 3, 0, 4), "1×3×H×W"),
    "a scalar": (torch.tensor(1.0), "1×3×H×W"),
    "an array": (np.zeros((1, 3, 4, 4)), "floats"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_bad_tensor(tmp_path: Path, case: str):
    image, words = BAD_TENSORS[case]
    with pytest.raises(ArbstyleError) as error:
        images.to_pil(image)
    assert words in one_line(error)
    with pytest.raises(ArbstyleError) as error:
        images.write_image(image, tmp_path / "picture.png")
    assert words in one_line(error)
    assert not list(tmp_path.iterdir())


def test_bad_alpha():
    for alpha in (torch.zeros(1, 1, 4, 5), torch.zeros(1, 3, 4, 4), torch.full((1, 1, 4, 4), float("nan"))):
        with pytest.raises(ArbstyleError) as error:
            images.to_pil(torch.zeros(1, 3, 4, 4), alpha=alpha)
        assert "alpha" in one_line(error)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quality": 0}, "quality"),
        ({"quality": 101}, "quality"),
        ({"quality": True}, "quality"),
        ({"quality": 9.5}, "quality"),
        ({"bits": 16}, "16 bits"),
        ({"bits": 4}, "4 bits"),
        ({"exif": b"garbage", "text": {"Style": "wave"}}, "cannot write"),
    ],
)
def test_bad_write_options(tmp_path: Path, options: dict, words: str):
    with pytest.raises(ArbstyleError) as error:
        images.write_image(random_image(), tmp_path / "picture.jpg", **options)
    assert words in one_line(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("suffix", "side"), [(".jpg", 65_501), (".webp", 16_384), (".gif", 65_536)])
def test_side_too_long_for_the_format(tmp_path: Path, suffix: str, side: int):
    with pytest.raises(ArbstyleError) as error:
        images.write_image(torch.zeros(1, 3, 1, side), tmp_path / f"long{suffix}")
    assert str(side - 1) in one_line(error)
    images.write_image(torch.zeros(1, 3, 1, side - 1), tmp_path / f"long{suffix}")


# --- output paths ---


def existing_folder(folder: Path) -> Path:
    (folder / "folder.png").mkdir()
    return folder / "folder.png"


BAD_OUTPUTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "unknown suffix": (lambda folder: folder / "picture.xyz", "ends in .jpg"),
    "no suffix": (lambda folder: folder / "picture", "ends in .jpg"),
    "only a suffix": (lambda folder: folder / ".png", "ends in .jpg"),
    "folder": (existing_folder, "it is a folder"),
    "pipe": (make_fifo, "regular file"),
    "below a file": (make_file_as_folder, "is a file, not a folder"),
    "deep below a file": (lambda folder: make_file_as_folder(folder) / "b.png", "is a file, not a folder"),
    "nul in the name": (lambda folder: folder / "a\0b.png", "null"),
    "long name": (lambda folder: folder / ("long" * 100 + ".png"), "too long"),
    "long folder name": (lambda folder: folder / ("long" * 100) / "a.png", "too long"),
    "link to itself": (make_loop, "symbolic links"),
}


@pytest.mark.parametrize("case", BAD_OUTPUTS)
def test_bad_output_path(tmp_path: Path, case: str):
    make, words = BAD_OUTPUTS[case]
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArbstyleError) as error:
        images.check_output_path(path)
    assert words in one_line(error)
    with pytest.raises(ArbstyleError) as error:
        images.write_image(random_image(), path)
    assert words in one_line(error)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_folder_that_refuses_only_when_written_to():
    with pytest.raises(ArbstyleError) as error:
        images.write_image(random_image(), "/proc/arbstyle/picture.png")
    assert one_line(error).startswith("cannot write '/proc/arbstyle/picture.png': ")


@pytest.mark.parametrize("protected", ["file", "folder"])
def test_protected_output(tmp_path: Path, protected: str, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"mine")
    refused = path if protected == "file" else tmp_path
    monkeypatch.setattr(os, "access", lambda path, _: path != refused)  # root may write everywhere
    with pytest.raises(ArbstyleError, match=r"write-protected|no permission"):
        images.write_image(random_image(), path)
    assert path.read_bytes() == b"mine"


def test_check_output_path_creates_nothing(tmp_path: Path):
    path = tmp_path / "new" / "folder" / "picture.png"
    assert images.check_output_path(path) == path
    assert images.check_output_path(path.with_suffix(".csv"), suffixes=(".csv",)) == path.with_suffix(".csv")
    assert images.check_output_path(path.with_suffix(""), suffixes=None) == path.with_suffix("")
    assert not list(tmp_path.iterdir())
    assert images.write_image(random_image(), path).is_file()


# --- atomic writing ---


def test_atomic_path_replaces_at_the_end(tmp_path: Path):
    path = tmp_path / "notes.json"
    path.write_text("old")
    with images.atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".json"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def write_half(path: Path, failure: BaseException) -> None:
    with images.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise failure


@pytest.mark.parametrize("failure", [ValueError("broken"), KeyboardInterrupt(), ArbstyleError("no")])
def test_atomic_path_cleans_up(tmp_path: Path, failure: BaseException):
    path = tmp_path / "notes.json"
    path.write_text("old")
    with pytest.raises(type(failure)):
        write_half(path, failure)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk(tmp_path: Path):
    with pytest.raises(ArbstyleError) as error:
        write_half(tmp_path / "a.json", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert one_line(error) == f"cannot write '{tmp_path / 'a.json'}': no space left on device"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", images.WRITABLE_SUFFIXES)
def test_disk_that_takes_only_a_little(tmp_path: Path, suffix: str):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(ArbstyleError) as error:
            images.write_image(random_image(64, 64), tmp_path / f"picture{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "too large" in one_line(error)
    assert not list(tmp_path.iterdir())


def test_file_mode_respects_the_umask(tmp_path: Path):
    for mask, expected in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664)):
        previous = os.umask(mask)
        try:
            path = images.write_image(random_image(), tmp_path / f"{mask}.png")
            with images.atomic_path(tmp_path / f"{mask}.safetensors") as temporary:
                save_file({"numbers": torch.ones(3)}, temporary)  # which makes private files
        finally:
            os.umask(previous)
        for written in (path, tmp_path / f"{mask}.safetensors"):
            assert stat.S_IMODE(written.stat().st_mode) == expected


def test_symbolic_link_is_followed(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "real" / "picture.png")
    images.write_image(random_image(), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["picture.png"]


def test_writers_of_one_file_do_not_meet(tmp_path: Path):
    path = tmp_path / "picture.png"
    pictures = [torch.full((1, 3, 40, 40), value) for value in (0.0, 1.0)]
    failures: list[BaseException] = []

    def write(image: torch.Tensor) -> None:
        try:
            for _ in range(20):
                images.write_image(image, path)
                assert images.read_image(path).unique().numel() == 1
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=write, args=(image,)) for image in pictures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(tmp_path.iterdir()) == [path]


# --- folders ---


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "a.txt", ".hidden.png", "deep/c.webp", "deep/er/d.tif", ".cache/e.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def test_find_images(album: Path):
    assert images.find_images(album) == [album / "a.png", album / "b.JPG"]
    assert images.find_images(str(album), recursive=True) == [
        album / name for name in ("a.png", "b.JPG", "deep/c.webp", "deep/er/d.tif")
    ]


def test_find_images_passes_over_temporary_files(tmp_path: Path):
    images.write_image(random_image(), tmp_path / "done.png")
    with images.atomic_path(tmp_path / "next.png") as temporary:
        temporary.write_bytes(encoded("PNG"))
        assert images.find_images(tmp_path) == [tmp_path / "done.png"]


def test_find_images_in_bad_folders(album: Path):
    for folder, words in (
        (album / "missing", "no such file"),
        (album / "a.png", "not a directory"),
        (album / "folder.png", "no pictures found"),
    ):
        with pytest.raises(ArbstyleError) as error:
            images.find_images(folder)
        assert words in one_line(error)
        assert str(folder) in one_line(error)


def test_bytes_are_kept_and_written_as_they_are(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "in.png")
    picture = images.read_picture(tmp_path / "in.png", keep_bytes=True)
    assert picture.pixels.dtype == torch.uint8
    for bits in (8, 16):
        images.write_image(picture.pixels, tmp_path / "out.png", bits=bits)
        assert torch.equal(images.read_image(tmp_path / "out.png"), picture.pixels / 255)
    images.write_image(picture.pixels, tmp_path / "clear.png", alpha=torch.ones(1, 1, 7, 9))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "clear.png"))[..., :3], values)
    clear = images.read_picture(tmp_path / "clear.png", background=None, keep_bytes=True)
    assert clear.pixels.dtype == torch.float32, "what is transparent may have to be composited"


# --- pictures from strangers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({}, (60, 120)), ({"size": 40}, (40, 80)), ({"size": 90}, (60, 120)), ({"pixels": 1800}, (30, 60))],
)
def test_an_upload_is_as_large_as_it_may_be(
    tmp_path: Path, limits: dict[str, int], expected: tuple[int, int]
):
    Image.new("RGB", (120, 60), "red").save(tmp_path / "upload.png")
    picture = images.read_upload(str(tmp_path / "upload.png"), **limits)
    assert tuple(picture.shape) == (1, 3, *expected)
    assert torch.equal(picture[0, :, 5, 5], torch.tensor([1.0, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("size", "kind", "reason"),
    [((64, 64), "PPM", "no picture of"), ((200, 20), "PNG", "too narrow"), ((15, 15), "PNG", "16 pixels")],
)
def test_an_upload_is_refused(tmp_path: Path, size: tuple[int, int], kind: str, reason: str):
    path = tmp_path / "upload"
    Image.new("RGB", size).save(path, kind)
    with pytest.raises(ArbstyleError, match=reason) as caught:
        images.read_upload(str(path))
    assert str(tmp_path) not in str(caught.value)
