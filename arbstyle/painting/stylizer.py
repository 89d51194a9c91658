"""Stylising with a trained model: :class:`Stylizer`, which needs no Lightning, no wandb and no VGG."""

from __future__ import annotations

import copy
import functools
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from arbstyle.devices import Precision, choose_device, choose_dtype
from arbstyle.errors import ArbstyleError
from arbstyle.hub import find_model, push, save_folder
from arbstyle.images import (
    PictureLike,
    as_float,
    as_tensor,
    check_picture,
    reduced,
    resize,
    to_pil,
)
from arbstyle.networks import ArbitraryStyler, load_styler
from arbstyle.painting.gallery import gallery_files
from arbstyle.painting.mixing import mix
from arbstyle.painting.options import (
    STYLE_SIZE,
    KeepColors,
    StrengthWarning,
    check_options,
    style_size_for,
    whole_number,
)
from arbstyle.painting.packaged import packaged_model
from arbstyle.painting.picture_painter import PicturePainter
from arbstyle.painting.refinement import Refiner, StepCallback
from arbstyle.painting.style_contents import THUMBNAIL_SIDE
from arbstyle.painting.style_file import Style
from arbstyle.painting.style_reader import StyleLike, StyleReader, name_of, seen, stored_style
from arbstyle.painting.tiling import Progress

REFINE_SIZE = 176
"""Short side of the photos on which a style is refined: smaller is faster, and sees less of the strokes."""


class Stylizer:
    """A trained styler, ready to paint.

    ``stylizer(photo, style)`` paints one photo; :meth:`stylize` does the same for batches of tensors.

    Args:
        styler: the networks.
        information: what the model's file says of itself.
        device: ``auto`` takes cuda, else mps, else cpu.
        precision: ``auto`` takes bf16 on a CPU that has instructions for it, else fp32. The norms compute in
            float32 in any case, and so do the statistics that the style encoder pools.

    Raises:
        ArbstyleError: no such device or precision here.
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
        self.painter: PicturePainter = PicturePainter(styler.transformer, self.device, self.dtype)
        self.styles: StyleReader = StyleReader(self.styler, self.name, self.dtype)
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
        with packaged_model() as file:
            return cls(*load_styler(file, weights), device=device, precision=precision)

    def save_pretrained(
        self, folder: str | Path, *, license: str | None = None, datasets: Sequence[str] = ()
    ) -> Path:
        """Write the model, its description and a model card into a folder, and return the folder.

        An earlier model there is replaced, an earlier card is not. Arguments as in
        :func:`arbstyle.hub.save_folder`.
        """
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
        """Upload the same to ``owner/name`` on the Hugging Face Hub, and return the commit's address.

        Arguments as in :func:`arbstyle.hub.push`.

        Raises:
            ArbstyleError: not a name, no network, or no right to write there.
        """
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

    @property
    def fingerprint(self) -> str:
        """Tells models apart; style files carry it."""
        return self.styles.fingerprint

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
            a tensor shaped like ``photo`` if that is one (with a ``size``, floats), else a Pillow image.

        Raises:
            ArbstyleError: a picture that cannot be read, or as :meth:`stylize` does.
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
        origin: tuple[int, int] = (0, 0),
        progress: Progress | None = None,
    ) -> Tensor:
        """Paint photos of one size.

        Args:
            photo: N×3×H×W, floats in [0,1] or bytes.
            style: one style for all photos, or a tensor N×3×h×w with one for each; or a sequence, blended by
                ``weights`` or each in the region of its mask.
            strength: 0 gives back the photo, 1 is the style, beyond 1 (up to 100) exaggerates.
            weights: of the styles of a blend; equal if left out, and only their ratios matter.
            masks: a picture a style, white where it is to be painted. What no mask covers stays the photo; a
                last style without a mask takes that.
            keep_colors: ``none``; ``luminance`` keeps the photo's colours and paints brightness only;
                ``histogram`` and ``coral`` give the style the photo's colours first (Gatys et al. 2016,
                arXiv:1606.05897).
            style_size: short side in pixels, 16 or more, at which a style picture is looked at; default: the
                photo's own, but 256 to 2048.
            stroke: how wide the strokes are, 1, 2 or 4: 2 paints the photo at half its size first and then
                repaints both together, 4 begins at a quarter.
            tile: paint in tiles of this side, 64 pixels or more; ``None`` does so only for pictures too large
                for the memory.
            seed: any whole number; a model that paints flat areas from noise paints others with another.
            origin: top and left in pixels, any whole numbers, of the photo in a larger picture, such as what
                a camera passes by. What two photos of that both show is then painted with the same strokes.
            progress: called as tiles are done, with their number and that of all known to be to do.

        Returns:
            N×3×H×W of the photo's type and device.

        Raises:
            ArbstyleError: anything out of its range, or styles, weights and masks that do not fit together.
        """
        check_picture(photo)
        check_options(strength, keep_colors, style_size, tile, stroke)
        seed = whole_number(seed, "the seed")
        origin = (whole_number(origin[0], "the origin"), whole_number(origin[1], "the origin"))
        styles: list[Any] = list(style) if isinstance(style, list | tuple) else [style]
        if not styles:
            raise ArbstyleError("expected at least one style, got none")
        if strength == 0:
            return photo.clone()
        style_size = style_size or style_size_for(photo)
        if strength > 1:
            message = f"a strength of {strength:g} is beyond 1, for which no model is trained: look twice"
            warnings.warn(message, StrengthWarning, stacklevel=2)
        mixture = mix(
            self.styles,
            photo,
            styles,
            strength=strength,
            weights=weights,
            masks=masks,
            keep_colors=keep_colors,
            style_size=style_size,
        )
        pieces = [
            self.painter.paint(mixture.task(photo, number, seed, origin), tile, stroke, progress)
            for number in range(len(photo))
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def style(self, style: StyleLike, *, name: str | None = None, style_size: int | None = None) -> Style:
        """What this model knows of a style picture, to be kept in a file and used in its place.

        Args:
            style: a picture, or a style file or :class:`Style`, which is then checked.
            name: to show; default: the file's, or what a style file says.
            style_size: as in :meth:`stylize`; default: 512.

        Returns:
            the style, without refinement.

        Raises:
            ArbstyleError: a number of a bank, whose model file holds it already; a style file of another
                model; or a picture that cannot be read.
        """
        title = name or name_of(style)
        style = self.styles.from_gallery(style)
        stored = stored_style(style)
        if stored is not None:
            checked = self.styles.checked(stored)
            return replace(checked, name=name) if name else checked
        if self.styler.style_encoder.takes_index:
            raise ArbstyleError(
                "this model is a bank of numbered styles and cannot look at pictures; use the number itself"
            )
        picture = as_float(as_tensor(style))  # type: ignore[arg-type]  # a number was for a bank
        with torch.no_grad():
            code = self.styles.code_of(seen(picture, style_size or STYLE_SIZE))
        thumbnail = to_pil(resize(picture, min(THUMBNAIL_SIDE, max(picture.shape[2:])), edge="long"))
        return Style(title, code.cpu(), None, self.fingerprint, self.name, thumbnail)

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
            photos: on which it is improved, at a short side of 176 pixels or less.
            steps: of gradient descent, one photo each.
            name: as in :meth:`style`.
            style_size: as in :meth:`stylize`; default: what suits the first photo.
            vgg_weights: of the network that measures; see :class:`~arbstyle.perception.PerceptualEncoder`.
            callback: called with the number of the step and its loss.

        Returns:
            the style with parameters of its own, which :meth:`stylize` then paints by.

        Raises:
            ArbstyleError: a style that is not a picture, no photo, or fewer than 1 step.
        """
        name = name or name_of(style)
        style = cast(PictureLike, self.styles.from_gallery(style, picture=True))
        if stored_style(style) is not None:
            raise ArbstyleError(
                "refining compares with the style picture, which a style file does not hold; give it"
            )
        pictures = [as_tensor(photo) for photo in photos]
        style_size = style_size or (style_size_for(pictures[0]) if pictures else STYLE_SIZE)
        known = self.style(style, name=name, style_size=style_size)
        start = self.styler.parameters_of(known.code.to(self.device))
        target = seen(as_float(as_tensor(style)), style_size)
        small = [reduced(picture, min(REFINE_SIZE, *picture.shape[2:])) for picture in pictures]
        refined = self._refiner(vgg_weights)(start, small, target, steps, callback)
        return replace(known, parameters=refined.cpu())

    def parameters_of(self, style: StyleLike, style_size: int | None = None) -> Tensor:
        """The transformer's parameters of a style, 1×P; those of a file are kept for the next time.

        Args:
            style, style_size: as in :meth:`style`.
        """
        with torch.no_grad():
            return self.styles.parameters(style, style_size or STYLE_SIZE)

    def picture_of(self, style: StyleLike) -> Tensor | None:
        """A style as a picture 1×3×h×w to look at, as large as there is; none for a number."""
        return self.styles.picture_of(style)

    @functools.cached_property
    def gallery(self) -> dict[str, Style]:
        """The styles of the gallery by name; each name may also stand wherever a style picture may."""
        return {name: self.style(name) for name in gallery_files()}
