"""The one thing that paints: constructed once a process, called with pictures, without a state of its own."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image, UnidentifiedImageError

from arbstyle.errors import ArbstyleError, memory_for, reason_of
from arbstyle.images import as_bytes, from_pil, resize
from arbstyle.images.decoding import open_picture
from arbstyle.images.encoding import encode, why_too_long
from arbstyle.images.files import FORMATS
from arbstyle.painting import Style, Stylizer
from arbstyle.painting.each import stylize_each
from arbstyle.restyling.draw import Draw, draw
from arbstyle.restyling.styles import StyleTable

Format = Literal["same", "jpg", "png", "webp"]
KeepColors = Literal["none", "luminance"]

_KEPT_FORMATS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".bmp": "BMP"}
"""What pictures stay, by the suffix of those whose names have none; all others become PNG."""
_KEPT_NAMES = {suffix for suffix, format in FORMATS.items() if format in _KEPT_FORMATS.values()}
_SUFFIXES = {format: suffix for suffix, format in _KEPT_FORMATS.items()}
_OTHER_NAMES = {".jfif": ".jpg", ".jpe": ".jpg"}

GPU_BATCH = 16
"""Pictures of one size that a GPU paints at once. On a CPU one is as fast."""


@dataclass(frozen=True)
class Recipe:
    """All that decides what a painted picture looks like, besides the picture and its key.

    Attributes:
        styles: folder of a :class:`StyleTable`.
        model: a model file; ``None`` is the packaged one.
        seed: of the draws.
        per_image: copies a picture, each in a style of its own.
        strength: lowest and highest.
        size: short side to paint at, in pixels; ``None`` is the picture's own.
        style_size: short side at which styles are looked at.
        keep_colors: ``luminance`` keeps the picture's colours.
        format: ``same`` as the picture.
        quality: of JPEG and WebP, 1 to 100.
        batch: pictures of one size that are painted at once.
        device, precision: as for :class:`~arbstyle.Stylizer`; ``auto`` may differ from machine to machine.
        vgg_weights: for models that contain a VGG.
    """

    styles: str
    model: str | None = None
    seed: int = 0
    per_image: int = 1
    strength: tuple[float, float] = (1.0, 1.0)
    size: int | None = None
    style_size: int = 256
    keep_colors: KeepColors = "none"
    format: Format = "same"
    quality: int = 95
    batch: int = 1
    device: str = "auto"
    precision: str = "auto"
    vgg_weights: str | None = None


@dataclass(frozen=True)
class Request:
    """One copy of one picture to paint: the encoded file, what its name ends in ("" if unknown), the draw."""

    data: bytes
    suffix: str
    draw: Draw


@dataclass(frozen=True)
class Painted:
    """An encoded picture, and what its name should end in."""

    data: bytes
    suffix: str


def result_suffix(suffix: str, format: Format) -> str:
    """What a result's name ends in, for a picture's; "" where only the picture's content tells."""
    if format != "same":
        return f".{format}"
    if suffix == "" or suffix.lower() in _KEPT_NAMES:
        return suffix
    return _OTHER_NAMES.get(suffix.lower(), ".png")


class Restyler:
    """Paints pictures, each in a style drawn for it.

    Stateless: what a call returns depends on the recipe and the call's arguments only, so that any number of
    them on any machines do one job. Serves ``datasets.map`` as it is (see :meth:`__call__`).

    Args:
        recipe: what to paint, and how.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.styles: StyleTable = StyleTable.load(Path(recipe.styles))
        self.stylizer: Stylizer = Stylizer.from_pretrained(
            recipe.model,
            recipe.device,
            recipe.precision,  # type: ignore[arg-type]
            weights=recipe.vgg_weights,
        )

    def __reduce__(self) -> tuple[type[Restyler], tuple[Recipe]]:
        return Restyler, (self.recipe,)  # other processes load the model themselves

    def draws(self, key: str) -> list[Draw]:
        """What the copies of a picture are painted with."""
        recipe = self.recipe
        return draw(
            key,
            seed=recipe.seed,
            styles=len(self.styles.names),
            copies=recipe.per_image,
            strength=recipe.strength,
        )

    def record(self, key: str, draw: Draw) -> dict[str, Any]:
        """What the manifest says of a copy."""
        return {
            "key": key,
            "copy": draw.copy,
            "style": self.styles.names[draw.style],
            "strength": draw.strength,
            "seed": draw.seed,
            "model": f"{self.stylizer.name} ({self.stylizer.fingerprint})",
        }

    def paint(self, requests: Sequence[Request]) -> list[Painted | ArbstyleError]:
        """Paint; a picture that cannot be read, painted or written gives its error instead.

        Alone, a picture's bits do not depend on the others. In batches they may, by a rounding.
        """
        results: list[Painted | ArbstyleError] = [ArbstyleError("not painted")] * len(requests)
        for numbers in self._buckets(requests):
            photos: dict[int, tuple[torch.Tensor, str]] = {}
            for number in numbers:
                try:
                    photos[number] = self._decode(requests[number])
                except ArbstyleError as error:
                    results[number] = error
            draws = [requests[number].draw for number in photos]
            painted = self._stylize([photo for photo, _ in photos.values()], draws)
            for (number, (_, suffix)), pixels in zip(photos.items(), painted, strict=True):
                results[number] = (
                    pixels if isinstance(pixels, ArbstyleError) else self._encode(pixels, suffix)
                )
        return results

    def _buckets(self, requests: Sequence[Request]) -> Iterable[list[int]]:
        """Numbers of requests whose pictures are of one size, so that batches are full."""
        batch = self.recipe.batch
        if batch == 1:
            return ([number] for number in range(len(requests)))
        buckets = defaultdict(list)
        for number, request in enumerate(requests):
            buckets[_size_in_header(request.data)].append(number)
        return (
            numbers[start : start + batch]
            for numbers in buckets.values()
            for start in range(0, len(numbers), batch)
        )

    def _stylize(
        self, photos: Sequence[torch.Tensor], draws: Sequence[Draw]
    ) -> list[torch.Tensor] | list[torch.Tensor | ArbstyleError]:
        styles = [self.styles.style(draw.style) for draw in draws]
        options: Any = {"keep_colors": self.recipe.keep_colors, "style_size": self.recipe.style_size}
        # Orientation in EXIF can make equal sizes differ.
        if len(photos) > 1 and len({photo.shape for photo in photos}) == 1:
            strengths, seeds = [draw.strength for draw in draws], [draw.seed for draw in draws]
            with suppress(torch.cuda.OutOfMemoryError):
                painted = stylize_each(
                    self.stylizer, torch.cat(list(photos)), styles, strengths, seeds, **options
                )
                return list(painted.split(1))
        return [
            self._stylize_one(photo, style, draw, options)
            for photo, style, draw in zip(photos, styles, draws, strict=True)
        ]

    def _stylize_one(
        self, photo: torch.Tensor, style: Style, draw: Draw, options: dict[str, Any]
    ) -> torch.Tensor | ArbstyleError:
        try:
            with memory_for("paint the picture"):
                return self.stylizer.stylize(photo, style, draw.strength, seed=draw.seed, **options)
        except ArbstyleError as error:
            return error

    def _encode(self, pixels: torch.Tensor, suffix: str) -> Painted | ArbstyleError:
        """Bytes 1×3×H×W as a file."""
        format = FORMATS[suffix.lower()]
        try:
            return Painted(encode(pixels[0].cpu().numpy(), format, self.recipe.quality), suffix)
        except Exception as error:  # like decoders, encoders raise anything
            return ArbstyleError(f"cannot write the picture as {format}: {reason_of(error)}")

    def _decode(self, request: Request) -> tuple[torch.Tensor, str]:
        """Bytes 1×3×H×W, and the result's suffix."""
        try:
            with open_picture(request.data) as image:
                known = result_suffix(request.suffix, self.recipe.format)
                suffix = known or _SUFFIXES.get(image.format or "", ".png")
                photo = from_pil(image)
        except Exception as error:  # Pillow's plug-ins raise nearly anything for a broken file
            raise ArbstyleError(f"not a readable picture: {_reason(error, request.data)}") from error
        if self.recipe.size is not None:
            with memory_for("resize the picture"):
                photo = resize(photo, self.recipe.size)
        if reason := why_too_long(FORMATS[suffix.lower()], max(photo.shape[2:])):
            raise ArbstyleError(f"cannot write the picture: {reason}; use --format png")
        return as_bytes(photo), suffix

    def __call__(
        self, batch: dict[str, list[Any]], indices: Sequence[int] | None = None
    ) -> dict[str, list[Any]]:
        """Paint a batch of columns, as ``datasets.map(…, batched=True, with_indices=True)`` gives them.

        Args:
            batch: ``image`` holds encoded pictures as ``{"bytes", "path"}`` or bytes, or Pillow images;
                ``key``, if there, their keys.
            indices: keys, where there is no ``key``.

        Returns:
            the same columns, a row a copy, with painted pictures and what was drawn: ``style``, ``strength``,
            ``seed``, and ``error`` (then the picture is ``None``).
        """
        keys = [str(key) for key in batch.get("key", indices if indices is not None else [])]
        if len(keys) != len(batch["image"]):
            raise ArbstyleError("expected keys: a column 'key', or datasets.map(…, with_indices=True)")
        images = [_encoded(image) for image in batch["image"]]
        rows = [(row, key, one) for row, key in enumerate(keys) for one in self.draws(key)]
        results = self.paint([Request(*images[row], one) for row, _, one in rows])
        columns = {name: [values[row] for row, _, _ in rows] for name, values in batch.items()}
        records = [self.record(key, one) for _, key, one in rows]
        columns["image"] = [
            {"bytes": result.data, "path": None} if isinstance(result, Painted) else None
            for result in results
        ]
        for name in ("style", "strength", "seed"):
            columns[name] = [record[name] for record in records]
        columns["error"] = [None if isinstance(result, Painted) else str(result) for result in results]
        return columns


def _encoded(image: Any) -> tuple[bytes, str]:
    """An image of ``datasets`` as an encoded file and the suffix of its name."""
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue(), _SUFFIXES.get(image.format or "", ".png")
    if isinstance(image, bytes):
        return image, ""
    data = image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
    return data, ""


def _reason(error: Exception, data: bytes) -> str:
    if not data:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "of no known format"
    return reason_of(error).removeprefix("cannot read the Pillow image: ")


def _size_in_header(data: bytes) -> tuple[int, int]:
    try:
        with open_picture(data) as image:
            return image.size
    except Exception:  # it is reported when its turn comes
        return 0, 0
