"""What a painted clip is written as, by the name it is to have."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arbstyle.errors import ArbstyleError
from arbstyle.images import WRITABLE_SUFFIXES, check_output_path
from arbstyle.video.encoding import LOSSLESS, check_encoding
from arbstyle.video.frames import NUMBER_PLACE

Kind = Literal["film", "animation", "pictures"]

DEFAULT_CODECS = {".mp4": "h264", ".m4v": "h264", ".mov": "h264", ".mkv": "h264", ".webm": "vp9"}
ANIMATIONS = {".gif": "gif", ".webp": "webp", ".png": "apng", ".apng": "apng"}
_ALPHA = {("prores", ".mov"), ("prores", ".mkv"), ("vp9", ".webm"), ("vp9", ".mkv"), ("ffv1", ".mkv")}
_IMPOSSIBLE = {
    ".mp4": {"prores", "ffv1"},
    ".m4v": {"prores", "ffv1", "av1", "vp9"},
    ".mov": {"ffv1", "av1", "vp9"},
    ".webm": {"h264", "h265", "prores", "ffv1"},
}
_OPAQUE_PICTURES = (".jpg", ".jpeg", ".bmp", ".gif")


@dataclass(frozen=True)
class Output:
    """Where to, and how.

    Attributes:
        path: a file; of pictures, with a place for their number, such as ``frames/%06d.png``.
        codec: of the segments that are written on the way, and of a film.
        crf: constant quality; None for the codec's default.
        keeps_alpha: whether transparency survives.
    """

    path: Path
    kind: Kind
    codec: str
    crf: int | None
    keeps_alpha: bool

    @property
    def parts(self) -> Path:
        """The folder of the unfinished work."""
        place = (self.path.parent if self.kind == "pictures" else self.path).resolve()
        return place.with_name(f"{place.name}.parts")

    def numbered(self, number: int) -> Path:
        """The file of one picture."""
        return self.path.with_name(NUMBER_PLACE.sub(lambda match: match[0] % number, self.path.name))

    def existing(self) -> list[Path]:
        """What is there already and would be replaced, sorted."""
        if self.kind != "pictures":
            return [self.path] if self.path.exists() else []
        number = re.compile(NUMBER_PLACE.sub(r"\\d+", re.escape(self.path.name).replace(r"\%", "%")))
        folder = self.path.parent
        return (
            sorted(path for path in folder.iterdir() if number.fullmatch(path.name))
            if folder.is_dir()
            else []
        )


def plan_output(name: str, codec: str | None = None, crf: int | None = None) -> Output:
    """What a name asks for.

    Raises:
        ArbstyleError: a suffix that is not known, a codec that is not, or that the file cannot hold.
    """
    path = Path(name)
    suffix = path.suffix.lower()
    if NUMBER_PLACE.search(path.name) or not suffix or name.endswith(("/", os.sep)) or path.is_dir():
        return _pictures(path, codec, crf)
    if suffix in DEFAULT_CODECS:
        chosen = codec or DEFAULT_CODECS[suffix]
        check_encoding(chosen, crf)
        _check_container(chosen, suffix, path)
        output = Output(path, "film", chosen, crf, (chosen, suffix) in _ALPHA)
    elif suffix in ANIMATIONS:
        _refuse_codec(codec, crf, suffix)
        output = Output(path, "animation", LOSSLESS, None, True)
    else:
        raise ArbstyleError(
            f"cannot write '{path}': expected a name that ends in {', '.join(DEFAULT_CODECS)}, .gif, .webp "
            "or .png, or a folder or frames/%06d.png for pictures"
        )
    check_output_path(path, suffixes=None)
    return output


def _pictures(path: Path, codec: str | None, crf: int | None) -> Output:
    if not NUMBER_PLACE.search(path.name):
        path = path / "%06d.png"
    suffix = path.suffix.lower()
    if suffix not in WRITABLE_SUFFIXES:
        raise ArbstyleError(
            f"cannot write pictures as '{path}': expected one of {', '.join(WRITABLE_SUFFIXES)}"
        )
    _refuse_codec(codec, crf, suffix)
    check_output_path(Path(NUMBER_PLACE.sub("1", str(path))))
    return Output(path, "pictures", LOSSLESS, None, suffix not in _OPAQUE_PICTURES)


def _refuse_codec(codec: str | None, crf: int | None, suffix: str) -> None:
    if codec is not None or crf is not None:
        raise ArbstyleError(f"--codec and --crf are for films, not for {suffix} pictures")


def _check_container(codec: str, suffix: str, path: Path) -> None:
    if codec in _IMPOSSIBLE.get(suffix, ()):
        raise ArbstyleError(f"{suffix} files cannot hold {codec}: write '{path.with_suffix('.mkv')}'")
