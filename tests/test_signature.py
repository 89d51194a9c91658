"""A command line derived from a typed function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from arbstyle.cli._signature import Documentation, parse
from arbstyle.cli.optimize import optimize


@dataclass(frozen=True)
class Brush:
    """Brush and paint.

    Attributes:
        width: in pixels,
            100 % of the stroke.
        colours, tones: names; at least one.
        secret: not on the command line.
    """

    width: Annotated[float, "--breadth", "PIXELS"] = 1.5
    colours: Annotated[Mapping[str, float] | Sequence[str], "NAME"] = field(
        default_factory=lambda: {"red": 1.0}
    )
    tones: Sequence[str] = ()
    secret: object = field(default=None, metadata={"flag": False})


@dataclass(frozen=True)
class FlatBrush(Brush):
    """Flat brush.

    Attributes:
        angle: in degrees.
        wet: before it dries.
    """

    angle: int = field(default=0, metadata={"earlier_name": "slant"})
    wet: bool = field(default=True, metadata={"earlier_name": "wet_paint"})


def paint(
    pictures: list[Path],
    *,
    output: Annotated[Path, "-o", "DIR"],
    bits: Literal[8, 16] = 8,
    steps: int | None = None,
    quick: bool = False,
    metadata: bool = True,
    brush: FlatBrush,
) -> dict[str, Any]:
    """Paint pictures.

    Slowly, by `hand`.

    Args:
        pictures: files.
        output: folder.
        steps: how many (default: enough).
        bits: a channel.

    Raises:
        ArbstyleError: never.
    """
    return {"steps": steps, "bits": bits, "quick": quick, "metadata": metadata}


def given(*words: str) -> dict[str, Any]:
    return parse(paint, "paint", ["a.png", "-o", "out", *words])


def test_only_what_is_given_is_passed_on():
    assert given() == {"pictures": [Path("a.png")], "output": Path("out"), "brush": FlatBrush()}


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--bits", "16"], "bits", 16),
        (["--steps", "3"], "steps", 3),
        (["--quick"], "quick", True),
        (["--no-metadata"], "metadata", False),
        (["--width", "2"], "brush", FlatBrush(width=2.0)),
        (["--breadth", "2"], "brush", FlatBrush(width=2.0)),
        (["--angle", "-3"], "brush", FlatBrush(angle=-3)),
        (["--colours", "blue", "green:0.5"], "brush", FlatBrush(colours=["blue", "green:0.5"])),
        (["--tones", "a", "--tones", "b"], "brush", FlatBrush(tones=["a", "b"])),
        (["b.png"], "pictures", [Path("a.png"), Path("b.png")]),
    ],
)
def test_types(words: list[str], name: str, value: object):
    assert given(*words)[name] == value


def test_positional_words_may_come_last():
    assert parse(paint, "paint", ["-o", "out", "a.png", "b.png"]) == given("b.png")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--bits", "12"], "argument --bits: invalid choice: 12 (choose from 8, 16)"),
        (["--steps", "x"], "argument --steps: invalid int value: 'x'"),
        (["--secret", "x"], "unrecognized arguments"),
        (["--tones"], "argument --tones: expected at least one argument"),
    ],
)
def test_mistakes(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        given(*words)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


def test_what_is_required(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        parse(paint, "paint", ["a.png"])
    assert capsys.readouterr().err.endswith("are required: -o/--output (see 'paint --help')\n")


def test_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        given("--help")
    shown = " ".join(capsys.readouterr().out.split())
    for line in (
        "PICTURES files",
        "-o DIR, --output DIR folder",
        "--bits {8,16} a channel (default: 8)",
        "--steps N how many (default: enough)",
        "flat brush:",
        "--width PIXELS, --breadth PIXELS in pixels, 100 % of the stroke (default: 1.5)",
        "--colours NAME [NAME ...] names; at least one (default: red)",
        "--tones TEXT [TEXT ...] names; at least one",
        "--angle N in degrees (default: 0)",
        "Slowly, by hand.",
    ):
        assert line in shown


def test_a_type_without_words_is_a_programmers_mistake():
    def odd(*, value: dict[str, int]) -> None: ...

    with pytest.raises(TypeError, match="value"):
        parse(odd, "odd", [])


def test_documentation_line():
    assert Documentation.of(paint).line == "paint pictures"


@pytest.mark.parametrize(
    ("words", "expected", "said"),
    [
        (["--slant", "3"], FlatBrush(angle=3), "arbstyle: --slant is now --angle\n"),
        (["--slant=3"], FlatBrush(angle=3), "arbstyle: --slant is now --angle\n"),
        (["--no-wet-paint"], FlatBrush(wet=False), "arbstyle: --no-wet-paint is now --no-wet\n"),
        (["--angle", "3"], FlatBrush(angle=3), ""),
    ],
)
def test_an_earlier_name_still_works_and_a_line_says_the_new_one(
    words: list[str], expected: FlatBrush, said: str, capsys: pytest.CaptureFixture[str]
):
    assert given(*words)["brush"] == expected
    assert capsys.readouterr().err == said


def test_renamed_options_of_optimize(capsys: pytest.CaptureFixture[str]):
    words = ["a.png", "-o", "b.png", "--encoder", "vgg16", "--no-balance"]
    settings = parse(optimize, "optimize", words)["settings"]
    assert (settings.vgg, settings.relative_errors) == ("vgg16", False)
    assert "--encoder is now --vgg" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(optimize, "optimize", ["--help"])
    assert "--encoder" not in capsys.readouterr().out
