"""`arbstyle app`: the page in the browser."""

from __future__ import annotations

from typing import Annotated


def app(
    *,
    model: Annotated[str | None, "FILE"] = None,
    device: Annotated[str, "DEVICE"] = "auto",
    host: Annotated[str | None, "NAME"] = None,
    port: int | None = None,
    concurrency: int = 1,
    megapixels: float = 2,
    open: bool = False,
) -> None:
    """Serve a page in the browser that paints.

    Args:
        model: of a trained model, or its owner/name on the Hub.
        device: auto, cpu, cuda or mps.
        host: to listen on (default: this machine alone).
        port: to listen on (default: the first free one from 7860 on).
        concurrency: pictures painted at a time.
        megapixels: of a painted picture at most.
        open: show the page in the browser.
    """
    from arbstyle.errors import ArbstyleError
    from arbstyle.painting import Stylizer

    try:
        from arbstyle.app.page import serve
    except ImportError as error:
        raise ArbstyleError(f"the page needs Gradio ({error}): pip install 'arbstyle[app]'") from error

    if concurrency < 1:
        raise ArbstyleError(f"expected a --concurrency of 1 or more, got {concurrency}")
    if not 0.001 <= megapixels <= 100:
        raise ArbstyleError(f"expected --megapixels from 0.001 to 100, got {megapixels:g}")
    if port is not None and not 1 <= port <= 65535:
        raise ArbstyleError(f"expected a --port from 1 to 65535, got {port}")
    stylizer = Stylizer.from_pretrained(model, device)
    limits = {"pixels": round(megapixels * 1e6), "concurrency": concurrency}
    serve(stylizer, **limits, server_name=host, server_port=port, inbrowser=open)
