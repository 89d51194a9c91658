"""Which pictures to paint in which styles, and under which names to keep them: a plan, before any work."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from arbstyle.errors import ArbstyleError
from arbstyle.images import (
    WRITABLE_SUFFIXES,
    InRole,
    check_output_path,
    check_outputs,
    find_images,
    find_matches,
    is_pattern,
)
from arbstyle.painting.gallery import check_name

DEFAULT_NAME = "{content}__{style}"
_FIELD = re.compile(r"\{(.*?)\}")


@dataclass(frozen=True)
class Source:
    """A picture (or style file, or number of a style) and what it is called in names of results.

    Attributes:
        text: as it is to be opened.
        label: the name without suffix; with its subfolders, where a folder was given.
    """

    text: str
    label: str


@dataclass(frozen=True)
class StyleChoice:
    """One style to paint in: a single source, a blend, or one source a mask.

    Attributes:
        sources: one or more.
        weights: of a blend; ``None`` for a single source and for masks.
        label: for names of results.
    """

    sources: tuple[Source, ...]
    weights: tuple[float, ...] | None
    label: str

    def __str__(self) -> str:
        names = [Path(source.text).name for source in self.sources]
        if self.weights is None:
            return ", ".join(names)
        return ", ".join(f"{name} {weight:g}" for name, weight in zip(names, self.weights, strict=True))


@dataclass(frozen=True)
class Job:
    """A photo to be painted in a style, and where to."""

    content: Source
    style: StyleChoice
    output: Path


def find_sources(texts: Sequence[str], *, recursive: bool = False, below: Path | None = None) -> list[Source]:
    """Files, folders and patterns as sources, each once, with labels that differ by more than case.

    Args:
        texts: a file, or a folder for the pictures in it, or a pattern such as ``photos/*.jpg``. What does
            not exist is kept: opening it will say so.
        recursive: look into subfolders, too.
        below: a folder whose pictures are left out: results of an earlier run.

    Raises:
        ArbstyleError: a folder or pattern without pictures.
    """
    found: dict[str, Source] = {}
    for text in texts:
        for source in _expand(text, recursive):
            path = Path(os.path.realpath(source.text))
            if below is None or os.path.realpath(below) not in map(str, path.parents):
                found.setdefault(str(path), source)
    if not found:
        raise ArbstyleError(f"no pictures found besides the results in '{below}'")
    return _with_distinct_labels(list(found.values()))


def _expand(text: str, recursive: bool) -> list[Source]:
    path = Path(text)
    if "\0" in text:
        raise ArbstyleError(f"cannot read {text!r}: no file name holds a null byte")
    if re.match(r"[a-z]+://", text, re.IGNORECASE):
        raise ArbstyleError(f"expected a file, got the address '{text}': download it first")
    if os.path.isdir(text):
        pictures = find_images(path, recursive=recursive)
        return [Source(str(found), found.relative_to(path).with_suffix("").as_posix()) for found in pictures]
    if is_pattern(text):
        matches = [str(match) for match in find_matches(text)]
        if not matches:
            raise ArbstyleError(f"no file matches {text!r}")
        return [Source(match, _stem(match)) for match in matches]
    return [Source(text, _stem(text))]


def _stem(text: str) -> str:
    name = Path(text).name
    for suffix in (".style.safetensors", Path(name).suffix):
        if suffix and name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem or "picture"


def _with_distinct_labels(sources: list[Source]) -> list[Source]:
    """Tell equal labels apart by suffix, then by the folders above, then by number."""
    for depth in range(len(sources) + 16):
        counts = Counter(source.label.casefold() for source in sources)
        if max(counts.values()) == 1:
            break
        sources = [
            replace(source, label=_longer(source, depth, number))
            if counts[source.label.casefold()] > 1
            else source
            for number, source in enumerate(sources, start=1)
        ]
    return sources


def _longer(source: Source, depth: int, number: int) -> str:
    path = Path(source.text).absolute()
    if depth == 0:
        return f"{source.label}-{path.suffix[1:].lower()}" if path.suffix else source.label
    if depth < len(path.parents):
        return f"{path.parents[depth - 1].name}-{source.label}"
    return f"{source.label}-{number}"


def find_styles(texts: Sequence[str], *, masked: bool = False, recursive: bool = False) -> list[StyleChoice]:
    """Styles from ``FILE``, ``FOLDER``, a pattern, or ``FILE:WEIGHT``; weights make one blend of all.

    Args:
        masked: all files together are one choice, a file a mask.

    Raises:
        ArbstyleError: a weight that is none, or weights beside masks.
    """
    names, weights = zip(*map(split_weight, texts), strict=True)
    for name in names:
        check_name(name)
    if masked and any(weight is not None for weight in weights):
        raise ArbstyleError("masks say where each style goes, weights how much of each; give one of them")
    if masked:
        sources = tuple(Source(name, _stem(name)) for name in names)
        return [StyleChoice(sources, None, _joined([source.label for source in sources]))]
    if any(weight is not None for weight in weights):
        return [find_mixture(texts, recursive=recursive)]
    return [StyleChoice((one,), None, one.label) for one in find_sources(names, recursive=recursive)]


def find_mixture(texts: Sequence[str], *, recursive: bool = False) -> StyleChoice:
    """The same as one style, mixed of all: a weight stands for every picture of its folder or pattern."""
    sources: list[Source] = []
    weights: list[float | None] = []
    for name, weight in map(split_weight, texts):
        found = find_sources([name], recursive=recursive)
        sources += found
        weights += [weight] * len(found)
    if all(weight is None for weight in weights):
        return StyleChoice(tuple(sources), None, _joined([source.label for source in sources]))
    shares = tuple(1.0 if weight is None else weight for weight in weights)
    labels = [f"{source.label}-{share:g}" for source, share in zip(sources, shares, strict=True)]
    return StyleChoice(tuple(sources), shares, _joined(labels))


def _joined(labels: Sequence[str]) -> str:
    """A name for all; file names are at most 255 bytes long."""
    name = "+".join(labels)
    return name if len(name.encode(errors="surrogateescape")) <= 100 else f"{labels[0]}+{len(labels) - 1}"


def between(styles: Sequence[StyleChoice], steps: int) -> list[StyleChoice]:
    """Blends on the way from the first style to the last by way of the others, both ends included.

    Raises:
        ArbstyleError: a style that is a blend itself.
    """
    if any(style.weights for style in styles):
        raise ArbstyleError("steps go from style to style, not from blend to blend; drop the weights")
    path = []
    for step in range(steps):
        place = step * (len(styles) - 1) / (steps - 1)
        first = min(int(place), len(styles) - 2)
        pair = styles[first : first + 2]
        weights = (first + 1 - place, place - first)
        path.append(StyleChoice(tuple(style.sources[0] for style in pair), weights, f"step-{step + 1}"))
    return path


def split_weight(text: str) -> tuple[str, float | None]:
    """``a.jpg:0.6`` → name and weight; a file that is really called so is itself.

    Raises:
        ArbstyleError: what stands behind the colon is not a weight.
    """
    name, colon, number = text.rpartition(":")
    if not colon or os.path.exists(text) or "/" in number or "\\" in number:  # C:\pictures\a.jpg
        return text, None
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not name or not 0 <= weight < math.inf:
        raise ArbstyleError(f"--style expects FILE or FILE:WEIGHT with a weight of 0 or more, got '{text}'")
    return name, weight


def plan(
    contents: Sequence[Source],
    styles: Sequence[StyleChoice],
    output: str | None,
    *,
    pair: bool = False,
    others: Sequence[InRole] = (),
) -> list[Job]:
    """Every content with every style, or one to one; each with a name of its own.

    Args:
        output: a file, a folder (see :func:`is_folder`), or a template with ``{content}`` and ``{style}``;
            ``None`` names results after both, in the current folder.
        pair: the first content with the first style, and so on.
        others: further files that are read.

    Raises:
        ArbstyleError: unequal numbers to pair, two results under one name, or a result in place of an input.
    """
    if pair and len(contents) != len(styles):
        raise ArbstyleError(
            f"--pair expects a style for each content, got {len(contents)} contents and {len(styles)} styles"
        )
    combinations = list(zip(contents, styles, strict=True)) if pair else list(product(contents, styles))
    template = _template(output, len(combinations))
    jobs = [Job(content, style, _fill(template, content, style)) for content, style in combinations]
    _check_distinct(jobs)
    for job in jobs:
        check_output_path(job.output)
    check_outputs(
        (("--output", output) for output in {job.output for job in jobs}), inputs_of(contents, styles, others)
    )
    return jobs


def inputs_of(
    contents: Sequence[Source], styles: Sequence[StyleChoice], others: Sequence[InRole] = ()
) -> list[InRole]:
    """All files that are read, in their roles."""
    photos = [("CONTENT", source.text) for source in contents]
    return [*photos, *(("--style", source.text) for style in styles for source in style.sources), *others]


def output_folder(output: str | None) -> Path | None:
    """The folder that the results go to, where they go to one of their own."""
    if output is None or "{" in output or not is_folder(output):
        return None
    return Path(output)


def is_folder(output: str) -> bool:
    """Whether an output is meant as a folder: it is one, ends like one, or has no suffix."""
    return os.path.isdir(output) or output.endswith(("/", os.sep)) or not Path(output).suffix


def _template(output: str | None, results: int) -> str:
    if output is None:
        return DEFAULT_NAME
    fields = _FIELD.findall(output)
    unknown = [field for field in fields if field not in ("content", "style")]
    if unknown or output.count("{") != len(fields):
        raise ArbstyleError(f"an output template knows {{content}} and {{style}} only, got '{output}'")
    if fields:
        return output
    if is_folder(output):
        return os.path.join(output, DEFAULT_NAME)
    if results > 1:
        raise ArbstyleError(
            f"{results} results cannot go into the one file '{output}'; give a folder, or a template such as "
            "'out/{content}-{style}.jpg'"
        )
    return output


def _fill(template: str, content: Source, style: StyleChoice) -> Path:
    suffix = "" if Path(template).suffix and "}" not in Path(template).suffix else _result_suffix(content)
    labels = {"content": content.label, "style": style.label}
    return Path(_FIELD.sub(lambda match: labels[match[1]], template) + suffix)


def _result_suffix(content: Source) -> str:
    suffix = Path(content.text).suffix.lower()
    return suffix if suffix in WRITABLE_SUFFIXES and suffix != ".gif" else ".png"


def _check_distinct(jobs: Sequence[Job]) -> None:
    taken: dict[str, Job] = {}
    for job in jobs:
        place = os.path.realpath(job.output)
        other = taken.setdefault(place.casefold(), job)
        if other is not job:
            raise ArbstyleError(
                f"'{other.content.text}' in '{other.style}' and '{job.content.text}' in '{job.style}' would "
                f"both become '{job.output}'; put {{content}} and {{style}} into --output"
            )
