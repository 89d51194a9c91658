"""`arbstyle web`: the page that paints in the browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated


def web(
    *,
    port: int = 8000,
    host: Annotated[str, "ADDRESS"] = "127.0.0.1",
    runtime: Annotated[str | None, "FOLDER"] = None,
    output: Annotated[str | None, "-o", "FOLDER"] = None,
    overwrite: bool = False,
) -> None:
    """Serve the page that paints in the browser, or write it into a folder for a web server.

    The browser paints; no photo is sent anywhere. Another server should send the headers
    Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, as this one does:
    without them the page paints on one core.

    Args:
        port: of the server; 0 takes a free one.
        host: address to listen on.
        runtime: the unpacked npm package onnxruntime-web (default: where npm puts it, here or in
            web/).
        output: write all files of the page there, and serve nothing.
        overwrite: replace files that exist there.
    """
    from arbstyle.cli._options import check_new
    from arbstyle.images import check_outputs
    from arbstyle.web import collect_site, make_server, write_site

    site = collect_site(Path(runtime) if runtime else None)
    if output:
        places = [Path(output, address) for address in site]
        sources = [("the page", content) for content in site.values() if isinstance(content, Path)]
        check_outputs([("--output", place) for place in places], sources)
        if not overwrite:
            check_new(places)
        print(write_site(site, output))
        return
    with make_server(site, host, port) as server:
        print(f"http://{host}:{server.server_address[1]}/", flush=True)
        print("arbstyle: open this address in a browser; Ctrl-C ends", file=sys.stderr)
        server.serve_forever()
