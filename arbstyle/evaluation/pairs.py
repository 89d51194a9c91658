"""Pairs of a photo and a style."""

from __future__ import annotations

from dataclasses import dataclass
from glob import glob
from pathlib import Path

from arbstyle.errors import ArbstyleError
from arbstyle.images import find_images


@dataclass(frozen=True)
class Pair:
    """A photo and a style, as files."""

    content: Path
    style: Path

    @property
    def name(self) -> str:
        return f"{self.content.stem}__{self.style.stem}"


def pictures_by_name(folder: str | Path, limit: int | None, kind: str) -> list[Path]:
    if limit is not None and limit < 1:
        raise ArbstyleError(f"at least one of the {kind} is needed, got a limit of {limit}: raise it")
    # A pattern names pictures too; what matches nothing is reported as a folder that is not there.
    paths = sorted(Path(match) for match in glob(str(folder))) if not Path(folder).is_dir() else []
    paths = paths or find_images(folder)
    stems = [path.stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice:
        raise ArbstyleError(f"{folder} holds several pictures named '{twice}': rename all but one")
    return paths[:limit]
