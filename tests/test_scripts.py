"""What the scripts say of files made by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def test_same_pictures_sees_one_value_in_the_last_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    spec = importlib.util.spec_from_file_location("same_pictures", SCRIPTS / "same_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    picture = np.random.default_rng(0).random((1, 3, 8, 9), np.float32)
    moved = picture.copy()
    moved[0, 1, 2, 3] = np.nextafter(moved[0, 1, 2, 3], np.float32(2))
    for folder, tiles in (("one", picture), ("same", picture), ("other", moved)):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "pair.npz", plain=picture, tiles=tiles)
    assert script.compare(tmp_path / "one", tmp_path / "same")
    assert capsys.readouterr().out.split("\n")[1].split() == ["tiles", "the", "same"]
    assert not script.compare(tmp_path / "one", tmp_path / "other")
    first_line, second_line = capsys.readouterr().out.splitlines()
    assert first_line.split() == ["plain", "the", "same"]
    assert second_line.startswith("tiles")
    assert "differ by up to" in second_line
