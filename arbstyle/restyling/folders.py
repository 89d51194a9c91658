"""Folders of pictures: a tree of files, the folders' names as labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import pyarrow as pa

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images import atomic_path, find_images
from arbstyle.restyling.features import LABEL, class_names, picture_schema
from arbstyle.restyling.parts import CHUNK, Chunk, Part, Result, digest_of

_UNSAFE = re.compile(r"[#:*?\"<>|\\\x00-\x1f]")


@dataclass(frozen=True)
class Folder:
    """Pictures in a folder and its subfolders.

    Attributes:
        root: the folder.
        classes: the names of the folders that pictures lie in, sorted; none unless all lie in some.
        digest: of the pictures' names.
    """

    root: str
    classes: tuple[str, ...] = ()
    digest: str = ""
    image = "image"

    @classmethod
    def open(cls, root: Path) -> Folder:
        """Find the classes.

        Raises:
            ArbstyleError: no pictures.
        """
        names = _names(root)
        return cls(str(root), cls._classes(names), digest_of(sorted(names)))

    @staticmethod
    def _classes(names: Sequence[str]) -> tuple[str, ...]:
        parents = {PurePosixPath(name).parent.name for name in names}
        return () if "" in parents else tuple(sorted(parents))

    @property
    def schema(self) -> pa.Schema:
        """Pictures, and a label where there are classes."""
        return picture_schema(self._label_field, self.classes)

    @property
    def _label_field(self) -> list[pa.Field]:
        return [pa.field(LABEL, pa.int64())] if self.classes else []

    def parts(self, size: int) -> list[Part]:
        """Cut the sorted names into parts of at most so many."""
        names = _names(Path(self.root))
        groups = [tuple(names[start : start + size]) for start in range(0, len(names), size)]
        return [
            Part(number, f"data-{number:05d}", len(group), names=group) for number, group in enumerate(groups)
        ]

    def read(self, part: Part) -> Iterator[Chunk]:
        """The part's pictures; what cannot be read comes with its error."""
        for chunk in self.outline(part):
            yield replace(chunk, images=[self._bytes(name) for name in chunk.names])

    def outline(self, part: Part) -> Iterator[Chunk]:
        """The names and labels of the part's pictures."""
        for start in range(0, part.count, CHUNK):
            names = list(part.names[start : start + CHUNK])
            labels = (
                [self._class_number[PurePosixPath(name).parent.name] for name in names]
                if self.classes
                else []
            )
            columns = pa.table(
                {LABEL: pa.array(labels, pa.int64())} if self.classes else {"row": pa.nulls(len(names))}
            )
            yield Chunk(names, names, [], columns)

    @cached_property
    def _class_number(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.classes)}

    def _bytes(self, name: str) -> bytes | ArbstyleError:
        try:
            return Path(self.root, name).read_bytes()
        except OSError as error:
            return ArbstyleError(f"cannot read '{name}': {reason_of(error)}")


@dataclass(frozen=True)
class FolderWriter:
    """Writes every picture as a file.

    Attributes:
        folder: to write to.
        schema: of the input, for the names of classes.
        by_class: put pictures into folders of their class: they come from a table or shards.
    """

    folder: str
    schema: pa.Schema
    by_class: bool

    @contextmanager
    def begin(self, part: Part) -> Iterator[FolderPart]:
        """Files appear one by one, each whole."""
        yield FolderPart(self)

    def path_of(self, name: str, label: str) -> str:
        """Where a picture goes, relative to the folder and never out of it."""
        steps = [step for step in PurePosixPath(name).parts if step not in ("/", "..")]
        path = "/".join(_UNSAFE.sub("-", step) for step in steps) if self.by_class else name
        if not label or not self.by_class:
            return path
        folder = _UNSAFE.sub("-", label).replace("/", "-")
        return f"{'-' if folder in ('.', '..') else folder}/{path}"


class FolderPart:
    """Files that are being written."""

    def __init__(self, settings: FolderWriter) -> None:
        self.settings = settings
        self.classes: list[str] | None = class_names(settings.schema)

    def labels(self, columns: pa.Table) -> list[str]:
        """The name of each row's class, "" where it has none."""
        if not self.settings.by_class or LABEL not in columns.column_names:
            return [""] * columns.num_rows
        values = columns[LABEL].to_pylist()
        named = self.classes

        def name(value: object) -> str:
            if named and isinstance(value, int) and 0 <= value < len(named):
                return named[value]
            return "" if value is None else str(value)

        return [name(value) for value in values]

    def existing(self, name: str, label: str) -> str | None:
        """Where a result of that name is already."""
        path = self.settings.path_of(name, label)
        return path if Path(self.settings.folder, path).is_file() else None

    def write(self, results: Sequence[Result], columns: pa.Table) -> list[str]:
        """Write files; returns their names relative to the folder."""
        labels = self.labels(columns)
        paths = [self.settings.path_of(result.name, labels[result.row]) for result in results]
        for path, result in zip(paths, results, strict=True):
            with atomic_path(Path(self.settings.folder, path)) as temporary:
                temporary.write_bytes(result.data)
        return paths


def _names(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_images(root, recursive=True)]
