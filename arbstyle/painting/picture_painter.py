"""One picture, in one piece where the memory is enough, else in tiles."""

from __future__ import annotations

import copy
import functools
import logging

import torch
from torch import Tensor

from arbstyle.devices import available_bytes, choose_layout
from arbstyle.errors import ArbstyleError, is_out_of_memory
from arbstyle.networks import TransformerNetwork
from arbstyle.painting.task import Task
from arbstyle.painting.tiling import DEFAULT_TILE, Progress, TiledPainter, network_input

logger = logging.getLogger(__name__)

LARGEST_IN_ONE_PIECE = 5 * 2**30
"""Memory in bytes that one picture may take at most, however much there is: others use the machine, too."""

SMALLEST_TILE = 128
"""Side in pixels below which tiles, which overlap, hardly need less memory."""


class PicturePainter:
    """Paints pictures of any size by one transformer.

    Args:
        transformer: stays as it is; a copy of it paints.
        device, dtype: of the computation.
    """

    def __init__(self, transformer: TransformerNetwork, device: torch.device, dtype: torch.dtype) -> None:
        self.transformer: TransformerNetwork = _converted(transformer, device, dtype)
        self.device = device

    def paint(
        self, task: Task, tile: int | None = None, stroke: int = 1, progress: Progress | None = None
    ) -> Tensor:
        """The painting 1×3×H×W.

        Args:
            task: what to paint.
            tile, stroke, progress: as for :meth:`Stylizer.stylize`.

        Raises:
            ArbstyleError: not enough memory, even for tiles.
        """
        aligned = task.on_grid(stroke * self.transformer.multiple)
        (top, left), (height, width) = aligned.margin, task.photo.shape[2:]
        painted = self._paint_on_grid(aligned, tile, stroke, progress)
        return painted[..., top : top + height, left : left + width]

    def _paint_on_grid(self, task: Task, tile: int | None, stroke: int, progress: Progress | None) -> Tensor:
        if stroke > 1:
            task = task.with_draft(self._paint_on_grid(task.for_draft(), tile, stroke // 2, None))
        if tile is None and self._is_too_large(task.photo):
            tile = DEFAULT_TILE
            logger.warning(
                "painting %d×%d pixels in tiles: in one piece they would take too much memory",
                *_wide_high(task.photo),
            )
        while True:
            try:
                if tile is None:
                    return self.paint_whole(task)
                return self.paint_tiles(task, tile, progress)
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

    def paint_whole(self, task: Task) -> Tensor:
        """Paint in one piece."""
        if task.regions is not None:
            return self.paint_tiles(task, max(task.photo.shape[2:]) + self.transformer.multiple)
        painted = self.transformer(
            network_input(task.start, self.transformer), task.rows, task.seed, task.origin
        )
        return task.finish(painted.to(task.photo.device), task.photo, None)

    def paint_tiles(self, task: Task, tile: int, progress: Progress | None = None) -> Tensor:
        """Paint in tiles of this side."""
        painter = TiledPainter(self.transformer, tile, task.seed, task.origin)
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
        return TiledPainter(self.transformer).bytes_per_pixel()


def _converted(
    transformer: TransformerNetwork, device: torch.device, dtype: torch.dtype
) -> TransformerNetwork:
    """The transformer in the format it computes in; the styler keeps its own in float32."""
    painter = copy.deepcopy(transformer).to(device, dtype).to(memory_format=choose_layout(device))
    return painter.requires_grad_(False)


def _wide_high(photo: Tensor) -> tuple[int, int]:
    return photo.shape[3], photo.shape[2]
