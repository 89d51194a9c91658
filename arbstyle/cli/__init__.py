"""The `arbstyle` command: every module of this package is a command, named like its file.

A command is a typed function of the same name. Its signature is the command line, its docstring the help:

    def mirror(pictures: list[str], *, output: Annotated[Path, "-o", "DIR"], depth: int = 8) -> None:
        \"\"\"Mirror pictures.

        Args:
            pictures: files, folders or patterns.
            output: folder to write.
            depth: bits a channel.
        \"\"\"
        from arbstyle.images import …     # PyTorch and the like, inside: `--help` answers at once

is `arbstyle mirror PICTURES… -o DIR [--depth N]`.

- Parameters before the `*` are positional, those after it are options. No default: required. The default,
  type and help stand only here; an option that isn't given isn't passed on.
- Types: `str`, `int`, `float`, `Path`; `bool` (`--grid`, or `--no-metadata` where the default is true);
  `Literal["a", "b"]` for a choice; `list[…]` for one or more words. Of `X | None`, X is read.
- `Annotated[int, "-n", "PIXELS"]` gives a second name (with a dash) and the placeholder that help shows.
- A parameter whose type is a dataclass is a group of options: one for each field, documented under
  `Attributes:`; its docstring's first sentence is the group's title. `metadata={"flag": False}` leaves a
  field out. A dataclass of the package itself, such as the optimisation's `Settings`, serves as it is, as
  long as its module loads no PyTorch. `_options.py` has groups that commands share.
- The docstring's first sentence is the command's line in `arbstyle --help`; paragraphs before `Args:` end
  its help.
- The function returns an exit code, or None for 0. A user's mistake is an `ArbstyleError`.
- Several commands under one name (`arbstyle style save`): `ACTIONS = (save, show)` instead of the
  function; the module's docstring is the line of help.
- A function of `*words` gets the words as they are and parses for itself (`train`: LightningCLI).

Modules that begin with an underscore are no commands: `_signature.py` derives the command line.

Exit codes: 0 done; 1 done, but some of several inputs failed; 2 a mistake in the command line, the input or
the environment, told in one line on standard error; 130 interrupted with Ctrl-C; 143 ended with
SIGTERM; 129 with SIGHUP, as when the terminal is closed. What is done is kept.
"""

from __future__ import annotations

import importlib
import pkgutil
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import arbstyle
from arbstyle.cli._signature import Documentation, Parser, parse, takes_words
from arbstyle.cli._streams import endings_as_interrupt, lasting_streams
from arbstyle.errors import ArbstyleError, is_out_of_memory, one_line


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own, without the program's name); return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with lasting_streams():
            return _run(arguments)
    except OSError as error:  # standard output could not be written
        return _fail(f"arbstyle: error: {_describe(error)}", 2)


def _run(arguments: list[str]) -> int:
    try:
        return _dispatch(arguments)
    except ArbstyleError as error:
        return _fail(f"arbstyle: error: {error}", 2)
    except OSError as error:  # a full disk, a folder that may not be written
        return _fail(f"arbstyle: error: {_describe(error)}", 2)
    except ModuleNotFoundError as error:  # such as PyTorch, where only ONNX Runtime was installed
        package = (error.name or "").partition(".")[0]
        if package in ("", "arbstyle"):
            raise
        needs = f"this needs the Python package '{package}', which is not installed here"
        return _fail(f"arbstyle: error: {needs}; 'pip install arbstyle' brings all packages", 2)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return _fail("arbstyle: error: not enough memory; choose a smaller size", 2)
    except KeyboardInterrupt:
        return _fail("arbstyle: interrupted", 130)
    except SystemExit as stop:  # an argument parser has answered --help or a mistake
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def command_names() -> list[str]:
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_"))


def load(name: str) -> Callable[..., Any] | dict[str, Callable[..., Any]]:
    """A command's function, or its actions by name."""
    module = importlib.import_module(f"{__name__}.{name}")
    if hasattr(module, "ACTIONS"):
        return {action.__name__: action for action in module.ACTIONS}
    return getattr(module, name)


def help_line(name: str) -> str:
    """What a command does, for the list of commands."""
    command = load(name)
    return Documentation.of(sys.modules[f"{__name__}.{name}"] if isinstance(command, dict) else command).line


def _dispatch(arguments: list[str]) -> int:
    for word in arguments:
        if "\0" in word:  # from Python; no shell can give one
            raise ArbstyleError(f"cannot use {word!r}: no file name holds a null byte")
    if not arguments or arguments[0] not in command_names():
        lines = {name: help_line(name) for name in command_names()}
        _answer_without_command(
            "arbstyle", "COMMAND", "Any photograph in the style of any picture.", lines, arguments
        )
    name, *rest = arguments
    program, command = f"arbstyle {name}", load(name)
    if isinstance(command, dict):
        if not rest or rest[0] not in command:
            lines = {name: Documentation.of(action).line for name, action in command.items()}
            _answer_without_command(program, "ACTION", f"{help_line(name).capitalize()}.", lines, rest)
        program, command, rest = f"{program} {rest[0]}", command[rest[0]], rest[1:]
    if takes_words(command):
        return command(*rest) or 0
    keywords = parse(command, program, rest)
    with endings_as_interrupt() as ended_by:
        try:
            code = command(**keywords) or 0
        except KeyboardInterrupt:
            code = _fail("arbstyle: interrupted", 130)
    return 128 + (ended_by() or signal.SIGINT) if code == 130 else code


def _answer_without_command(
    program: str, noun: str, description: str, lines: dict[str, str], arguments: list[str]
) -> NoReturn:
    """Answer `--help` and `--version`, or complain about what is no command; exits in any case."""
    parser = Parser(prog=program, description=description)
    parser.add_argument("--version", action="version", version=f"arbstyle {arbstyle.__version__}")
    commands = parser.add_subparsers(
        title=f"{noun.lower()}s", metavar=noun, description=f"'{program} {noun} --help' says more"
    )
    for name, line in lines.items():
        commands.add_parser(name, help=line)
    parser.parse_args(arguments)
    parser.error(f"expected a command ({noun}), one of {', '.join(lines)}")


def _fail(message: str, code: int) -> int:
    print(one_line(message), file=sys.stderr)
    return code


def _describe(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
