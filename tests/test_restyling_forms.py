"""Data sets in every form, read back by the libraries that others read them with."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from PIL import Image
from test_restyling import contents, manifest, noise, restyle

from arbstyle import ArbstyleError
from arbstyle.cli import main
from arbstyle.images import find_images
from arbstyle.restyling.features import PICTURE
from arbstyle.restyling.job import plan
from arbstyle.restyling.local import LocalEngine
from arbstyle.restyling.restyler import Recipe, Restyler

NAMES = [f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(3)]


@pytest.fixture(autouse=True, scope="module")
def _private_datasets_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        datasets.disable_progress_bars()
        yield


@pytest.fixture(scope="module")
def paintings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paintings")
    for number in range(3):
        noise((64, 64), 100 + number).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    for number, name in enumerate(NAMES):
        (folder / name).parent.mkdir(exist_ok=True)
        noise((32 + 8 * (number % 2), 40), number).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def painted(tree: Path, paintings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What each picture of the tree becomes."""
    folder = tmp_path_factory.mktemp("painted") / "out"
    restyle(tree, paintings, folder)
    return {name: np.asarray(Image.open(folder / name)) for name in NAMES}


@pytest.fixture
def table(tree: Path, tmp_path: Path) -> Path:
    """A parquet file with columns of many types, as ``datasets`` writes it, in two row groups."""
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "picture": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "boxes": datasets.Sequence(datasets.Value("float32")),
            "taken": datasets.Value("timestamp[us]"),
            "about": {"who": datasets.Value("string"), "stars": datasets.Value("int16")},
        }
    )
    rows = [
        {
            "id": name,
            "picture": {"bytes": (tree / name).read_bytes(), "path": name},
            "label": name.split("/")[0],
            "boxes": [0.5] * number,
            "taken": datetime(2020, 1, 1 + number, 12, 30),
            "about": {"who": None if number == 1 else f"nobody {number}", "stars": number},
        }
        for number, name in enumerate(NAMES)
    ]
    folder = tmp_path / "table"
    folder.mkdir()
    datasets.Dataset.from_list(rows, features=features).to_parquet(folder / "train.parquet", batch_size=4)
    return folder


def load(kind: str, files: Path) -> datasets.Dataset:
    return datasets.load_dataset(kind, data_files=str(files), split="train")


# --- trees and tables ---------------------------------------------------------------------------


def test_a_tree_becomes_parquet_that_datasets_and_a_torchvision_loop_read(
    tree: Path, paintings: Path, painted: dict[str, np.ndarray], tmp_path: Path
):
    out = tmp_path / "out"
    words = ["dataset", str(tree), "--styles", str(paintings), "-o", str(out), "--to", "parquet"]
    assert main([*words, "--style-size", "64", "--part-size", "4", "--workers", "1"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["data-00000.parquet", "data-00001.parquet"]
    loaded = load("parquet", out / "*.parquet")
    assert loaded.features["label"].names == ["cat", "dog"]
    assert [loaded.features["label"].int2str(row["label"]) for row in loaded] == ["cat"] * 3 + ["dog"] * 3
    for name, row in zip(NAMES, loaded, strict=True):
        assert np.array_equal(np.asarray(row["image"]), painted[name])
    assert len(datasets.load_dataset(str(out), split="train")) == len(NAMES)

    # A training loop learns six pictures by heart.
    steps = torchvision.transforms.Compose(
        [torchvision.transforms.Resize((32, 32)), torchvision.transforms.ToTensor()]
    )
    loaded.set_transform(
        lambda rows: {"pixels": [steps(image) for image in rows["image"]], "label": rows["label"]}
    )
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(30):
        for batch in torch.utils.data.DataLoader(loaded, batch_size=6):
            loss = torch.nn.functional.cross_entropy(model(batch["pixels"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_the_worked_example_of_the_page(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its commands as they stand, on some of the shared photos in two classes."""
    page = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
    example = page.split("## A worked example")[1]
    command, program = (
        re.findall(rf"```{kind}\n(.*?)```", example, re.DOTALL)[0] for kind in ("bash", "python")
    )
    monkeypatch.chdir(tmp_path)
    for number, photo in enumerate(find_images(shared_data / "content")[:6]):
        copy = Path("pets", ("cat", "dog")[number % 2], photo.name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, copy)
    Path("paintings").mkdir()
    for painting in find_images(shared_data / "style")[:3]:
        shutil.copy(painting, "paintings")

    assert main([*shlex.split(command)[1:], "--workers", "1"]) == 0
    known: dict[str, Any] = {}
    exec(program, known)
    assert known["pets"].features["label"].names == ["cat", "dog"]
    assert known["batch"]["pixels"].shape == (6, 3, 224, 224)
    assert sorted(known["batch"]["label"].tolist()) == [0, 0, 0, 1, 1, 1]
    assert known["batch"]["pixels"].std() > 0.05, "pictures"


def test_a_tree_is_an_image_folder_again(tree: Path, paintings: Path, tmp_path: Path):
    restyle(tree, paintings, tmp_path / "out")
    folder = torchvision.datasets.ImageFolder(str(tmp_path / "out"))
    assert folder.classes == ["cat", "dog"]
    assert [Path(path).relative_to(tmp_path / "out").as_posix() for path, _ in folder.samples] == NAMES
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), split="train")
    assert loaded.features["label"].names == ["cat", "dog"]


def test_parquet_keeps_all_other_columns(table: Path, paintings: Path, tmp_path: Path):
    job = restyle(table, paintings, tmp_path / "out", part_size=5)
    assert [row["key"] for row in manifest(job)] == [f"train.parquet#{row}" for row in range(6)]
    before = pq.read_table(table / "train.parquet")
    after = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "out").iterdir()))
    assert after.schema.names == before.schema.names
    for name in set(before.schema.names) - {"picture"}:
        assert after[name].combine_chunks() == before[name].combine_chunks()
        assert after.schema.field(name).type == before.schema.field(name).type
    loaded = load("parquet", tmp_path / "out" / "*.parquet")
    assert loaded.features == load("parquet", table / "*.parquet").features
    assert [row["picture"].size for row in loaded] == [(32 + 8 * (n % 2), 40) for n in range(6)]


def test_a_key_column_gives_the_draws_of_the_tree(
    table: Path, paintings: Path, painted: dict[str, np.ndarray], tmp_path: Path
):
    restyle(table, paintings, tmp_path / "out", key="id", per_image=1)
    rows = load("parquet", tmp_path / "out" / "*.parquet")
    assert all(np.array_equal(np.asarray(row["picture"]), painted[row["id"]]) for row in rows)


def test_arrow_in_and_copies_out(table: Path, paintings: Path, tmp_path: Path):
    saved = tmp_path / "saved"
    load("parquet", table / "*.parquet").save_to_disk(saved)
    restyle(saved, paintings, tmp_path / "out", per_image=2, format="jpg")
    loaded = load("parquet", tmp_path / "out" / "*.parquet")
    assert loaded["id"] == [name for name in NAMES for _ in range(2)]
    assert {row["picture"].format for row in loaded} == {"JPEG"}


def test_a_table_becomes_a_tree_by_class(table: Path, paintings: Path, tmp_path: Path):
    restyle(table, paintings, tmp_path / "out", form="folder")
    expected = [f"{name.split('/')[0]}/train-{row}.png" for row, name in enumerate(NAMES)]
    assert sorted(contents(tmp_path / "out")) == sorted(expected)


def test_keys_never_lead_out_of_the_folder(tree: Path, paintings: Path, tmp_path: Path):
    data = (tree / NAMES[0]).read_bytes()
    (tmp_path / "in").mkdir()
    rows = pa.table({"image": [{"bytes": data, "path": None}], "id": ["../../a:b/../../c.png"]})
    pq.write_table(rows, tmp_path / "in" / "x.parquet")
    restyle(tmp_path / "in", paintings, tmp_path / "x" / "out", key="id", form="folder")
    assert list(contents(tmp_path / "x" / "out")) == ["a-b/c.png"]


def table_of(folder: Path, *rows: tuple[str, str | None, str], picture: bytes) -> Path:
    """Of keys, names of pictures and labels."""
    keys, paths, labels = zip(*rows, strict=True)
    pictures = pa.array([{"bytes": picture, "path": path} for path in paths], PICTURE)
    folder.mkdir()
    pq.write_table(pa.table({"id": keys, "label": labels, "image": pictures}), folder / "x.parquet")
    return folder


@pytest.mark.parametrize(
    "rows",
    [
        [("x", None, "cat"), ("x", None, "cat"), ("y", None, "cat")],
        [("a:b", "1.png", "cat"), ("a*b", "2.png", "cat")],
        [("x.png", None, "cat"), ("x", None, "cat")],
        [("x", None, "cat"), ("x.png", None, "cat")],
        [("x", None, "a/b"), ("x", None, "a:b")],
    ],
)
def test_rows_that_would_share_a_file_are_one_line(
    rows: Any, tree: Path, paintings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source = table_of(tmp_path / "in", *rows, picture=(tree / NAMES[0]).read_bytes())
    words = [
        "dataset",
        str(source),
        "--styles",
        str(paintings),
        "-o",
        str(tmp_path / "out"),
        "--workers",
        "1",
    ]
    assert main([*words, "--to", "folder", "--key", "id"]) == 2
    error = capsys.readouterr().err
    assert "two pictures would become" in error
    assert "name a --key that tells all rows apart" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_rows_of_one_key_in_files_of_their_own(tree: Path, paintings: Path, tmp_path: Path):
    rows = [("x", "1.png", "cat"), ("x", "1.png", "dog"), ("x", "1.bmp", "dog"), ("y", None, "cat")]
    source = table_of(tmp_path / "in", *rows, picture=(tree / NAMES[0]).read_bytes())
    restyle(source, paintings, tmp_path / "out", key="id", form="folder")
    assert sorted(contents(tmp_path / "out")) == ["cat/x.png", "cat/y.png", "dog/x.bmp", "dog/x.png"]
    restyle(source, paintings, tmp_path / "table", key="id")
    assert pq.read_table(tmp_path / "table" / "x.parquet")["id"].to_pylist() == ["x", "x", "x", "y"]


@pytest.mark.parametrize("names", [["a.png", "a.webp"], ["a.b.png", "a-b.png"]])
def test_pictures_that_would_share_a_key_are_one_line(names: list[str], paintings: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name in names:
        noise((32, 32), 1).save(tmp_path / "in" / name)
    with pytest.raises(ArbstyleError, match=r"two pictures would become 'data-00000.tar/a.*'; rename them"):
        restyle(tmp_path / "in", paintings, tmp_path / "out", form="webdataset")
    restyle(tmp_path / "in", paintings, tmp_path / "out", form="webdataset", part_size=1)


def test_a_damaged_table_costs_its_rows(table: Path, paintings: Path, tmp_path: Path):
    data = bytearray((table / "train.parquet").read_bytes())
    data[5000 : len(data) // 2] = bytes(len(data) // 2 - 5000)
    (table / "train.parquet").write_bytes(data)
    job = plan(str(table), [str(paintings)], tmp_path / "out", LocalEngine(1), style_size=64)
    *_, last = job.run()
    assert last.failed > 0
    assert last.done + last.failed == 6
    assert [row["key"] for row in manifest(job)] == [f"train.parquet#{row}" for row in range(6)]
    assert load("parquet", tmp_path / "out" / "*.parquet").num_rows == last.done if last.done else True


def test_a_hub_name_is_read_by_way_of_its_cached_files(
    table: Path, paintings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(datasets, "load_dataset", _from_files(table, datasets.load_dataset))
    restyle(Path("somebody/pets:small"), paintings, tmp_path / "out", key="id", split="validation")
    with monkeypatch.context() as patch:
        patch.undo()
        rows = pq.read_table(next((tmp_path / "out").iterdir()))
    assert rows["id"].to_pylist() == NAMES


def _from_files(table: Path, load_dataset: Any) -> Any:
    def load(name: str, configuration: str | None, split: str) -> datasets.Dataset:
        assert (name, configuration, split) == ("somebody/pets", "small", "validation")
        return load_dataset("parquet", data_files={split: str(table / "*.parquet")}, split=split)

    return load


# --- shards -------------------------------------------------------------------------------------


def test_a_tree_becomes_shards(tree: Path, paintings: Path, painted: dict[str, np.ndarray], tmp_path: Path):
    restyle(tree, paintings, tmp_path / "out", form="webdataset", part_size=4)
    loaded = load("webdataset", tmp_path / "out" / "*.tar")
    assert [row["__key__"] for row in loaded] == [name.removesuffix(".png") for name in NAMES]
    assert [row["cls"] for row in loaded] == [0, 0, 0, 1, 1, 1]
    for name, row in zip(NAMES, loaded, strict=True):
        assert np.array_equal(np.asarray(row["png"]), painted[name])


@pytest.fixture
def shards(tree: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(2):
        with tarfile.open(folder / f"set-{shard}.tar", "w") as tar:
            for number, name in enumerate(NAMES):
                key = f"{'long/' * 30}{shard}-{number}"  # names beyond 100 characters take two headers
                members = {"png": (tree / name).read_bytes(), "cls": str(number).encode(), "seg.bin": b"\0\1"}
                members |= {"json": json.dumps({"n": number}).encode()} if number != 2 else {}
                for extension, data in members.items():
                    info = tarfile.TarInfo(f"{key}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return folder


def test_shards_keep_names_and_members(shards: Path, paintings: Path, tmp_path: Path):
    job = restyle(shards, paintings, tmp_path / "out", part_size=4)
    assert sorted(contents(tmp_path / "out")) == [
        f"set-{shard}-{part:05}.tar" for shard in range(2) for part in range(2)
    ]
    restyle(shards, paintings, tmp_path / "whole")
    assert sorted(contents(tmp_path / "whole")) == ["set-0.tar", "set-1.tar"]
    assert len(manifest(job)) == 12
    for shard in range(2):
        with (
            tarfile.open(shards / f"set-{shard}.tar") as old,
            tarfile.open(tmp_path / "whole" / f"set-{shard}.tar") as new,
        ):
            assert sorted(new.getnames()) == sorted(old.getnames())
            for name in old.getnames():
                before, after = (tar.extractfile(name).read() for tar in (old, new))  # type: ignore[union-attr]
                assert (before == after) != name.endswith("png")


def make_shard(file: Path, *samples: dict[str, bytes]) -> None:
    """Samples 0, 1, … as members by extension."""
    file.parent.mkdir(exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for number, members in enumerate(samples):
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{number}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def members_of(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]


def test_further_pictures_and_members_of_a_sample_stay(tree: Path, paintings: Path, tmp_path: Path):
    photo, mask = (tree / NAMES[0]).read_bytes(), (tree / NAMES[1]).read_bytes()
    samples = [
        {"mask.png": mask, "png": photo, "cls": b"1"},
        {"png": photo, "mask.png": mask, "cls": b"-1", "note.txt": b"only here", "seen.png": mask},
    ]
    make_shard(tmp_path / "in" / "a.tar", *samples)
    restyle(tmp_path / "in", paintings, tmp_path / "out")
    before, after = members_of(tmp_path / "in" / "a.tar"), members_of(tmp_path / "out" / "a.tar")
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {"0.png", "1.png"}


def test_a_picture_never_takes_the_place_of_another(tree: Path, paintings: Path, tmp_path: Path):
    photo = (tree / NAMES[0]).read_bytes()
    make_shard(tmp_path / "in" / "a.tar", {"webp": photo, "png": b"mask"}, {"webp": photo})
    rows = manifest(restyle(tmp_path / "in", paintings, tmp_path / "out", format="png"))
    assert [row["status"] for row in rows] == ["failed", "done"]
    assert rows[0]["error"] == "the sample has another 'png'; use another --format"
    assert [*members_of(tmp_path / "out" / "a.tar")] == ["1.png"]


@pytest.mark.parametrize("label", ["²", "9" * 30, "cat"])
def test_classes_that_are_no_numbers(label: str, tree: Path, paintings: Path, tmp_path: Path):
    photo = (tree / NAMES[0]).read_bytes()
    word, number = {"png": photo, "cls": label.encode()}, {"png": photo, "cls": b"3"}
    make_shard(tmp_path / "words" / "a.tar", word, number)
    restyle(tmp_path / "words", paintings, tmp_path / "kept")
    assert members_of(tmp_path / "kept" / "a.tar")["0.cls"] == label.encode()

    make_shard(tmp_path / "numbers" / "a.tar", number, word)
    rows = manifest(restyle(tmp_path / "numbers", paintings, tmp_path / "out"))
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert f"expected a whole number in 'cls' as in the first sample, got '{label[:20]}'" == rows[1]["error"]


def test_samples_of_one_key_in_two_shards(tree: Path, paintings: Path, tmp_path: Path):
    for number in range(2):
        make_shard(
            tmp_path / "in" / f"{number}.tar", {"png": (tree / NAMES[number]).read_bytes(), "cls": b".."}
        )
    with pytest.raises(ArbstyleError, match=r"two pictures would become '-/0.png'; rename them"):
        restyle(tmp_path / "in", paintings, tmp_path / "out", form="folder")
    restyle(tmp_path / "in", paintings, tmp_path / "out")
    (tmp_path / "in" / "1.tar").unlink()
    restyle(tmp_path / "in", paintings, tmp_path / "folder" / "out", form="folder")
    assert [*contents(tmp_path / "folder" / "out")] == ["-/0.png"]


def test_shards_become_parquet(shards: Path, paintings: Path, tmp_path: Path):
    restyle(shards, paintings, tmp_path / "out", form="parquet")
    loaded = load("parquet", tmp_path / "out" / "*.parquet")
    assert loaded["label"] == [0, 1, 2, 3, 4, 5] * 2
    assert loaded["json"][:3] == ['{"n": 0}', '{"n": 1}', None]
    assert loaded[0]["image"].size == (32, 40)


def test_a_table_becomes_shards(table: Path, paintings: Path, tmp_path: Path):
    restyle(table, paintings, tmp_path / "out", form="webdataset")
    loaded = load("webdataset", tmp_path / "out" / "*.tar")
    assert [row["cls"] for row in loaded] == [0, 0, 0, 1, 1, 1]
    assert loaded[4]["json"]["about"] == {"who": "nobody 4", "stars": 4}
    assert loaded[4]["json"]["boxes"] == [0.5] * 4


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "x.tar"])
def test_files_that_are_none_are_one_line(name: str, paintings: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text("not what it is called")
    with pytest.raises(ArbstyleError, match=f"cannot read .*{name}") as caught:
        restyle(tmp_path / "in", paintings, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_tables_of_different_columns_are_one_line(table: Path, paintings: Path, tmp_path: Path):
    other = pq.read_table(table / "train.parquet").drop_columns(["boxes"])
    pq.write_table(other, table / "validation.parquet")
    with pytest.raises(ArbstyleError, match=r"validation.parquet.*no 'boxes'"):
        restyle(table, paintings, tmp_path / "out")
    other = other.append_column("boxes", pa.array(["none"] * len(NAMES)))
    pq.write_table(other, table / "validation.parquet")
    with pytest.raises(ArbstyleError, match=r"column 'boxes' is of string in one table"):
        restyle(table, paintings, tmp_path / "out")


def test_pictures_without_a_label_lie_beside_the_classes(table: Path, paintings: Path, tmp_path: Path):
    rows = pq.read_table(table / "train.parquet")
    labels = pa.array([None, *rows["label"].to_pylist()[1:]], rows["label"].type)
    position = rows.column_names.index("label")
    pq.write_table(rows.set_column(position, rows.schema.field("label"), labels), table / "train.parquet")
    restyle(table, paintings, tmp_path / "out", form="folder", key="id")
    assert {path.parent.name for path in (tmp_path / "out").rglob("*.png")} == {"cat", "dog"}
    assert (tmp_path / "out" / NAMES[0]).is_file(), "under its key"


def test_a_table_without_pictures_says_what_it_has(paintings: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "in" / "x.parquet")
    with pytest.raises(ArbstyleError, match="its columns are a, b"):
        restyle(tmp_path / "in", paintings, tmp_path / "out")


# --- datasets.map -------------------------------------------------------------------------------


def test_the_restyler_serves_datasets_map(
    table: Path, tree: Path, paintings: Path, painted: dict[str, np.ndarray], tmp_path: Path
):
    job = restyle(tree, paintings, tmp_path / "out")
    restyler = Restyler(Recipe(styles=str(job.notes), style_size=64, device="cpu", per_image=2))
    rows = load("parquet", table / "*.parquet").select_columns(["id", "picture", "label"])
    rows = rows.rename_columns({"id": "key", "picture": "image"}).cast_column(
        "image", datasets.Image(decode=False)
    )
    mapped = rows.map(restyler, batched=True, batch_size=4)
    mapped = mapped.cast_column("image", datasets.Image())
    assert mapped["label"] == [0] * 6 + [1] * 6
    assert mapped["error"] == [None] * 12
    styles = {row["key"]: row["style"] for row in manifest(job)}
    for number, name in enumerate(NAMES):
        assert mapped[2 * number]["style"] == styles[name]
        assert mapped[2 * number + 1]["style"] != styles[name]
        difference = np.asarray(mapped[2 * number]["image"], int) - painted[name]
        assert np.abs(difference).max() <= 12  # here as many threads as there are
