"""Every command that the README shows is run, unchanged, where a reader would run it."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from arbstyle.cli import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FENCED = re.compile(r"(?:<!-- (?P<marker>[\w-]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)\n```", re.DOTALL)
NEEDS_VGG = ("optimize", "train", "train.py", "evaluate", "--refine")


def blocks(language: str, marker: str) -> list[str]:
    return [m["text"] for m in FENCED.finditer(README) if (m["language"], m["marker"]) == (language, marker)]


def commands(block: str) -> list[list[str]]:
    """The words of every command of a bash block; `a && b` are two commands."""
    text = block.replace("\\\n", " ")
    lines = [command for line in text.splitlines() for command in line.split("&&")]
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def run(words: list[str]) -> int:
    """One command of the README, in this process and in the current folder."""
    program, *arguments = words
    match Path(program).name, arguments:
        case "arbstyle", _:
            return main(arguments)
        case (("python" | "python3"), ["train.py", *rest]):
            return main(["train", *rest])
        case (("python" | "python3"), ["infer.py", *rest]):
            return main(["stylize", *rest])
        case (("python" | "python3"), ["-m", "venv", _]):
            return 0
        case (("python" | "python3"), ["-m", "pytest"]):
            return 0
        case "pip", ["install", *rest]:
            check_installable(rest)
            return 0
    pytest.fail(f"the README shows a command that this test cannot run: {shlex.join(words)}")


def check_installable(arguments: list[str]) -> None:
    (target,) = [argument for argument in arguments if not argument.startswith("-")]
    found = re.fullmatch(rf"(?:\.|{PROJECT['name']})(?:\[(?P<extras>[\w,]+)\])?", target)
    assert found, f"{target} is not this project"
    extras = found["extras"].split(",") if found["extras"] else []
    assert set(extras) <= set(PROJECT["optional-dependencies"])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what commands read from a checkout; later blocks see what earlier ones wrote."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("examples", "configs"):
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, folder / name)
    return folder


def test_the_two_commands_are_marked_for_the_check_script():
    (setup,), (test,) = blocks("bash", "tested")[:1], blocks("bash", "test-command")
    assert "venv" in setup
    assert "pytest" in test


@pytest.mark.parametrize("block", blocks("bash", "tested") + blocks("bash", "test-command"))
def test_commands(
    block: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    monkeypatch.chdir(checkout)
    words_of_block = commands(block)
    if any(word in NEEDS_VGG for words in words_of_block for word in words):
        monkeypatch.setenv("ARBSTYLE_VGG19", str(request.getfixturevalue("vgg19_weights")))
    for words in words_of_block:
        assert run(words) == 0, shlex.join(words)
        if "-o" in words:
            assert Path(words[words.index("-o") + 1]).exists(), "the command did not write what it names"


@pytest.mark.parametrize("block", blocks("python", "tested"))
def test_python(block: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("ARBSTYLE_VGG19", str(request.getfixturevalue("vgg19_weights")))
    exec(compile(block, "README.md", "exec"), {})


def test_commands_named_in_the_readme_exist():
    from arbstyle.cli import command_names

    shell = "\n".join(m["text"] for m in FENCED.finditer(README) if m["language"] == "bash")
    shown = set(re.findall(r"arbstyle (\w+)", shell))
    assert shown <= set(command_names())
