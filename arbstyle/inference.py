"""Stylising with a trained model: :class:`Stylizer`, which needs no Lightning, no wandb and no VGG."""

from __future__ import annotations

import copy
import functools
import logging
import math
import os
from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, Union

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from arbstyle.compositing import (
    KEEP_COLORS,
    KeepColors,
    match_coral,
    match_histogram,
    region_weights,
    transfer_luminance,
)
from arbstyle.errors import ArbstyleError
from arbstyle.images import from_pil, read_image, resize, to_pil
from arbstyle.networks import ArbitraryStyler, TransformerNetwork, blend, interpolate, load_styler
from arbstyle.style_file import THUMBNAIL_SIDE, Style, fingerprint
from arbstyle.tiling import DEFAULT_TILE, Progress, TiledPainter, network_input

logger = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16", "fp16"]
PictureLike = Union[str, "os.PathLike[str]", Image.Image, np.ndarray, Tensor]
StyleLike = Union[PictureLike, int, Style]

STYLE_SIZE = 256
"""Short side at which a style picture is looked at, in pixels: about what the model saw in training."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_COLOUR_SAMPLE = 512
_CACHED_STYLES = 256


class Stylizer:
    """A trained styler, ready to paint.

    Args:
        styler: the networks.
        information: what the model's file says of itself.
        device: ``auto`` takes cuda, else mps, else cpu.
        precision: ``auto`` takes bf16 on a CPU that has instructions for it, else fp32. The norms compute in
            float32 in any case, and so does the style encoder.
    """

    def __init__(
        self,
        styler: ArbitraryStyler,
        information: dict[str, Any] | None = None,
        *,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
    ) -> None:
        self.device = choose_device(device)
        self.dtype = choose_dtype(precision, self.device)
        self.styler = styler.eval().to(self.device)
        self.information = dict(information or {})
        self._painter = _converted(styler.transformer, self.device, self.dtype)
        self._parameters_of_file = functools.lru_cache(_CACHED_STYLES)(self._encode_file)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
        *,
        weights: str | Path | None = None,
    ) -> Stylizer:
        """Load a model.

        Args:
            path: a file that 'arbstyle train' exported; ``None`` is the model that ships with the package.
            device, precision: as in the constructor.
            weights: VGG weights, for the few models that contain a VGG.

        Raises:
            ArbstyleError: no such model, device or precision.
        """
        device = choose_device(device)  # before the slower part
        choose_dtype(precision, device)
        if path is not None:
            return cls(*load_styler(path, weights), device=device, precision=precision)
        packaged = files("arbstyle") / "assets" / "arbstyle.safetensors"
        if not packaged.is_file():
            raise ArbstyleError(
                "no model comes with this copy of arbstyle; name one that 'arbstyle train' exported (--model FILE)"
            )
        with as_file(packaged) as file:
            return cls(*load_styler(file, weights), device=device, precision=precision)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Tells models apart; style files carry it."""
        return fingerprint(self.styler)

    @property
    def name(self) -> str:
        """What the model calls itself."""
        return str(self.information.get("name", "unnamed model"))

    def __call__(
        self,
        photo: PictureLike,
        style: StyleLike | Sequence[StyleLike],
        strength: float = 1.0,
        *,
        size: int | None = None,
        **options: Any,
    ) -> Image.Image | Tensor:
        """Paint a photo.

        Args:
            photo: a path, a Pillow image, an array H×W×3 or H×W, or a tensor N×3×H×W or 3×H×W; arrays and tensors
                hold floats in [0,1] or bytes.
            style: the same; or the number of a style in a bank; or a :class:`Style` or the path of one; or a
                sequence of those for a blend or for masks.
            strength, options: see :meth:`stylize`.
            size: short side to work at, in pixels; the photo's own if left out.

        Returns:
            a tensor shaped like ``photo`` if that is one, else a Pillow image.
        """
        picture = as_tensor(photo)
        if size is not None:
            picture = resize(_as_float(picture), size)
        painted = self.stylize(picture, style, strength, **options)
        if isinstance(photo, Tensor):
            return painted[0] if photo.dim() == 3 else painted
        return to_pil(_as_float(painted))

    @torch.inference_mode()
    def stylize(
        self,
        photo: Tensor,
        style: StyleLike | Sequence[StyleLike],
        strength: float = 1.0,
        *,
        weights: Sequence[float] | None = None,
        masks: Sequence[PictureLike] | None = None,
        keep_colors: KeepColors = "none",
        style_size: int = STYLE_SIZE,
        tile: int | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Paint photos of one size.

        Args:
            photo: N×3×H×W, floats in [0,1] or bytes.
            style: one style for all photos, or a tensor N×3×h×w with one for each; or a sequence, blended by
                ``weights`` or each in the region of its mask.
            strength: 0 gives back the photo, 1 is the style, beyond 1 exaggerates.
            weights: of the styles of a blend; equal if left out, and only their ratios matter.
            masks: a picture a style, white where it is to be painted. What no mask covers stays the photo; a last
                style without a mask takes that.
            keep_colors: ``luminance`` keeps the photo's colours and paints brightness only; ``histogram`` and
                ``coral`` give the style the photo's colours first.
            style_size: short side in pixels at which a style picture is looked at.
            tile: paint in tiles of this side; ``None`` does so only for pictures too large for the memory.
            progress: called as tiles are done.

        Returns:
            N×3×H×W of the photo's type and device.

        Raises:
            ArbstyleError: anything out of its range, or styles, weights and masks that do not fit together.
        """
        _check_photo(photo)
        _check_options(strength, keep_colors, style_size, tile)
        styles = list(style) if isinstance(style, (list, tuple)) else [style]
        if not styles:
            raise ArbstyleError("expected at least one style, got none")
        if strength == 0:
            return photo.clone()
        if strength > 1:
            logger.warning(
                "strength %g is beyond 1, where the model has not been trained: look twice", strength
            )
        if masks is not None and weights is not None:
            raise ArbstyleError(
                "masks say where each style goes, so weights have no meaning beside them; drop one"
            )
        targets = [self._parameters(one, photo, keep_colors, style_size) for one in styles]
        if any(len(target) not in (1, len(photo)) for target in targets):
            raise ArbstyleError(f"expected 1 or {len(photo)} style pictures for {len(photo)} photos")
        if masks is None:
            targets = [blend(targets, [1.0] * len(targets) if weights is None else weights)]
            regions = None
        else:
            regions = self._regions(masks, len(targets), photo)
        own = self._own_parameters(photo, style_size) if strength != 1 or regions is not None else None
        finish = _Finish(strength, own is not None, keep_colors)
        if own is not None:
            targets = [interpolate(own, target, strength) for target in targets]
        cover = None
        if regions is not None and regions.shape[1] > len(targets):
            cover = 1 - regions[:, -1:]
            # A bank knows no style that is the photo's own.
            targets.append(targets[-1] if own is None else own)
        pieces = []
        for number in range(len(photo)):
            rows = torch.cat([target[number % len(target)][None] for target in targets])
            pieces.append(
                self._paint(photo[number : number + 1], rows, regions, cover, finish, tile, progress)
            )
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def style(self, style: StyleLike, *, name: str | None = None, style_size: int = STYLE_SIZE) -> Style:
        """What this model knows of a style picture, to be kept in a file and used in its place.

        Raises:
            ArbstyleError: a number of a bank, whose model file holds it already.
        """
        if isinstance(style, Style) or _is_style_path(style):
            return self._checked(style if isinstance(style, Style) else Style.load(str(style)))
        if self.styler.style_encoder.takes_index:
            raise ArbstyleError(
                "this model is a bank of numbered styles and cannot look at a picture; give the number as the style"
            )
        picture = _as_float(as_tensor(style))
        with torch.inference_mode():
            code = self.styler.encode(resize(picture, style_size).to(self.device))
        default = Path(style).stem if isinstance(style, (str, os.PathLike)) else "style"
        thumbnail = to_pil(resize(picture, min(THUMBNAIL_SIDE, max(picture.shape[2:])), edge="long"))
        return Style(name or default, code.cpu(), None, self.fingerprint, self.name, thumbnail)

    # --- styles to parameters ---------------------------------------------------------------

    def _parameters(
        self, style: StyleLike, photo: Tensor, keep_colors: KeepColors, style_size: int
    ) -> Tensor:
        """Parameters N×P of one style, or of one style a photo."""
        if isinstance(style, int) or (self.styler.style_encoder.takes_index and not isinstance(style, Style)):
            return self._parameters_of_number(style)
        match = {"histogram": match_histogram, "coral": match_coral}.get(keep_colors)
        if isinstance(style, Style) or _is_style_path(style):
            if match:
                raise ArbstyleError(
                    f"keeping colours by '{keep_colors}' changes the style picture, and a style file holds none; "
                    "use 'luminance', or the picture itself"
                )
            loaded = self._checked(style if isinstance(style, Style) else Style.load(str(style)))
            if loaded.parameters is not None:
                return loaded.parameters.to(self.device)
            return self.styler.parameters_of(loaded.code.to(self.device))
        if match is None and isinstance(style, (str, os.PathLike)):
            return self._parameters_of_file(str(style), _modified(style), style_size)
        picture = resize(_as_float(as_tensor(style)), style_size)
        return self._encode(
            picture if match is None else _each(match, picture, _reduced(photo, _COLOUR_SAMPLE))
        )

    def _encode(self, picture: Tensor) -> Tensor:
        return self.styler.parameters_of(self.styler.encode(picture.to(self.device)))

    def _encode_file(self, path: str, modified: int, style_size: int) -> Tensor:
        """As a function of the file's time too, so that a cached result never outlives the file."""
        return self._encode(read_image(path, size=style_size))

    def _parameters_of_number(self, style: StyleLike) -> Tensor:
        encoder = self.styler.style_encoder
        number = int(style) if isinstance(style, int) or str(style).isdecimal() else None  # type: ignore[arg-type]
        if not encoder.takes_index:
            raise ArbstyleError(
                f"style number {style} needs a model that is a bank of styles; give a picture"
            )
        if number is None:
            raise ArbstyleError(
                f"this model knows {encoder.code_size} styles by number; give one from 0 to "
                f"{encoder.code_size - 1} instead of a picture"
            )
        return self.styler.parameters_of(self.styler.encode(torch.tensor([number], device=self.device)))

    def _own_parameters(self, photo: Tensor, style_size: int) -> Tensor | None:
        """Parameters with which the photo comes out as itself; none for a bank, which knows its styles only."""
        if self.styler.style_encoder.takes_index:
            return None
        return self._encode(_reduced(photo, style_size))

    def _checked(self, style: Style) -> Style:
        if style.model != self.fingerprint:
            raise ArbstyleError(
                f"the style '{style.name}' was made with another model ({style.model_name}, {style.model}) than this "
                f"one ({self.name}, {self.fingerprint}); save it again with 'arbstyle style save'"
            )
        return style

    # --- painting ---------------------------------------------------------------------------

    def _regions(self, masks: Sequence[PictureLike], styles: int, photo: Tensor) -> Tensor:
        if len(masks) not in (styles, styles - 1) or not masks:
            raise ArbstyleError(
                f"expected a mask for each of the {styles} styles (or for all but the last), got {len(masks)}"
            )
        height, width = photo.shape[2:]
        weights = region_weights([_as_float(as_tensor(mask)) for mask in masks], (height, width))
        covers_all = float(weights[:, -1].max()) == 0
        return weights[:, :-1] if len(masks) == styles and covers_all else weights

    def _paint(
        self,
        photo: Tensor,
        rows: Tensor,
        regions: Tensor | None,
        cover: Tensor | None,
        finish: _Finish,
        tile: int | None,
        progress: Progress | None,
    ) -> Tensor:
        """Paint one photo 1×3×H×W with parameters R×P, a row a region."""
        if tile is None and self._is_too_large(photo):
            tile = DEFAULT_TILE
            logger.warning(
                "painting %d×%d pixels in tiles: in one piece they might not fit into the memory",
                *_wide_high(photo),
            )
        if tile is None:
            try:
                return self._paint_whole(photo, rows, regions, cover, finish)
            except torch.cuda.OutOfMemoryError:
                tile = DEFAULT_TILE
                logger.warning(
                    "out of GPU memory in one piece: painting %d×%d pixels in tiles", *_wide_high(photo)
                )
        return self._paint_tiles(
            TiledPainter(self._painter, tile), photo, rows, regions, cover, finish, progress
        )

    def _paint_whole(
        self, photo: Tensor, rows: Tensor, regions: Tensor | None, cover: Tensor | None, finish: _Finish
    ) -> Tensor:
        if regions is not None:
            one_tile = TiledPainter(self._painter, max(photo.shape[2:]) + self._painter.multiple)
            return self._paint_tiles(one_tile, photo, rows, regions, cover, finish)
        painted = self._painter(network_input(photo, self._painter), rows)
        return finish(painted.to(photo.device), photo, None)

    def _paint_tiles(
        self,
        painter: TiledPainter,
        photo: Tensor,
        rows: Tensor,
        regions: Tensor | None,
        cover: Tensor | None,
        finish: _Finish,
        progress: Progress | None = None,
    ) -> Tensor:
        values = torch.cat([painter.find_values(photo, row[None], progress) for row in rows])
        result = torch.empty_like(photo, memory_format=torch.contiguous_format)
        for box, painted in painter.paint(photo, values, regions):
            part = None if cover is None else box.cut(cover)
            box.cut(result).copy_(finish(painted.to(photo.device), box.cut(photo), part))
        return result

    def _is_too_large(self, photo: Tensor) -> bool:
        needed = photo.shape[2] * photo.shape[3] * self._bytes_per_pixel
        return needed > _available_bytes(self.device) / 2

    @functools.cached_property
    def _bytes_per_pixel(self) -> float:
        return TiledPainter(self._painter).bytes_per_pixel()


class _Finish:
    """What is done to painted pixels: colours, strength, what lies outside all masks."""

    def __init__(self, strength: float, own: bool, keep_colors: KeepColors) -> None:
        # The parameters have gone from the photo's own to the style's; the pixels only make 0 exact. Where the photo
        # has none of its own (a bank), the pixels go all the way.
        self.amount = strength if not own else 1.0 if strength >= 1 else strength * (2 - strength)
        self.keep_colors = keep_colors

    def __call__(self, painted: Tensor, photo: Tensor, cover: Tensor | None) -> Tensor:
        """Painted part 1×3×h×w in [0,1], the same part of the photo, and of what the masks cover 1×1×h×w."""
        if (
            self.keep_colors != "luminance"
            and self.amount == 1
            and cover is None
            and photo.is_floating_point()
        ):
            return painted.to(photo.dtype)
        original = _as_float(photo)
        painted = painted.to(original.dtype)
        if self.keep_colors == "luminance":
            painted = transfer_luminance(painted, original)
        if self.amount != 1 or cover is not None:
            amount = self.amount if cover is None else self.amount * cover.to(original)
            painted = (original + (painted - original) * amount).clamp(0, 1)
        return painted if photo.is_floating_point() else (painted * 255).round().to(torch.uint8)


def choose_device(device: str | torch.device) -> torch.device:
    """The device of that name; ``auto`` takes cuda, else mps, else cpu.

    Raises:
        ArbstyleError: not a device, or not on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ArbstyleError(f"expected device auto, cpu, cuda or mps, got '{device}'") from error
    if not available.get(chosen.type, False) or (chosen.index or 0) >= max(1, torch.cuda.device_count()):
        here = ", ".join(name for name, there in available.items() if there)
        raise ArbstyleError(f"there is no device '{device}' here; choose among auto, {here}")
    return chosen


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The number format of that name; ``auto`` takes bf16 on a CPU that is made for it, else fp32.

    Raises:
        ArbstyleError: not a precision.
    """
    if precision == "auto":
        return torch.bfloat16 if device.type == "cpu" and _cpu_computes_bf16() else torch.float32
    if precision not in _DTYPES:
        raise ArbstyleError(f"expected precision auto, {', '.join(_DTYPES)}, got '{precision}'")
    return _DTYPES[precision]


def as_tensor(picture: PictureLike) -> Tensor:
    """A picture of any kind as N×3×H×W, floats in [0,1] or bytes.

    Raises:
        ArbstyleError: a file that cannot be read, or something of another kind, shape or range.
    """
    if isinstance(picture, (str, os.PathLike)):
        return read_image(picture)
    if isinstance(picture, Image.Image):
        return from_pil(picture)
    if isinstance(picture, np.ndarray):
        picture = _planes(picture)
    if not isinstance(picture, Tensor):
        raise ArbstyleError(
            f"expected a picture as a path, Pillow image, array or tensor, got {type(picture).__name__}"
        )
    picture = picture[None] if picture.dim() == 3 else picture
    _check_photo(picture)
    return picture if picture.dtype == torch.uint8 else picture.float()


def _planes(array: np.ndarray) -> Tensor:
    """H×W, H×W×1, H×W×3 or H×W×4 as 3×H×W."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ArbstyleError(f"expected an array H×W×3 or H×W, got shape {'×'.join(map(str, array.shape))}")
    if array.shape[2] == 4:
        if array.dtype != np.uint8:
            raise ArbstyleError(
                "expected an array H×W×3 of floats, got 4 channels; drop or composite the alpha"
            )
        return from_pil(Image.fromarray(array))[0]
    if array.dtype == np.uint16:
        array = array.astype(np.float32) / 65535
    elif array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise ArbstyleError(f"expected an array of floats in [0,1], uint8 or uint16, got {array.dtype}")
    planes = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
    return planes.expand(3, -1, -1)


def _check_photo(photo: Tensor) -> None:
    shape = "×".join(map(str, photo.shape))
    if photo.dim() != 4 or photo.shape[1] != 3 or photo.numel() == 0:
        raise ArbstyleError(f"expected a picture of shape N×3×H×W, got {shape}")
    if photo.dtype == torch.uint8:
        return
    if not photo.is_floating_point():
        raise ArbstyleError(f"expected a picture of floats in [0,1] or bytes, got {photo.dtype}")
    low, high = (float(extreme) for extreme in photo.aminmax())
    if not (-0.01 <= low and high <= 1.01):  # NaN fails as well
        raise ArbstyleError(
            f"expected values in [0,1], got {low:g} to {high:g}; divide by 255, or give bytes (uint8)"
        )


def _check_options(strength: float, keep_colors: str, style_size: int, tile: int | None) -> None:
    if not 0 <= strength < math.inf:
        raise ArbstyleError(
            f"expected a strength of 0 (the photo) to 1 (the style) or somewhat more, got {strength}"
        )
    if keep_colors not in KEEP_COLORS:
        raise ArbstyleError(f"expected to keep colours by {', '.join(KEEP_COLORS)}, got '{keep_colors}'")
    if style_size < 16:
        raise ArbstyleError(f"expected a style size of at least 16 pixels, got {style_size}")
    if tile is not None and tile < 64:
        raise ArbstyleError(f"expected tiles of at least 64 pixels, got {tile}")


def _converted(
    transformer: TransformerNetwork, device: torch.device, dtype: torch.dtype
) -> TransformerNetwork:
    """The transformer in the format it computes in; the styler keeps its own in float32."""
    layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    return (
        copy.deepcopy(transformer).to(device=device, dtype=dtype, memory_format=layout).requires_grad_(False)
    )


def _cpu_computes_bf16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not in every version
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def _available_bytes(device: torch.device) -> int:
    """Memory that a picture may take: free on the GPU, or available to this process on Linux, else a guess."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [_meminfo_available(), _cgroup_available()]
    return min((amount for amount in found if amount is not None), default=4 * 2**30)


def _meminfo_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def _cgroup_available() -> int | None:
    try:
        group = Path("/sys/fs/cgroup")
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _as_float(picture: Tensor) -> Tensor:
    return picture.float() / 255 if picture.dtype == torch.uint8 else picture


def _reduced(photo: Tensor, size: int) -> Tensor:
    """Floats with a short side of ``size``; bytes are reduced as bytes, so that a large photo stays small."""
    if photo.dtype != torch.uint8:
        return resize(photo, size)
    scale = size / min(photo.shape[2:])
    target = [max(1, round(side * scale)) for side in photo.shape[2:]]
    return F.interpolate(photo, size=target, mode="bilinear", antialias=True).float() / 255


def _each(match: Callable[[Tensor, Tensor], Tensor], style: Tensor, photo: Tensor) -> Tensor:
    """Match each style to its photo; a single one of either goes with all of the other."""
    count = max(len(style), len(photo))
    pairs = ((style[i % len(style)][None], photo[i % len(photo)][None]) for i in range(count))
    return torch.cat([match(one, reference) for one, reference in pairs])


def _is_style_path(style: object) -> bool:
    return isinstance(style, (str, os.PathLike)) and str(style).lower().endswith(".safetensors")


def _modified(path: str | os.PathLike[str]) -> int:
    """Time of change, or 0 for what is not there: reading says so better."""
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return 0


def _wide_high(photo: Tensor) -> tuple[int, int]:
    return photo.shape[3], photo.shape[2]
