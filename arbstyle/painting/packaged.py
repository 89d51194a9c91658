"""The model that ships with the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from arbstyle.errors import ArbstyleError


@contextmanager
def packaged_model() -> Iterator[Path]:
    """Its file, which may be gone afterwards.

    Raises:
        ArbstyleError: this copy of the package has none.
    """
    packaged = files("arbstyle") / "assets" / "arbstyle.safetensors"
    if not packaged.is_file():
        raise ArbstyleError(
            "no model comes with this copy of arbstyle; give one that 'arbstyle train' exports (--model)"
        )
    with as_file(packaged) as file:
        yield file
