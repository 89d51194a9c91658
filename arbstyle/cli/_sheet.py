"""One picture of many: a grid of contents × styles, or steps from style to style."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from arbstyle.cli._options import warn
from arbstyle.errors import ArbstyleError

if TYPE_CHECKING:
    from torch import Tensor

    from arbstyle.cli._painter import Painter
    from arbstyle.cli.stylize import ManyPictures
    from arbstyle.images import InRole, Picture
    from arbstyle.painting.batch import Source, StyleChoice

SHEET_SIZE = 256
"""Short side of the pictures of a sheet, where --size does not say."""
_BYTES_PER_PIXEL = 27
"""Of a sheet: its pictures and itself in floats, and what is encoded."""


def make_sheet(
    load: Callable[[], Painter],
    contents: Sequence[Source],
    styles: Sequence[StyleChoice],
    output: Path,
    many: ManyPictures,
    size: int | None = None,
) -> int:
    """Paint and write the sheet; the model is loaded only if there is something to do."""
    from arbstyle.images import contact_sheet

    if many.skip_existing and output.exists():
        warn(f"'{output}' exists; nothing to do")
        return 0
    columns = many.strip or len(styles) + 1
    _check_sheet(output, len(contents) + many.grid, columns, size or SHEET_SIZE)
    painter = load()
    if many.strip is not None:
        cells = _strip(painter, contents, styles, many.strip)
    else:
        cells = _grid(painter, contents, styles)
    if cells.painted == 0:
        raise ArbstyleError(f"no sheet made: {cells.failures[0]}")
    for failure in cells.failures:
        warn(failure)
    painter.write(contact_sheet(cells.rows), output, *styles)
    print(json.dumps({**painter.description(), "output": str(output)}, indent=2) if many.json else output)
    return 1 if cells.failures else 0


def _check_sheet(output: Path, rows: int, columns: int, size: int) -> None:
    """Refuse a sheet that no memory or file can hold, before hours of painting.

    Args:
        size: short side of its pictures.
    """
    from arbstyle.images import MAX_PIXELS
    from arbstyle.images.encoding import check_sides
    from arbstyle.memory import available_ram

    height, width = rows * size, columns * size
    check_sides(output, max(height, width))
    if height * width > MAX_PIXELS or height * width * _BYTES_PER_PIXEL > available_ram():
        raise ArbstyleError(
            f"a sheet of {rows}×{columns} pictures would have {height * width / 1e6:.0f} megapixels or more, "
            "too many for the memory here: give fewer, or a smaller --size"
        )


def place_of_sheet(text: str | None, many: ManyPictures, inputs: Sequence[InRole]) -> Path:
    from arbstyle.images import check_output_path, check_outputs
    from arbstyle.painting.batch import is_folder

    output = Path(text or ".")
    if is_folder(str(output)) or str(text).endswith("/"):
        output = output / ("grid.png" if many.grid else "strip.png")
    check_outputs([("--output", output)], inputs)
    return check_output_path(output)


class _Cells:
    """Rows of pictures; one that can't be painted leaves its place empty and costs a line, not the sheet."""

    def __init__(self) -> None:
        self.rows: list[list[Tensor | None]] = []
        self.failures: list[str] = []
        self.painted = 0

    def attempt(self, make: Callable[[], Tensor | None]) -> Tensor | None:
        from arbstyle.errors import memory_for

        try:
            with memory_for("paint a picture of the sheet"):
                return make()
        except ArbstyleError as error:
            self.note(error)
            return None

    def note(self, error: ArbstyleError) -> None:
        if str(error) not in self.failures:  # a bad style fails with every photo
            self.failures.append(str(error))

    def paint(self, painter: Painter, photo: Picture, style: StyleChoice) -> Tensor | None:
        painted = self.attempt(partial(painter.paint, photo, style))
        self.painted += painted is not None
        return painted


def _grid(painter: Painter, contents: Sequence[Source], styles: Sequence[StyleChoice]) -> _Cells:
    cells = _Cells()
    size = painter.painting.size or SHEET_SIZE
    cells.rows.append([None, *(cells.attempt(partial(painter.thumbnail, style, size)) for style in styles)])
    for photo in _small_photos(painter, contents, cells):
        cells.rows.append([photo.pixels, *(cells.paint(painter, photo, style) for style in styles)])
    return cells


def _strip(painter: Painter, contents: Sequence[Source], styles: Sequence[StyleChoice], count: int) -> _Cells:
    from arbstyle.painting.batch import between

    cells = _Cells()
    steps = between(styles, count)
    for photo in _small_photos(painter, contents, cells):
        cells.rows.append([cells.paint(painter, photo, step) for step in steps])
    return cells


def _small_photos(painter: Painter, contents: Sequence[Source], cells: _Cells) -> Iterator[Picture]:
    """The photos that can be read, one at a time."""
    for content in contents:
        try:
            yield painter.read(content, SHEET_SIZE)
        except ArbstyleError as error:
            cells.note(error)
