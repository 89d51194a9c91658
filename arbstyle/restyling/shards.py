"""WebDataset shards: tar files whose members share a name up to its first dot where they belong together."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from arbstyle.errors import ArbstyleError, one_line, reason_of
from arbstyle.images import atomic_path
from arbstyle.restyling.features import LABEL, picture_schema
from arbstyle.restyling.parts import (
    CHUNK,
    Chunk,
    Part,
    Result,
    digest_of,
    digest_of_files,
    numbered,
    picture_suffix,
)

CLASS = "cls"
_TEXTS = {"txt", "text", "json"}
_NUMBER = re.compile(rb"\s*-?[0-9]{1,18}\s*")


@dataclass(frozen=True)
class Shards:
    """Samples of tar files.

    Attributes:
        root: the folder that names are relative to.
        files: ``.tar``.
        fields: extensions of members besides the picture to paint, sorted.
        numbered_classes: ``cls`` members hold numbers.
        digest: of the files' names and sizes, and of the first sample: sizes of tar files are rounded.
    """

    root: str
    files: tuple[str, ...]
    fields: tuple[str, ...]
    numbered_classes: bool
    digest: str = ""
    image = "image"

    @classmethod
    def open(cls, root: Path, files: Sequence[Path]) -> Shards:
        """Look into the first sample for what the others hold, too.

        Raises:
            ArbstyleError: not a tar file, or no picture in its first sample.
        """
        names = tuple(file.relative_to(root).as_posix() for file in files)
        with _opened(files[0]) as tar:
            _, members = next(_samples(tar), ("", []))
            extensions = [_extension(member.name) for member in members]
            picture = _picture(extensions)
            if picture is None:
                raise ArbstyleError(
                    f"expected a picture in the first sample of '{files[0]}', found {extensions}"
                )
            classes = [_content(tar, m) for m in members if _extension(m.name) == CLASS]
        fields = tuple(sorted({*extensions} - {picture}))
        numbered_classes = bool(classes) and all(_number(data) is not None for data in classes)
        first = (f"{member.name}\0{member.size}" for member in members)
        digest = digest_of([digest_of_files(root, names), *first])
        return cls(str(root), names, fields, numbered_classes, digest)

    @property
    def schema(self) -> pa.Schema:
        """Pictures, then the other members; ``cls`` as ``label``."""
        return picture_schema([self._field(name) for name in self.fields])

    def _field(self, name: str) -> pa.Field:
        if name == CLASS:
            return pa.field(LABEL, pa.int64() if self.numbered_classes else pa.string())
        return pa.field(name, pa.string() if name in _TEXTS else pa.binary())

    def parts(self, size: int) -> list[Part]:
        """Cut every shard into parts of at most so many samples; reads the headers only."""
        parts: list[Part] = []
        for file in self.files:
            with _opened(Path(self.root, file)) as tar:
                offsets = [members[0].offset for _, members in _samples(tar)]
            starts = range(0, len(offsets), size)
            for index, start in enumerate(starts):
                name = numbered(str(Path(file).with_suffix("")), index, len(starts))
                count = min(size, len(offsets) - start)
                parts.append(Part(len(parts), name, count, file, start=offsets[start]))
        return parts

    def read(self, part: Part) -> Iterator[Chunk]:
        """The part's samples."""
        return self._chunks(part, lambda _: True)

    def outline(self, part: Part) -> Iterator[Chunk]:
        """The names and labels of the part's samples; all else is empty."""
        return self._chunks(part, lambda extension: extension == CLASS)

    def _chunks(self, part: Part, is_read: Callable[[str], bool]) -> Iterator[Chunk]:
        waiting: list[tuple[str, dict[str, bytes]]] = []
        with _opened(Path(self.root, part.file), part.start) as tar:
            for number, (key, members) in enumerate(_samples(tar), start=1):
                named = {_extension(member.name): member for member in members}
                contents = {name: _content(tar, m) if is_read(name) else b"" for name, m in named.items()}
                waiting.append((key, contents))
                if len(waiting) == CHUNK or number == part.count:
                    yield self._chunk(waiting)
                    waiting = []
                if number == part.count:
                    break

    def _chunk(self, samples: Sequence[tuple[str, dict[str, bytes]]]) -> Chunk:
        """Of keys with their members by extension."""
        names, images, others = [], [], []
        for key, members in samples:
            picture = _picture([extension for extension in members if extension not in self.fields])
            names.append(key + picture_suffix(f"{key}.{picture}"))
            images.append(self._image(members, picture))
            others.append({name: data for name, data in members.items() if name != picture})
        return Chunk([key for key, _ in samples], names, images, self._columns(others))

    def _image(self, members: dict[str, bytes], picture: str | None) -> bytes | ArbstyleError:
        if picture is None:
            return ArbstyleError("not a readable picture: the sample holds none")
        label = members.get(CLASS, b"").strip()
        if self.numbered_classes and label and _number(label) is None:
            shown = one_line(label[:20].decode("utf-8", "replace"))
            return ArbstyleError(
                f"expected a whole number in '{CLASS}' as in the first sample, got '{shown}'"
            )
        return members[picture]

    def _columns(self, samples: Sequence[dict[str, bytes]]) -> pa.Table:
        """The members that are in the first sample of all, and whatever else these hold."""
        further = {name for members in samples for name in members} - {*self.fields}
        names = [*self.fields, *sorted(further)]
        if not names:
            return pa.table({"row": pa.nulls(len(samples))})
        fields = [self._field(name) for name in names]
        values = [[self._value(name, members.get(name)) for members in samples] for name in names]
        arrays = [pa.array(column, field.type) for column, field in zip(values, fields, strict=True)]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _value(self, name: str, data: bytes | None) -> object:
        kind = self._field(name).type
        if data is None or pa.types.is_binary(kind):
            return data
        return _number(data) if pa.types.is_int64(kind) else data.decode("utf-8", "replace")


@dataclass(frozen=True)
class ShardWriter:
    """Writes parts as tar files.

    Attributes:
        folder: to write to.
        schema: of the input; its columns become members.
        image: the column of pictures.
    """

    folder: str
    schema: pa.Schema
    image: str

    @contextmanager
    def begin(self, part: Part) -> Iterator[ShardPart]:
        """A shard that appears when it is whole."""
        name = f"{part.name}.tar"
        with (
            atomic_path(Path(self.folder, name)) as temporary,
            tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar,
        ):
            yield ShardPart(tar, name)


class ShardPart:
    """A shard that is being written."""

    def __init__(self, tar: tarfile.TarFile, name: str) -> None:
        self.tar = tar
        self.name = name

    def write(self, results: Sequence[Result], columns: pa.Table) -> list[str | ArbstyleError]:
        """Add samples; returns where each one is, or why it has no place."""
        rows = columns.to_pylist()
        places: list[str | ArbstyleError] = []
        for result in results:
            suffix = picture_suffix(result.name)
            key = webdataset_key(result.name.removesuffix(suffix))
            members = _members(rows[result.row])
            if suffix[1:].lower() in members:
                places.append(ArbstyleError(f"the sample has another '{suffix[1:]}'; use another --format"))
                continue
            for extension, data in members.items():
                self._add(f"{key}.{extension}", data)
            self._add(f"{key}{suffix}", result.data)
            places.append(f"{self.name}/{key}{suffix}")
        return places

    def _add(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)  # no time and no owner: equal contents give equal files
        member.size = len(data)
        self.tar.addfile(member, io.BytesIO(data))


def webdataset_key(name: str) -> str:
    """A name without dots in its last step: a member's extension begins at the first one."""
    *folders, last = name.split("/")
    return "/".join([*folders, re.sub(r"[.#]", "-", last)])


def _members(row: dict[str, object]) -> dict[str, bytes]:
    """Columns as members: texts and bytes by name, the label as ``cls``, all others in one ``json``."""
    members: dict[str, bytes] = {}
    rest = {}
    for name, value in row.items():
        if value is None:
            continue
        if name == LABEL:
            members[CLASS] = str(value).encode()
        elif isinstance(value, bytes):
            members[name] = value
        elif name in _TEXTS:
            members[name] = str(value).encode()
        else:
            rest[name] = value
    return {**members, "json": json.dumps(rest, default=str).encode()} if rest else members


@contextmanager
def _opened(file: Path, offset: int = 0) -> Iterator[tarfile.TarFile]:
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                yield tar
    except (OSError, tarfile.TarError) as error:
        raise ArbstyleError(f"cannot read the shard '{file}': {reason_of(error)}") from error


def _samples(tar: tarfile.TarFile) -> Iterator[tuple[str, list[tarfile.TarInfo]]]:
    """Keys with the members that share them."""
    key = ""
    members: list[tarfile.TarInfo] = []
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # it would remember every header
        if not member.isfile() or Path(member.name).name.startswith("."):
            continue
        stem = _key(member.name)
        if stem != key and members:
            yield key, members
            members = []
        key = stem
        members.append(member)
    if members:
        yield key, members


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """What a member holds; nothing where it claims gaps, which cost no place in the file but in memory."""
    if member.issparse():
        return b""
    stream = tar.extractfile(member)
    return b"" if stream is None else stream.read()


def _key(name: str) -> str:
    *folders, last = name.split("/")
    return "/".join([*folders, last.split(".")[0]])


def _picture(extensions: Sequence[str]) -> str | None:
    """Which member is the picture to paint: ``jpg`` rather than ``mask.png``, else the first."""
    pictures = [extension for extension in extensions if picture_suffix(f"_.{extension}")]
    return min(pictures, key=lambda extension: extension.count("."), default=None)


def _number(label: bytes) -> int | None:
    """A class as a number of 64 bits, if it is one."""
    return int(label) if _NUMBER.fullmatch(label) else None


def _extension(name: str) -> str:
    return name.rsplit("/", 1)[-1].partition(".")[2].lower()
