"""Stylising with a trained model: :class:`Stylizer`, which needs no Lightning, no wandb and no VGG."""

from __future__ import annotations

import copy
import functools
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arbstyle.devices import (
    Precision,
    available_bytes,
    choose_device,
    choose_dtype,
)
from arbstyle.errors import ArbstyleError, is_out_of_memory
from arbstyle.hub import find_model, push, save_folder
from arbstyle.images import (
    PictureLike,
    as_float,
    as_mask,
    as_tensor,
    check_picture,
    from_pil,
    read_style,
    reduced,
    resize,
    style_view,
    to_pil,
)
from arbstyle.networks import ArbitraryStyler, TransformerNetwork, blend, interpolate, load_styler
from arbstyle.painting.colors import match_coral, match_histogram
from arbstyle.painting.gallery import gallery_file, gallery_files
from arbstyle.painting.masks import region_weights
from arbstyle.painting.options import (
    STYLE_SIZE,
    KeepColors,
    StrengthWarning,
    check_options,
    style_size_for,
)
from arbstyle.painting.refinement import Refiner, StepCallback
from arbstyle.painting.style_contents import check_model
from arbstyle.painting.style_file import THUMBNAIL_SIDE, Style, fingerprint
from arbstyle.painting.task import Finish, Task
from arbstyle.painting.tiling import DEFAULT_TILE, Progress, TiledPainter, network_input

logger = logging.getLogger(__name__)

StyleLike = PictureLike | int | Style

REFINE_SIZE = 176
"""Short side of the photos on which a style is refined: smaller is faster, and sees less of the strokes."""

LARGEST_IN_ONE_PIECE = 5 * 2**30
"""Memory in bytes that one picture may take at most, however much there is: others use the machine, too."""

SMALLEST_TILE = 128
"""Side in pixels below which tiles, which overlap, hardly need less memory."""

_COLOUR_SAMPLE = 512
_CACHED_STYLES = 256


class Stylizer:
    """A trained styler, ready to paint.

    Args:
        styler: the networks.
        information: what the model's file says of itself.
        device: ``auto`` takes cuda, else mps, else cpu.
        precision: ``auto`` takes bf16 on a CPU that has instructions for it, else fp32. The norms compute in
            float32 in any case, and so do the statistics that the style encoder pools.
    """

    def __init__(
        self,
        styler: ArbitraryStyler,
        information: dict[str, Any] | None = None,
        *,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
    ) -> None:
        self.device: torch.device = choose_device(device)
        self.precision = precision
        self.dtype: torch.dtype = choose_dtype(precision, self.device)
        self.styler: ArbitraryStyler = styler.eval().requires_grad_(False).to(self.device)
        self.information: dict[str, Any] = dict(information or {})
        self._painter = _converted(styler.transformer, self.device, self.dtype)
        self._parameters_of_file = functools.lru_cache(_CACHED_STYLES)(self._encode_file)
        self._refiner = functools.lru_cache(1)(
            functools.partial(Refiner, self.styler.transformer, self.dtype)
        )

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
        *,
        weights: str | Path | None = None,
        trust_code: bool = False,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
    ) -> Stylizer:
        """Load a model.

        Args:
            path: a file that 'arbstyle train' exported; a folder that :meth:`save_pretrained` wrote; or
                ``owner/name`` on the Hugging Face Hub. ``None`` is the model that ships with the package.
            device, precision: as in the constructor.
            weights: VGG weights, for the few models that contain a VGG.
            trust_code: import networks from outside this package that the model names; see
                :func:`~arbstyle.load_styler`.
            revision, cache_dir, token: see :func:`arbstyle.hub.find_model`.

        Raises:
            ArbstyleError: no such model, device or precision.
        """
        device = choose_device(device)  # before the slower part
        choose_dtype(precision, device)
        if path is not None:
            file = find_model(path, revision=revision, cache_dir=cache_dir, token=token)
            return cls(*load_styler(file, weights, trust_code=trust_code), device=device, precision=precision)
        packaged = files("arbstyle") / "assets" / "arbstyle.safetensors"
        if not packaged.is_file():
            raise ArbstyleError(
                "no model comes with this copy of arbstyle; give one that 'arbstyle train' exports (--model)"
            )
        with as_file(packaged) as file:
            return cls(*load_styler(file, weights), device=device, precision=precision)

    def save_pretrained(
        self, folder: str | Path, *, license: str | None = None, datasets: Sequence[str] = ()
    ) -> Path:
        """Write the model, its description and a model card; see :func:`arbstyle.hub.save_folder`."""
        return save_folder(self.styler, self.information, folder, license=license, datasets=datasets)

    def push_to_hub(
        self,
        repository: str,
        *,
        license: str | None = None,
        datasets: Sequence[str] = (),
        private: bool | None = None,
        branch: str | None = None,
        message: str = "Upload a model of arbstyle",
        token: str | None = None,
    ) -> str:
        """Upload the same to ``owner/name`` on the Hugging Face Hub; see :func:`arbstyle.hub.push`."""
        return push(
            self.styler,
            self.information,
            repository,
            license=license,
            datasets=datasets,
            private=private,
            branch=branch,
            message=message,
            token=token,
        )

    def __reduce__(self) -> tuple[Callable[..., Stylizer], tuple[Any, ...]]:
        """Pickled without its caches, as networks on the CPU; unpickled, on the same device again."""
        styler = self.styler if self.device.type == "cpu" else copy.deepcopy(self.styler).cpu()
        build = functools.partial(type(self), device=str(self.device), precision=self.precision)
        return build, (styler, self.information)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Tells models apart; style files carry it."""
        return fingerprint(self.styler)

    @property
    def name(self) -> str:
        """What the model calls itself."""
        return str(self.information.get("name", "unnamed model"))

    @overload
    def __call__(
        self,
        photo: Tensor,
        style: StyleLike | Sequence[StyleLike],
        strength: float = 1.0,
        *,
        size: int | None = None,
        weights: Sequence[float] | None = None,
        masks: Sequence[PictureLike] | None = None,
        keep_colors: KeepColors = "none",
        style_size: int | None = None,
        stroke: int = 1,
        tile: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Tensor: ...

    @overload
    def __call__(
        self,
        photo: str | os.PathLike[str] | Image.Image | np.ndarray,
        style: StyleLike | Sequence[StyleLike],
        strength: float = 1.0,
        *,
        size: int | None = None,
        weights: Sequence[float] | None = None,
        masks: Sequence[PictureLike] | None = None,
        keep_colors: KeepColors = "none",
        style_size: int | None = None,
        stroke: int = 1,
        tile: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Image.Image: ...

    def __call__(
        self,
        photo: PictureLike,
        style: StyleLike | Sequence[StyleLike],
        strength: float = 1.0,
        *,
        size: int | None = None,
        weights: Sequence[float] | None = None,
        masks: Sequence[PictureLike] | None = None,
        keep_colors: KeepColors = "none",
        style_size: int | None = None,
        stroke: int = 1,
        tile: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Image.Image | Tensor:
        """Paint a photo.

        Args:
            photo: a path, a Pillow image, an array H×W×3 or H×W, or a tensor N×3×H×W or 3×H×W; arrays and
                tensors hold floats in [0,1] or bytes.
            style: the same; or the number of a style in a bank; or a :class:`Style` or the path of one; or a
                sequence of those for a blend or for masks.
            size: short side to work at, in pixels; the photo's own if left out.
            strength, weights, masks, keep_colors, style_size, stroke, tile, seed, progress: as in
                :meth:`stylize`.

        Returns:
            a tensor shaped like ``photo`` if that is one, else a Pillow image.
        """
        picture = as_tensor(photo)
        if size is not None:
            picture = resize(as_float(picture), size)
        painted = self.stylize(
            picture,
            style,
            strength,
            weights=weights,
            masks=masks,
            keep_colors=keep_colors,
            style_size=style_size,
            stroke=stroke,
            tile=tile,
            seed=seed,
            progress=progress,
        )
        if isinstance(photo, Tensor):
            return painted[0] if photo.dim() == 3 else painted
        return to_pil(as_float(painted))

    @torch.no_grad()  # not inference_mode, whose tensors no training step can use
    def stylize(
        self,
        photo: Tensor,
        style: StyleLike | Sequence[StyleLike],
        strength: float = 1.0,
        *,
        weights: Sequence[float] | None = None,
        masks: Sequence[PictureLike] | None = None,
        keep_colors: KeepColors = "none",
        style_size: int | None = None,
        stroke: int = 1,
        tile: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Tensor:
        """Paint photos of one size.

        Args:
            photo: N×3×H×W, floats in [0,1] or bytes.
            style: one style for all photos, or a tensor N×3×h×w with one for each; or a sequence, blended by
                ``weights`` or each in the region of its mask.
            strength: 0 gives back the photo, 1 is the style, beyond 1 exaggerates.
            weights: of the styles of a blend; equal if left out, and only their ratios matter.
            masks: a picture a style, white where it is to be painted. What no mask covers stays the photo; a
                last style without a mask takes that.
            keep_colors: ``luminance`` keeps the photo's colours and paints brightness only; ``histogram`` and
                ``coral`` give the style the photo's colours first.
            style_size: short side in pixels at which a style picture is looked at; default: the photo's own,
                within ``STYLE_SIZES``.
            stroke: how wide the strokes are: 2 paints the photo at half its size first and then repaints both
                together, 4 begins at a quarter.
            tile: paint in tiles of this side; ``None`` does so only for pictures too large for the memory.
            seed: another seed paints with another hand, by a model that paints flat areas from noise.
            progress: called as tiles are done.

        Returns:
            N×3×H×W of the photo's type and device.

        Raises:
            ArbstyleError: anything out of its range, or styles, weights and masks that do not fit together.
        """
        check_picture(photo)
        check_options(strength, keep_colors, style_size, tile, stroke)
        styles: list[Any] = list(style) if isinstance(style, list | tuple) else [style]
        if not styles:
            raise ArbstyleError("expected at least one style, got none")
        if strength == 0:
            return photo.clone()
        style_size = style_size or style_size_for(photo)
        if strength > 1:
            message = f"a strength of {strength:g} is beyond 1, for which no model is trained: look twice"
            warnings.warn(message, StrengthWarning, stacklevel=2)
        if masks is not None and weights is not None:
            raise ArbstyleError(
                "masks say where each style goes, weights how much of each everywhere; give one of them"
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
        finish = Finish(strength, own is not None, keep_colors)
        if own is not None:
            targets = [interpolate(own, target, strength) for target in targets]
        cover = None
        if regions is not None and regions.shape[1] > len(targets):
            cover = 1 - regions[:, -1:]
            # A bank knows no style that is the photo's own.
            targets.append(targets[-1] if own is None else own)
        pieces = []
        for number in range(len(photo)):
            one = photo[number : number + 1]
            rows = torch.cat([target[number % len(target)][None] for target in targets])
            task = Task(one, one, rows, regions, cover, finish, seed)
            pieces.append(self._paint(task, tile, stroke, progress))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def style(self, style: StyleLike, *, name: str | None = None, style_size: int | None = None) -> Style:
        """What this model knows of a style picture, to be kept in a file and used in its place.

        Args:
            style: a picture, or a style file or :class:`Style`, which is then only checked.
            name: to show; default: the file's.
            style_size: as in :meth:`stylize`; default: ``STYLE_SIZE``.

        Raises:
            ArbstyleError: a number of a bank, whose model file holds it already.
        """
        called = str(style) if gallery_file(style) else None
        style = self._from_gallery(style)
        if isinstance(style, Style) or _is_style_path(style):
            return self._checked(style if isinstance(style, Style) else Style.load(str(style)))
        if self.styler.style_encoder.takes_index:
            raise ArbstyleError(
                "this model is a bank of numbered styles and cannot look at pictures; use the number itself"
            )
        picture = as_float(as_tensor(style))  # type: ignore[arg-type]  # a number was for a bank
        with torch.no_grad():
            code = self._code_of(_seen(picture, style_size or STYLE_SIZE))
        default = called or (Path(style).stem if isinstance(style, str | os.PathLike) else "style")
        thumbnail = to_pil(resize(picture, min(THUMBNAIL_SIDE, max(picture.shape[2:])), edge="long"))
        return Style(name or default, code.cpu(), None, self.fingerprint, self.name, thumbnail)

    def refine(
        self,
        style: PictureLike,
        photos: Sequence[PictureLike],
        steps: int = 50,
        *,
        name: str | None = None,
        style_size: int | None = None,
        vgg_weights: str | Path | None = None,
        callback: StepCallback | None = None,
    ) -> Style:
        """Improve what the model knows of a style, for one photo or as seen on a handful.

        Args:
            style: a picture; it is what the result is measured against.
            photos: on which it is improved, at a short side of ``REFINE_SIZE`` or less.
            steps: of gradient descent, one photo each.
            name: as in :meth:`style`.
            style_size: as in :meth:`stylize`; default: what suits the first photo.
            vgg_weights: of the network that measures; see :class:`~arbstyle.perception.PerceptualEncoder`.
            callback: called with the number of the step and its loss.

        Raises:
            ArbstyleError: a style that is not a picture, no photo, or fewer than 1 step.
        """
        name = name or (str(style) if gallery_file(style) else None)
        style = cast(PictureLike, self._from_gallery(style, picture=True))
        if isinstance(style, Style) or _is_style_path(style):
            raise ArbstyleError(
                "refining compares with the style picture, which a style file does not hold; give it"
            )
        pictures = [as_tensor(photo) for photo in photos]
        style_size = style_size or (style_size_for(pictures[0]) if pictures else STYLE_SIZE)
        known = self.style(style, name=name, style_size=style_size)
        start = self.styler.parameters_of(known.code.to(self.device))
        target = _seen(as_float(as_tensor(style)), style_size)
        small = [reduced(picture, min(REFINE_SIZE, *picture.shape[2:])) for picture in pictures]
        refined = self._refiner(vgg_weights)(start, small, target, steps, callback)
        return replace(known, parameters=refined.cpu())

    def parameters_of(self, style: StyleLike, style_size: int | None = None) -> Tensor:
        """The transformer's parameters of a style, 1×P; those of a file are kept for the next time."""
        with torch.no_grad():
            return self._parameters(style, torch.empty(0), "none", style_size or STYLE_SIZE)

    def picture_of(self, style: StyleLike) -> Tensor | None:
        """A style as a picture 1×3×h×w to look at, as large as there is; none for a number."""
        style = self._from_gallery(style, picture=True)
        if isinstance(style, Style) or _is_style_path(style):
            return from_pil((style if isinstance(style, Style) else Style.load(str(style))).thumbnail)
        if isinstance(style, int | np.integer) or self.styler.style_encoder.takes_index:
            return None
        return as_float(as_tensor(style))

    @functools.cached_property
    def gallery(self) -> dict[str, Style]:
        """The styles of the gallery by name; each name may also stand wherever a style picture may."""
        return {name: self.style(name) for name in gallery_files()}

    # --- styles to parameters ---------------------------------------------------------------

    def _from_gallery(self, style: StyleLike, picture: bool = False) -> StyleLike:
        """What a name of the gallery stands for; anything else stays as it is.

        Args:
            style: as in :meth:`stylize`.
            picture: take the style's picture even if its code is of this model.
        """
        file = gallery_file(style)
        if file is None:
            return style
        known = Style.load(file)
        return known.thumbnail if picture or known.model != self.fingerprint else known

    def _parameters(
        self, style: StyleLike, photo: Tensor, keep_colors: KeepColors, style_size: int
    ) -> Tensor:
        """Parameters N×P of one style, or of one style a photo."""
        if isinstance(style, int | np.integer) or (
            self.styler.style_encoder.takes_index and not isinstance(style, Style)
        ):
            return self._parameters_of_number(style)
        match = {"histogram": match_histogram, "coral": match_coral}.get(keep_colors)
        style = self._from_gallery(style, picture=match is not None)
        if isinstance(style, Style) or _is_style_path(style):
            if match:
                raise ArbstyleError(
                    f"keeping colours by '{keep_colors}' changes the style picture, and a style file holds "
                    "none; use 'luminance', or the picture itself"
                )
            loaded = self._checked(style if isinstance(style, Style) else Style.load(str(style)))
            if loaded.parameters is not None:
                return loaded.parameters.to(self.device)
            return self.styler.parameters_of(loaded.code.to(self.device))
        if match is None and isinstance(style, str | os.PathLike):
            return self._parameters_of_file(str(style), _modified(style), style_size)
        picture = _seen(as_float(as_tensor(cast(PictureLike, style))), style_size)
        if match is not None:
            picture = _each(match, picture, reduced(photo, _COLOUR_SAMPLE))
        return self._encode(picture)

    def _encode(self, picture: Tensor) -> Tensor:
        return self.styler.parameters_of(self._code_of(picture))

    def _code_of(self, picture: Tensor) -> Tensor:
        reduced_precision = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=reduced_precision):
            return self.styler.encode(picture.to(self.device)).float()

    def _encode_file(self, path: str, modified: int, style_size: int) -> Tensor:
        """As a function of the file's time too, so that a cached result never outlives the file."""
        return self._encode(read_style(path, style_size))

    def _parameters_of_number(self, style: StyleLike) -> Tensor:
        encoder = self.styler.style_encoder
        known = isinstance(style, int | np.integer) or (isinstance(style, str) and style.isdecimal())
        number = int(style) if known else None  # type: ignore[arg-type]
        if not encoder.takes_index:
            raise ArbstyleError(f"style number {style} needs a model that is a bank of styles; use a picture")
        if number is None:
            raise ArbstyleError(
                f"this model knows {encoder.code_size} styles by number; give one from 0 to "
                f"{encoder.code_size - 1} instead of a picture"
            )
        return self.styler.parameters_of(self.styler.encode(torch.tensor([number], device=self.device)))

    def _own_parameters(self, photo: Tensor, style_size: int) -> Tensor | None:
        """Parameters that paint the photo as itself; none for a bank, which knows its styles only."""
        if self.styler.style_encoder.takes_index:
            return None
        return self._encode(reduced(photo, min(style_view(photo.shape[2], photo.shape[3], style_size))))

    def _checked(self, style: Style) -> Style:
        check_model(style, self.fingerprint, self.name)
        used, size = style.parameters, self.styler.transformer.num_style_parameters
        if used is None:
            used, size = style.code, self.styler.style_encoder.code_size
        if used.shape != (1, size):
            raise ArbstyleError(
                f"the style '{style.name}' should hold {size} numbers for this model, not {used.numel()}; "
                "save it again with 'arbstyle style save'"
            )
        return style

    # --- painting ---------------------------------------------------------------------------

    def _regions(self, masks: Sequence[PictureLike], styles: int, photo: Tensor) -> Tensor:
        if len(masks) not in (styles, styles - 1) or not masks:
            raise ArbstyleError(
                f"expected a mask for each of the {styles} styles (or for all but the last), got {len(masks)}"
            )
        height, width = photo.shape[2:]
        weights = region_weights([as_mask(mask) for mask in masks], (height, width))
        covers_all = float(weights[:, -1].max()) == 0
        return weights[:, :-1] if len(masks) == styles and covers_all else weights

    def _paint(
        self, task: Task, tile: int | None = None, stroke: int = 1, progress: Progress | None = None
    ) -> Tensor:
        if stroke > 1:
            draft = self._paint(task.for_draft(), tile, stroke // 2)
            task = task.with_draft(draft)
        if tile is None and self._is_too_large(task.photo):
            tile = DEFAULT_TILE
            logger.warning(
                "painting %d×%d pixels in tiles: in one piece they would take too much memory",
                *_wide_high(task.photo),
            )
        while True:
            try:
                if tile is None:
                    return self._paint_whole(task)
                return self._paint_tiles(task, tile, progress)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if tile is not None and tile // 2 < SMALLEST_TILE:
                    size = "×".join(map(str, _wide_high(task.photo)))
                    raise ArbstyleError(
                        f"not enough memory to paint {size} pixels, even in tiles; choose a smaller size"
                    ) from error
            tile = DEFAULT_TILE if tile is None else tile // 2
            logger.warning(
                "not enough memory: painting %d×%d pixels in tiles of %d", *_wide_high(task.photo), tile
            )

    def _paint_whole(self, task: Task) -> Tensor:
        if task.regions is not None:
            return self._paint_tiles(task, max(task.photo.shape[2:]) + self._painter.multiple)
        painted = self._painter(network_input(task.start, self._painter), task.rows, task.seed)
        return task.finish(painted.to(task.photo.device), task.photo, None)

    def _paint_tiles(self, task: Task, tile: int, progress: Progress | None = None) -> Tensor:
        painter = TiledPainter(self._painter, tile, task.seed)
        values = torch.cat([painter.find_values(task.start, row[None], progress) for row in task.rows])
        result = torch.empty_like(task.photo)
        for box, painted in painter.paint(task.start, values, task.regions):
            part = None if task.cover is None else box.cut(task.cover)
            box.cut(result).copy_(task.finish(painted.to(task.photo.device), box.cut(task.photo), part))
        return result

    def _is_too_large(self, photo: Tensor) -> bool:
        needed = photo.shape[2] * photo.shape[3] * self._bytes_per_pixel
        return needed > min(LARGEST_IN_ONE_PIECE, available_bytes(self.device) / 2)

    @functools.cached_property
    def _bytes_per_pixel(self) -> float:
        return TiledPainter(self._painter).bytes_per_pixel()


def _converted(
    transformer: TransformerNetwork, device: torch.device, dtype: torch.dtype
) -> TransformerNetwork:
    """The transformer in the format it computes in; the styler keeps its own in float32."""
    layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
    painter = copy.deepcopy(transformer).to(device, dtype).to(memory_format=layout)
    return painter.requires_grad_(False)


def _each(match: Callable[[Tensor, Tensor], Tensor], style: Tensor, photo: Tensor) -> Tensor:
    """Match each style to its photo; a single one of either goes with all of the other."""
    count = max(len(style), len(photo))
    pairs = ((style[i % len(style)][None], photo[i % len(photo)][None]) for i in range(count))
    return torch.cat([match(one, reference) for one, reference in pairs])


def _seen(style: Tensor, size: int) -> Tensor:
    """A style picture as it is looked at."""
    return resize(style, style_view(style.shape[2], style.shape[3], size))


def _is_style_path(style: object) -> bool:
    return isinstance(style, str | os.PathLike) and str(style).lower().endswith(".safetensors")


def _modified(path: str | os.PathLike[str]) -> int:
    """Time of change, or 0 for what is not there: reading says so better."""
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return 0


def _wide_high(photo: Tensor) -> tuple[int, int]:
    return photo.shape[3], photo.shape[2]
