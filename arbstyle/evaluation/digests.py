"""Digests that tell files, networks and code apart by content."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from torch import nn


def digest(path: Path) -> str:
    """16 hexadecimal digits that tell files of different content apart."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def digest_of_module(module: nn.Module) -> str:
    """The same of a network: its structure and its weights."""
    weights = hashlib.sha256(repr(module).encode())
    for tensor in module.state_dict().values():
        weights.update(tensor.detach().cpu().contiguous().numpy())
    return weights.hexdigest()[:16]


@cache
def digest_of_code(*rooms: str) -> str:
    """The same of the package's code in these rooms (folders or modules), less comments and docstrings."""
    package = Path(str(files("arbstyle")))
    code = hashlib.sha256()
    for room in rooms:
        sources = sorted((package / room).rglob("*.py")) or [package / f"{room}.py"]
        for source in sources:
            code.update(source.relative_to(package).as_posix().encode())
            code.update(_without_texts(source.read_text(encoding="utf-8")).encode())
    return code.hexdigest()[:16]


def _without_texts(source: str) -> str:
    """A module's syntax tree, less the strings that stand alone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                setattr(node, name, [each for each in statements if not _is_text(each)])
    return ast.dump(tree)


def _is_text(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
