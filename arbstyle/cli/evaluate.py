"""`arbstyle evaluate`: methods measured on every pair of photos and styles, with a report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

HELP = "measure methods on every pair of a folder of photos and a folder of styles"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--content", type=Path, required=True, metavar="DIR", help="folder of photos, or a pattern"
    )
    parser.add_argument("--style", type=Path, required=True, metavar="DIR", help="the same for styles")
    parser.add_argument(
        "--methods",
        metavar="LIST",
        help="comma-separated: 'stylize' (the packaged model, or --model), 'stylize@FILE' (another model), "
        "'optimize:N' (Gatys' optimisation from the photo, N loss evaluations); "
        "default: stylize, or none where --outputs is given. The first is what the others are compared with",
    )
    parser.add_argument(
        "--outputs",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=DIR",
        help="another system's pictures: a folder of {content}__{style}.png (file names without suffix)",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=512,
        help="short side at which all is shown and measured (default: %(default)s)",
    )
    parser.add_argument("--contents", type=int, metavar="N", help="only the first N photos by name")
    parser.add_argument("--styles", type=int, metavar="N", help="only the first N styles by name")
    parser.add_argument(
        "--vgg-weights",
        type=Path,
        metavar="FILE",
        help="VGG-19 weights, .safetensors or .pth (default: ARBSTYLE_VGG19, else torchvision's download)",
    )
    parser.add_argument("--model", type=Path, metavar="FILE", help="model of the method 'stylize'")
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, mps or auto: a GPU where there is one (default: %(default)s)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="report folder: results.csv, results.json, index.html, pictures/; takes up an earlier run in it",
    )


def run(args: argparse.Namespace) -> int:
    from arbstyle.evaluation import evaluate, text_table, write_report

    outputs = _named_folders(args.outputs)
    methods = args.methods if args.methods is not None else "" if outputs else "stylize"
    try:
        evaluation = evaluate(
            args.content,
            args.style,
            args.output,
            methods=[method.strip() for method in methods.split(",") if method.strip()],
            outputs=outputs,
            size=args.size,
            contents=args.contents,
            styles=args.styles,
            vgg_weights=args.vgg_weights,
            model=args.model,
            device=args.device,
            progress=True,
        )
    except KeyboardInterrupt:
        print(
            f"arbstyle: interrupted; the same command takes up the finished rows in {args.output}",
            file=sys.stderr,
        )
        return 130
    print(text_table(evaluation))
    print(write_report(evaluation))
    return 0


def _named_folders(texts: Sequence[str]) -> dict[str, Path]:
    from arbstyle.errors import ArbstyleError

    folders: dict[str, Path] = {}
    for text in texts:
        name, separator, folder = text.partition("=")
        if not (name and separator and folder):
            raise ArbstyleError(
                f"--outputs expects NAME=FOLDER, got '{text}': write for example other=results/other"
            )
        if name in folders:
            raise ArbstyleError(f"--outputs got the name '{name}' twice: give each folder a name of its own")
        folders[name] = Path(folder)
    return folders
