"""Which form an input has, and in which one the results are written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa

from arbstyle.errors import ArbstyleError, reason_of
from arbstyle.images.files import why_no_file
from arbstyle.images.finding import files_below, named_files
from arbstyle.restyling.folders import Folder, FolderWriter
from arbstyle.restyling.parts import Chunk, Part, Result
from arbstyle.restyling.shards import Shards, ShardWriter
from arbstyle.restyling.tables import Tables, TableWriter

Form = Literal["same", "folder", "parquet", "webdataset"]
ResultForm = Literal["folder", "parquet", "webdataset"]

TABLES = (".parquet", ".arrow")
SHARD = ".tar"
PART_SIZES: dict[ResultForm, int] = {"folder": 100, "parquet": 1000, "webdataset": 1000}
"""Pictures a part. A folder's parts show in nothing but what a killed worker has to do again."""


class Input(Protocol):
    """A data set to read."""

    @property
    def root(self) -> str:
        """The folder that it lies in."""
        ...

    @property
    def image(self) -> str:
        """The column of pictures."""
        ...

    @property
    def digest(self) -> str:
        """Tells it from other sets, wherever it lies."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """What it looks like as a table."""
        ...

    def parts(self, size: int) -> list[Part]:
        """Cut it into parts of at most so many pictures."""
        ...

    def read(self, part: Part) -> Iterator[Chunk]:
        """The pictures of a part."""
        ...

    def outline(self, part: Part) -> Iterator[Chunk]:
        """The names and labels of a part's pictures as :meth:`read` gives them, and nothing else."""
        ...


class PartWriter(Protocol):
    """A part that is being written."""

    def write(self, results: Sequence[Result], columns: pa.Table) -> Sequence[str | ArbstyleError]:
        """Add pictures; ``columns`` are those of their chunk. Returns where each is, or why it is nowhere."""
        ...


class Writer(Protocol):
    """Where results go."""

    def begin(self, part: Part) -> AbstractContextManager[PartWriter]:
        """Write a part."""
        ...


def result_form(input: Input, form: Form) -> ResultForm:
    """The form of the results; ``same`` is the one in which they look like the input."""
    if form != "same":
        return form
    if isinstance(input, Folder):
        return "folder"
    return "webdataset" if isinstance(input, Shards) else "parquet"


def open_input(source: str, *, key: str = "", split: str = "train") -> Input:
    """Open a data set.

    Args:
        source: a folder of pictures, of tables or of shards; a file or pattern of such; or a hub name.
        key: a column that tells a table's rows apart.
        split: of a hub name.

    Raises:
        ArbstyleError: nothing there, or nothing that is known.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = _open_folder(path, key)
    else:
        files = named_files(path)
        found = (
            _open_files([file.absolute() for file in files], None, key)
            if files
            else _open_hub(source, split, key)
        )
    if key and not isinstance(found, Tables):
        raise ArbstyleError(f"--key names a column of a table, and '{source}' is none; leave it out")
    return found


def writer_for(input: Input, folder: Path, form: ResultForm) -> Writer:
    """What writes an input's results to a folder, in a form."""
    if form == "folder":
        return FolderWriter(str(folder), input.schema, by_class=not isinstance(input, Folder))
    if form == "webdataset":
        return ShardWriter(str(folder), input.schema, input.image)
    return TableWriter(str(folder), input.schema, input.image)


def _open_folder(path: Path, key: str) -> Input:
    root = path.absolute()
    try:
        return Folder.open(root)
    except ArbstyleError:
        if files := files_below(root, *TABLES, SHARD):
            return _open_files(files, root, key)
        raise ArbstyleError(
            f"expected pictures, .parquet, .arrow or .tar files in or below '{path}', but there are none"
        ) from None


def _open_files(files: Sequence[Path], root: Path | None, key: str) -> Input:
    suffixes = {file.suffix.lower() for file in files}
    root = root or files[0].parent
    strangers = [file for file in files if root not in file.parents]
    if len(suffixes) > 1 or strangers or suffixes - {*TABLES, SHARD}:
        found = ", ".join(sorted(suffixes)) or "no suffix"
        raise ArbstyleError(
            f"expected a folder, or .parquet, .arrow or .tar files of one folder, got {found}; "
            "name the folder"
        )
    return Shards.open(root, files) if suffixes == {SHARD} else Tables.open(root, files, key)


def _open_hub(source: str, split: str, key: str) -> Input:
    """A set of the hub, by way of the files that ``datasets`` keeps of it."""
    name, _, configuration = source.partition(":")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        if os.path.exists(source):
            raise ArbstyleError(f"cannot read '{source}': {why_no_file(source)}")
        raise ArbstyleError(
            f"there is no data set '{source}': it is not a folder, a file or a pattern that matches files, "
            "nor a hub name (owner/name or owner/name:configuration)"
        )
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    try:
        datasets.disable_progress_bars()  # ours follows; downloads of the hub's client keep theirs
        loaded = datasets.load_dataset(name, configuration or None, split=split)
    except Exception as error:  # the library, its HTTP client and its file formats each raise their own
        raise ArbstyleError(f"cannot get the data set '{source}': {reason_of(error)}") from error
    finally:
        if shown:
            datasets.enable_progress_bars()
    files = [Path(file["filename"]).absolute() for file in loaded.cache_files]
    return _open_files(files, None, key)
