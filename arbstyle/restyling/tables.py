"""Parquet and arrow tables with a column of pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images import atomic_path, printable
from arbstyle.images.files import why_no_file
from arbstyle.restyling.features import LABEL, PICTURE, features_of, picture_column, schema_of
from arbstyle.restyling.parts import (
    CHUNK,
    Chunk,
    Part,
    Result,
    digest_of_files,
    numbered,
    picture_suffix,
)

Item = TypeVar("Item")

_ROW = re.compile(r"\.(?:parquet|arrow)#(\d+)$")


@dataclass(frozen=True)
class Tables:
    """Rows of tables.

    Attributes:
        root: the folder that names are relative to.
        files: ``.parquet`` or ``.arrow``.
        image: the column of pictures.
        key: a column that tells pictures apart; "" numbers the rows of each file.
        digest: of the files' names and sizes.
    """

    root: str
    files: tuple[str, ...]
    image: str
    key: str = ""
    digest: str = ""

    @classmethod
    def open(cls, root: Path, files: Sequence[Path], key: str = "") -> Tables:
        """Of some files of one schema.

        Raises:
            ArbstyleError: not tables, no column of pictures, no column of keys, or other columns in one.
        """
        schema = _schema(files[0])
        image = picture_column(schema)
        if image is None:
            raise ArbstyleError(
                f"expected a column of pictures in '{files[0]}', "
                f"but its columns are {', '.join(schema.names)}"
            )
        if key and key not in schema.names:
            raise ArbstyleError(
                f"there is no column '{key}' in '{files[0]}'; its columns are {', '.join(schema.names)}"
            )
        for file in files[1:]:
            if missing := set(schema.names) - set(_schema(file).names):
                raise ArbstyleError(
                    f"expected the columns of '{files[0]}' in '{file}', too, but it has no '{min(missing)}'; "
                    "paint tables of different kinds one by one"
                )
        names = tuple(file.relative_to(root).as_posix() for file in files)
        return cls(str(root), names, image, key, digest_of_files(root, names))

    @property
    def schema(self) -> pa.Schema:
        """All columns in their order, pictures as encoded files."""
        schema = _schema(Path(self.root, self.files[0]))
        position = schema.get_field_index(self.image)
        features = features_of(schema)
        if features:
            features[self.image] = {"_type": "Image"}
            return schema_of(schema.set(position, pa.field(self.image, PICTURE)), features)
        return schema.set(position, pa.field(self.image, PICTURE))

    def parts(self, size: int) -> list[Part]:
        """Cut every file into parts of at most so many rows."""
        parts: list[Part] = []
        for file in self.files:
            rows = _rows(Path(self.root, file))
            starts = range(0, rows, size)
            for index, start in enumerate(starts):
                name = numbered(str(Path(file).with_suffix("")), index, len(starts))
                parts.append(Part(len(parts), name, min(size, rows - start), file, start=start))
        return parts

    def read(self, part: Part) -> Iterator[Chunk]:
        """The part's rows.

        Raises:
            ArbstyleError: the file has gone or is damaged.
        """
        for table, first in self._tables(part):
            outline = self._outline(table, part, first)
            values = table[self.image].to_pylist()
            files = [
                (value["bytes"], value["path"]) if isinstance(value, dict) else (value, None)
                for value in values
            ]
            columns = table.drop_columns([self.image])
            yield replace(outline, images=[_data(*file) for file in files], columns=columns)

    def outline(self, part: Part) -> Iterator[Chunk]:
        """The names and labels of the part's rows.

        Raises:
            ArbstyleError: as :meth:`read`.
        """
        for table, first in self._tables(part, [f"{self.image}.path", self.key, LABEL]):
            yield self._outline(table, part, first)

    def _tables(self, part: Part, columns: list[str] | None = None) -> Iterator[tuple[pa.Table, int]]:
        """Some rows at a time, and the number of the first of them in the file."""
        file = Path(self.root, part.file)
        tables = _read(file, part.start, part.count, columns)
        first = part.start
        while (table := _explained(file, lambda: next(tables, None))) is not None:
            yield table, first
            first += table.num_rows

    def _outline(self, table: pa.Table, part: Part, first: int) -> Chunk:
        if self.key:
            keys = [str(value) for value in table[self.key].to_pylist()]
        else:
            keys = [f"{part.file}#{first + row}" for row in range(table.num_rows)]
        names = []
        for key, path in zip(keys, self._paths(table), strict=True):
            suffix = "" if picture_suffix(key) else picture_suffix(path or "")
            names.append(_ROW.sub(r"-\1", key) + suffix)
        return Chunk(keys, names, [], table.select([LABEL] if LABEL in table.column_names else []))

    def _paths(self, table: pa.Table) -> list[str | None]:
        """What the pictures' files were called, where the table says so."""
        if self.image not in table.column_names or not pa.types.is_struct(table[self.image].type):
            return [None] * table.num_rows
        return pc.struct_field(table[self.image], "path").to_pylist()


@dataclass(frozen=True)
class TableWriter:
    """Writes parts as parquet files of one schema.

    Attributes:
        folder: to write to.
        schema: of the table.
        image: the column of pictures.
    """

    folder: str
    schema: pa.Schema
    image: str

    @contextmanager
    def begin(self, part: Part) -> Iterator[TablePart]:
        """A file that appears when it is whole."""
        name = f"{part.name}.parquet"
        with (
            atomic_path(Path(self.folder, name)) as temporary,
            pq.ParquetWriter(temporary, self.schema) as writer,
        ):
            yield TablePart(writer, self, name)


class TablePart:
    """A table that is being written."""

    def __init__(self, writer: pq.ParquetWriter, settings: TableWriter, name: str) -> None:
        self.writer = writer
        self.settings = settings
        self.name = name
        self.rows = 0

    def write(self, results: Sequence[Result], columns: pa.Table) -> list[str]:
        """Add rows; returns where each one is."""
        schema = self.settings.schema
        pictures = [{"bytes": result.data, "path": printable(Path(result.name).name)} for result in results]
        chosen = columns.take(pa.array([result.row for result in results], pa.int64()))
        arrays = [
            pa.array(pictures, PICTURE) if field.name == self.settings.image else _column(chosen, field)
            for field in schema
        ]
        self.writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        first, self.rows = self.rows, self.rows + len(results)
        return [f"{self.name}#{row}" for row in range(first, self.rows)]


def _data(data: bytes | None, path: str | None) -> bytes | ArbstyleError:
    if data is not None:
        return data
    if not path:
        return ArbstyleError("not a readable picture: the row is empty")
    if reason := why_no_file(path):  # a table from anywhere may name anything
        return ArbstyleError(f"cannot read '{path}': {reason}")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        return ArbstyleError(f"cannot read '{path}': {reason_of(error)}")


def _schema(file: Path) -> pa.Schema:
    return _explained(file, lambda: pq.read_schema(file) if _is_parquet(file) else _arrow(file).schema)


def _rows(file: Path) -> int:
    return _explained(
        file, lambda: pq.read_metadata(file).num_rows if _is_parquet(file) else _arrow(file).num_rows
    )


def _read(file: Path, start: int, count: int, columns: list[str] | None) -> Iterator[pa.Table]:
    """Rows in tables of at most ``CHUNK``, of these columns; arrow files give all, as it costs nothing."""
    if not _is_parquet(file):
        table = _arrow(file).slice(start, count)
        yield from (table.slice(row, CHUNK) for row in range(0, table.num_rows, CHUNK))
        return
    with pq.ParquetFile(file) as parquet:
        groups, first = [], 0
        skip = start
        for group in range(parquet.num_row_groups):
            last = first + parquet.metadata.row_group(group).num_rows
            if last <= start:
                skip = start - last
            elif first < start + count:
                groups.append(group)
            first = last
        wanted = count
        for batch in parquet.iter_batches(CHUNK, row_groups=groups, columns=columns):
            table = pa.Table.from_batches([batch]).slice(skip, wanted)
            skip = max(0, skip - batch.num_rows)
            wanted -= table.num_rows
            if table.num_rows:
                yield table


def _arrow(file: Path) -> pa.Table:
    """A table in either of arrow's formats, mapped into memory."""
    source = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source).read_all()


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() == ".parquet"


def _column(table: pa.Table, field: pa.Field) -> pa.Array:
    column = table[field.name]
    try:
        return (column if column.type == field.type else column.cast(field.type)).combine_chunks()
    except pa.ArrowException as error:
        raise ArbstyleError(
            f"column '{field.name}' is of {column.type} in one table and of {field.type} in another; "
            "paint tables of different kinds one by one"
        ) from error


def _explained(file: Path, read: Callable[[], Item]) -> Item:
    try:
        return read()
    except (OSError, pa.ArrowException) as error:
        raise ArbstyleError(f"cannot read '{file}': {reason_of(error)}") from error
