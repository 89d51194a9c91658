"""Whole data sets: what is drawn, what is painted, and what an interruption costs (nothing)."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from arbstyle import ArbstyleError, Stylizer
from arbstyle.cli import main
from arbstyle.images.locking import locked
from arbstyle.restyling.draw import draw
from arbstyle.restyling.features import PICTURE
from arbstyle.restyling.job import Job, plan
from arbstyle.restyling.local import LocalEngine, one_thread
from arbstyle.restyling.styles import StyleTable, find_style_files

REPOSITORY = Path(__file__).resolve().parent.parent
SIZES = {"cats/a.png": (48, 40), "cats/b.jpg": (40, 56), "dogs/c.webp": (48, 48), "dogs/d.jpeg": (33, 47)}


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, (name, size) in enumerate(SIZES.items()):
        (folder / name).parent.mkdir(exist_ok=True)
        noise(size, number).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paintings")
    for number in range(5):
        noise((64, 64), 100 + number).save(folder / f"{number}.png")
    return folder


def restyle(source: Path, styles: Path, output: Path, workers: int = 1, **options: Any) -> Job:
    job = plan(str(source), [str(styles)], output, LocalEngine(workers), style_size=64, **options)
    for _ in job.run():
        pass
    return job


def manifest(job: Job) -> list[dict[str, str]]:
    with job.manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- draws --------------------------------------------------------------------------------------


def test_a_draw_is_a_hash_of_seed_key_and_copy():
    (one,) = draw("cats/a.png", seed=7, styles=1000, copies=1, strength=(0.25, 0.75))

    def share(purpose: str) -> float:
        digest = hashlib.blake2b(f"7\0cats/a.png\x000\0{purpose}".encode(), digest_size=8).hexdigest()
        return int(digest, 16) / 16**16

    assert one.style == int(share("style") * 1000)
    assert one.strength == pytest.approx(0.25 + 0.5 * share("strength"), abs=1e-6)
    assert one.seed == int(share("seed") * 2**32)


def test_styles_and_strengths_are_drawn_evenly():
    draws = [draw(str(key), seed=1, styles=10, copies=1, strength=(0, 1))[0] for key in range(5000)]
    counts = Counter(one.style for one in draws)
    chi_square = sum((counts[style] - 500) ** 2 / 500 for style in range(10))
    assert chi_square < 27.9  # one in a thousand would exceed it, were the seed not fixed
    assert np.std([one.strength for one in draws]) == pytest.approx(12**-0.5, rel=0.03)
    assert np.corrcoef([one.style for one in draws], [one.strength for one in draws])[0, 1] < 0.05


def test_copies_have_different_styles_while_there_are_enough():
    for key in map(str, range(50)):
        draws = draw(key, seed=0, styles=4, copies=6, strength=(1, 1))
        assert len({one.style for one in draws[:4]}) == 4
        assert draws[:2] == draw(key, seed=0, styles=4, copies=2, strength=(1, 1))


# --- painting -----------------------------------------------------------------------------------


def test_a_tree_keeps_names_sizes_and_formats_and_is_what_the_stylizer_paints(
    photos: Path, paintings: Path, tmp_path: Path
):
    job = restyle(photos, paintings, tmp_path / "out", seed=3, strength=(0.5, 1.0))
    rows = manifest(job)
    assert [row["key"] for row in rows] == sorted(SIZES) == sorted(contents(tmp_path / "out"))
    stylizer = Stylizer.from_pretrained()
    for row in rows:
        with Image.open(tmp_path / "out" / row["output"]) as result, Image.open(photos / row["key"]) as photo:
            assert (result.size, result.format) == (photo.size, photo.format)
            assert 0.5 <= float(row["strength"]) <= 1
            assert row["model"] == f"{stylizer.name} ({stylizer.fingerprint})"
            if result.format == "PNG":  # without loss, so that every bit can be compared
                picture = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None]
                with one_thread():
                    style = stylizer.style(str(paintings / row["style"]), style_size=64)
                    options: Any = {"style_size": 64, "seed": int(row["seed"])}
                    expected = stylizer.stylize(picture, style, float(row["strength"]), **options)
                assert np.array_equal(np.asarray(result), expected[0].permute(1, 2, 0).numpy())


def test_neither_workers_nor_parts_change_a_bit(photos: Path, paintings: Path, tmp_path: Path):
    options = {"seed": 1, "per_image": 2}
    one = restyle(photos, paintings, tmp_path / "one", **options)
    many = restyle(photos, paintings, tmp_path / "many", workers=2, part_size=1, **options)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    assert len(contents(tmp_path / "one")) == 2 * len(SIZES)
    assert manifest(one) == manifest(many)


def test_a_picture_keeps_its_bits_when_others_come_and_go(photos: Path, paintings: Path, tmp_path: Path):
    (tmp_path / "fewer" / "dogs").mkdir(parents=True)
    (tmp_path / "fewer" / "dogs" / "c.webp").write_bytes((photos / "dogs" / "c.webp").read_bytes())
    restyle(photos, paintings, tmp_path / "all")
    restyle(tmp_path / "fewer", paintings, tmp_path / "few")
    assert contents(tmp_path / "few") == {"dogs/c.webp": contents(tmp_path / "all")["dogs/c.webp"]}


def test_batches_of_one_size_paint_what_single_pictures_are(paintings: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    for number in range(7):
        noise((48, 40 + 8 * (number % 2)), number).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "broken.png").touch()
    options: Any = {"strength": (0.4, 1.0), "precision": "fp32", "keep_colors": "luminance"}
    alone = restyle(tmp_path / "in", paintings, tmp_path / "alone", **options)
    together = restyle(tmp_path / "in", paintings, tmp_path / "together", batch=3, **options)
    assert manifest(alone) == manifest(together)
    for number in range(7):
        one, many = (
            np.asarray(Image.open(tmp_path / name / f"{number}.png"), int) for name in ("alone", "together")
        )
        assert np.abs(one - many).max() <= 1


def test_a_broken_picture_and_a_broken_style_cost_only_themselves(
    photos: Path, paintings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source, styles = tmp_path / "in", tmp_path / "styles"
    source.mkdir()
    styles.mkdir()
    noise((40, 40), 1).save(source / "good.png")
    (source / "empty.jpg").touch()
    (source / "text.jpg").write_text("not a picture")
    (source / "cut.png").write_bytes((source / "good.png").read_bytes()[:700])
    noise((64, 64), 2).save(styles / "good.png")
    (styles / "bad.png").write_text("not a picture")
    words = ["dataset", str(source), "--styles", str(styles), "-o", str(tmp_path / "out"), "--workers", "1"]
    assert main(words) == 1
    output = capsys.readouterr()
    assert "1 painted, 0 were there, 3 failed" in output.out
    assert output.err.count("a style is left out") == 1
    with (tmp_path / "out.manifest" / "manifest.csv").open(newline="") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    assert {key: row["status"] for key, row in rows.items()} == {
        "good.png": "done", "empty.jpg": "failed", "text.jpg": "failed", "cut.png": "failed",
    }  # fmt: skip
    assert rows["empty.jpg"]["error"] == "not a readable picture: the file is empty"
    assert rows["text.jpg"]["error"] == "not a readable picture: of no known format"
    assert "0x" not in rows["cut.png"]["error"]
    assert list(contents(tmp_path / "out")) == ["good.png"]

    noise((40, 40), 3).save(source / "text.jpg")  # put right: then only the failed ones are tried again
    assert main([*words, "--resume"]) == 1
    assert "1 painted, 1 were there, 2 failed" in capsys.readouterr().out


def test_a_picture_too_long_for_its_format_costs_only_itself(paintings: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    noise((40, 40), 1).save(tmp_path / "in" / "good.png")
    noise((16_500, 16), 2).save(tmp_path / "in" / "long.png")
    rows = manifest(restyle(tmp_path / "in", paintings, tmp_path / "out", format="webp"))
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert "WEBP holds at most 16383 pixels a side, the picture has 16500" in rows[1]["error"]
    assert list(contents(tmp_path / "out")) == ["good.webp"]


@pytest.mark.parametrize("error", [ArbstyleError("no memory"), MemoryError(), RuntimeError("out of memory")])
def test_a_picture_that_cannot_be_painted_costs_only_itself(
    error: Exception, paintings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "in").mkdir()
    for name, side in (("good.png", 40), ("large.png", 48)):
        noise((side, side), 1).save(tmp_path / "in" / name)
    stylize = Stylizer.stylize

    def fail_at_large(self: Stylizer, photo: Any, *arguments: Any, **options: Any) -> Any:
        if photo.shape[-1] == 48:
            raise error
        return stylize(self, photo, *arguments, **options)

    monkeypatch.setattr(Stylizer, "stylize", fail_at_large)
    rows = manifest(restyle(tmp_path / "in", paintings, tmp_path / "out"))
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert "memory" in rows[1]["error"]


# --- interruptions ------------------------------------------------------------------------------


def test_resume_does_only_what_is_missing(photos: Path, paintings: Path, tmp_path: Path):
    whole = restyle(photos, paintings, tmp_path / "whole", part_size=1, form="parquet")
    arguments: Any = (str(photos), [str(paintings)], tmp_path / "out", LocalEngine(1))
    options: Any = {"style_size": 64, "part_size": 1, "form": "parquet"}
    with contextlib.closing(plan(*arguments, **options).run()) as run:
        while next(run).done < 2:
            pass
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / ".arbstyle-0123.parquet").write_text("of a process that was killed")
    with pytest.raises(ArbstyleError, match="--resume"):
        plan(*arguments, **options)
    with pytest.raises(ArbstyleError, match="seed was 0 and is 1 now"):
        plan(*arguments, **options, resume=True, seed=1)
    resumed = plan(*arguments, **options, resume=True)
    assert [(step.finished, step.done) for step in resumed.run()] == [(2, 0), (2, 1), (2, 2)]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert manifest(resumed) == manifest(whole)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


@pytest.mark.parametrize("form", ["folder", "parquet", "webdataset"])
def test_another_input_is_not_resumed(form: Any, photos: Path, paintings: Path, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    for number, folder in enumerate((first, second)):
        (tmp_path / f"{number}").mkdir()
        noise((32, 32 + 8 * number), number).save(tmp_path / f"{number}" / f"{number}.png")
        restyle(tmp_path / f"{number}", paintings, folder, form=form)
    restyle(first, paintings, tmp_path / "out")
    first.rename(tmp_path / "moved")
    restyle(tmp_path / "moved", paintings, tmp_path / "out", resume=True)
    with pytest.raises(ArbstyleError, match="second' holds others than when the job began"):
        restyle(second, paintings, tmp_path / "out", resume=True)


def test_a_job_that_an_older_version_wrote_down_goes_on(photos: Path, paintings: Path, tmp_path: Path):
    job = restyle(photos, paintings, tmp_path / "out")
    about = json.loads((job.notes / "job.json").read_text())
    del about["input"]
    (job.notes / "job.json").write_text(json.dumps(about))
    restyle(photos, paintings, tmp_path / "out", resume=True)


def test_half_a_part_of_a_tree_is_kept(photos: Path, paintings: Path, tmp_path: Path):
    restyle(photos, paintings, tmp_path / "out")
    (tmp_path / "out" / "dogs" / "c.webp").unlink()
    next((tmp_path / "out.manifest" / "parts").iterdir()).unlink()
    steps = plan(
        str(photos), [str(paintings)], tmp_path / "out", LocalEngine(1), style_size=64, resume=True
    ).run()
    assert [(step.finished, step.done) for step in steps] == [(0, 0), (3, 1)]


def test_a_full_disk_is_one_line_and_the_job_goes_on_later(
    photos: Path,
    paintings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    words = [
        "dataset",
        str(photos),
        "--styles",
        str(paintings),
        "-o",
        str(tmp_path / "out"),
        "--workers",
        "1",
    ]

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert main(words) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert "no space left on device" in error
    assert contents(tmp_path / "out") == {}
    assert main([*words, "--resume"]) == 0
    assert sorted(contents(tmp_path / "out")) == sorted(SIZES)


def test_an_input_that_vanishes_stops_the_job_and_not_a_million_errors(
    photos: Path, paintings: Path, tmp_path: Path
):
    source = tmp_path / "in"
    for number in range(4):
        source.mkdir(exist_ok=True)
        noise((32, 32), number).save(source / f"{number}.png")
    arguments: Any = (str(source), [str(paintings)], tmp_path / "out", LocalEngine(1))
    run = plan(*arguments, style_size=64, part_size=1).run()
    while next(run).done < 1:
        pass
    source.rename(tmp_path / "gone")
    with pytest.raises(ArbstyleError, match="has gone or is empty; bring it back"):
        list(run)
    (tmp_path / "gone").rename(source)
    *_, last = plan(*arguments, style_size=64, part_size=1, resume=True).run()
    assert (last.finished, last.done, last.failed) == (1, 3, 0)


def children_of(pid: int) -> list[int]:
    """The worker processes of a command."""
    started = " ".join(file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return [int(child) for child in started if b"spawn_main" in command_line(child)]


def command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


def wait_until(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes as Linux shows them")
def test_killed_workers_and_a_killed_command_lose_nothing(paintings: Path, tmp_path: Path):
    source = tmp_path / "in"
    source.mkdir()
    for number in range(160):
        noise((96, 96), number).save(source / f"{number:03}.png")
    whole = restyle(source, paintings, tmp_path / "whole")
    words = [sys.executable, "-m", "arbstyle", "dataset", str(source), "--styles", str(paintings)]
    words += ["-o", str(tmp_path / "out"), "--style-size", "64", "--part-size", "2", "--workers", "2"]
    notes = tmp_path / "out.manifest" / "parts"

    def parts_done() -> int:
        return len(list(notes.glob("[0-9]*"))) if notes.is_dir() else 0

    with subprocess.Popen(words, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as command:
        wait_until(lambda: parts_done() >= 2)
        first = children_of(command.pid)
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: set(children_of(command.pid)) - set(first) or command.poll() is not None)
        wait_until(lambda: parts_done() >= 8)
        workers = children_of(command.pid)
        command.kill()
    assert command.returncode == -signal.SIGKILL
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), 20)
    assert 8 <= parts_done() < 80
    done = subprocess.run([*words, "--resume"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    with (tmp_path / "out.manifest" / "manifest.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == manifest(whole)


def test_styles_of_the_gallery(photos: Path, tmp_path: Path):
    assert [file.name for file in find_style_files(["woodcut", "abstract"])] == ["abstract", "woodcut"]
    job = plan(str(photos), ["woodcut"], tmp_path / "out", LocalEngine(1), style_size=64, size=16)
    assert [(progress.done, progress.failed) for progress in job.run()][-1][0] > 0
    table = StyleTable.load(tmp_path / "out.manifest")
    known = Stylizer.from_pretrained(device="cpu", precision="fp32").parameters_of("woodcut")
    np.testing.assert_allclose(table.parameters, known.numpy(), rtol=0.05, atol=0.05)


def test_notes_of_others_are_not_replaced(
    photos: Path, paintings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    mine = tmp_path / "out.manifest" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert main(["dataset", str(photos), "--styles", str(paintings), "-o", str(tmp_path / "out")]) == 2
    assert "not from an earlier run" in capsys.readouterr().err
    assert [mine] == list(mine.parent.iterdir())


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["missing"], "there is no data set 'missing'"),
        (["{photos}", "--strength", "a"], "expected a --strength such as"),
        (["{photos}", "--strength", "1-0.5"], "LOW first"),
        (["{photos}", "--strength", "2-nan"], "expected a strength"),
        (["{photos}", "--per-image", "0"], "at least 1, got 0"),
        (["{photos}", "--workers", "0"], "at least 1, got 0"),
        (["{photos}", "--quality", "0"], "from 1 to 100"),
        (["{photos}", "--batch", "0"], "at least 1, got 0"),
        (["{photos}", "--key", "name"], "is none; leave it out"),
        (["{photos}", "--styles", "missing"], "no file or folder 'missing'"),
        (["{photos}", "--device", "abacus"], "expected a device"),
        (["{photos}", "--model", "missing.safetensors"], "missing.safetensors"),
        (["{paintings}/0.png"], "expected a folder"),
        (["{photos}", "-o", "{photos}"], "is not empty"),
        (["{photos}", "-o", "{photos}/new"], "would lie in the input"),
        (["{twice}", "--format", "png"], "pictures would become 'a.png'"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_write_nothing(
    words: list[str],
    expected: str,
    photos: Path,
    paintings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    twice = tmp_path / "twice"
    twice.mkdir()
    for name in ("a.png", "a.jpg"):
        noise((32, 32), 1).save(twice / name)
    words = [word.format(photos=photos, paintings=paintings, twice=twice) for word in words]
    defaults = {"--styles": str(paintings), "-o": str(tmp_path / "out"), "--workers": "1"}
    rest = [word for item in defaults.items() if item[0] not in words for word in item]
    before = contents(tmp_path) | contents(photos)
    assert main(["dataset", *words, *rest]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert contents(tmp_path) | contents(photos) == before


# --- what a stranger's data set, or another process, may do ---------------------------------------


def test_a_second_process_in_a_job_is_refused(photos: Path, paintings: Path, tmp_path: Path):
    job = plan(str(photos), [str(paintings)], tmp_path / "out", LocalEngine(1), style_size=64)
    unfinished = tmp_path / "out" / ".arbstyle-of-the-other"
    unfinished.parent.mkdir()
    unfinished.touch()
    with locked(job.notes, "data set job"):
        again = plan(
            str(photos), [str(paintings)], tmp_path / "out", LocalEngine(1), resume=True, style_size=64
        )
        with pytest.raises(ArbstyleError, match="another data set job is at work"):
            next(again.run())
    assert unfinished.exists()
    assert [progress.done for progress in job.run()][-1] == len(SIZES)


def test_names_of_pictures_in_the_manifest_are_no_formulas(paintings: Path, tmp_path: Path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("=1+1.png", "@a.png", "'-b.png", "plain.png"):
        noise((32, 32), 0).save(photos / name)
    cells = {row["key"] for row in manifest(restyle(photos, paintings, tmp_path / "out"))}
    assert cells == {"'=1+1.png", "'@a.png", "''-b.png", "plain.png"}


@pytest.mark.skipif(sys.platform != "linux", reason="such names are of Linux")
def test_names_that_are_no_text_go_into_tables(paintings: Path, tmp_path: Path):
    photos = tmp_path / "photos"
    photos.mkdir()
    noise((32, 32), 0).save(photos / os.fsdecode(b"caf\xe9.png"))
    job = restyle(photos, paintings, tmp_path / "out", form="parquet")
    (table,) = job.output.glob("*.parquet")
    assert pq.read_table(table)["image"].to_pylist()[0]["path"] == "caf\\udce9.png"


def test_a_table_that_names_a_pipe_costs_a_row(paintings: Path, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    noise((32, 32), 0).save(tmp_path / "good.png")
    os.mkfifo(tmp_path / "pipe.png")
    rows = [{"bytes": None, "path": str(tmp_path / name)} for name in ("pipe.png", "good.png")]
    pq.write_table(pa.table({"image": pa.array(rows, PICTURE)}), tmp_path / "photos" / "a.parquet")
    done = manifest(restyle(tmp_path / "photos", paintings, tmp_path / "out"))
    assert [row["status"] for row in done] == ["failed", "done"]
    assert "not a regular file" in done[0]["error"]


def test_gaps_in_a_shard_take_no_memory(paintings: Path, tmp_path: Path):
    """A member of a kilobyte that claims to be 2⁴⁰ bytes long, most of them gaps."""
    (tmp_path / "photos").mkdir()
    noise((32, 32), 0).save(tmp_path / "good.png")
    data = (tmp_path / "good.png").read_bytes()
    sparse = {
        "GNU.sparse.size": str(2**40),
        "GNU.sparse.numblocks": "1",
        "GNU.sparse.map": f"0,{len(data)}",
    }
    with tarfile.open(tmp_path / "photos" / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, headers in (("good.png", {}), ("gaps.png", sparse)):
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(data), headers
            tar.addfile(member, io.BytesIO(data))
    done = manifest(restyle(tmp_path / "photos", paintings, tmp_path / "out"))
    assert [row["status"] for row in done] == ["done", "failed"]
