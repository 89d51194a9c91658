"""The programs behind the documents' figures and pictures still run, at toy size, unjudged."""

from __future__ import annotations

import csv
import json
import os
import runpy
import shutil
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
MODEL = REPOSITORY / "arbstyle" / "assets" / "arbstyle.safetensors"
QUICK = ["--size", "48", "--steps", "2", "--paintings", "painting-desert"]
PRACTICE = ["--practice", str(REPOSITORY / "examples"), "--most", "0"]
FOLDERS = ["--content", str(REPOSITORY / "examples"), "--style", str(REPOSITORY / "examples")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["optimize", "reconstruction", "--size", "48", "--steps", "2", "--layers", "relu1_1"], "PSNR"),
        (["optimize", "texture", *QUICK], "white-noise"),
        (["optimize", "transfer", *QUICK], "white-noise"),
        (["optimize", "optimizers", *QUICK, "--learning-rates", "0.1"], "Adam 0.1, pixels"),
        (["optimize", "precision", *QUICK], "ratio of times"),
        (["optimize", "overhead", "--sizes", "48", "--repeats", "2"], "48×48"),
        (
            ["optimize", "scales", "--size", "128", "--steps", "3", "--job", "texture", "--init", "noise"],
            "3 scales",
        ),
        (["stylize", "time", "--size", "64", "--repeats", "1", "--threads", "1"], "arbstyle fp32, s"),
        (["stylize", "memory", "--size", "64", "--threads", "1"], "peak memory, GiB"),
        (["stylize", "load", "--repeats", "1"], "loading, s"),
        (["video", "strip", "--size", "48", "--frames", "4"], "strip.png"),
        (["video", "memory", "--size", "48", "--frames", "8", "--minutes", "0.02"], "24"),
        (["stylize", "identity", *FOLDERS, "--pairs", "1", "--size", "64"], "lowest, dB"),
        (["stylize", "tiles", *FOLDERS, "--pairs", "1", "--size", "96", "--tiles", "64"], "fp32, "),
        (["start", "--size", "64", "--repeats", "1"], "`arbstyle stylize --backend torch`"),
        (["compositing", "--solvers", "arbstyle", "--megapixels", "0.01", "--one"], "error inside, /255"),
        (
            ["refine", *FOLDERS, "--pairs", "1", "--size", "48", "--steps", "1", "--most", "2"],
            "at most",
        ),
        (
            ["refine", *FOLDERS, "--pairs", "1", "--size", "48", "--steps", "1", *PRACTICE],
            "means: style loss",
        ),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else "",
)
def test_runs(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    program = REPOSITORY / "benchmarks" / f"{words[0]}.py"
    folder = [] if words[0] in ("stylize", "start", "compositing") else ["--output", str(tmp_path)]
    monkeypatch.setenv("ARBSTYLE_VGG19", "random")
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)  # for the tests that follow
    monkeypatch.setattr(sys, "argv", [str(program), *words[1:], *folder])
    monkeypatch.syspath_prepend(program.parent)  # as for a program that is started
    runpy.run_path(str(program), run_name="__main__")
    assert expected in capsys.readouterr().out


def test_a_campaign_logs_its_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    program = runpy.run_path(str(REPOSITORY / "benchmarks" / "campaign.py"))
    scores = {column: number / 8 for number, column in enumerate(program["COLUMNS"])}
    loss = {"style_weight": 7.0, "tv_weight": 0.5, "content_weight": 3.0, "noise_weight": 1.0}
    for steps in (100, 200):
        program["append_score"](tmp_path / "log.csv", steps, scores, loss)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["steps"] for row in rows] == ["100", "200"]
    assert {column: float(rows[1][column]) for column in scores} == scores
    assert rows[0]["style_weight"] == "7.0"
    datetime.strptime(rows[0]["when"], "%Y-%m-%d %H:%M")


def test_a_campaign_does_not_take_another_process_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    program = runpy.run_path(str(REPOSITORY / "benchmarks" / "campaign.py"))
    assert program["running_pid"](tmp_path) is None
    (tmp_path / "pid").write_text(str(os.getppid()))  # alive, and somebody else
    assert program["running_pid"](tmp_path) is None


def test_peers_results_as_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interval(mean: float, low: float, high: float) -> dict[str, float]:
        return {"mean": mean, "low": low, "high": high}

    def method(name: str, loss: float, seconds: float | None) -> dict[str, object]:
        means = {"style_loss": interval(loss, loss - 0.1, loss + 0.1)}
        balance = interval(0.5, 0.4, 0.6)
        known = {"method": name, "pairs": 4, "seconds_median": seconds}
        return known | {"means": means, "medians": {"style_loss": loss / 2}, "balance": balance}

    differences = {
        "near": {"style_loss": interval(0.1, -0.1, 0.3)},
        "far": {"style_loss": interval(1, 0.5, 2)},
    }
    report = {
        "date": "2026-11-26",
        "settings": {"size": 256},
        "absent": {"lpips": "no weights"},
        "methods": [method("ours", 0.5, 0.25), method("near", 0.6, None), method("far", 1.5, None)],
        "differences": {"reference": "ours", "methods": differences},
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps(report))
    program = REPOSITORY / "benchmarks" / "peers.py"
    monkeypatch.syspath_prepend(program.parent)  # as for a program that is started

    def printed(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(program), "table", str(path), *words])
        runpy.run_path(str(program), run_name="__main__")
        return capsys.readouterr().out

    text = printed()
    lines = text.splitlines()
    assert lines[2] == "| ours | 0.5 (0.4–0.6) | 0.5 (0.4–0.6) | 0.25 |"
    assert lines[3] == "| near | 0.5 (0.4–0.6) | 0.6 (0.5–0.7) | – |"
    assert lines[4] == "| far | 0.5 (0.4–0.6) | 1.5 (1.4–1.6) * | – |"
    assert "4 pairs at 256 px" in text
    assert "stray marks is left out: the report has no such column" in text
    chosen = printed("--measures", "style_loss", "lpips", "--medians")
    assert "| far | 0.5 (0.4–0.6) | 1.5 (1.4–1.6); 0.75 * | – |" in chosen.splitlines()
    assert "LPIPS is left out: no weights" in chosen
    assert "stray marks" not in chosen


@pytest.mark.parametrize(
    ("words", "width", "height"),
    [
        (["contact_sheet", "--size", "32"], 9 * 32, 7 * 32),
        (["progress", str(MODEL), str(MODEL), "--size", "32"], 6 * 32 + 7 * 4, 4 * 32 + 5 * 4),
    ],
    ids=["contact_sheet", "progress"],
)
def test_sheets(words: list[str], width: int, height: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = REPOSITORY / "examples" / f"{words[0]}.py"
    monkeypatch.syspath_prepend(str(program.parent))  # as Python does for a program
    monkeypatch.setattr(sys, "argv", [str(program), *words[1:], "-o", str(tmp_path / "sheet.png")])
    runpy.run_path(str(program), run_name="__main__")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (width, height)
        assert sheet.getextrema() != ((255, 255),) * 3, "pictures, not only paper"


def test_hard_pairs_stand_in_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program, examples = REPOSITORY / "benchmarks" / "hard_pairs.py", str(REPOSITORY / "examples")
    monkeypatch.syspath_prepend(str(program.parent))
    pairs = ["--pairs", "photo-cat/painting-night", "photo-flower/drawing-oz", "--size", "32", "--steps", "0"]
    folders = ["--content", examples, "--style", examples, "--folder", str(tmp_path / "painted")]
    output = ["--earlier", str(MODEL), "-o", str(tmp_path / "sheet.png")]
    monkeypatch.setattr(sys, "argv", [str(program), *pairs, *folders, *output])
    runpy.run_path(str(program), run_name="__main__")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (5 * 32, 2 * 32), "photo, style, earlier, ours, ours with wide strokes"
    painted = {path.parent.name for path in (tmp_path / "painted").rglob("photo-cat__painting-night.png")}
    assert painted == {"earlier", "ours", "stroke-2"}


def test_doors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Without a network: the door leads to this environment."""
    program = REPOSITORY / "benchmarks" / "doors.py"
    monkeypatch.syspath_prepend(program.parent)  # as for a program that is started
    module = runpy.run_path(str(program), run_name="doors")
    monkeypatch.setattr(sys, "argv", [str(program), "--doors", "here", "--size", "64", "--repeats", "1"])
    paint = (sys.executable, "-m", "arbstyle", *module["STYLIZE"][1:])
    install = (sys.executable, "-m", "venv", "--without-pip", "{place}")
    module["main"]({"here": module["Door"]((install,), paint)})
    row = capsys.readouterr().out.splitlines()[-1].split("|")
    assert row[1].strip() == "here"
    _, _, first, later, total = map(float, row[2:7])
    assert min(first, later) > 0
    assert total >= int(first)


def test_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Without kills, whose moments cannot be named at this size."""
    program = REPOSITORY / "benchmarks" / "dataset.py"
    monkeypatch.syspath_prepend(program.parent)  # as for a program that is started
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)  # for the tests that follow
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    def told(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(program), *words])
        runpy.run_path(str(program), run_name="__main__")
        return capsys.readouterr().out

    shutil.copytree(REPOSITORY / "arbstyle" / "assets" / "calibration", "photos")
    told("make", "photos", "-o", "set", "--count", "30", "--size", "32")
    told("make", "photos", "-o", "paintings", "--count", "2", "--size", "64")
    styles = ["--styles", "paintings", "--workers", "1"]
    answer = told("run", "set", *styles, "-o", "out", "--engine", "local", "--interval", "0.2")
    result = json.loads(answer[answer.index("{") :])
    assert (result["pictures"], result["exit code"], result["starts"]) == (30, 0, 1)
    assert result["peak memory of all processes, MiB"] > 100
    with pytest.raises(SystemExit) as end:
        told("compare", "out", "out")
    assert end.value.code == 0
    speeds = told("speed", "set", *styles, "--count", "30", "--repeats", "1", "--peer-count", "1")
    assert "1 process / AdaIN by a core's time" in speeds


def test_no_program_hides_a_package_that_others_import():
    """A program's folder stands first in the search for modules: `datasets.py` there would be found first."""
    programs = {path.stem for path in (REPOSITORY / "benchmarks").glob("*.py")}
    assert programs & (set(sys.stdlib_module_names) | set(metadata.packages_distributions())) == set()
