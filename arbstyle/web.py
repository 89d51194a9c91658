"""The page that paints in the browser: its files, and a local server with the headers that it needs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from arbstyle.errors import ArbstyleError
from arbstyle.images.files import atomic_path
from arbstyle.painting.gallery import SUFFIX, gallery_files

PAGE = ("index.html", "style.css", "app.js", "worker.js", "pixels.js", "safetensors.js", "offline.js")
GRAPHS = ("style.onnx", "head.onnx", "painter.onnx", "arbstyle.safetensors")
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
RUNTIME_WITH_GPU = (
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.jsep.mjs",
    "ort-wasm-simd-threaded.jsep.wasm",
)

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
}
_HEADERS = {
    # Threads in WebAssembly share memory, which browsers allow to pages that are isolated from others.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; "
    "worker-src 'self' blob:; img-src 'self' blob: data:; connect-src 'self' blob: data:",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
RUNTIME_VERSION = "1.22.0"
"""As in web/package.json."""

Site = Mapping[str, Path | bytes]
"""What lies at each address of the page: a file, or what would be in it."""


def page_folder() -> Path:
    """Where the page lies: in the package, or beside it in a checkout."""
    package = Path(str(files("arbstyle")))
    folders = (package / "assets" / "web", package.parent / "web")
    found = next((folder for folder in folders if (folder / "index.html").is_file()), None)
    if found is None:
        raise ArbstyleError("this copy of arbstyle has no page; install it from a wheel or a checkout")
    return found


def collect_site(runtime: Path | None = None) -> dict[str, Path | bytes]:
    """All files of the page by address, without the leading slash.

    Args:
        runtime: a folder with ONNX Runtime Web, as npm unpacks it; default: where `npm install` puts it, run
            in the folder of the page, in `web` or here.

    Raises:
        ArbstyleError: something is missing.
    """
    page = page_folder()
    usual = [place / "node_modules" / "onnxruntime-web" for place in (page, Path("web"), Path())]
    places = usual if runtime is None else [runtime]
    dist = next((place / "dist" for place in places if _is_runtime(place / "dist")), None)
    if dist is None:
        where = " or ".join(f"'{place}'" for place in places)
        raise ArbstyleError(
            f"the page needs ONNX Runtime Web, which is not in {where}: run "
            f"'npm install onnxruntime-web@{RUNTIME_VERSION}' here, or give the folder of that package with "
            "--runtime"
        )
    assets = Path(str(files("arbstyle"))) / "assets"
    site: dict[str, Path | bytes] = {name: page / name for name in PAGE}
    site |= {f"models/{name}": assets / name for name in GRAPHS}
    site |= {f"gallery/{name}{SUFFIX}": path for name, path in gallery_files().items()}
    site["gallery/index.json"] = json.dumps(list(gallery_files())).encode()
    site |= {f"ort/{name}": dist / name for name in RUNTIME}
    site["files.json"] = json.dumps(sorted(site)).encode()  # what is kept for working without a network
    site |= {f"ort/{name}": dist / name for name in RUNTIME_WITH_GPU if (dist / name).is_file()}
    return site


def _is_runtime(dist: Path) -> bool:
    return all((dist / name).is_file() for name in RUNTIME)


def write_site(site: Site, folder: str | Path) -> Path:
    """Write the page into a folder that any web server can serve as it is.

    Raises:
        ArbstyleError: a folder that cannot be written, or a full disk.
    """
    folder = Path(folder)
    for address, content in site.items():
        with atomic_path(folder / address) as temporary:
            if isinstance(content, bytes):
                temporary.write_bytes(content)
            else:
                shutil.copyfile(content, temporary)
    return folder


def make_server(site: Site, host: str = "127.0.0.1", port: int = 8000) -> ThreadingHTTPServer:
    """A server of the page and of nothing else; ``port`` 0 takes a free one.

    Raises:
        ArbstyleError: the address is taken, or not one of this machine.
    """
    try:
        return _Server((host, port), partial(_Handler, site))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ArbstyleError(
            f"cannot serve on {host}:{port}: {reason.lower()}; give another --port"
        ) from error


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a browser may leave at any time
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, site: Site, *arguments: object) -> None:
        self.site = site
        super().__init__(*arguments)  # type: ignore[arg-type]  # as the server gives them

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        address = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        content = self.site.get(address)
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = content if isinstance(content, bytes) else content.read_bytes()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _TYPES.get(Path(address).suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Not a line a request."""
