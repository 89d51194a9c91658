"""What is printed survives any stream and any name, and the work goes on; a signal keeps what is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arbstyle import images
from arbstyle.cli import main
from arbstyle.cli._streams import endings_as_interrupt

REPOSITORY = Path(__file__).resolve().parent.parent
LATIN_1 = os.fsdecode(b"caf\xe9.png")  # a name that is no UTF-8, as old disks have them
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}

PROBE = r"""
import os, pathlib, sys, types
from arbstyle import cli

def probe():
    '''Print names and work.'''
    for name in ("写真.png", os.fsdecode(b"caf\xe9.png")):
        print(name, flush=True)
        print(name, file=sys.stderr, flush=True)
        assert open(name := "opened").fileno() > 2
    pathlib.Path("done").touch()

module = types.ModuleType("arbstyle.cli.probe")
module.probe = probe
sys.modules[module.__name__] = module
cli.command_names = lambda: ["probe"]
sys.exit(cli.main(["probe"]))
"""


@pytest.mark.parametrize(
    ("redirection", "environment", "out"),
    [
        ("", {"PYTHONIOENCODING": "utf-8"}, "写真.png\ncaf\\udce9.png\n"),
        ("", {"PYTHONIOENCODING": "cp1252"}, "\\u5199\\u771f.png\ncaf\\udce9.png\n"),
        ("", {"PYTHONIOENCODING": "ascii:strict"}, "\\u5199\\u771f.png\ncaf\\udce9.png\n"),
        ("2>&-", {}, None),
        (">&-", {}, ""),
        ("<&- >&- 2>&-", {}, ""),
        ("| true", {}, ""),
        ("2> >(true)", {}, None),
    ],
)
def test_printing_never_stops_the_work(
    redirection: str, environment: dict[str, str], out: str | None, tmp_path: Path
):
    (tmp_path / "opened").touch()
    command = ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {redirection}', sys.executable, PROBE]
    done = subprocess.run(command, cwd=tmp_path, env={**ENVIRONMENT, **environment}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "done").exists()
    assert out is None or done.stdout.decode() == out
    assert b"Traceback" not in done.stderr
    assert b"ignored" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_behind_standard_output_is_told_after_the_work(tmp_path: Path):
    (tmp_path / "opened").touch()
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", PROBE]
        done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.endswith(b"arbstyle: error: standard output: No space left on device\n")
    assert (tmp_path / "done").exists()


def test_names_that_no_file_can_hold(tmp_path: Path):
    """Through a whole command: in the pictures' metadata, in a style file, and in a complaint."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    for name in ("写真.jpg", LATIN_1, os.fsdecode(b"cut\xe9.png")):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / os.fsdecode(b"cut\xe9.png")).write_bytes(b"\x89PNG")
    steps = [
        ["style", "save", LATIN_1, "-o", "é.style.safetensors"],
        ["stylize", ".", "--style", LATIN_1, "é.style.safetensors", "-o", "out"],
    ]
    script = "import sys; from arbstyle.cli import main; print([main(step) for step in eval(sys.argv[1])])"
    command = [sys.executable, "-c", script, repr(steps)]
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert done.stdout.endswith(b"[0, 1]\r\n" if os.name == "nt" else b"[0, 1]\n"), done.stderr
    assert done.stderr.count(b"\n") == 2, "the cut file, and the sum"
    assert len(list((tmp_path / "out").iterdir())) == 4
    with Image.open(tmp_path / "out" / f"{LATIN_1[:-4]}__{LATIN_1}") as made:
        assert made.info["Style"] == "caf\\udce9.png"


def test_sigterm_keeps_the_best_picture(tmp_path: Path):
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(tmp_path / "photo.png")
    quick = (
        "--vgg-weights random --no-normalize-filters --content-layers relu1_1 --init noise --optimizer adam"
    )
    words = f"photo.png -o out.png --steps 1000000 --frames frames {quick}".split()
    command = [sys.executable, "-m", "arbstyle", "optimize", *words]
    process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE)
    while not (tmp_path / "frames" / "000011.png").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate()
    assert process.returncode == 143
    assert b"best picture so far" in complaint
    with Image.open(tmp_path / "out.png") as saved:
        assert saved.size == (24, 24)


def _signals() -> list[tuple[str, int]]:
    codes = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
    return [(name, code) for name, code in codes.items() if hasattr(signal, name)]


@pytest.mark.parametrize(("sign", "code"), _signals())
def test_whatever_ends_the_program_keeps_the_best_picture(
    sign: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(tmp_path / "photo.png")
    write, frames = images.write_image, []

    def signalled(image: Any, path: Path, **options: Any) -> Path:
        frames.append(path)
        if len(frames) == 3:
            signal.raise_signal(getattr(signal, sign))
        return write(image, path, **options)

    monkeypatch.setattr(images, "write_image", signalled)
    default = signal.default_int_handler if sign == "SIGINT" else signal.SIG_DFL
    before = signal.signal(getattr(signal, sign), default)  # which nohup changes
    monkeypatch.chdir(tmp_path)
    quick = (
        "--vgg-weights random --no-normalize-filters --content-layers relu1_1 --init noise --optimizer adam"
    )
    words = f"optimize photo.png -o out.png --steps 9 --frames frames --frames-every 1 {quick}".split()
    try:
        assert main(words) == code
        assert signal.getsignal(getattr(signal, sign)) is default
    finally:
        signal.signal(getattr(signal, sign), before)
    with Image.open("out.png") as saved:
        assert saved.size == (24, 24)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals")
def test_what_is_ignored_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with endings_as_interrupt() as ended_by:
            signal.raise_signal(signal.SIGHUP)
        assert ended_by() is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
