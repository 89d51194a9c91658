"""Models on the Hub, against a small endpoint on this machine that speaks what is used of its protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import torch
import yaml

from arbstyle import ArbstyleError, Stylizer
from arbstyle.cli import main
from arbstyle.hub import find_model
from arbstyle.networks import ArbitraryStyler, FastTransformer, PooledStatisticsEncoder
from arbstyle.networks.model_file import describe_styler

pytest.importorskip("huggingface_hub")

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PHOTO, PAINTING = EXAMPLES / "photo-cat.jpg", EXAMPLES / "painting-venice.jpg"


class Hub(ThreadingHTTPServer):
    """Repositories as branch → commits, each a mapping of file names to bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Endpoint)
        self.repositories: dict[str, dict[str, list[dict[str, bytes]]]] = {}
        self.refuse: int | None = None
        self.asked: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_port}"

    def commit(self, name: str, files: dict[str, bytes], branch: str = "main") -> str:
        commits = self.repositories.setdefault(name, {"main": []}).setdefault(branch, [])
        commits.append((commits[-1] if commits else {}) | files)
        return sha_of(commits[-1])

    def at(self, name: str, revision: str) -> dict[str, bytes] | None:
        branches = self.repositories.get(name, {})
        if branches.get(revision):
            return branches[revision][-1]
        every = (commit for commits in branches.values() for commit in commits)
        return next((commit for commit in every if sha_of(commit) == revision), None)


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def handle_any(self) -> None:
        hub = cast(Hub, self.server)
        path = urlsplit(self.path).path
        hub.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if hub.refuse:
            return self.answer(hub.refuse, {"error": "no"})
        if path == "/api/repos/create":
            about = json.loads(body)
            name = "/".join(filter(None, (about.get("organization"), about["name"])))
            hub.repositories.setdefault(name, {"main": []})
            return self.answer(200, {"url": f"{hub.address}/{name}", "id": name, "name": name})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/preupload/(\S+)", path):
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": modes})
        if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/commit/(\S+)", path):
            lines = [json.loads(line) for line in body.decode().splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            sha = hub.commit(found[1], files, found[2])
            return self.answer(200, {"commitUrl": f"{hub.address}/{found[1]}/commit/{sha}", "commitOid": sha})
        if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/revision/(\S+))?", path):
            return self.answer_about(hub, found[1], found[2] or "main")
        if found := re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(\S+)", path):
            return self.answer_file(hub, *found.groups())
        return self.answer(404, {"error": path}, "EntryNotFound")

    do_GET = do_HEAD = do_POST = handle_any

    def answer_about(self, hub: Hub, name: str, revision: str) -> None:
        files = hub.at(name, revision)
        if files is None:
            return self.answer(404, {}, "RevisionNotFound" if name in hub.repositories else "RepoNotFound")
        siblings = [{"rfilename": file} for file in files]
        return self.answer(200, {"id": name, "sha": sha_of(files), "siblings": siblings})

    def answer_file(self, hub: Hub, name: str, revision: str, file: str) -> None:
        if name not in hub.repositories:
            return self.answer(404, {}, "RepoNotFound")
        files = hub.at(name, revision)
        if files is None:
            return self.answer(404, {}, "RevisionNotFound")
        if file not in files:
            return self.answer(404, {}, "EntryNotFound", {"X-Repo-Commit": sha_of(files)})
        etag = f'"{hashlib.sha256(files[file]).hexdigest()}"'
        return self.send(200, files[file], {"X-Repo-Commit": sha_of(files), "ETag": etag})

    def answer(
        self, status: int, about: dict[str, Any], code: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self.send(status, json.dumps(about).encode(), {"X-Error-Code": code} | (headers or {}))

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | headers).items():
            if value:
                self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def sha_of(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    torch.manual_seed(0)
    styler = ArbitraryStyler(
        PooledStatisticsEncoder(widths=(8, 8), hidden=16, code_size=8),
        FastTransformer(width=16, deep_width=16, blocks=1, deep_blocks=1, fine_width=8),
    )
    about = {"name": "tiny | model", "steps": 7, "data": {"content": {"source": "coco"}}}
    return Stylizer(styler.half().float(), about, device="cpu", precision="fp32")


def painted(stylizer: Stylizer) -> bytes:
    return stylizer(PHOTO, PAINTING, size=32).tobytes()  # type: ignore[union-attr]


# --- a folder ---------------------------------------------------------------------------------------


def test_a_folder_holds_the_model_its_description_and_a_card(stylizer, tmp_path):
    folder = stylizer.save_pretrained(tmp_path / "mine", license="mit", datasets=["owner/pictures"])
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert painted(Stylizer.from_pretrained(folder, "cpu", "fp32")) == painted(stylizer)
    config = json.loads((folder / "config.json").read_text())
    assert config["library_name"] == "arbstyle"
    assert config.items() >= json.loads(json.dumps(describe_styler(stylizer.styler))).items()
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "arbstyle",
        "pipeline_tag": "image-to-image",
        "tags": ["style-transfer", "neural-style-transfer"],
        "license": "mit",
        "datasets": ["owner/pictures"],
    }
    assert r"# tiny \| model" in text
    assert "| steps of training | 7 |" in text


def test_a_card_written_by_hand_stays(stylizer, tmp_path):
    (tmp_path / "README.md").write_text("by hand")
    stylizer.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "by hand"


def test_a_file_still_is_a_file(stylizer, tmp_path):
    file = stylizer.save_pretrained(tmp_path) / "model.safetensors"
    assert find_model(file) == find_model(str(file)) == find_model(tmp_path) == file
    assert find_model("no/such.safetensors") == Path("no/such.safetensors")


# --- the Hub ----------------------------------------------------------------------------------------


def test_up_and_down_again(stylizer, hub):
    address = stylizer.push_to_hub("me/tiny", license="mit", token="secret")
    assert address.startswith(f"{hub.address}/me/tiny/commit/")
    assert set(hub.at("me/tiny", "main")) == {"README.md", "config.json", "model.safetensors"}
    again = Stylizer.from_pretrained("me/tiny", "cpu", "fp32")
    assert painted(again) == painted(stylizer)
    assert again.information == stylizer.information


def test_a_card_on_the_hub_stays(stylizer, hub):
    hub.commit("me/tiny", {"README.md": b"by hand"})
    stylizer.push_to_hub("me/tiny", token="secret")
    assert hub.at("me/tiny", "main")["README.md"] == b"by hand"
    assert "model.safetensors" in hub.at("me/tiny", "main")


@pytest.fixture
def two_versions(stylizer, hub, tmp_path) -> Hub:
    for name, branch in (("old", "v1"), ("new", "main")):
        one = Stylizer(stylizer.styler, {"name": name}, device="cpu", precision="fp32")
        folder = one.save_pretrained(tmp_path / name)
        hub.commit("me/tiny", {path.name: path.read_bytes() for path in folder.iterdir()}, branch)
    return hub


def test_a_revision_is_a_branch_or_a_commit(two_versions):
    commit = sha_of(cast(dict, two_versions.at("me/tiny", "v1")))
    for name, revision in (("me/tiny", "v1"), ("me/tiny@v1", None), (f"me/tiny@{commit}", None)):
        assert Stylizer.from_pretrained(name, "cpu", "fp32", revision=revision).name == "old"
    assert Stylizer.from_pretrained("me/tiny", "cpu", "fp32").name == "new"


def test_the_command_line_paints_with_a_model_of_the_hub(two_versions, tmp_path):
    arguments = [str(PHOTO), "--style", str(PAINTING), "--size", "32", "-o", str(tmp_path / "out.png")]
    assert main(["stylize", *arguments, "--model", "me/tiny@v1"]) == 0
    assert (tmp_path / "out.png").is_file()


def test_without_network_the_cache_answers(two_versions, monkeypatch, caplog):
    Stylizer.from_pretrained("me/tiny", "cpu", "fp32")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the port of "discard": nobody listens
    stylizer = Stylizer.from_pretrained("me/tiny", "cpu", "fp32")
    assert stylizer.name == "new"
    with pytest.raises(ArbstyleError, match="cannot reach the Hub, and no copy"):
        Stylizer.from_pretrained("me/other")
    with pytest.raises(ArbstyleError, match="cannot reach the Hub for me/tiny"):
        stylizer.push_to_hub("me/tiny", token="secret")
    assert caplog.messages == []  # no list of attempts


def test_offline_mode_asks_nobody(two_versions, monkeypatch):
    Stylizer.from_pretrained("me/tiny", "cpu", "fp32")
    asked = len(two_versions.asked)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert Stylizer.from_pretrained("me/tiny", "cpu", "fp32").name == "new"
    with pytest.raises(ArbstyleError, match="no copy of me/other"):
        Stylizer.from_pretrained("me/other")
    assert len(two_versions.asked) == asked


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("me/missing", "neither a file or folder 'me/missing' here nor a model"),
        ("me/tiny@v9", "no revision 'v9'"),
        ("me/empty", "holds no model.safetensors and config.json"),
        ("me/bert", "is a model of transformers"),
        ("me/odd", "is a model of another library"),
        ("me/a--b", "not a name that the Hub allows"),
    ],
)
def test_what_is_not_there_or_not_ours(two_versions, name, expected, capsys, tmp_path):
    two_versions.commit("me/empty", {"README.md": b""})
    weights = {"model.safetensors": b"never read"}
    two_versions.commit("me/bert", {"config.json": b'{"library_name": "transformers"}'} | weights)
    two_versions.commit("me/odd", {"config.json": b"[" * 100_000} | weights)
    code = main(
        ["stylize", str(PHOTO), "--style", str(PAINTING), "--model", name, "-o", str(tmp_path / "x.png")]
    )
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert expected in error
    assert not any("model.safetensors" in line for line in two_versions.asked)


@pytest.mark.parametrize(("status", "expected"), [(403, "auth whoami"), (500, "try again later")])
def test_a_hub_that_refuses(stylizer, hub, status, expected):
    hub.refuse = status
    with pytest.raises(ArbstyleError, match=expected):
        stylizer.push_to_hub("me/tiny", token="secret")


def test_a_token_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
    with pytest.raises(ArbstyleError, match="nobody is logged in"):
        find_model("me/tiny", token=True)


def test_a_path_has_no_revision(tmp_path):
    with pytest.raises(ArbstyleError, match="only models on the Hub"):
        find_model(tmp_path / "x.safetensors", revision="v1")
    with pytest.raises(ArbstyleError, match="only models on the Hub"):
        find_model(tmp_path, revision="v1")


@pytest.mark.parametrize("name", ["tiny", "me/tiny@v1", "a/b/c", "", "../x"])
def test_only_names_can_be_pushed_to(stylizer, name):
    with pytest.raises(ArbstyleError, match="owner/name"):
        stylizer.push_to_hub(name)
