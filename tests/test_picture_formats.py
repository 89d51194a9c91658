"""What files hold is read rightly, to one level of 8 bits, or refused in a line; tifffile is the oracle."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, PngImagePlugin

from arbstyle import images
from arbstyle.cli import main
from arbstyle.errors import ArbstyleError
from arbstyle.images import Picture, PictureLike, as_mask, as_tensor, read_picture, resize_with_alpha
from arbstyle.images.arrays import fill_hidden
from arbstyle.images.decoding import READABLE_FORMATS
from arbstyle.images.sizes import style_view
from arbstyle.memory import left_in_group

LEVEL = 1.01 / 255

# Photometric interpretation, samples, planar configuration, what the fourth (or second) sample is.
LAYOUTS = [
    ("miniswhite", 1, None, None),
    ("minisblack", 1, None, None),
    ("minisblack", 2, "contig", "unassalpha"),
    ("miniswhite", 2, "contig", "unassalpha"),
    ("rgb", 3, "contig", None),
    ("rgb", 3, "separate", None),
    ("rgb", 4, "contig", "unassalpha"),
    ("rgb", 4, "contig", "assocalpha"),
    ("rgb", 4, "contig", "unspecified"),
    ("rgb", 4, "separate", "unassalpha"),
    ("rgb", 5, "contig", "unspecified"),
    ("separated", 4, "contig", None),
    ("separated", 4, "separate", None),
]
DTYPES = ["bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64"]
STORAGE = [("<", None, False), (">", None, False), ("<", "zlib", False), (">", "zlib", True)]


def samples(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random values of the whole range, 0 for black; of signed numbers the positive half."""
    values = np.random.default_rng(0).random(shape)
    if dtype == "bool":
        return values < 0.5
    if dtype.startswith("float"):
        return values.astype(dtype)
    return (values * np.iinfo(dtype).max).astype(dtype)


def meaning(path: Path, photometric: str, extra: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """RGB and alpha H×W×C in [0,1] of the values that tifffile reads."""
    with tifffile.TiffFile(path) as file:
        stored, planar = file.asarray(), file.pages.first.planarconfig
    if stored.ndim == 3 and planar == 2:
        stored = np.moveaxis(stored, 0, -1)
    values = np.atleast_3d(stored.astype(np.float64))
    if np.issubdtype(stored.dtype, np.integer):
        values /= np.iinfo(stored.dtype).max
    alpha = values[..., -1:] if extra in ("unassalpha", "assocalpha") else None
    if photometric == "separated":  # as Pillow and browsers do without a profile
        return (1 - values[..., :3]) * (1 - values[..., 3:4]), None
    count = 3 if photometric == "rgb" else 1
    colour = values[..., :count]
    if photometric == "miniswhite":
        colour = 1 - colour
    if extra == "assocalpha":
        colour = colour / np.maximum(values[..., -1:], 1e-9)
    return np.broadcast_to(colour.clip(0, 1), (*colour.shape[:2], 3)), alpha


def read_or_refusal(path: Path) -> Picture | str:
    try:
        return read_picture(path, background=None)
    except ArbstyleError as error:
        return str(error)


@pytest.mark.parametrize(
    ("dtype", "layout"),
    [(dtype, layout) for dtype in DTYPES for layout in LAYOUTS if dtype != "bool" or layout[1] == 1],
    ids=str,
)
def test_tiff_is_read_rightly_or_refused(dtype: str, layout: tuple, tmp_path: Path):
    photometric, count, planar, extra = layout
    read = 0
    for byteorder, compression, predictor in STORAGE:
        values = samples(dtype, (9, 13, count) if count > 1 else (9, 13))
        options = {"photometric": photometric, "byteorder": byteorder, "compression": compression}
        if predictor and "int" in dtype:
            options["predictor"] = True
        if planar is not None:
            options["planarconfig"] = planar
            values = np.ascontiguousarray(np.moveaxis(values, -1, 0)) if planar == "separate" else values
        if extra is not None:
            options["extrasamples"] = [extra] * (count - (3 if photometric == "rgb" else 1))
        path = tmp_path / "picture.tif"
        tifffile.imwrite(path, values, **options)
        colour, alpha = meaning(path, photometric, extra)
        picture = read_or_refusal(path)
        if isinstance(picture, str):
            assert str(path) in picture
            assert "\n" not in picture
            continue
        read += 1
        found = picture.pixels[0].permute(1, 2, 0).numpy()
        weight = np.ones_like(colour[..., :1]) if alpha is None else alpha
        # Two inks, or a colour and the opacity it is divided by, of one level each.
        levels = 2 if photometric == "separated" or extra == "assocalpha" else 1
        assert (np.abs(found - colour) * weight).max() <= levels * LEVEL
        if alpha is None:
            assert picture.alpha is None
        else:
            assert picture.alpha is not None
            assert np.abs(picture.alpha[0, 0].numpy() - alpha[..., 0]).max() <= LEVEL
    if (photometric, count) in (("minisblack", 1), ("rgb", 3)) and dtype in ("uint8", "uint16"):
        assert read > 0, "an ordinary layout"


@pytest.mark.parametrize("bits", [1, 8])
@pytest.mark.parametrize("zero", ["minisblack", "miniswhite"])
def test_tiff_tiles_and_big_tiff(bits: int, zero: str, tmp_path: Path):
    values = samples("bool" if bits == 1 else "uint8", (40, 33))
    choices: list[dict[str, Any]] = [{"bigtiff": True}, {"tile": (16, 16)}]
    for number, options in enumerate(choices):
        if bits == 1 and "tile" in options:
            continue
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, values, photometric=zero, **options)
        expected = values / (1 if bits == 1 else 255)
        expected = 1 - expected if zero == "miniswhite" else expected
        np.testing.assert_allclose(images.read_image(path)[0, 0], expected, atol=LEVEL)


def test_white_is_zero_survives_a_turn_and_a_profile(tmp_path: Path):
    values = samples("uint16", (6, 9))
    tag = (274, "H", 1, 6, True)
    tifffile.imwrite(tmp_path / "turned.tif", values, photometric="miniswhite", extratags=[tag])
    expected = np.rot90(1 - values / 65535, -1)
    np.testing.assert_allclose(images.read_image(tmp_path / "turned.tif")[0, 0], expected, atol=LEVEL)


def test_subsampled_ycbcr_without_jpeg_is_refused(tmp_path: Path):
    path = tmp_path / "ycbcr.tif"
    values = samples("uint8", (8, 8, 3))
    tifffile.imwrite(path, values, photometric="ycbcr")
    whole, halved = (struct.pack("<HHI2H", 530, 3, 2, step, step) for step in (1, 2))
    assert path.read_bytes().count(whole) == 1
    path.write_bytes(path.read_bytes().replace(whole, halved))
    with pytest.raises(ArbstyleError, match="YCbCr"):
        images.read_image(path)


# --- floats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("peak", [1.5, 8.0, 4000.0])
def test_floats_brighter_than_white_are_clipped(peak: float, tmp_path: Path):
    """Highlights of a rendering: 1 is white, whatever a few pixels hold."""
    values = np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10)
    values[0, :3] = peak
    Image.fromarray(values).save(tmp_path / "light.tif")
    np.testing.assert_allclose(images.read_image(tmp_path / "light.tif")[0, 0], values.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("full", [255, 65535])
def test_whole_numbers_in_floats_are_integers(full: int, tmp_path: Path):
    values = np.round(np.linspace(0, full, 60)).astype(np.float32).reshape(6, 10)
    Image.fromarray(values).save(tmp_path / "integers.tif")
    np.testing.assert_allclose(images.read_image(tmp_path / "integers.tif")[0, 0], values / full, atol=1e-6)


# --- formats --------------------------------------------------------------------------------------


def test_only_formats_of_the_list_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An EPS, which Pillow would hand to Ghostscript, by whatever name; and other rarities."""
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program was started"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    (tmp_path / "photo.jpg").write_bytes(eps)
    Image.new("RGB", (5, 5)).save(tmp_path / "photo.ico")
    Image.new("RGB", (5, 5)).save(tmp_path / "photo.png", "PCX")
    for path in tmp_path.iterdir():
        with pytest.raises(ArbstyleError, match="not a picture, or of an unsupported format"):
            read_picture(path)


def test_no_room_opens_pictures_past_the_list():
    """`Image.open` without `formats=` would take any plug-in, so that one function is the only way in."""
    package = Path(images.__file__).parent.parent
    openers = [
        f"{path.name}: {line.strip()}"
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "Image.open(" in line and "formats=" not in line
    ]
    assert openers == []


def test_the_documents_list_the_formats():
    text = (Path(__file__).parent.parent / "docs" / "pictures.md").read_text(encoding="utf-8")
    names = {"JPEG2000": "JPEG 2000", "WEBP": "WebP", "PPM": "PPM", "DIB": "BMP"}
    missing = [name for name in READABLE_FORMATS if names.get(name, name) not in text]
    assert missing == []


# --- notes ----------------------------------------------------------------------------------------


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(*chunks: bytes, last: bool = False) -> bytes:
    """A PNG with chunks after its header, or before its end."""
    buffer = io.BytesIO()
    Image.fromarray(samples("uint8", (5, 7, 3))).save(buffer, "PNG")
    data = buffer.getvalue()
    place = len(data) - 12 if last else 33
    return data[:place] + b"".join(chunks) + data[place:]


LONG = bytes(2**21)
NOTES = {
    "tEXt": png_chunk(b"tEXt", b"Comment\0" + b"x" * 2**21),
    "zTXt": png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LONG)),
    "iTXt": png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(LONG)),
    "a bomb": png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**27))),
    "many": b"".join(png_chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(2**19))) for _ in range(200)),
    "profile": png_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(LONG)),
    "profile bomb": png_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(bytes(2**25))),
    "torn": png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LONG)[:-900]),
}


@pytest.mark.parametrize("last", [False, True], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("name", NOTES)
def test_long_notes_do_not_cost_the_picture(name: str, last: bool, tmp_path: Path):
    (tmp_path / "noted.png").write_bytes(png_with(NOTES[name], last=last and "profile" not in name))
    found = images.read_image(tmp_path / "noted.png")[0].permute(1, 2, 0) * 255
    assert np.array_equal(found.round().numpy(), samples("uint8", (5, 7, 3)))


def test_a_long_profile_is_used(tmp_path: Path):
    """A profile of more than a megabyte that means something: the colours change as with the short one."""
    short = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    swapped = io.BytesIO()
    assert PngImagePlugin.MAX_TEXT_CHUNK == 2**20
    padded = struct.pack(">I", len(short) + 2**20) + short[4:] + bytes(2**20)
    for profile, name in ((short, "short"), (padded, "long")):
        chunk = png_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(profile))
        (tmp_path / f"{name}.png").write_bytes(png_with(chunk))
    swapped.close()
    pictures = [images.read_image(tmp_path / f"{name}.png") for name in ("short", "long")]
    assert torch.equal(*pictures)


# --- transparency ---------------------------------------------------------------------------------


def test_resizing_with_alpha_is_resizing_what_is_seen():
    """Over any background: composite, then resize; or resize with alpha, then composite."""
    generator = torch.Generator().manual_seed(0)
    pixels, alpha = (torch.rand(1, count, 40, 56, generator=generator) for count in (3, 1))
    small, opacity = resize_with_alpha(pixels, alpha, (10, 14))
    for background in ("white", "black", "#2080c0"):
        expected = images.resize(images.composite(pixels, alpha, background), (10, 14))
        found = images.composite(small, opacity, background)
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_hidden_colours_stay_hidden_when_resized():
    pixels, alpha = torch.zeros(1, 3, 12, 12), torch.ones(1, 1, 12, 12)
    pixels[..., 6:], alpha[..., 6:] = torch.rand(1, 3, 12, 6), 0
    small, opacity = resize_with_alpha(pixels, alpha, (5, 5))
    visible = (opacity > 0.02).expand(-1, 3, -1, -1)
    assert float(small[visible].max()) <= 1e-3


@pytest.mark.parametrize("size", [(1, 7), (12, 13), (40, 33)])
def test_what_is_hidden_gets_the_colours_beside_it(size: tuple[int, int]):
    generator = np.random.default_rng(0)
    planes = generator.random((3, *size), dtype=np.float32)
    alpha = (generator.random((1, *size)) > 0.6).astype(np.float32)
    alpha[:, :, 4:] = 0
    alpha[0, 0, 0] = 1
    filled = fill_hidden(planes, alpha)
    seen = np.broadcast_to(alpha > 0, planes.shape)
    assert np.array_equal(filled[seen], planes[seen])
    assert np.array_equal(fill_hidden(np.where(seen, planes, 7), alpha), filled), (
        "hidden colours don't matter"
    )
    low, high = (function(planes[seen].reshape(3, -1), axis=1) for function in (np.min, np.max))
    assert (filled.min(axis=(1, 2)) >= low - 1e-6).all()
    assert (filled.max(axis=(1, 2)) <= high + 1e-6).all()
    assert np.array_equal(fill_hidden(planes, np.ones_like(alpha)), planes)
    assert (fill_hidden(planes, np.zeros_like(alpha)) == 1).all()
    ramp = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32), (3, 48, 64))
    hole = np.ones((1, 48, 64), np.float32)
    hole[:, 20:28, 20:28] = 0
    assert np.abs(fill_hidden(ramp, hole) - ramp).max() < 0.08, "no edge around a hole"


@pytest.mark.parametrize("kind", ["file", "Pillow", "array"])
def test_a_mask_is_black_where_it_is_transparent(kind: str, tmp_path: Path):
    values = np.full((4, 6, 4), 255, np.uint8)
    values[:, 3:, 3] = 0
    Image.fromarray(values).save(tmp_path / "mask.png")
    sources: dict[str, PictureLike] = {
        "file": tmp_path / "mask.png",
        "Pillow": Image.fromarray(values),
        "array": values,
    }
    assert as_mask(sources[kind])[0, 0].tolist() == [[1, 1, 1, 0, 0, 0]] * 4


def test_optimize_leaves_colours_behind_alpha_as_they_are(tmp_path: Path, vgg19_random: None):
    """Matted on white and given its alpha again, (200, 90, 30) a quarter opaque came out (241, 214, 199)."""
    values = np.full((32, 32, 4), (200, 90, 30, 64), np.uint8)
    Image.fromarray(values).save(tmp_path / "photo.png")
    command = [
        "optimize",
        str(tmp_path / "photo.png"),
        "--style",
        str(tmp_path / "photo.png"),
        "--steps",
        "1",
    ]
    layers = ["--content-layers", "relu1_1", "--style-layers", "relu1_1", "--no-normalize-filters"]
    assert main([*command, *layers, "-o", str(tmp_path / "out.png")]) == 0
    with Image.open(tmp_path / "out.png") as result:
        assert np.abs(np.asarray(result).astype(int) - values).max() <= 1


@pytest.fixture
def vgg19_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBSTYLE_VGG19", "random")


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "left"), [("4000", 1900), ("900", 0), ("max", None)])
def test_cached_files_count_as_free_memory_of_a_container(limit: str, left: int | None, tmp_path: Path):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 1500\ninactive_file 900\nactive_file 600\n")
    assert left_in_group(tmp_path) == left
    assert left_in_group(tmp_path / "none") is None


def test_a_small_file_that_claims_a_huge_size_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    buffer = io.BytesIO()
    Image.new("RGB", (2000, 1500)).save(buffer, "WEBP", lossless=True)
    (tmp_path / "bomb.webp").write_bytes(buffer.getvalue())
    assert len(buffer.getvalue()) < 1000
    monkeypatch.setattr("arbstyle.images.decoding.available_ram", lambda: 40_000_000)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(ArbstyleError, match=r"2000×1500 pixels need 0.1 GiB of memory, and 0.0 GiB are free"):
        read_picture(tmp_path / "bomb.webp")


def test_very_large_bytes_are_reduced_as_bytes(monkeypatch: pytest.MonkeyPatch):
    picture = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    exact = images.shrink(picture, 16)
    monkeypatch.setattr("arbstyle.images.resizing._LARGE", 1000)
    assert torch.equal(exact, images.resize(picture.float() / 255, 16))
    torch.testing.assert_close(images.shrink(picture, 16), exact, atol=1.5 / 255, rtol=0)


@pytest.mark.parametrize("size", [256, 1024])
@pytest.mark.parametrize(("height", "width"), [(300, 400), (2000, 20), (1, 65_535), (512, 2048), (40, 40)])
def test_a_ribbon_of_a_style_takes_no_more_than_others(height: int, width: int, size: int):
    rows, columns = style_view(height, width, size)
    short, long = sorted((height, width))
    if long <= 4 * short:
        assert min(rows, columns) == size
    if long <= 10_000 * short:
        assert rows * columns <= 4.2 * size**2
    assert min(rows, columns) >= 16
    assert min(rows, columns) / max(rows, columns) == pytest.approx(short / long, rel=0.05)


# --- what Pillow leaves as the file has it --------------------------------------------------------


def png_of(values: np.ndarray, bits: int, colour: int, key: Sequence[int]) -> bytes:
    """A PNG H×W×C of so many bits a sample with one transparent colour, by the specification."""
    rows = values.reshape(len(values), -1)
    if bits == 16:
        packed = rows.astype(">u2").view(np.uint8)
    else:
        digits = (rows[..., None] >> np.arange(bits)[::-1]) & 1
        packed = np.packbits(digits.reshape(len(rows), -1).astype(np.uint8), axis=1)
    header = struct.pack(">2I5B", values.shape[1], len(values), bits, colour, 0, 0, 0)
    scanlines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    chunks = [(b"IHDR", header), (b"tRNS", struct.pack(f">{len(key)}H", *key)), (b"IDAT", scanlines)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in [*chunks, (b"IEND", b"")])


@pytest.mark.parametrize(("bits", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_the_transparent_colour_of_a_png_is_of_its_own_depth(bits: int, channels: int, tmp_path: Path):
    values = np.random.default_rng(bits).integers(0, 2**bits, (16, 16, channels))
    values[2:5, 3:9] = values[0, 0]
    path = tmp_path / "picture.png"
    path.write_bytes(png_of(values, bits, 0 if channels == 1 else 2, [int(each) for each in values[0, 0]]))
    visible = (values != values[0, 0]).any(axis=-1)
    picture = read_picture(path, background=None)
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha[0, 0].numpy(), visible)
    found = picture.pixels[0].permute(1, 2, 0).numpy()
    assert np.abs(found - values / (2**bits - 1)).max() <= LEVEL


def test_dark_numbers_without_a_sign_stay_dark(tmp_path: Path):
    """Of 32 bits: Pillow takes them for signed, of half the range."""
    greys = np.linspace(0, 0.45, 64).reshape(8, 8)
    tifffile.imwrite(tmp_path / "picture.tif", (greys * (2**32 - 1)).astype(np.uint32))
    pixels = read_picture(tmp_path / "picture.tif").pixels[0, 0].numpy()
    assert np.abs(pixels - greys).max() <= LEVEL


@pytest.mark.parametrize("bit_of_alpha", [0, 255])
def test_a_tga_of_four_bytes_of_which_the_last_is_unused_is_seen(bit_of_alpha: int, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 4), dtype=np.uint8)
    pixels[..., 3] = bit_of_alpha
    header = struct.pack("<3B2HB4H2B", 0, 0, 2, 0, 0, 0, 0, 0, 16, 8, 32, 32)
    (tmp_path / "picture.tga").write_bytes(header + pixels[..., [2, 1, 0, 3]].tobytes())
    picture = read_picture(tmp_path / "picture.tga")
    assert np.array_equal(picture.pixels[0].permute(1, 2, 0).numpy(), pixels[..., :3] / np.float32(255))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", ">f8", np.longdouble, "<u2", ">u2"])
def test_arrays_of_any_byte_order(dtype: Any):
    greys = np.linspace(0, 1, 12).reshape(3, 4)
    array = (greys * (65_535 if np.dtype(dtype).kind == "u" else 1)).astype(dtype)
    assert np.abs(as_tensor(array)[0, 0].numpy() - greys).max() <= LEVEL
