"""Notes of our own that are read back (of films, data sets, votes, graphs): forged ones are one line."""

from __future__ import annotations

import errno
import json
import os
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from test_stored import damaged, damaged_bytes, damaged_safetensors, escapes, joined
from torch import nn

from arbstyle.errors import ArbstyleError
from arbstyle.evaluation.evaluation import _report_folder
from arbstyle.evaluation.preference import _known_salt
from arbstyle.evaluation.results import REPORT_FILES, ResultsTable
from arbstyle.evaluation.votes import _read_key, _read_votes
from arbstyle.perception import filters
from arbstyle.restyling.job import _known, _write_down
from arbstyle.restyling.parts import Part
from arbstyle.restyling.styles import StyleTable
from arbstyle.stored import read_json_file, write_tensors
from arbstyle.studies.compressed_vgg import CompressedVGG
from arbstyle.training.callbacks import AtomicCheckpointIO
from arbstyle.video.job import VideoJob

FORGERIES = 200


def forged_json(whole: Any) -> list[bytes]:
    contents = [b"", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b"null"]
    contents += [json.dumps(damaged(whole, random.Random(n))).encode() for n in range(FORGERIES)]
    return contents + [damaged_bytes(json.dumps(whole).encode(), random.Random(n)) for n in range(FORGERIES)]


# --- films ----------------------------------------------------------------------------------------


def film_job(folder: Path) -> VideoJob:
    info = SimpleNamespace(alpha=False, time_base=Fraction(1, 10))
    output = SimpleNamespace(keeps_alpha=False, parts=folder, path=folder / "out.mp4")
    cut = SimpleNamespace(start=Fraction(0), end=None)
    return VideoJob(SimpleNamespace(info=info), output, cut, {"strength": 1.0})  # type: ignore[arg-type]


def test_forged_records_of_films(tmp_path: Path):
    job = film_job(tmp_path)
    times = [[0, 1], [1, 1]]
    record = job.record | {"segments": [{"file": "00000.segment", "times": times}]}
    path = tmp_path / "job.json"
    path.write_text(json.dumps(record))
    assert job._read_record(path) == record

    def read(path: Path) -> None:
        job.record = job._read_record(path)
        assert job.frames_done >= 0
        assert all(segment.path.parent == tmp_path for segment in job._segments())
        job.record = record

    assert escapes(read, path, forged_json(record)) == []


def test_forged_states_of_films(tmp_path: Path):
    path = tmp_path / "00001.state.safetensors"
    write_tensors(path, {"frame": torch.zeros(3, 4, 4, dtype=torch.uint8), "usual": torch.ones(())})
    forged = [damaged_safetensors(path, number) for number in range(FORGERIES)]
    assert escapes(lambda _: film_job(tmp_path)._read_state(1), path, forged) == []


# --- data sets ------------------------------------------------------------------------------------


def test_forged_plans_of_data_sets(tmp_path: Path):
    description = {"strength": [1.0, 1.0]}
    part = Part(0, "a", 2, names=("a.png", "b/c.png"))
    _write_down(tmp_path, description, [part])

    def read(path: Path) -> None:
        known = _known(tmp_path, tmp_path / "out", description, resume=True)
        for each in known or []:
            assert ".." not in Path(each.name).parts
            assert each.count >= 0

    read(tmp_path / "plan.jsonl")
    for name in ("plan.jsonl", "job.json"):
        whole = json.loads((tmp_path / name).read_text())
        kept = (tmp_path / name).read_bytes()
        assert escapes(read, tmp_path / name, forged_json(whole)) == []
        (tmp_path / name).write_bytes(kept)
    escaping = {"number": 0, "name": "../../x", "count": 1, "file": "", "names": [], "start": 0}
    (tmp_path / "plan.jsonl").write_text(json.dumps(escaping))
    with pytest.raises(ArbstyleError, match="outside of the data set"):
        read(tmp_path)


def test_forged_tables_of_styles(tmp_path: Path):
    StyleTable(("a", "b"), np.ones((2, 3), np.float32), "model").save(tmp_path)
    assert StyleTable.load(tmp_path).names == ("a", "b")
    for name in ("styles.json", "styles.npy"):
        kept = (tmp_path / name).read_bytes()
        forged = [damaged_bytes(kept, random.Random(number)) for number in range(FORGERIES)]
        forged += forged_json(json.loads(kept)) if name == "styles.json" else []
        assert escapes(lambda _: StyleTable.load(tmp_path), tmp_path / name, forged) == []
        (tmp_path / name).write_bytes(kept)
    for table in (np.array([{}, {}], object), np.full((2, 3), 1e30, np.float32)):
        np.save(tmp_path / "styles.npy", table, allow_pickle=True)
        with pytest.raises(ArbstyleError, match="delete that folder"):
            StyleTable.load(tmp_path)


# --- votes ----------------------------------------------------------------------------------------


def test_forged_keys_and_votes(tmp_path: Path):
    path = tmp_path / "votes.json"
    key = {"study": "s", "salt": "x", "pictures": {"p": {"method": "a"}, "q": {"method": "b"}}}
    votes = {
        "study": "s",
        "judge": "j",
        "votes": [{"trial": "1", "left": "p", "right": "q", "choice": "left"}],
    }
    assert escapes(_read_key, path, forged_json(key)) == []
    assert escapes(_known_salt, path, forged_json(key)) == []
    methods = {"p": "a", "q": "b"}
    assert escapes(lambda path: _read_votes(path, "s", methods), path, forged_json(votes)) == []


# --- weights and graphs ---------------------------------------------------------------------------


def test_forged_weights_of_the_compressed_network(tmp_path: Path):
    names = [
        "0",
        *(f"{block}{n}" for block, layers in ((1, 2), (2, 2), (3, 4), (4, 1)) for n in range(1, layers + 1)),
    ]
    names += [f"{name}_aux" for name in ("11", "21", "31", "41")]
    state = {f"conv{name}.weight": torch.ones(2, 2, 1, 1) for name in names}
    state |= {f"conv{name}.bias": torch.ones(2) for name in names}
    path = tmp_path / "small.safetensors"
    path.write_bytes(save(state))
    assert CompressedVGG(path).channels["relu1_1"] == 2
    forged = [damaged_safetensors(path, number) for number in range(100)]
    forged += [
        save(state | {"conv11.weight": bad}) for bad in (torch.ones(2), torch.full((2, 2, 1, 1), torch.nan))
    ]
    assert escapes(CompressedVGG, path, forged) == []


def test_a_graph_names_weights_beside_it_only(tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from arbstyle.onnx.runtime import FILE_FORMAT, OnnxStylizer

    tensor = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["a"], ["b"])
    values = [tensor("a", 1, [1])], [tensor("b", 1, [1])]
    outside = tmp_path / "outside"
    outside.write_bytes(joined({}, b""))
    folder = tmp_path / "graphs"
    folder.mkdir()
    (folder / "huge").write_bytes(b"\xff" * 8)
    ours = {"format": FILE_FORMAT, "part": "painter", "name": "m", "fingerprint": "0" * 16}
    forged: list[dict[str, str]] = [
        {},
        {key: value for key, value in ours.items() if key != "fingerprint"},
        ours | {"weights": "missing", "weights_header": "0"},
        ours | {"weights": "huge", "weights_header": "0"},
        ours | {"weights": "huge"},
        ours | {"weights": "../outside", "weights_header": "0"},
        ours | {"weights": str(outside), "weights_header": "0"},
        ours | {"weights": ".", "weights_header": "0"},
    ]
    contents = []
    for metadata in forged:
        model = onnx.helper.make_model(
            onnx.helper.make_graph([node], "g", *values), opset_imports=[onnx.helper.make_opsetid("", 17)]
        )
        model.ir_version = 8
        onnx.helper.set_model_props(model, metadata)
        contents.append(model.SerializeToString())

    def read(_: Path) -> None:
        assert OnnxStylizer(folder).name == "m"
        raise AssertionError("accepted")

    assert escapes(read, folder / "painter.onnx", contents) == []


def test_a_pipe_is_never_opened(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="regular file"):
        read_json_file(pipe)
    with pytest.raises(ArbstyleError):
        CompressedVGG(pipe)


# --- writing: a full disk, and what others wrote ----------------------------------------------------


@pytest.mark.parametrize("kind", ["tensors", "arrays", "checkpoint"])
def test_a_full_disk_is_one_line_and_the_old_file_stays(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "file.safetensors"
    path.write_bytes(b"old")
    write: dict[str, Callable[[], object]] = {
        "tensors": lambda: write_tensors(path, {"a": torch.ones(9)}),
        "arrays": lambda: write_tensors(path, {"a": np.ones(9)}),
        "checkpoint": lambda: AtomicCheckpointIO().save_checkpoint({"a": torch.ones(9)}, path),
    }

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(ArbstyleError, match="no space left on device"):
            write[kind]()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"
    write[kind]()
    assert path.read_bytes() != b"old"


def test_a_cache_that_can_not_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cache").write_text("a file, not a folder")
    monkeypatch.setenv("ARBSTYLE_CACHE", str(tmp_path / "cache"))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    found = filters.cached_mean_activations(network, ["conv1_1", "relu1_1"], "max")
    assert found["conv1_1"].shape[1] == 4


@pytest.mark.parametrize("name", REPORT_FILES)
def test_what_an_evaluation_did_not_write_it_does_not_replace(name: str, tmp_path: Path):
    (tmp_path / name).write_text("date,amount\n2026-11-26,3\n")
    with pytest.raises(ArbstyleError, match=f"{name}' is not from an evaluation"):
        _report_folder(tmp_path)
    ours = tmp_path / "ours"
    ours.mkdir()
    ResultsTable(ours / "results.csv")
    (ours / "index.html").write_text("a report")
    assert _report_folder(ours) == ours
