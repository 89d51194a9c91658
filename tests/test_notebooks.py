"""Every notebook runs from top to bottom, at toy size and with a random VGG."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"

TOY = {
    "1-content-reconstruction": "SIZE, STEPS = 32, 2",
    "2-texture-synthesis": "SIZE, STEPS = 32, 2",
    "3-style-transfer": "SIZE, STEPS, LONG = 48, 2, 6",
    "4-from-one-style-to-any": "SIZE, SECONDS, COUNTS = 16, 0.01, [4]",
    "5-tour": "SIZE, REFINE_STEPS, STEPS = 64, 1, 2",
}

ONE_PICTURE = """
from arbstyle.perception import filters
one = list(filters.calibration_files())[:1]
filters.calibration_files = lambda: iter(one)
"""
"""Normalises filters on one picture instead of all: the true means of a random VGG matter to nobody."""


def test_every_notebook_has_a_toy_size():
    assert set(TOY) == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}


@pytest.mark.parametrize("name", TOY)
def test_a_notebook_runs(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ARBSTYLE_VGG19", "random")
    monkeypatch.setenv("ARBSTYLE_VGG16", "random")
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    marked = [
        number for number, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])
    ]
    assert len(marked) == 1
    notebook.cells.insert(marked[0] + 1, nbformat.v4.new_code_cell(TOY[name] + ONE_PICTURE))
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOKS)}})
    client.execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert not [output for output in shown if output.output_type == "error"]


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
