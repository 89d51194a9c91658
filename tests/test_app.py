"""The page, as its visitors and its enemies reach it: a real server on the loopback address, over HTTP."""

from __future__ import annotations

import functools
import http.server
import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("gradio")

from arbstyle import ArbstyleError, Stylizer
from arbstyle.app.painter import Painter
from arbstyle.cli import main
from arbstyle.networks import ArbitraryStyler, FastTransformer, PooledStatisticsEncoder, save_styler

REPOSITORY = Path(__file__).resolve().parent.parent
PHOTO = REPOSITORY / "examples" / "photo-cat.jpg"
PAINTING = REPOSITORY / "examples" / "painting-night.jpg"
CLIENTS = 50
OWN = ""


@pytest.fixture(autouse=True)
def pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server restricts what Pillow opens in its process; this one has other tests to do."""
    Image.init()
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    styler = ArbitraryStyler(
        PooledStatisticsEncoder(widths=(8, 8), hidden=16, code_size=8),
        FastTransformer(width=16, deep_width=16, blocks=1, deep_blocks=1, fine_width=8),
    )
    for parameter in styler.head.parameters():  # an untrained head paints every style alike
        torch.nn.init.normal_(parameter, std=0.5)
    return save_styler(styler, tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture(scope="module")
def stylizer(model: Path) -> Stylizer:
    return Stylizer.from_pretrained(model, "cpu")


# --- what it does -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def painter(stylizer: Stylizer) -> Painter:
    return Painter(stylizer, pixels=40_000)


def test_it_paints_what_the_stylizer_paints(painter, stylizer):
    before, after = painter.paint(str(PHOTO), [("ink", None, 1.0), (None, None, 1.0)], size=64)
    assert min(before.size) == 64
    assert after.tobytes() == stylizer(before, painter.styles["ink"]).tobytes()


def test_several_styles_by_weight(painter):
    wishes = [("ink", None, 0.2), (None, str(PAINTING), 0.8), ("desert", None, 0.0)]
    mixed = painter.paint(str(PHOTO), wishes, size=64)[1]
    doubled = painter.paint(str(PHOTO), [(name, path, 0.5 * w) for name, path, w in wishes], size=64)[1]
    alone = painter.paint(str(PHOTO), wishes[:1], size=64)[1]
    assert np.abs(np.asarray(mixed, int) - np.asarray(doubled)).max() <= 1
    assert mixed.tobytes() != alone.tobytes()


def test_only_what_is_brushed_over_is_painted(painter):
    mask = Image.new("RGBA", (60, 40))
    mask.paste("white", (0, 0, 30, 40))
    plain = painter.paint(str(PHOTO), [("ink", None, 1)], size=64)[1]
    before, after = (
        np.asarray(one) for one in painter.paint(str(PHOTO), [("ink", None, 1)], size=64, mask=mask)
    )
    middle = before.shape[1] // 2
    assert np.array_equal(after[:, middle + 3 :], before[:, middle + 3 :])
    assert np.array_equal(after[:, : middle - 3], np.asarray(plain)[:, : middle - 3])
    opaque = painter.paint(str(PHOTO), [("ink", None, 1)], size=64, mask=mask.getchannel("A"))[1]
    assert np.array_equal(np.asarray(opaque), after), "a mask without transparency: what is white"
    untouched = Image.new("RGBA", (60, 40))
    assert (
        painter.paint(str(PHOTO), [("ink", None, 1)], size=64, mask=untouched)[1].tobytes() == plain.tobytes()
    )


@pytest.mark.parametrize("how", ["luminance", "histogram", "coral"])
def test_the_gallery_goes_with_the_photos_colours(painter, how):
    plain = painter.paint(str(PHOTO), [("desert", None, 1)], size=64)[1]
    kept = painter.paint(str(PHOTO), [("desert", None, 1)], size=64, keep_colors=how)[1]
    assert kept.tobytes() != plain.tobytes()


def test_the_whole_gallery_is_there(painter):
    assert len(painter.styles) >= 20


def test_large_wishes_are_reduced_to_the_limit(painter):
    before, _ = painter.paint(str(PHOTO), [("ink", None, 1)], size=10**9)
    assert 38_000 < before.width * before.height <= 40_500


def save(image: Image.Image, path: Path, kind: str) -> str:
    image.save(path, kind)
    return str(path)


def png_of(width: int, height: int) -> bytes:
    """A PNG of zeros in which a few kilobytes stand for all pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    compressor = zlib.compressobj(9)
    rows = (
        b"".join(compressor.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + compressor.flush()
    )
    header = struct.pack(">2I5B", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    return PHOTO.read_bytes()


HOSTILE = {
    "empty": (b"", "no picture of"),
    "text": (b"root:x:0:0", "no picture of"),
    "svg": (
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "no picture of",
    ),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", "no picture of"),
    "cut": (jpeg()[:5000], "hostile-cut.jpg"),
    "bomb": (png_of(30_000, 30_000), "megapixels"),
    "narrow": (png_of(4000, 20), "too narrow"),
    "tiny": (png_of(2, 2), "at least 16 pixels"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_in_a_line(painter, tmp_path, kind):
    content, expected = HOSTILE[kind]
    path = tmp_path / f"hostile-{kind}.jpg"
    path.write_bytes(content)
    with pytest.raises(ArbstyleError, match=expected) as caught:
        painter.paint(str(path), [("ink", None, 1)])
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value), "where uploads lie is told"


@pytest.mark.parametrize(
    ("photo", "wishes", "options", "expected"),
    [
        (None, [("ink", None, 1)], {}, "photo first"),
        (str(PHOTO), [(None, None, 1), ("ink", None, 0)], {}, "choose a style"),
        (str(PHOTO), [("../../etc/passwd", None, 1)], {}, "no style"),
        (str(PHOTO), [("ink", None, float("inf"))], {}, "weights"),
        (str(PHOTO), [("ink", None, 1)], {"strength": float("nan")}, "strength"),
        (str(PHOTO), [("ink", None, 1)], {"keep_colors": "x"}, "colours"),
        (str(PHOTO), [("ink", None, 1)], {"size": -5}, "16 pixels a side, got -5"),
    ],
)
def test_wishes_that_cannot_be_met(painter, photo, wishes, options, expected):
    with pytest.raises(ArbstyleError, match=expected):
        painter.paint(photo, wishes, **({"size": 32} | options))


# --- the server -------------------------------------------------------------------------------------


class Page:
    """A visitor without a browser."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.address, self.process, self.folder = f"http://127.0.0.1:{port}", process, folder

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=120) as answer:
            return answer.read()

    def post(self, path: str, body: bytes, kind: str) -> Any:
        request = urllib.request.Request(self.address + path, body, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    def upload(self, content: bytes, name: str = "photo.jpg") -> dict[str, Any]:
        head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        (path,) = self.post(
            "/gradio_api/upload", head + content + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"
        )
        return file_data(path=path)

    def paint(self, photo: Any, *, style: str = "ink", **values: Any) -> dict[str, Any] | list[Any]:
        """What comes back: a pair of files, or what the page says is wrong."""
        rest = [style, values.get("picture"), values.get("weight", 1), *[OWN, None, 0] * 2]
        options = [values.get("strength", 1), values.get("size", 128), values.get("colours", "none")]
        data = {"data": [photo, *rest, *options, values.get("canvas")]}
        event = self.post("/gradio_api/call/paint", json.dumps(data).encode(), "application/json")["event_id"]
        stream = self.get(f"/gradio_api/call/paint/{event}").decode()
        kind, told = (line.split(": ", 1)[1] for line in stream.strip().splitlines()[-2:])
        answer = json.loads(told)
        assert isinstance(answer, dict) == (kind == "error")
        return answer if kind == "error" else answer[0]

    def picture(self, file: dict[str, Any]) -> Image.Image:
        return Image.open(io.BytesIO(self.get(f"/gradio_api/file={file['path']}"))).convert("RGB")

    def memory(self, what: str) -> int:
        """MiB, of the server's process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(what)) // 1024


def file_data(**about: str) -> dict[str, Any]:
    return about | {"meta": {"_type": "gradio.FileData"}}


@pytest.fixture(scope="module")
def page(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    environment = os.environ | {"GRADIO_TEMP_DIR": str(folder / "files"), "OMP_NUM_THREADS": "2"}
    command = [
        sys.executable,
        "-m",
        "arbstyle",
        "app",
        "--port",
        str(port),
        "--model",
        str(model),
        "--device",
        "cpu",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=log, stderr=log)
        page = Page(port, process, folder)
        try:
            wait_for(page, folder / "log")
            yield page
        finally:
            process.terminate()
            process.wait(30)


def wait_for(page: Page, log: Path, seconds: float = 400) -> None:
    """Until the page is there; a crowded machine takes its time."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            page.get("/")
            return
        except OSError:
            assert page.process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, f"no page after {seconds:.0f} s: {log.read_text()}"
            time.sleep(0.2)


def test_a_visitor_gets_what_the_command_paints(page, painter):
    before, after = page.paint(page.upload(PHOTO.read_bytes()))
    expected = painter.paint(str(PHOTO), [("ink", None, 1)], size=128)
    assert page.picture(before).tobytes() == expected[0].tobytes()
    assert page.picture(after).tobytes() == expected[1].tobytes()


def test_a_visitor_brings_a_style_and_a_mask(page, painter):
    mask = Image.new("RGBA", (60, 40))
    mask.paste("white", (0, 0, 30, 40))
    encoded = io.BytesIO()
    mask.save(encoded, "PNG")
    layer = page.upload(encoded.getvalue(), "mask.png")
    canvas = {"background": None, "layers": [layer], "composite": None}
    picture = page.upload(PAINTING.read_bytes())
    _, after = page.paint(page.upload(PHOTO.read_bytes()), style=OWN, picture=picture, canvas=canvas)
    expected = painter.paint(str(PHOTO), [(None, str(PAINTING), 1)], size=128, mask=mask)[1]
    assert page.picture(after).tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["eps", "bomb", "cut", "svg"])
def test_hostile_uploads_are_refused_and_the_page_goes_on(page, kind):
    content, expected = HOSTILE[kind]
    answer = page.paint(page.upload(content, f"hostile-{kind}.jpg"))
    assert expected in answer["error"]
    layer = page.upload(content, "layer.png")
    canvas = {"background": layer, "layers": [layer], "composite": layer}
    assert "error" in page.paint(page.upload(PHOTO.read_bytes()), canvas=canvas)
    assert len(page.paint(page.upload(PHOTO.read_bytes()))) == 2


def test_no_file_outside_the_folder_of_uploads_is_read(page, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (64, 64), "red").save(secret)
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    ) as inside:
        threading.Thread(target=inside.serve_forever, daemon=True).start()
        link = f"http://127.0.0.1:{inside.server_port}/secret.png"
        climbing = f"{page.folder}/files/../../{tmp_path.name}/secret.png"
        for photo in (
            file_data(path=str(secret)),
            file_data(path=climbing),
            file_data(path=f"file://{secret}"),
            file_data(path=link, url=link),
        ):
            assert "error" in page.paint(photo)
            assert "error" in page.paint(page.upload(PHOTO.read_bytes()), style=OWN, picture=photo)
        inside.shutdown()
    for path in (secret, REPOSITORY / "pyproject.toml", "/etc/passwd", climbing):
        with pytest.raises(urllib.error.HTTPError) as caught:
            page.get(f"/gradio_api/file={path}")
        assert caught.value.code in (403, 404)


def test_values_of_other_types_and_ranges_do_no_harm(page):
    photo = page.upload(PHOTO.read_bytes())
    for values in ({"weight": "x"}, {"size": [1]}, {"strength": None}, {"style": "x"}, {"colours": 3}):
        assert "error" in page.paint(photo, **values)
    assert len(page.paint(photo)) == 2


def test_a_file_that_is_too_large_is_refused(page):
    with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)) as caught:
        page.upload(bytes(21 * 2**20))
    if isinstance(caught.value, urllib.error.HTTPError):
        assert caught.value.code == 413


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_fifty_clients_at_a_time(page, painter):
    before = page.memory("VmRSS")
    pictures = [PHOTO.read_bytes(), HOSTILE["cut"][0], HOSTILE["bomb"][0]]

    def visit(number: int) -> dict[str, Any] | list[Any]:
        return page.paint(page.upload(pictures[number % 5 if number % 5 < 3 else 0]))

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(visit, range(CLIENTS)))
    expected = painter.paint(str(PHOTO), [("ink", None, 1)], size=128)[1].tobytes()
    for number, answer in enumerate(answers):
        refusal = {1: "'photo.jpg'", 2: "megapixels"}.get(number % 5)
        if refusal:
            assert isinstance(answer, dict)
            assert refusal in answer["error"]
        else:
            assert isinstance(answer, list)
            assert page.picture(answer[1]).tobytes() == expected
    assert page.process.poll() is None
    assert page.memory("VmHWM") - before < 600


@pytest.mark.parametrize("port", ["-1", "0", "65536", "9" * 20])
def test_a_port_that_no_machine_has(port: str, capsys: pytest.CaptureFixture[str]):
    assert main(["app", f"--port={port}"]) == 2
    assert "expected a --port from 1 to 65535" in capsys.readouterr().err


def test_a_taken_port_is_one_line(capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["app", "--port", str(port)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"arbstyle: error: cannot serve on 127.0.0.1:{port}: it is taken")


def test_an_address_that_can_not_be_served_is_told(model: Path, capsys: pytest.CaptureFixture[str]):
    """Gradio would try for ever."""
    for host in ("203.0.113.1", "no host"):  # of nobody (RFC 5737), and no name
        assert main(["app", "--model", str(model), "--host", host]) == 2
        assert f"cannot serve on {host}:7860 and on" in capsys.readouterr().err
