"""The frame of the command line: help, version, exit codes, one line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest

import arbstyle
from arbstyle import cli
from arbstyle.errors import ArbstyleError

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A command named `probe` whose work, `run`, a test may replace."""
    module = ModuleType("arbstyle.cli.probe")
    module.run = lambda number, colour: 0  # type: ignore[attr-defined]

    def probe(*, number: int | None = None, colour: Literal["red", "blue"] = "red") -> int:
        return module.run(number, colour)

    module.probe = probe  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(cli, "command_names", lambda: ["probe"])
    return module


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The single line on standard error, with nothing on standard output."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.rstrip("\n")


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"arbstyle {arbstyle.__version__}\n"


def test_help_lists_every_command_with_its_line(capsys):
    assert cli.main(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in cli.command_names():
        assert f"{name} {cli.help_line(name)}" in shown


@pytest.mark.parametrize("name", cli.command_names())
def test_help_of_each_command(name, capsys):
    assert cli.main([name, "--help"]) == 0
    out, err = capsys.readouterr()
    assert "--help" in out
    assert err == ""


@pytest.mark.parametrize("name", cli.command_names())
def test_unknown_flag_of_each_command(name, capsys):
    assert cli.main([name, "--no-such-flag"]) == 2
    assert complaint(capsys).startswith(f"arbstyle {name}")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "expected a command"),
        (["paint"], "invalid choice: 'paint'"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["--no-such-flag", "probe"], "unrecognized arguments: --no-such-flag"),
    ],
)
def test_mistakes_before_the_command(argv, expected, probe, capsys):
    assert cli.main(argv) == 2
    line = complaint(capsys)
    assert line.startswith("arbstyle: error: ")
    assert expected in line
    assert line.endswith("(see 'arbstyle --help')")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--number", "three"], "argument --number: invalid int value: 'three'"),
        (["--number"], "argument --number: expected one argument"),
        (["--colour", "a\nb"], "argument --colour: invalid choice"),
        (["--num", "3"], "unrecognized arguments: --num 3"),
        (["stray"], "unrecognized arguments: stray"),
    ],
)
def test_mistakes_after_the_command(argv, expected, probe, capsys):
    assert cli.main(["probe", *argv]) == 2
    line = complaint(capsys)
    assert line.startswith(f"arbstyle probe: error: {expected}")
    assert line.endswith("(see 'arbstyle probe --help')")


@pytest.mark.parametrize("code", [0, 1])
def test_exit_code_is_the_commands(code, probe):
    probe.run = lambda number, colour: code
    assert cli.main(["probe"]) == code


def test_run_gets_the_parsed_arguments(probe):
    probe.run = lambda number, colour: number
    assert cli.main(["probe", "--number", "7"]) == 7


def test_a_command_may_parse_for_itself(probe):
    probe.probe = lambda *words: 5 if words == ("fit", "--help") else 6
    assert cli.main(["probe", "fit", "--help"]) == 5


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            ArbstyleError("expected a picture,\ngot a poem"),
            2,
            "arbstyle: error: expected a picture, got a poem",
        ),
        (
            OSError(28, "No space left on device", "a.png"),
            2,
            "arbstyle: error: a.png: No space left on device",
        ),
        (OSError("no such device"), 2, "arbstyle: error: no such device"),
        (KeyboardInterrupt(), 130, "arbstyle: interrupted"),
    ],
    ids=["user", "system", "system-bare", "interrupt"],
)
def test_errors_are_one_line(error, code, line, probe, capsys):
    def fail(number: int | None, colour: str) -> int:
        raise error

    probe.run = fail
    assert cli.main(["probe"]) == code
    assert complaint(capsys) == line


def test_a_bug_keeps_its_traceback(probe):
    def fail(number: int | None, colour: str) -> int:
        raise ZeroDivisionError

    probe.run = fail
    with pytest.raises(ZeroDivisionError):
        cli.main(["probe"])


@pytest.mark.parametrize(
    ("command", "code", "stream", "text"),
    [
        (["-m", "arbstyle", "--version"], 0, "stdout", f"arbstyle {arbstyle.__version__}"),
        (
            ["-m", "arbstyle", "paint"],
            2,
            "stderr",
            "arbstyle: error: argument COMMAND: invalid choice: 'paint'",
        ),
        (["infer.py", "--no-such-flag"], 2, "stderr", "arbstyle stylize: error: "),
    ],
    ids=["version", "unknown-command", "infer.py"],
)
def test_exit_status_of_the_process(command, code, stream, text):
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == code
    assert getattr(done, stream).startswith(text)


def test_unknown_attribute_of_the_package():
    with pytest.raises(AttributeError, match="no_such_name"):
        arbstyle.no_such_name  # noqa: B018


def test_lazy_names_of_the_package():
    for name in arbstyle.__all__:
        assert getattr(arbstyle, name) is not None
