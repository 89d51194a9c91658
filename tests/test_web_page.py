"""The page that paints in the browser: its server, and the page itself in headless Chromium."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from arbstyle import ArbstyleError
from arbstyle.cli import main
from arbstyle.painting.gallery import gallery_files
from arbstyle.web import RUNTIME, RUNTIME_VERSION, Site, collect_site, make_server, write_site

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "examples"
PHOTO = str(EXAMPLES / "photo-cat.jpg")
RUNTIME_FOLDER = REPOSITORY / "web" / "node_modules" / "onnxruntime-web"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def small_site(tmp_path: Path) -> dict[str, Path | bytes]:
    """The site with a runtime that is none."""
    (tmp_path / "dist").mkdir()
    for name in RUNTIME:
        (tmp_path / "dist" / name).write_bytes(b"runtime")
    return collect_site(tmp_path)


def serve(server: ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


# --- the server ---------------------------------------------------------------------------------


@pytest.fixture
def address(small_site: Site) -> Iterator[str]:
    yield from serve(make_server(small_site, port=0))


def test_pages_come_with_the_headers_that_threads_need(address: str):
    with urllib.request.urlopen(f"{address}/") as answer:
        assert b"<title>arbstyle" in answer.read()
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    for path, kind in {"app.js": "text/javascript", "ort/" + RUNTIME[2]: "application/wasm"}.items():
        request = urllib.request.Request(f"{address}/{path}", method="HEAD")
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["Content-Type"].startswith(kind)
            assert answer.read() == b""


def test_a_browser_that_leaves_during_a_download_is_no_mistake(capsys: pytest.CaptureFixture[str]):
    server = make_server({"big.bin": bytes(50_000_000)}, port=0)
    server.daemon_threads = False  # waited for at the end
    for address in serve(server):
        client = socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])))
        client.sendall(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(100)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "path", ["../pyproject.toml", "%2e%2e/pyproject.toml", "/etc/passwd", "models/", "web.py"]
)
def test_nothing_else_is_served(address: str, path: str):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/{path}")


def test_all_of_the_page_is_listed_for_work_without_a_network(small_site: dict[str, Any]):
    listed = set(json.loads(small_site["files.json"]))
    assert listed == {address for address in small_site if "webgpu" not in address} - {"files.json"}
    assert {f"gallery/{name}.style.safetensors" for name in gallery_files()} < listed


def test_written_out(small_site: Site, tmp_path: Path):
    folder = write_site(small_site, tmp_path / "out")
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(
        small_site
    )


def test_files_of_others_are_not_replaced(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    small_site: Site,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("arbstyle.web.collect_site", lambda runtime: dict(small_site))
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("mine")
    command = ["web", "-o", str(folder)]
    assert main(command) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["index.html"]
    assert main([*command, "--overwrite"]) == 0
    assert (folder / "index.html").read_text() != "mine"
    source = next(content for content in small_site.values() if isinstance(content, Path))
    before = source.read_bytes()
    assert main(["web", "-o", str(source.parent), "--overwrite"]) == 2
    assert "is an input (the page)" in capsys.readouterr().err
    assert source.read_bytes() == before


@pytest.mark.parametrize("place", ["", "web"])
def test_the_runtime_is_found_where_npm_puts_it(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dist = tmp_path / place / "node_modules" / "onnxruntime-web" / "dist"
    dist.mkdir(parents=True)
    for name in RUNTIME:
        (dist / name).write_bytes(b"mine")
    monkeypatch.setattr("arbstyle.web.page_folder", lambda: tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    found = collect_site()[f"ort/{RUNTIME[0]}"]
    assert isinstance(found, Path)
    assert found.read_bytes() == b"mine"


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], small_site: Site):
    assert main(["web", "--runtime", str(tmp_path / "nothing"), "-o", str(tmp_path / "site")]) == 2
    assert "npm install onnxruntime-web@" in capsys.readouterr().err
    needed = json.loads((REPOSITORY / "web" / "package.json").read_text())["dependencies"]
    assert needed == {"onnxruntime-web": RUNTIME_VERSION}
    assert not (tmp_path / "site").exists()
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ArbstyleError, match="give another --port"),
    ):
        make_server(small_site, port=taken.getsockname()[1])
    with pytest.raises(ArbstyleError, match="give another --port"):
        make_server(small_site, port=99_999)


# --- the page -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    if not (RUNTIME_FOLDER / "dist").is_dir():
        pytest.skip("needs ONNX Runtime Web: run 'npm install' in web/")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with playwright.sync_playwright() as started:
        # Without a sandbox, so that it also runs as root in a container; only our own page is opened.
        settings = ["--no-sandbox", "--enable-blink-features=ForceEagerMeasureMemory"]
        browser = started.chromium.launch(executable_path=CHROMIUM, args=settings)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(browser: Any) -> Iterator[str]:
    yield from serve(make_server(collect_site(), port=0))


@pytest.fixture
def page(browser: Any, served: str) -> Iterator[Any]:
    """The page, ready to paint; what its scripts complain about is a failure."""
    with browser.new_context(accept_downloads=True) as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        open_page(page, served)
        yield page
        assert complaints == []


def open_page(page: Any, address: str) -> None:
    page.goto(address)
    wait_until_ready(page)


def wait_until_ready(page: Any) -> None:
    page.wait_for_selector("html[data-ready]")
    page.wait_for_selector("#first input:checked", state="attached")


def choose(page: Any, photo: str | Path) -> None:
    painted_by(page, lambda: page.set_input_files("#photo", str(photo)))


def painted_by(page: Any, action: Any) -> None:
    """Do something and wait for the picture that it causes."""
    page.evaluate("delete document.documentElement.dataset.painted")
    action()
    page.wait_for_selector("html[data-painted]")


def slide(page: Any, control: str, value: int) -> None:
    painted_by(page, lambda: set_slider(page, control, value))


def set_slider(page: Any, control: str, value: int) -> None:
    move = """(slider, value) => {
        slider.value = value;
        slider.dispatchEvent(new Event("input"));
        slider.dispatchEvent(new Event("change"));
    }"""
    page.eval_on_selector(f"#{control}", move, str(value))


def saved(page: Any, folder: Path, button: str = "png") -> Image.Image:
    return Image.open(saved_file(page, folder, button))


def saved_file(page: Any, folder: Path, button: str = "png") -> Path:
    with page.expect_download() as download:
        page.click(f"#save-{button}")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def psnr(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    difference = np.asarray(one.convert("RGB"), float) - np.asarray(other.convert("RGB"), float)
    return float(10 * np.log10(255**2 / max(1e-9, (difference**2).mean())))


def over_black(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture.convert("RGBA"), float)
    return pixels[..., :3] * pixels[..., 3:] / 255


def command(folder: Path, *arguments: str) -> Image.Image:
    output = folder / "command.png"
    assert main(["stylize", *arguments, "--precision", "fp32", "--overwrite", "-o", str(output)]) == 0
    return Image.open(output)


def test_paints_what_the_command_paints(page: Any, tmp_path: Path):
    choose(page, PHOTO)
    painted_by(page, lambda: page.check("#first input[value=woodcut]", force=True))
    size = Image.open(PHOTO).height
    slide(page, "size", size // 32 * 32)
    wanted = command(tmp_path, PHOTO, "--style", "woodcut", "--size", str(size // 32 * 32))
    assert psnr(saved(page, tmp_path), wanted) > 40
    assert psnr(saved(page, tmp_path, "jpeg"), wanted) > 30


def test_own_style_picture_strength_and_blend(page: Any, tmp_path: Path):
    choose(page, PHOTO)
    slide(page, "size", 160)
    night = str(EXAMPLES / "painting-night.jpg")
    painted_by(page, lambda: page.set_input_files("#style", night))
    assert psnr(saved(page, tmp_path), command(tmp_path, PHOTO, "--style", night, "--size", "160")) > 40
    slide(page, "blend", 25)
    painted_by(page, lambda: page.select_option("#second", "ink"))
    slide(page, "strength", 60)
    wanted = command(tmp_path, PHOTO, "--style", f"{night}:3", "ink:1", "--size", "160", "--strength", "0.6")
    assert psnr(saved(page, tmp_path), wanted) > 40
    slide(page, "strength", 0)
    wanted = command(tmp_path, PHOTO, "--style", night, "--size", "160", "--strength", "0")
    assert psnr(saved(page, tmp_path), wanted) > 45


def test_transparency_survives(page: Any, tmp_path: Path):
    photo = Image.open(PHOTO).resize((160, 128))
    photo.putalpha(Image.linear_gradient("L").resize((160, 128)))
    photo.save(tmp_path / "photo.png")
    choose(page, tmp_path / "photo.png")
    alpha = np.asarray(saved(page, tmp_path).getchannel("A"), int)
    assert np.abs(alpha - np.asarray(photo.getchannel("A"), int)).max() <= 1
    cut = photo.copy()
    cut.putalpha(photo.getchannel("A").point(lambda value: max(0, value - 120)))
    cut.save(tmp_path / "cut.png")
    choose(page, tmp_path / "cut.png")
    painted_by(page, lambda: page.check("#first input[value=woodcut]", force=True))
    wanted = command(tmp_path, str(tmp_path / "cut.png"), "--style", "woodcut", "--size", "128")
    difference = np.abs(over_black(saved(page, tmp_path)) - over_black(wanted))
    assert difference.mean() < 1, "what is hidden is filled as the command fills it"
    assert saved(page, tmp_path, "jpeg").mode == "RGB"


@pytest.mark.parametrize("strength", [100, 60])
def test_a_soft_edge_is_resized_as_the_command_resizes_it(page: Any, tmp_path: Path, strength: int):
    photo = Image.open(PHOTO).resize((400, 320))
    hole = Image.new("L", photo.size)
    ImageDraw.Draw(hole).ellipse((100, 60, 300, 260), fill=255)
    photo.paste((255, 0, 255), mask=ImageChops.invert(hole))  # to be seen nowhere
    photo.putalpha(hole.filter(ImageFilter.BoxBlur(6)))
    path = tmp_path / "soft.png"
    photo.save(path)
    choose(page, path)
    painted_by(page, lambda: page.check("#first input[value=woodcut]", force=True))
    slide(page, "size", 128)
    if strength < 100:
        slide(page, "strength", strength)
    options = ("--style", "woodcut", "--size", "128", "--strength", str(strength / 100))
    wanted = command(tmp_path, str(path), *options, "--backend", "torch")
    assert np.abs(over_black(saved(page, tmp_path)) - over_black(wanted)).mean() < 1.5


HOLD = """
    window.held = null; // or a list, where what is to be painted waits
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message, transfer) {
        const go = (changed) => post.call(this, { ...message, ...changed }, transfer);
        if (window.held && message.type === "paint") window.held.push(go);
        else go();
    };
"""


@pytest.fixture
def held_page(page: Any) -> Any:
    """What is to be painted waits in the list `held`."""
    page.add_init_script(HOLD)
    page.reload()
    wait_until_ready(page)
    choose(page, PHOTO)
    slide(page, "size", 160)
    page.evaluate("window.held = []")
    return page


def test_a_wish_made_during_a_painting_that_fails_is_painted(held_page: Any, tmp_path: Path):
    held_page.check("#first input[value=woodcut]", force=True)
    set_slider(held_page, "size", 128)
    assert held_page.evaluate("held.length") == 1, "the second wish waits for the first"
    fail = "const [go] = held; held = null; go({ shares: [{ key: 'unknown', share: 1 }] });"
    painted_by(held_page, lambda: held_page.evaluate(f"() => {{ {fail} }}"))
    assert "painted in" in held_page.inner_text("#status")
    assert min(saved(held_page, tmp_path).size) == 128


def test_what_is_saved_has_the_name_of_the_photo_that_is_shown(held_page: Any, tmp_path: Path):
    shutil.copy(EXAMPLES / "photo-flower.jpg", tmp_path / "next.jpg")
    held_page.set_input_files("#photo", str(tmp_path / "next.jpg"))
    held_page.wait_for_selector("#status:has-text('Painting')")
    assert saved_file(held_page, tmp_path).name == "photo-cat-painted.png"
    painted_by(held_page, lambda: held_page.evaluate("() => held[0]()"))
    assert saved_file(held_page, tmp_path).name == "next-painted.png"


SLOW = """
    const decode = createImageBitmap;
    window.createImageBitmap = async (file) => {
        if (file.name.startsWith("slow")) await new Promise((go) => (window.goOn = go));
        return decode(file);
    };
"""
GO_ON = "() => { goOn(); return new Promise((done) => setTimeout(done, 1000)); }"


def test_the_photo_and_the_style_chosen_last_win(page: Any, tmp_path: Path):
    page.add_init_script(SLOW)
    page.reload()
    wait_until_ready(page)
    slow, quick = (str(shutil.copy(PHOTO, tmp_path / name)) for name in ("slow.jpg", "quick.jpg"))
    page.set_input_files("#photo", slow)
    choose(page, quick)
    page.evaluate(GO_ON)
    slide(page, "size", 128)
    assert saved_file(page, tmp_path).name == "quick-painted.png"
    page.set_input_files("#style", slow)
    painted_by(page, lambda: page.set_input_files("#style", quick))
    page.evaluate(GO_ON)
    assert "quick.jpg" in page.input_value("#first input:checked")
    assert page.locator("#first input[value*='slow.jpg']").count() == 1, "it is there to choose"


def test_hostile_files_are_refused_and_the_page_goes_on(page: Any, tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(Path(PHOTO).read_bytes()[:300])
    (tmp_path / "text.png").write_text("<script>alert(1)</script>")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    for name in ("broken.jpg", "text.png", "huge.png"):
        page.set_input_files("#photo", str(tmp_path / name))
        page.wait_for_selector(f"#status.error:has-text('{name}')")
    page.set_input_files("#style", str(tmp_path / "text.png"))
    choose(page, PHOTO)
    assert "painted in" in page.inner_text("#status")


@pytest.fixture
def served_with_one_thread(browser: Any) -> Iterator[str]:
    """Threads that wait for work do not tell the browser their memory, and it waits a minute for them."""
    site = collect_site()
    worker = site["worker.js"]
    assert isinstance(worker, Path)
    site["worker.js"] = b"navigator.__defineGetter__('hardwareConcurrency', () => 1);" + worker.read_bytes()
    yield from serve(make_server(site, port=0))


def test_twenty_pictures_do_not_fill_the_memory(browser: Any, served_with_one_thread: str):
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        open_page(page, served_with_one_thread)
        choose(page, PHOTO)
        slide(page, "size", 128)
        names = list(gallery_files())[1:21]  # the first one is chosen already
        used = {}
        for name in names:
            painted_by(page, lambda name=name: page.check(f"#first input[value={name}]", force=True))
            if name in (names[4], names[-1]):
                used[name] = memory_used(page)
        assert used[names[4]] > 10e6, "the model lies in the worker's memory"
        assert used[names[-1]] < used[names[4]] + 3e6  # fifteen photos of this size would take 4.4e6


def memory_used(page: Any) -> int:
    """Bytes that a page and its workers hold after a collection of garbage, WebAssembly's among them."""
    return int(page.evaluate("performance.measureUserAgentSpecificMemory().then((used) => used.bytes)"))


def test_works_without_a_network_once_loaded(browser: Any, small_site: Site, tmp_path: Path):
    """The server is gone, too."""
    server = make_server(collect_site(), port=0)
    serving = serve(server)
    address = next(serving)
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        open_page(page, address)
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        next(serving, None)
        context.set_offline(True)
        open_page(page, address)
        choose(page, PHOTO)


def test_without_room_for_a_copy_it_loads_all_the_same(browser: Any):
    site = collect_site()
    script = site["offline.js"]
    assert isinstance(script, Path)
    full = b"Cache.prototype.put = () => Promise.reject(new DOMException('full', 'QuotaExceededError'));"
    site["offline.js"] = full + script.read_bytes()
    for address in serve(make_server(site, port=0)):
        with browser.new_context() as context:
            page = context.new_page()
            page.set_default_timeout(120_000)
            page.goto(address)
            page.evaluate("""new Promise((done) => {
                navigator.serviceWorker.oncontrollerchange = () => done();
                if (navigator.serviceWorker.controller) done();
            })""")
            assert page.evaluate("fetch('files.json').then((answer) => answer.ok)")  # no copy of this one


def test_without_the_headers_it_paints_on_one_thread(browser: Any, tmp_path: Path):
    folder = write_site(collect_site(), tmp_path / "site")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None: ...

    for address in serve(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))):
        with browser.new_context() as context:
            page = context.new_page()
            page.set_default_timeout(120_000)
            open_page(page, address)
            assert "1 thread" in page.inner_text("#status")
            choose(page, EXAMPLES / "photo-flower.jpg")


def test_phone_keyboard_and_labels(browser: Any, served: str):
    with browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True) as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        open_page(page, served)
        choose(page, PHOTO)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.focus("#split")
        page.keyboard.press("ArrowRight")
        assert page.input_value("#split") == "51"
        page.focus("#first input:checked")
        painted_by(page, lambda: page.keyboard.press("ArrowDown"))
        nameless = """[...document.querySelectorAll("input, select, button")].filter(
            (each) => !each.ariaLabel && !each.labels?.[0]?.textContent && !each.textContent
        ).map((each) => each.outerHTML)"""
        assert page.evaluate(nameless) == []
        assert page.get_attribute("#status", "aria-live") == "polite"
        assert all(url.startswith((served, "blob:", "data:")) for url in asked), "nothing leaves the machine"
        assert page.title()
