"""What a style encoder is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.networks.described import Described


class StyleEncoder(Described, ABC):
    """Style picture → code.

    Codes are what is blended, saved and refined; :meth:`make_head` builds what turns a code into the style
    parameters of a transformer's conditional sites. A subclass sets ``code_size`` and has a ``forward``.

    Raises:
        ArbstyleError: from the constructor, where a subclass does not set ``code_size`` to 1 or more.
    """

    code_size: int
    takes_index = False
    """Whether ``forward`` takes the numbers of known styles instead of pictures."""
    smallest_side: int = 1
    """Short side in pixels up to which ``forward`` enlarges smaller pictures, by ``at_least``."""
    patch_side: int | None = None
    """Side in pixels of the ``patches`` that ``forward`` sees of a large picture; ``None``: it sees all."""

    def finish(self) -> None:
        size = getattr(self, "code_size", None)
        if not isinstance(size, int) or size < 1:
            raise ArbstyleError(
                f"{type(self).__name__} does not say how long its codes are: set self.code_size in its "
                f"constructor, to a whole number (it is {size!r})"
            )

    @abstractmethod
    def forward(self, style: Tensor) -> Tensor:
        """Encode.

        Args:
            style: N×3×h×w in [0,1], any size (or N whole numbers, see ``takes_index``).

        Returns:
            N×code_size.
        """

    def read(self, views: Tensor, number: int) -> Tensor:
        """Encode pictures that are large enough and cut into patches already.

        ``forward`` does both first. So does an ONNX graph, but by operators of its own: tracing takes the way
        that suits the traced picture's size, for all sizes.

        Args:
            views: M×3×h×w in [0,1], each picture's patches in a row; the pictures themselves for an
                encoder without ``patch_side``.
            number: of the pictures.

        Returns:
            number×code_size.
        """
        return self(views)

    def prepare(self, styles: Sequence[Tensor]) -> None:
        """Called once before the first step of training, with some of its styles: batches N×3×h×w in [0,1].

        An encoder may set scales by them; this one does nothing.
        """

    def make_head(self, neutral: Tensor) -> nn.Module:
        """Map from codes to the transformer's parameters.

        Args:
            neutral: P numbers, scale 1 and shift 0 at every site: where the map starts.

        Returns:
            a module from N×code_size to N×P.
        """
        head = nn.Linear(self.code_size, len(neutral))
        nn.init.normal_(head.weight, std=0.3 * self.code_size**-0.5)
        with torch.no_grad():
            head.bias.copy_(neutral)
        return head
