"""One clip from file to file, in segments: killed at any time, it can go on where it was."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arbstyle.errors import ArbstyleError
from arbstyle.images import as_bytes, as_float
from arbstyle.images.color import composite
from arbstyle.images.locking import LOCK, locked
from arbstyle.images.resizing import hidden_filled
from arbstyle.stored import open_tensors, read_json_file, write_tensors
from arbstyle.video.encoding import SegmentWriter
from arbstyle.video.finishing import Cut, Segment, check_container, finish
from arbstyle.video.frames import Clip, Frame
from arbstyle.video.library import load_av
from arbstyle.video.outputs import Output
from arbstyle.video.stylizer import VideoStylizer

SEGMENT_FRAMES = 96
"""Frames of a segment: at most so many are painted again after an interruption."""

LONGEST_RECORD = 1 << 28
"""Characters; a frame takes some twenty."""

_VERSION = 4
_RECORD = "job.json"
_OURS = re.compile(r"\.lock|job\.json(\.tmp)?|(\d{5,}|trial)\.(segment|tmp|state\.safetensors)|\.arbstyle-.*")
"""Names of the files of unfinished work."""

FrameDone = Callable[[int], object]
"""Called with the number of frames painted so far."""


class VideoJob:
    """Paints a clip into an output; see :meth:`run`.

    Args:
        clip: the source.
        output: where to and how.
        cut: which part.
        description: everything that the painted frames depend on, as JSON; a job is only resumed with the
            same.
    """

    def __init__(self, clip: Clip, output: Output, cut: Cut, description: Mapping[str, Any]) -> None:
        self.clip = clip
        self.output = output
        self.cut = cut
        self.info = clip.info
        self.alpha = clip.info.alpha and output.keeps_alpha
        self.folder = output.parts
        self._held = ExitStack()  # the lock on the folder, from `prepare` to the end of `run`
        self.record: dict[str, Any] = {
            "version": _VERSION,
            "job": json.loads(json.dumps(description)),
            "segments": [],
            "complete": False,
        }

    def __enter__(self) -> VideoJob:
        """What :meth:`prepare` holds is let go at the latest at the end of the block."""
        return self

    def __exit__(self, *error: Any) -> None:
        self._held.__exit__(*error)

    def prepare(self, *, resume: bool = False, overwrite: bool = False) -> int:
        """Look at what is there, and say how many frames are done already.

        Pictures that the resumed job itself began to write are not in its way.

        Raises:
            ArbstyleError: the result exists, or there is unfinished work and it is not said what to do with
                it, or it is of another job; or another process works on it; or the file cannot hold what is
                to be copied into it.
        """
        unfinished = self.folder / _RECORD
        resumed = resume and unfinished.exists()
        if not overwrite:
            self._check_new(self._read_record(unfinished) if resumed else self.record)
        if self.folder.exists() and not (resume or overwrite):
            raise ArbstyleError(
                f"unfinished work lies in '{self.folder}': add --resume to go on with it, or --overwrite to "
                "begin again"
            )
        if not resumed:
            self._check_is_ours()
        with ExitStack() as held, _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(self.folder, "video job"))
            if resume and unfinished.exists():
                self.record = self._read_record(unfinished)
            else:
                self._clear()
            held.enter_context(self._gone_unless_begun())
            self._check_container()
            self._write_record()
            self._held = held.pop_all()
        return self.frames_done

    def _check_new(self, record: Mapping[str, Any]) -> None:
        """Only a file is written whole or not at all; of pictures, some may be there already."""
        written = set()
        if self.output.kind == "pictures" and record["complete"]:
            written = {self.output.numbered(number + 1) for number in range(_frames_in(record))}
        existing = [path for path in self.output.existing() if path not in written]
        if existing:
            raise ArbstyleError(f"'{existing[0]}' exists; add --overwrite to replace it")

    @contextmanager
    def _gone_unless_begun(self) -> Iterator[None]:
        """A job that fails before anything is painted leaves nothing: there is nothing to resume."""
        try:
            yield
        except BaseException:
            if not self.frames_done:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name != LOCK:
                path.unlink()

    def _check_is_ours(self) -> None:
        """What this program did not write it does not delete."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        foreign = next((name for name in names if not _OURS.fullmatch(name)), None)
        if foreign is not None:
            raise ArbstyleError(
                f"'{self.folder / foreign}' is not from an earlier run and would be deleted: move it away"
            )

    @property
    def frames_done(self) -> int:
        return _frames_in(self.record)

    def run(self, painter: VideoStylizer, progress: FrameDone | None = None) -> Path:
        """Paint what is not painted yet, then put the output together.

        Raises:
            ArbstyleError: the source is damaged at its beginning, or the disk is full.
        """
        with self._held:
            with _writing(self.folder):
                if not self.record["complete"]:
                    self._paint(painter, progress)
                    self.record["complete"] = True
                    self._write_record()
            if not self.frames_done:
                raise ArbstyleError(f"no frames of '{self.clip.path}' lie between --start and --end")
            with _writing(self.output.path):
                comment = self.record["job"].get("comment", "")
                finish(self.output, self._segments(), self.info, self.clip, self.cut, comment)
        shutil.rmtree(self.folder, ignore_errors=True)
        return self.output.path

    # --- painting ---------------------------------------------------------------------------------

    def _paint(self, painter: VideoStylizer, progress: FrameDone | None) -> None:
        done = self.frames_done
        painter.reset()
        if done:
            painter.restore(self._read_state(len(self.record["segments"])))
        frames = islice(self.clip.frames(self.cut.start, self.cut.end), done, None)
        number = len(self.record["segments"])
        with closing(painter.paint_film(map(_visible, frames))) as painted:
            while (first := next(painted, None)) is not None:
                batch = chain([first], islice(painted, SEGMENT_FRAMES - 1))
                times = self._write_segment(number, batch, progress)
                number += 1
                write_tensors(self._state_path(number), _contiguous(painter.state()))
                self.record["segments"].append({"file": self._segment_path(number - 1).name, "times": times})
                self._write_record()
                self._state_path(number - 1).unlink(missing_ok=True)

    def _write_segment(
        self, number: int, frames: Iterator[Frame], progress: FrameDone | None
    ) -> list[tuple[int, int]]:
        path = self._segment_path(number)
        temporary = path.with_suffix(".tmp")
        writer = SegmentWriter(temporary, self.info, self.output.codec, self.output.crf, self.alpha)
        times = []
        done = self.frames_done
        try:
            for frame in frames:
                time = frame.time - self.cut.start
                writer.write(replace(frame if self.alpha else _over_white(frame), time=time))
                base = self.info.time_base
                times.append((round(time / base), max(1, round(frame.duration / base))))
                if progress:
                    progress(done + len(times))
            writer.close()
        except BaseException:
            writer.abandon()
            raise
        os.replace(temporary, path)
        return times

    def _check_container(self) -> None:
        if self.output.kind != "film":
            return
        trial = self.folder / "trial.tmp"
        size = (1, 3, self.info.height, self.info.width)
        writer = SegmentWriter(trial, self.info, self.output.codec, self.output.crf, self.alpha)
        alpha = torch.zeros(1, 1, *size[2:], dtype=torch.uint8) if self.alpha else None
        writer.write(Frame(torch.zeros(size, dtype=torch.uint8), Fraction(0), Fraction(1), alpha))
        writer.close()
        check_container(self.output, trial, self.info, self.clip, self.cut)
        trial.unlink()

    # --- the record -------------------------------------------------------------------------------

    def _segments(self) -> list[Segment]:
        return [
            Segment(self.folder / segment["file"], [(time, duration) for time, duration in segment["times"]])
            for segment in self.record["segments"]
        ]

    def _segment_path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.segment"

    def _state_path(self, number: int) -> Path:
        """State of the painter before the segment of that number."""
        return self.folder / f"{number:05d}.state.safetensors"

    def _write_record(self) -> None:
        temporary = self.folder / f"{_RECORD}.tmp"
        temporary.write_text(json.dumps(self.record))
        os.replace(temporary, self.folder / _RECORD)

    def _are_ours(self, segments: Any) -> bool:
        """Whether a record's segments are named as ours, and their times are pairs of numbers of ticks."""
        return isinstance(segments, list) and all(
            set(segment) == {"file", "times"}
            and segment["file"] == self._segment_path(number).name
            and isinstance(segment["times"], list)
            and all(
                isinstance(pair, list) and len(pair) == 2 and all(type(ticks) is int for ticks in pair)
                for pair in segment["times"]
            )
            for number, segment in enumerate(segments)
        )

    def _read_state(self, number: int) -> dict[str, Tensor]:
        """State of the painter before the segment of that number, in the form in which it is now."""
        path = self._state_path(number)
        try:
            with open_tensors(path, "pt") as file:
                return {name: file.read(name) for name in file.shapes}
        except ArbstyleError as error:
            raise ArbstyleError(f"'{path}' is damaged ({error}): begin again with --overwrite") from error

    def _read_record(self, path: Path) -> dict[str, Any]:
        try:
            record = read_json_file(path, LONGEST_RECORD)
            version, theirs, complete = record["version"], record["job"], record["complete"]
            good = (
                isinstance(theirs, dict) and isinstance(complete, bool) and self._are_ours(record["segments"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise ArbstyleError(f"'{path}' is damaged: begin again with --overwrite")
        ours = self.record["job"]
        differing = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        if version != _VERSION or differing:
            raise ArbstyleError(
                f"the unfinished work in '{self.folder}' is of another command, with another "
                f"{', '.join(differing) or 'version'}: give the same options, or begin again with --overwrite"
            )
        return record


def _frames_in(record: Mapping[str, Any]) -> int:
    return sum(len(segment["times"]) for segment in record["segments"])


def _visible(frame: Frame) -> Frame:
    """What is painted: transparent parts may hold any colour and must not run into what is seen."""
    if frame.alpha is None:
        return frame
    return replace(frame, pixels=hidden_filled(frame.pixels, frame.alpha))


def _over_white(frame: Frame) -> Frame:
    """An opaque frame."""
    if frame.alpha is None:
        return frame
    seen = composite(as_float(frame.pixels), as_float(frame.alpha), "white")
    return replace(frame, pixels=as_bytes(seen), alpha=None)


def _contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in state.items()}


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Turn what the system or FFmpeg says about a full disk or forbidden folder into one line."""
    av = load_av()
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ArbstyleError(f"cannot write '{place}': {reason}; put that right and add --resume") from error
