"""The rooms of the package: who may import whom, and what must stay out of the way of a quick start."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "arbstyle"

ARCHITECTURE = REPOSITORY / "docs" / "architecture.md"
ENTRY_POINTS = {"cli", "__init__", "__main__"}  # may import everything; nothing but each other imports them
TRAINING_ONLY = {"pytorch_lightning", "lightning", "lightning_fabric", "datasets", "wandb"}
MAY_IMPORT_TRAINING_STACK = {"training": TRAINING_ONLY, "restyling": {"datasets"}}


def rooms_in_the_table() -> dict[str, set[str]]:
    """Room → the rooms it may import, from the table of rooms; `errors` is open to all."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", text, re.MULTILINE)
    return {room: set(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows}


ROOMS = rooms_in_the_table()
SOURCES = sorted(PACKAGE.rglob("*.py"))
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "benchmarks/*.md", "arbstyle/assets/**/*.md")
    for path in REPOSITORY.glob(pattern)
)
PAGES = [*sorted((REPOSITORY / "docs").glob("*.md")), REPOSITORY / "docs" / "studies" / "README.md"]


def relative_id(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def room_of(source: Path) -> str:
    return source.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_modules(source: Path) -> Iterator[str]:
    """Every absolute module name that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = source.relative_to(REPOSITORY).parent.parts
            prefix = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (prefix, node.module)))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def module_name(source: Path) -> str:
    return ".".join(source.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def imports_at_the_top(source: Path) -> set[str]:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}


def imported_rooms(source: Path) -> set[str]:
    parts = [name.split(".") for name in imported_modules(source)]
    second = {part[1] for part in parts if part[0] == "arbstyle" and len(part) > 1}
    return {name for name in second if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}


def test_table_is_acyclic_and_complete():
    assert len(ROOMS) > 5, "no table of rooms in docs/architecture.md"
    placed: set[str] = set()
    for room, allowed in ROOMS.items():
        assert allowed <= placed, f"{room} may import {allowed - placed}, which stand below it in the table"
        placed.add(room)
    rooms_on_disk = {room_of(source) for source in SOURCES}
    assert rooms_on_disk - placed - ENTRY_POINTS == set(), "modules without a line in the table of rooms"


@pytest.mark.parametrize("source", SOURCES, ids=relative_id)
def test_imports_go_one_way(source: Path):
    room = room_of(source)
    if room in ENTRY_POINTS:
        return
    allowed = ROOMS.get(room, set()) | {room, "errors"}
    assert imported_rooms(source) <= allowed


@pytest.mark.parametrize("room", ROOMS)
def test_every_permission_is_used(room: str):
    used = set().union(*(imported_rooms(source) for source in SOURCES if room_of(source) == room))
    assert ROOMS[room] - used == set()


@pytest.mark.parametrize("source", SOURCES, ids=relative_id)
def test_training_stack_stays_in_training(source: Path):
    imported = {name.split(".")[0] for name in imported_modules(source)}
    assert imported & TRAINING_ONLY <= MAY_IMPORT_TRAINING_STACK.get(room_of(source), set())


def test_no_module_imports_itself_by_way_of_others():
    graph = {module_name(source): imports_at_the_top(source) for source in SOURCES}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names them


@pytest.mark.parametrize("source", SOURCES, ids=relative_id)
def test_errors_are_exceptions_and_output_is_the_command_lines(source: Path):
    tree = ast.parse(source.read_text(encoding="utf-8"))
    asserts = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert asserts == [], "a user's mistake is an ArbstyleError: `python -O` drops assert"
    prints = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert room_of(source) == "cli" or prints == [], "only the command line prints"


def modules_loaded_by(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nsys.stderr.write(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_help_is_quick_because_it_loads_nothing_heavy():
    loaded = modules_loaded_by("import arbstyle; from arbstyle.cli import main; main(['--help'])")
    assert loaded & ({"torch", "torchvision", "numpy", "PIL", "matplotlib"} | TRAINING_ONLY) == set()


@pytest.mark.parametrize(
    "module", ["painting.stylizer", "optimization.engine", "evaluation", "training.checkpoint"]
)
def test_what_needs_no_training_stack_loads_none(module: str):
    loaded = modules_loaded_by(f"import arbstyle.{module}")
    assert "torch" in loaded
    assert loaded & TRAINING_ONLY == set()


@pytest.mark.parametrize("module", ["images.arrays", "painting.batch", "onnx.runtime"])
def test_what_needs_no_pytorch_loads_none(module: str):
    assert "torch" not in modules_loaded_by(f"import arbstyle.{module}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_id)
def test_documents_link_to_files_that_exist(document: Path):
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    local = [link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    missing = [link for link in local if not (document.parent / link).exists()]
    assert missing == []


def anchors(document: Path) -> set[str]:
    """What `#…` can point to, as GitHub names headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_id)
def test_documents_link_to_headings_that_exist(document: Path):
    links = re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", document.read_text(encoding="utf-8"))
    missing = [
        f"{name}#{anchor}"
        for name, anchor in links
        if anchor not in anchors(document.parent / name if name else document)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=relative_id)
def test_every_page_opens_with_what_it_is_for(page: Path):
    title, opening, *_ = page.read_text(encoding="utf-8").split("\n\n")
    assert title.startswith("# ")
    assert opening.startswith("This page "), "first say what the page is for, and for whom"


@pytest.mark.parametrize("folder", ["examples", "arbstyle/assets/calibration"])
def test_every_picture_says_whose_it_is(folder: str):
    table = (REPOSITORY / folder / "README.md").read_text(encoding="utf-8")
    pictures = {
        path.name for path in (REPOSITORY / folder).iterdir() if path.suffix in {".jpg", ".png", ".webp"}
    }
    assert pictures
    assert pictures == set(re.findall(r"`([\w-]+\.(?:jpg|png|webp))`", table))
