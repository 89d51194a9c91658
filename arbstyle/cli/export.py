"""`arbstyle export`: a training checkpoint becomes a model file."""

from __future__ import annotations

import argparse

HELP = "turn a training checkpoint into a model file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a .ckpt file that 'arbstyle train' wrote")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the .safetensors file to write"
    )


def run(args: argparse.Namespace) -> int:
    from arbstyle.errors import ArbstyleError
    from arbstyle.training.checkpoint import export_checkpoint

    if not args.output.endswith(".safetensors"):
        raise ArbstyleError(f"expected an output that ends in .safetensors, got {args.output}")
    print(export_checkpoint(args.checkpoint, args.output))
    return 0
