"""Where results will lie, looked at before anything is painted: no two may have one place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from arbstyle.errors import ArbstyleError
from arbstyle.restyling.folders import FolderPart, FolderWriter
from arbstyle.restyling.forms import Input, Writer
from arbstyle.restyling.parts import Chunk, Part, picture_suffix, result_name
from arbstyle.restyling.restyler import Recipe, result_suffix
from arbstyle.restyling.shards import Shards, ShardWriter, webdataset_key
from arbstyle.restyling.tables import Tables

_UNKNOWN = ".(unknown)"
"""The suffix of a result where only the picture's content tells it."""


def check_places(input: Input, writer: Writer, parts: Sequence[Part], recipe: Recipe) -> None:
    """Raise an ArbstyleError where two results would, or could, have one place.

    The rows of a table need no names, and shards made of shards keep their keys as they are.
    """
    places: set[str] = set()
    stems: set[str] = set()
    for part in parts:
        for stem, suffix in _places(input, writer, part, recipe):
            place = stem + suffix
            if {place, stem + _UNKNOWN} & places or (suffix == _UNKNOWN and stem in stems):
                shown = place.removesuffix(_UNKNOWN)
                raise ArbstyleError(f"two pictures would become '{shown}'; {_remedy(input, recipe)}")
            places.add(place)
            stems.add(stem)


def _places(input: Input, writer: Writer, part: Part, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Where the first copy of each of a part's pictures goes, in two pieces."""
    with suppress(ArbstyleError):  # what cannot be read is told when its turn comes
        if isinstance(writer, FolderWriter):
            for chunk in input.outline(part):
                yield from _in_folder(writer, chunk, recipe)
        if isinstance(writer, ShardWriter) and not isinstance(input, Shards):
            for chunk in input.outline(part):
                stems = (result_name(name, 0, recipe.per_image, "") for name in chunk.names)
                yield from ((f"{part.name}.tar/{webdataset_key(stem)}", "") for stem in stems)


def _in_folder(writer: FolderWriter, chunk: Chunk, recipe: Recipe) -> Iterator[tuple[str, str]]:
    labels = FolderPart(writer).labels(chunk.columns)
    for name, label in zip(chunk.names, labels, strict=True):
        suffix = result_suffix(picture_suffix(name), recipe.format) or _UNKNOWN
        path = writer.path_of(result_name(name, 0, recipe.per_image, suffix), label)
        yield path.removesuffix(suffix), suffix


def _remedy(input: Input, recipe: Recipe) -> str:
    if isinstance(input, Tables):
        return "name a --key that tells all rows apart, or leave it out"
    if recipe.format != "same":
        return "use --format same, or rename them"
    return "rename them, or use --to parquet"
