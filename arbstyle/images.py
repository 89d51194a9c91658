"""Reading, resizing and writing pictures.

The one invariant of the project begins here: a picture is a float tensor N×3×H×W, RGB, encoded as sRGB,
with values in [0, 1]. Whatever a file holds (orientation, colour profile, palette, transparency, bit depth)
is resolved on the way in; what should survive a round trip travels in a `Picture`.
"""

from __future__ import annotations

import functools
import io
import os
import secrets
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, ImageColor, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from arbstyle.errors import ArbstyleError

MAX_PIXELS = 512_000_000
"""The largest picture that is decoded or resized to, in pixels: a guard against decompression bombs."""

_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
}
WRITABLE_SUFFIXES = tuple(_FORMATS)
READABLE_SUFFIXES = (*WRITABLE_SUFFIXES, ".jfif", ".jpe", ".jp2", ".avif", ".ppm", ".pgm", ".pnm", ".tga")
"""What `find_images` takes for a picture; a file named outright may be anything that Pillow reads."""

_FORMATS_WITH_ALPHA = {"PNG", "WEBP", "TIFF"}
_FORMATS_WITH_EXIF = {"JPEG", "PNG", "WEBP", "TIFF"}
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535}
_MAX_JPEG_EXIF = 65_533

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Integers of 16 and 32 bits; floats by the habits of TIFF and PFM, of Pillow, and of 16-bit data in disguise.
_FULL_SCALES = {"I;16": (65_535,), "I": (65_535, 2**31 - 1), "F": (1, 255, 65_535)}
_FULL_SCALE_TOLERANCE = 0.1

# A TIFF file's EXIF tags are also its directory of strips and bit depths; only these describe the picture.
_DESCRIPTIVE_TAGS = {
    ExifTags.Base.DocumentName,
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Rating,
    ExifTags.Base.Copyright,
    ExifTags.Base.ExifOffset,
    ExifTags.Base.GPSInfo,
}

_process_lock = threading.Lock()  # around changes to what all threads share


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture, and what must survive a round trip through the project.

    Attributes:
        pixels: 1×3×H×W float32, sRGB in [0, 1], upright; or uint8, where `read_picture` kept the bytes.
        alpha: 1×1×H×W float32 in [0, 1], or None for an opaque (or composited) picture.
        exif: the photo's EXIF block, with orientation 1 and without thumbnail, or None.
        path: where it was read from, or None.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    exif: bytes | None = None
    path: Path | None = None


def read_picture(path: str | Path, *, background: str | None = "white", keep_bytes: bool = False) -> Picture:
    """Read the first frame of any picture that Pillow reads.

    The EXIF orientation is applied and an embedded colour profile converted to sRGB (a broken one ignored).

    Args:
        background: the colour behind transparent parts ("white", "#ff8800", "rgb(0, 0, 0)"), or None to carry
            the transparency in `Picture.alpha` and leave the pixels as stored.
        keep_bytes: leave the pixels of an opaque picture of 8 bits as uint8, in a quarter of the memory.

    Raises:
        ArbstyleError: no such file, not a picture, damaged, larger than `MAX_PIXELS`, or not a colour.
    """
    path = Path(path)
    name = _quoted(path)
    if background is not None:
        parse_color(background)
    _check_input_file(path)
    # Opened here: given a name, Pillow maps uncompressed TIFFs into memory and then garbles turned ones.
    with _decoding(name), path.open("rb") as file, _open_any_size(file) as image:
        colour, alpha = _decode(image, name, keep_bytes)
        exif = _portable_exif(image)
    if alpha is not None and background is not None:
        colour, alpha = composite(colour, alpha, background), None
    return Picture(colour, alpha, exif, path)


def read_image(path: str | Path, *, size: int | None = None, background: str = "white") -> Tensor:
    """The pixels of `read_picture`, 1×3×H×W; `size` resizes the short side, up or down, aspect kept."""
    image = read_picture(path, background=background).pixels
    return image if size is None else resize(image, size)


def from_pil(image: Image.Image, *, background: str = "white") -> Tensor:
    """A Pillow image of any mode as 1×3×H×W; treated like a file (orientation, profile, transparency)."""
    if not isinstance(image, Image.Image):
        raise ArbstyleError(f"expected a Pillow image, got {type(image).__name__}")
    name = "the Pillow image"
    with _decoding(name):
        colour, alpha = _decode(image, name)
    return colour if alpha is None else composite(colour, alpha, background)


def to_pil(image: Tensor, *, alpha: Tensor | None = None) -> Image.Image:
    """1×3×H×W (or 3×H×W) as an 8-bit RGB image, rounded; RGBA with `alpha` 1×1×H×W. Values are clamped."""
    return Image.fromarray(_quantise(_planes_of(image, alpha), np.uint8))


def composite(pixels: Tensor, alpha: Tensor, background: str) -> Tensor:
    """Pixels N×3×H×W over a background colour, by alpha N×1×H×W; in sRGB values, as browsers do."""
    colour = torch.tensor(parse_color(background), dtype=pixels.dtype, device=pixels.device)
    return torch.lerp(colour.view(1, 3, 1, 1), pixels, alpha)


def parse_color(name: str) -> tuple[float, float, float]:
    """Red, green and blue in [0, 1] from a CSS colour: a name, "#rrggbb", "rgb(…)" or "hsl(…)"."""
    expectation = f"expected an opaque colour such as 'white' or '#ff8800', got {name!r}"
    try:
        red, green, blue, *opacity = ImageColor.getrgb(name)
    except (ValueError, AttributeError, TypeError) as error:
        raise ArbstyleError(expectation) from error
    if opacity:
        raise ArbstyleError(expectation)
    return red / 255, green / 255, blue / 255


def resize(image: Tensor, size: int | tuple[int, int], *, edge: Literal["short", "long"] = "short") -> Tensor:
    """Antialiased bicubic resize of N×C×H×W, clamped to [0, 1] because bicubic overshoots.

    Args:
        size: length in pixels of the `edge`, aspect ratio kept; or exactly (height, width).
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or not image.is_floating_point():
        raise ArbstyleError(f"expected float pictures of shape N×C×H×W, got {_described(image)}")
    height, width = image.shape[-2:]
    wanted = (size,) if isinstance(size, int) else tuple(size)
    if min(wanted) < 1:
        raise ArbstyleError(f"expected a size of at least 1 pixel, got {'×'.join(map(str, wanted))}")
    if isinstance(size, int):
        scale = size / (min(height, width) if edge == "short" else max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
    if size[0] * size[1] > MAX_PIXELS:
        raise ArbstyleError(
            f"a picture of {width}×{height} cannot be resized to {size[1]}×{size[0]}: "
            f"that is more than {MAX_PIXELS / 1e6:g} megapixels; ask for a smaller size"
        )
    if (height, width) == size:
        return image
    resized = functional.interpolate(image.float(), size, mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(0, 1).to(image.dtype)


def write_image(
    image: Tensor,
    path: str | Path,
    *,
    alpha: Tensor | None = None,
    exif: bytes | None = None,
    quality: int = 95,
    text: Mapping[str, str] | None = None,
    bits: Literal[8, 16] = 8,
) -> Path:
    """Write one picture in the format that the file name asks for, whole or not at all.

    Values are clamped to [0, 1] and rounded. An embedded profile says that they are sRGB (not in BMP, GIF).

    Args:
        image: 1×3×H×W or 3×H×W, in [0, 1], or of bytes.
        path: ends in one of `WRITABLE_SUFFIXES`; missing folders are made, an existing file is replaced.
        alpha: 1×1×H×W; kept in PNG, WebP and TIFF, composited over white in the others.
        exif: as in `Picture.exif`; kept in JPEG, PNG, WebP and TIFF (in JPEG only where it fits, 64 kB).
        quality: 1…100, for JPEG and lossy WebP.
        text: notes to keep in the file: PNG text, or the EXIF tags Software and ImageDescription elsewhere.
        bits: per channel; 16 for PNG only.

    Raises:
        ArbstyleError: an unknown suffix, a folder or disk that cannot be written, a wrong shape, NaN.
    """
    path = check_output_path(path)
    planes = _planes_of(image, alpha)
    image_format = _FORMATS[path.suffix.lower()]
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ArbstyleError(f"expected a quality from 1 to 100, got {quality!r}")
    if bits not in (8, 16) or (bits == 16 and image_format != "PNG"):
        raise ArbstyleError(f"cannot write {_quoted(path)} with {bits} bits: use 8, or 16 with a .png name")
    longest = max(planes.shape[1:])
    if longest > _LONGEST_SIDE.get(image_format, longest):
        limit = _LONGEST_SIDE[image_format]
        raise ArbstyleError(
            f"cannot write {_quoted(path)}: {image_format} holds at most {limit} pixels a side, "
            f"the picture has {longest}; use .png or .tif"
        )
    if len(planes) == 4 and image_format not in _FORMATS_WITH_ALPHA:
        planes = composite(planes[None, :3], planes[None, 3:], "white")[0]
    try:
        metadata = _metadata(image_format, exif, text or {})
        if bits == 16:
            encoded = _encode_png16(planes, metadata)
        else:
            encoded = _encode(planes, image_format, quality, metadata)
    except Exception as error:  # like decoders, encoders raise anything
        raise ArbstyleError(f"cannot write {_quoted(path)} as {image_format}: {_reason(error)}") from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded)
    return path


def check_output_path(path: str | Path, suffixes: Collection[str] | None = WRITABLE_SUFFIXES) -> Path:
    """Check, before a long job, that a file can be written there; nothing is created.

    Args:
        suffixes: what the (lower-case) name may end in; None for anything.

    Raises:
        ArbstyleError: another suffix, a folder or device in its place, or a folder that cannot be written.
    """
    path = Path(path)
    name = _quoted(path)
    if suffixes is not None and path.suffix.lower() not in suffixes:
        raise ArbstyleError(f"cannot write {name}: expected a file name that ends in {', '.join(suffixes)}")
    try:
        mode = _existing_mode(path)
        folder = path.parent
        while (folder_mode := _existing_mode(folder)) is None:
            folder = folder.parent
    except (OSError, ValueError) as error:
        raise ArbstyleError(f"cannot write {name}: {_reason(error)}") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise ArbstyleError(f"cannot write {name}: it is a folder; give a file name")
    if mode is not None and not stat.S_ISREG(mode):
        raise ArbstyleError(f"cannot write {name}: it exists and is not a regular file")
    if mode is not None and not os.access(path, os.W_OK):
        raise ArbstyleError(f"cannot write {name}: the file there is write-protected")
    if not stat.S_ISDIR(folder_mode):
        raise ArbstyleError(f"cannot write {name}: {_quoted(folder)} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ArbstyleError(f"cannot write {name}: no permission to write in the folder {_quoted(folder)}")
    return path


def _existing_mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file to write instead of `path`, in its folder and with its suffix; then rename it.

    The temporary name is unique, so processes that share a folder don't meet. On any error, Ctrl-C included,
    the file is removed and what was at `path` stays. Missing folders are made; a symbolic link is followed.

    Raises:
        ArbstyleError: the folder cannot be written, or an OSError in the body, such as a full disk.
    """
    path = check_output_path(path, suffixes=None)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".arbstyle-{secrets.token_hex(8)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile: its files are private to the user, whatever the umask says.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise ArbstyleError(f"cannot write {_quoted(path)}: {_reason(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def find_images(folder: str | Path, *, recursive: bool = False) -> list[Path]:
    """The pictures in a folder by their suffix, sorted; hidden files and folders are passed over.

    Raises:
        ArbstyleError: not a folder, one that cannot be read, or no picture in it.
    """
    folder = Path(folder)
    name = _quoted(folder)

    def fail(error: OSError) -> None:
        raise ArbstyleError(f"cannot read the folder {name}: {_reason(error)}") from error

    found: list[Path] = []
    for root, subfolders, files in os.walk(folder, onerror=fail):
        subfolders[:] = [sub for sub in subfolders if recursive and not sub.startswith(".")]
        candidates = (Path(root, file) for file in files if not file.startswith("."))
        found.extend(path for path in candidates if path.suffix.lower() in READABLE_SUFFIXES)
    if not found:
        where = "in or below" if recursive else "directly in"
        raise ArbstyleError(f"no pictures found: expected .jpg, .png, .webp or the like {where} {name}")
    return sorted(found)


# --- decoding ---


def _check_input_file(path: Path) -> None:
    name = _quoted(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise ArbstyleError(f"cannot read {name}: {_reason(error)}") from error
    if stat.S_ISDIR(status.st_mode):
        raise ArbstyleError(f"cannot read {name}: it is a folder; give a picture file")
    if not stat.S_ISREG(status.st_mode):
        raise ArbstyleError(f"cannot read {name}: it is not a regular file")
    if status.st_size == 0:
        raise ArbstyleError(f"cannot read {name}: the file is empty (0 bytes)")


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises on a bad picture into one line, and keep its warnings out of the output."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    except ArbstyleError:
        raise
    except UnidentifiedImageError as error:
        raise ArbstyleError(
            f"cannot read {name}: not a picture, or of an unsupported format; convert it to PNG or JPEG"
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except MemoryError as error:
        raise ArbstyleError(f"cannot read {name}: not enough memory; make the picture smaller") from error
    except Exception as error:  # plug-ins raise anything, from struct.error to IndexError, on a damaged file
        of_the_system = isinstance(error, OSError) and error.errno is not None
        hint = "" if of_the_system else " (is the file damaged or cut off?)"
        raise ArbstyleError(f"cannot read {name}: {_reason(error)}{hint}") from error


def _open_any_size(file: BinaryIO) -> Image.Image:
    """`Image.open` with Pillow's limit, which is global, replaced by ours; decoding comes later."""
    with _process_lock:
        pillows_limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = pillows_limit


def _too_large(name: str) -> ArbstyleError:
    return ArbstyleError(
        f"cannot read {name}: it has more than {MAX_PIXELS / 1e6:g} megapixels, the limit; make it smaller"
    )


def _decode(image: Image.Image, name: str, keep_bytes: bool = False) -> tuple[Tensor, Tensor | None]:
    """Colour 1×3×H×W in sRGB, and alpha 1×1×H×W or None, both upright."""
    if min(image.size) < 1:
        raise ArbstyleError(f"cannot read {name}: the picture has no pixels ({image.width}×{image.height})")
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(name)
    with _silent_libtiff(image):
        image.load()
    colour, alpha = _split_alpha(_upright(image))
    converted = _through_profile(colour)
    if converted is None and _is_deep_grey(colour):
        return _deep_grey_planes(colour, name).expand(1, 3, -1, -1).contiguous(), alpha
    final = converted or (colour if colour.mode == "RGB" else colour.convert("RGB"))
    if keep_bytes and alpha is None:
        return torch.from_numpy(np.array(final)).permute(2, 0, 1)[None], None
    return _byte_planes(final), alpha


@contextmanager
def _silent_libtiff(image: Image.Image) -> Iterator[None]:
    """Keep libtiff, which decodes compressed TIFFs, from writing its own remarks to the process's stderr."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.info.get("compression") == "raw":
        yield
        return
    with _process_lock, open(os.devnull, "wb") as nowhere:
        stderr = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a broken EXIF block must not cost the picture
        return image
    return image.transpose(_ORIENTATIONS[orientation]) if orientation in _ORIENTATIONS else image


def _is_deep_grey(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Tensor | None]:
    """The opaque picture, and alpha 1×1×H×W if there is any transparency."""
    if not image.has_transparency_data:
        return image, None
    if _is_deep_grey(image):
        visible = np.asarray(image) != image.info["transparency"]
        return image, torch.from_numpy(visible).float()[None, None]
    image = image.convert("LA" if image.mode in ("1", "L", "La", "LA") else "RGBA")
    return image.convert(image.mode[:-1]), _byte_planes(image.getchannel("A"))


def _through_profile(image: Image.Image) -> Image.Image | None:
    """RGB in sRGB, by way of the embedded profile; None where there is no profile that fits the picture."""
    embedded = image.info.get("icc_profile") or b""
    if image.mode != "LAB" and embedded in (b"", _srgb_profile()):
        return None
    try:
        if image.mode == "LAB":  # needs no profile to say what its colours are
            lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
            return _profile_to_srgb(image, lab, ImageCms.Flags.NOOPTIMIZE)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        space = profile.profile.xcolor_space.strip()
        if space == "GRAY":
            return _grey_to_srgb(image, profile)
        if space == "RGB" and image.mode in ("1", "L", "P", "RGBX", "YCbCr", "HSV"):
            image = image.convert("RGB")
        return _profile_to_srgb(image, profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None  # broken, or of another kind than the pixels: most viewers show such a picture without it


def _profile_to_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile, flags: int = 0) -> Image.Image:
    """Relative colorimetric with black point compensation, as photo editors do; black and white stay."""
    converted = ImageCms.profileToProfile(
        image,
        profile,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | flags,
    )
    return cast(Image.Image, converted)  # None is for conversion in place


def _grey_to_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Look every grey up in the converted ramp: converted in one go, darks come out up to 10/255 wrong."""
    if image.mode not in ("1", "L") and not image.mode.startswith("I;16"):
        raise ValueError(f"a grey profile in a picture of mode {image.mode}")
    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    ramp = np.arange(2 ** (8 * values.itemsize), dtype=np.uint8 if values.itemsize == 1 else np.uint16)
    table = np.asarray(_profile_to_srgb(Image.fromarray(ramp[None]), profile, ImageCms.Flags.NOOPTIMIZE))[0]
    return Image.fromarray(table[values])


def _byte_planes(image: Image.Image) -> Tensor:
    """An image of 8-bit channels as 1×C×H×W in [0, 1]."""
    values = np.asarray(image).reshape(image.height, image.width, -1)
    planes = np.empty((1, values.shape[-1], image.height, image.width), np.float32)
    planes[0] = values.transpose(2, 0, 1)
    planes /= 255
    return torch.from_numpy(planes)


def _deep_grey_planes(image: Image.Image, name: str) -> Tensor:
    """Mode I;16, I or F as 1×1×H×W in [0, 1] of the smallest usual full scale that holds its values."""
    values = np.asarray(image, dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    scales = _FULL_SCALES[image.mode[:4]]
    tolerance = _FULL_SCALE_TOLERANCE
    full = next((scale for scale in scales if high <= (1 + tolerance) * scale), None)
    if full is None or low < -tolerance * full:
        raise ArbstyleError(
            f"cannot read {name}: its grey values run from {low:g} to {high:g}, expected 0 to "
            f"{' or '.join(map(str, scales))}; convert it to 8 or 16 bits"
        )
    return torch.from_numpy(values / full).clamp_(0, 1)[None, None]


# --- metadata ---


def _portable_exif(image: Image.Image) -> bytes | None:
    """The EXIF block for the picture that is written later: upright, sRGB, maybe of another size and format.

    Pillow leaves the thumbnail out, which would show the unpainted photo.
    """
    try:
        exif = image.getexif()
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            for tag in set(exif) - _DESCRIPTIVE_TAGS:
                del exif[tag]
        if not exif:
            return None
        exif[ExifTags.Base.Orientation] = 1
        if ExifTags.Base.ExifOffset in exif:
            details = exif.get_ifd(ExifTags.IFD.Exif)
            details.pop(ExifTags.Base.ExifImageWidth, None)
            details.pop(ExifTags.Base.ExifImageHeight, None)
            if ExifTags.Base.ColorSpace in details:
                details[ExifTags.Base.ColorSpace] = 1  # sRGB
        return _with_text_as_bytes(exif).tobytes()
    except Exception:  # a broken EXIF block must not cost the picture
        return None


def _with_text_as_bytes(exif: Image.Exif) -> Image.Exif:
    """Make text ready for writing: Pillow reads it as Latin-1 but writes ASCII, which spoils UTF-8."""
    details = exif.get_ifd(ExifTags.IFD.Exif) if ExifTags.Base.ExifOffset in exif else {}
    for directory in (exif, details):
        for tag, value in dict(directory).items():
            if isinstance(value, str) and not value.isascii():
                directory[tag] = value.encode("latin-1")
    return exif


def _with_notes(exif: bytes | None, notes: Mapping[str, str]) -> Image.Exif:
    """An EXIF block with notes added: `Software` as itself, the others behind the photo's own description."""
    block = Image.Exif()
    block.load(exif or b"")
    lines = [f"{key}: {value}".encode() for key, value in notes.items() if key != "Software"]
    if "Software" in notes:
        block[ExifTags.Base.Software] = notes["Software"].encode()
    if lines:
        own_words = str(block.get(ExifTags.Base.ImageDescription, "")).encode("latin-1")
        block[ExifTags.Base.ImageDescription] = b"; ".join(filter(None, [own_words, *lines]))
    return _with_text_as_bytes(block)


def _metadata(image_format: str, exif: bytes | None, text: Mapping[str, str]) -> dict[str, Any]:
    """Keyword arguments for `Image.save`: colour profile, EXIF and notes, as far as the format holds them."""
    if image_format not in _FORMATS_WITH_EXIF:
        return {}
    options: dict[str, Any] = {"icc_profile": _srgb_profile()}
    if image_format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        for key, value in text.items():
            options["pnginfo"].add_text(key, value)
    elif image_format == "TIFF":
        options["tiffinfo"] = _with_notes(exif, text)
        return options
    elif text:
        exif = _with_notes(exif, text).tobytes()
    if exif and not (image_format == "JPEG" and len(exif) > _MAX_JPEG_EXIF):
        options["exif"] = exif
    return options


@functools.cache
def _srgb_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # its date would make every run's files differ
    return bytes(profile)


# --- encoding ---


def _planes_of(image: Tensor, alpha: Tensor | None) -> Tensor:
    """One checked picture as 3×H×W, or 4×H×W with alpha, float32 on the CPU."""
    planes = _checked_planes(image, 3, "a picture")
    if alpha is None:
        return planes
    planes = planes.float() / 255 if planes.dtype == torch.uint8 else planes
    opacity = _checked_planes(alpha, 1, "an alpha channel")
    if opacity.shape[1:] != planes.shape[1:]:
        raise ArbstyleError(
            f"expected alpha of the picture's size, got {_described(alpha)} beside {_described(image)}"
        )
    return torch.cat([planes, opacity])


def _checked_planes(tensor: Tensor, channels: int, what: str) -> Tensor:
    if not isinstance(tensor, Tensor) or not (tensor.is_floating_point() or tensor.dtype == torch.uint8):
        raise ArbstyleError(f"expected {what} of floats in [0, 1], got {_described(tensor)}")
    planes = tensor[0] if tensor.ndim == 4 and len(tensor) == 1 else tensor
    if planes.ndim != 3 or len(planes) != channels or planes.numel() == 0:
        raise ArbstyleError(f"expected {what} of shape 1×{channels}×H×W, got {_described(tensor)}")
    if planes.dtype == torch.uint8:
        return planes.cpu()
    planes = planes.detach().to("cpu", torch.float32)
    if not all(extreme.isfinite() for extreme in planes.aminmax()):
        raise ArbstyleError(f"expected {what} of finite values, got NaN or infinity")
    return planes


def _quantise(planes: Tensor, dtype: type[np.uint8] | type[np.uint16]) -> np.ndarray:
    """C×H×W in [0, 1] or of bytes → H×W×C integers, rounded; plane by plane, to go easy on memory."""
    if planes.dtype == torch.uint8:
        values = planes.permute(1, 2, 0).contiguous().numpy()
        return values if dtype is np.uint8 else values.astype(dtype) * 257
    channels, height, width = planes.shape
    values = np.empty((height, width, channels), dtype)
    for channel, plane in enumerate(planes):
        values[..., channel] = plane.clamp(0, 1).mul_(np.iinfo(dtype).max).round_().numpy()
    return values


def _encode(planes: Tensor, image_format: str, quality: int, metadata: Mapping[str, Any]) -> bytes:
    # TIFF stays uncompressed: with compression, Pillow cannot write the directories of EXIF.
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality},
    }
    # In memory first: writing straight to a full disk, Pillow reports "encoder error" and no reason.
    buffer = io.BytesIO()
    image = Image.fromarray(_quantise(planes, np.uint8))
    image.save(buffer, image_format, **options.get(image_format, {}), **metadata)
    return buffer.getvalue()


def _encode_png16(planes: Tensor, metadata: Mapping[str, Any]) -> bytes:
    """16 bits a channel, which Pillow cannot write; chunks as in the PNG specification, section 11."""
    values = _quantise(planes, np.uint16)
    height, width, channels = values.shape
    buffer = io.BytesIO()
    buffer.write(b"\x89PNG\r\n\x1a\n")
    colour_type = {3: 2, 4: 6}[channels]
    PngImagePlugin.putchunk(buffer, b"IHDR", struct.pack(">2I5B", width, height, 16, colour_type, 0, 0, 0))
    PngImagePlugin.putchunk(buffer, b"iCCP", b"ICC Profile\0\0", zlib.compress(metadata["icc_profile"]))
    for name, data, _ in metadata["pnginfo"].chunks:
        PngImagePlugin.putchunk(buffer, name, data)
    if "exif" in metadata:
        PngImagePlugin.putchunk(buffer, b"eXIf", metadata["exif"].removeprefix(b"Exif\0\0"))
    PngImagePlugin.putchunk(buffer, b"IDAT", *_png_scanlines(values))
    PngImagePlugin.putchunk(buffer, b"IEND")
    return buffer.getvalue()


def _png_scanlines(values: np.ndarray) -> Iterator[bytes]:
    """Compressed rows of 16-bit samples, filtered by type 2, "Up": bytes minus those of the row above."""
    compressor = zlib.compressobj()
    above = np.uint8(0)
    for row in values:
        samples = row.astype(">u2").reshape(-1).view(np.uint8)
        yield compressor.compress(b"\2" + (samples - above).tobytes())
        above = samples
    yield compressor.flush()


# --- words ---


def _quoted(path: Path) -> str:
    return repr(str(path))  # escapes line breaks and the like, so that a message stays one line


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {'×'.join(map(str, value.shape)) or '()'}"
    return type(value).__name__
