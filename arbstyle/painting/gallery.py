"""The gallery: works in the public domain, by name, each a style file of the packaged model."""

from __future__ import annotations

import difflib
import functools
import os
import re
from importlib.resources import files
from pathlib import Path

from arbstyle.errors import ArbstyleError
from arbstyle.painting.style_contents import StyleContents

SUFFIX = ".style.safetensors"


@functools.cache
def gallery_files() -> dict[str, Path]:
    """Name → style file, sorted by name."""
    folder = files("arbstyle") / "assets" / "gallery"
    if not isinstance(folder, Path):  # a package in an archive has no files to open
        return {}
    found = sorted(folder.glob(f"*{SUFFIX}"))
    return {path.name.removesuffix(SUFFIX): path for path in found}


def gallery() -> dict[str, StyleContents]:
    """Name → what the gallery knows of the style: picture, artist, title, year, licence, and its code."""
    return {name: StyleContents.load(path) for name, path in gallery_files().items()}


def gallery_file(style: object) -> Path | None:
    """The style file that a name stands for; none for anything else, and a file of that name goes first."""
    if not isinstance(style, str | os.PathLike) or str(style) not in gallery_files():
        return None
    return None if os.path.exists(style) else gallery_files()[str(style)]


def is_shadowed(style: str) -> bool:
    """Whether a style of the gallery is called so, but a file, too, which goes first."""
    return style in gallery_files() and os.path.exists(style)


def check_name(style: str) -> None:
    """Raise an ArbstyleError for a word that is neither a file, nor a number, nor in the gallery.

    What has a suffix or a folder is meant as a file: opening it will say that it is not there.
    """
    if os.path.exists(style) or style in gallery_files() or not re.fullmatch(r"[a-z_-]+", style.lower()):
        return
    near = difflib.get_close_matches(style.lower(), gallery_files(), n=1)
    guess = f"did you mean '{near[0]}'?" if near else "'arbstyle styles' lists them"
    raise ArbstyleError(f"'{style}' is neither a file nor a style of the gallery; {guess}")
