"""The `arbstyle` command.

Every module of this package is a command, named like its file. It has a line of help, `HELP`, and

- `add_arguments(parser)`, which declares its options, and `run(args)`, which does the work and returns
  the exit code; or
- `run_argv(argv)` alone, where another parser takes the arguments as they are (`train`: LightningCLI).

Command modules import PyTorch and the like inside `run`, so that `--help` answers at once.

Exit codes: 0 done; 1 done, but some of several inputs failed; 2 a mistake in the command line, the input or
the environment, told in one line on standard error; 130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

import arbstyle
from arbstyle.errors import ArbstyleError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own, without the program's name); return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except ArbstyleError as error:
        return _fail(f"arbstyle: error: {error}", 2)
    except OSError as error:  # a full disk, a folder that may not be written
        return _fail(f"arbstyle: error: {_describe(error)}", 2)
    except KeyboardInterrupt:
        return _fail("arbstyle: interrupted", 130)
    except SystemExit as stop:  # an argument parser has answered --help or a mistake
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def command_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, without the usage before it."""

    def __init__(self, **settings: Any) -> None:
        # An abbreviation that works today is ambiguous once another option shares its beginning.
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {_one_line(message)} (see '{self.prog} --help')\n")


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in command_names():
        _answer_without_command(arguments)
    name, rest = arguments[0], arguments[1:]
    command = _load(name)
    if hasattr(command, "run_argv"):
        return command.run_argv(rest)
    parser = Parser(prog=f"arbstyle {name}", description=_sentence(command.HELP))
    command.add_arguments(parser)
    return command.run(parser.parse_args(rest))


def _answer_without_command(arguments: list[str]) -> NoReturn:
    """Answer `--help` and `--version`, or complain about what is no command; exits in any case."""
    parser = Parser(prog="arbstyle", description="Any photograph in the style of any picture.")
    parser.add_argument("--version", action="version", version=f"arbstyle {arbstyle.__version__}")
    names = command_names()
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", description="'arbstyle COMMAND --help' says more"
    )
    for name in names:
        commands.add_parser(name, help=_load(name).HELP)
    parser.parse_args(arguments)
    parser.error(f"expected a command, one of {', '.join(names)}")


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _fail(message: str, code: int) -> int:
    print(_one_line(message), file=sys.stderr)
    return code


def _describe(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _one_line(message: str) -> str:
    return " ".join(message.split())
