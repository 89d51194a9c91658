"""`arbstyle composite`: a part of one picture set into another, without a visible border."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import arbstyle
from arbstyle.cli._options import ResultFile, check_new, strength_told_once
from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from torch import Tensor

    from arbstyle.images import Picture


@dataclass(frozen=True, kw_only=True)
class Painting:
    """Painting.

    Attributes:
        style: paint the composite in the style of a picture.
        strength: 0 is the photo, 1 the style.
        model: another model than the packaged one.
        device: auto, cpu, cuda or mps.
    """

    style: str | None = None
    strength: float = 1.0
    model: Annotated[str | None, "FILE"] = None
    device: Annotated[str, "DEVICE"] = "auto"


def composite(
    foreground: str,
    background: str,
    *,
    output: Annotated[str, "-o", "OUT"],
    mask: Annotated[str | None, "FILE"] = None,
    at: Annotated[str | None, "X,Y"] = None,
    scale: float = 1.0,
    gradients: Literal["normal", "mixed"] = "normal",
    overwrite: bool = False,
    painting: Painting,
    result: ResultFile,
) -> None:
    """Set a part of one picture into another by Poisson blending, without a visible border.

    Args:
        foreground: the picture to take a part from.
        background: the picture to set it into.
        output: the result.
        mask: white where the foreground is taken, stretched to it (default: all that is not transparent).
        at: place of the foreground's upper left corner, in the background's pixels, as in 40,120; for a
            negative one write --at=-40,0 (default: centred).
        scale: of the foreground, before it is placed.
        gradients: mixed lets the background's texture show through.
        overwrite: replace a result that exists.
    """
    from arbstyle.compositing import read_and_composite
    from arbstyle.images import check_output_path, check_outputs, write_image
    from arbstyle.painting import check_options

    check_options(painting.strength)
    if painting.style is None and painting != Painting():
        raise ArbstyleError("--strength, --model and --device say how to paint the composite: give a --style")
    result.check()
    check_output_path(output)
    roles = {"FOREGROUND": foreground, "BACKGROUND": background, "--mask": mask, "--style": painting.style}
    roles |= {"--model": painting.model}
    check_outputs([("--output", output)], [(role, path) for role, path in roles.items() if path])
    if not overwrite:
        check_new([output])
    picture = read_and_composite(
        foreground,
        background,
        mask=mask,
        at=None if at is None else _place(at),
        scale=scale,
        gradients=gradients,
    )
    pixels = picture.pixels if painting.style is None else _painted(picture, painting.style, painting)
    notes = {"Software": f"arbstyle {arbstyle.__version__}"}
    if painting.style:
        notes["Style"] = painting.style
    write_image(
        pixels,
        output,
        alpha=picture.alpha,
        exif=picture.exif,
        quality=result.quality,
        bits=result.bits,
        text=notes if result.metadata else {},
    )
    print(output)


def _place(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(-?\d{1,9})\s*,\s*(-?\d{1,9})\s*", text)
    if found is None:
        raise ArbstyleError(f"expected a place --at X,Y in pixels, as in 40,120, got '{text}'")
    return int(found[1]), int(found[2])


def _painted(picture: Picture, style: str, painting: Painting) -> Tensor:
    from arbstyle.images import resize_with_alpha
    from arbstyle.painting import Stylizer

    pixels = picture.pixels
    if picture.alpha is not None:  # what is hidden must not run into what is not
        pixels, _ = resize_with_alpha(pixels, picture.alpha, min(pixels.shape[2:]))
    stylizer = Stylizer.from_pretrained(painting.model, painting.device)
    with strength_told_once(painting.strength):
        return stylizer.stylize(pixels, style, painting.strength)
