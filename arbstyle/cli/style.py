"""`arbstyle style`: styles in files of their own."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "keep a style in a small file, and look into one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")

    save = actions.add_parser(
        "save", help="look at a picture and keep its style; use the file as any --style"
    )
    save.add_argument("picture", metavar="PICTURE", help="style picture")
    save.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="ends in .safetensors (default: the picture's name with .style.safetensors, in this folder)",
    )
    save.add_argument("--name", help="of the style (default: that of the picture)")
    save.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    save.add_argument(
        "--style-size",
        type=int,
        metavar="PIXELS",
        help="short side at which the picture is looked at, best that of the photos to be painted (default: "
        "what suits the first of --photos, or photos of 512)",
    )
    save.add_argument(
        "--refine",
        type=int,
        metavar="N",
        help="improve the style by N steps (100 or so) of the training's loss, on --photos; needs VGG-19",
    )
    save.add_argument(
        "--photos", nargs="+", default=[], metavar="FILE", help="a handful of photos like those to be painted"
    )
    save.add_argument("--model", metavar="FILE", help="another model than the packaged one")
    save.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")
    save.add_argument("--vgg-weights", metavar="FILE", help="for models that contain a VGG, and for --refine")

    show = actions.add_parser("show", help="tell what is in style files")
    show.add_argument("files", nargs="+", metavar="FILE", help="files that 'arbstyle style save' wrote")
    show.add_argument("--thumbnail", metavar="PICTURE", help="write the (only) file's thumbnail there")
    show.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    return _save(args) if args.action == "save" else _show(args)


def _save(args: argparse.Namespace) -> int:
    from arbstyle.errors import ArbstyleError
    from arbstyle.images import check_output_path
    from arbstyle.painting import Stylizer, check_options

    check_options(style_size=args.style_size)
    if (args.refine is None) != (not args.photos):
        raise ArbstyleError(
            "--refine N and --photos FILE… go together: the style is improved on those photos"
        )
    output = Path(args.output or f"{Path(args.picture).stem}.style.safetensors")
    check_output_path(output, (".safetensors",))
    if output.exists() and not args.overwrite:
        raise ArbstyleError(f"'{output}' exists; add --overwrite, or give another -o")
    stylizer = Stylizer.from_pretrained(args.model, args.device, weights=args.vgg_weights)
    options = {"name": args.name, "style_size": args.style_size}
    if args.refine is None:
        style = stylizer.style(args.picture, **options)
    else:
        options["vgg_weights"] = args.vgg_weights
        style = stylizer.refine(args.picture, args.photos, args.refine, **options)
    print(style.save(output))
    return 0


def _show(args: argparse.Namespace) -> int:
    from arbstyle.errors import ArbstyleError
    from arbstyle.images import from_pil, write_image
    from arbstyle.painting import Style

    if args.thumbnail and len(args.files) > 1:
        raise ArbstyleError(
            f"--thumbnail writes one picture, but {len(args.files)} files are given; give one"
        )
    styles = {path: Style.load(path) for path in args.files}
    if args.json:
        print(json.dumps([{"file": path, **style.description()} for path, style in styles.items()], indent=2))
    for path, style in ({} if args.json else styles).items():
        facts = [f"{key.replace('_', ' ')}: {value}" for key, value in style.description().items()]
        print(f"{path}\n  " + "\n  ".join(facts))
    if args.thumbnail:
        write_image(from_pil(styles[args.files[0]].thumbnail), args.thumbnail)
    return 0
