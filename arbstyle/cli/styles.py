"""`arbstyle styles`: the gallery of named styles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from arbstyle.cli._options import ModelOptions, check_new
from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from PIL import Image


def styles(
    photo: str | None = None,
    *,
    output: Annotated[str | None, "-o", "SHEET"] = None,
    size: Annotated[int, "PIXELS"] = 256,
    json: bool = False,
    overwrite: bool = False,
    options: ModelOptions,
) -> None:
    """List the named styles of the gallery, or paint a photo in all of them.

    Each name may stand wherever a style picture may: arbstyle stylize photo.jpg --style woodcut.

    Args:
        photo: a picture to paint in every style, on one sheet.
        output: the sheet (default: styles.jpg in this folder).
        size: short side of the photos on the sheet.
        json: list the styles as JSON.
        overwrite: replace a sheet that exists.
    """
    from arbstyle.painting.gallery import gallery

    if photo is None:
        if output:
            raise ArbstyleError("a sheet needs a photo: arbstyle styles photo.jpg -o sheet.jpg")
        known = {name: dict(style.about) for name, style in gallery().items()}
        print(dumps(known, indent=2, ensure_ascii=False) if json else _table(known))
        return
    if json:
        raise ArbstyleError("--json lists the styles; it goes without a photo")
    if size < 16:
        raise ArbstyleError(f"expected a --size of at least 16 pixels, got {size}")
    print(_paint_sheet(photo, Path(output or "styles.jpg"), size, overwrite, options))


def _table(known: dict[str, dict[str, str]]) -> str:
    width = max(map(len, known), default=0)
    lines = (
        f"{name:{width}}  {about['title']}, {about['artist']}, {about['year']} ({about['technique']})"
        for name, about in known.items()
    )
    return "\n".join(lines)


def _paint_sheet(photo: str, output: Path, size: int, overwrite: bool, options: ModelOptions) -> Path:
    from tqdm import tqdm

    from arbstyle.images import check_output_path, check_outputs
    from arbstyle.images.encoding import write_array
    from arbstyle.painting.gallery import gallery_files
    from arbstyle.painting.gallery_sheet import gallery_sheet

    check_output_path(output)
    check_outputs([("--output", output)], [("PHOTO", photo), *options.files()])
    if not overwrite:
        check_new([output])
    paint = _painter(photo, size, options)
    bar = tqdm(gallery_files(), unit="style", disable=None, leave=False, file=sys.stderr)
    sheet = gallery_sheet({name: paint(name) for name in bar})
    return write_array(sheet, output, quality=85)


def _painter(photo: str, size: int, options: ModelOptions) -> Callable[[str], Image.Image]:
    """What paints the photo in a style, without PyTorch if that can be."""
    from arbstyle.cli._onnx_painter import is_possible

    if options.model is None and is_possible(options.device):
        from arbstyle.images.arrays import as_image, read_array, resize_array
        from arbstyle.onnx.runtime import OnnxStylizer

        small, quick = resize_array(read_array(photo), size), OnnxStylizer()
        return lambda name: as_image(quick.stylize(small, [name]))
    from arbstyle.images import read_image, to_pil

    picture, stylizer = read_image(photo, size=size), options.stylizer()
    return lambda name: to_pil(stylizer.stylize(picture, name))
