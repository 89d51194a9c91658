"""`arbstyle app`: the page in the browser."""

from __future__ import annotations

import argparse

HELP = "serve a page in the browser that paints"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="FILE", help="of a trained model, or its owner/name on the Hub")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    parser.add_argument("--host", metavar="NAME", help="to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, metavar="N", help="default: the first free one from 7860 on")
    parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="pictures painted at a time")
    parser.add_argument(
        "--megapixels", type=float, default=2, metavar="N", help="of a painted picture at most (default: 2)"
    )
    parser.add_argument("--open", action="store_true", help="show the page in the browser")


def run(args: argparse.Namespace) -> int:
    from arbstyle.app.painter import Limits
    from arbstyle.errors import ArbstyleError
    from arbstyle.painting import Stylizer

    try:
        from arbstyle.app.page import serve
    except ImportError as error:
        raise ArbstyleError(f"the page needs Gradio ({error}): pip install 'arbstyle[app]'") from error

    if args.concurrency < 1 or not 0.001 <= args.megapixels <= 100:
        raise ArbstyleError(
            "expected a concurrency of 1 or more and 0.001 to 100 megapixels, got "
            f"{args.concurrency} and {args.megapixels:g}"
        )
    limits = Limits(painted_pixels=round(args.megapixels * 1e6), concurrency=args.concurrency)
    stylizer = Stylizer.from_pretrained(args.model, args.device)
    serve(stylizer, limits, host=args.host, port=args.port, open_browser=args.open)
    return 0
