"""A training run that goes on for days in the background, can be stopped at any second, and scores itself.

python benchmarks/campaign.py start --content PHOTOS --style PAINTINGS --score-content DIR --score-style DIR
python benchmarks/campaign.py status
python benchmarks/campaign.py stop
python benchmarks/campaign.py mix BEFORE AFTER --share 0.5 -o mixed.safetensors
python benchmarks/campaign.py score MODEL… --score-content DIR --score-style DIR [--size 512] [--pairs 100]

`start` begins, or goes on from the newest checkpoint. It runs `arbstyle train fit` with configs/default.yaml
and configs/campaign.yaml at low priority. Checkpoints, the exported model and log.csv lie outside the
checkout, in ~/.cache/arbstyle/campaign (--folder). Every hour a row goes into log.csv: steps made, and the
score on a fixed set of pairs. A file named PAUSE in the folder halts the run until it is removed. Arguments
after `--` go to `arbstyle train fit`.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import statistics
import subprocess
import sys
import time
import traceback
from datetime import datetime
from itertools import product
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIGS = REPOSITORY / "configs"
FOLDER = Path.home() / ".cache" / "arbstyle" / "campaign"
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
WEIGHTS = ("style_weight", "tv_weight", "content_weight")
COLUMNS = ("style", "style_median", "normalized", "normalized_median", "relu5_1", "gram", "content")


# --- the run in the background ------------------------------------------------------------------


def start(args: argparse.Namespace) -> None:
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if running_pid(folder):
        sys.exit(f"the campaign runs already (process {running_pid(folder)}); its folder is {folder}")
    command = [sys.executable, __file__, "supervise", "--folder", str(folder)]
    for name in ("content", "style", "score_content", "score_style"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name).resolve())]
    command += ["--hours", str(args.hours), "--size", str(args.size), "--pairs", str(args.pairs)]
    command += ["--nice", str(args.nice)]
    with (folder / "campaign.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--", *args.fit],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    (folder / "pid").write_text(str(process.pid))
    print(f"started as process {process.pid}; log: {folder / 'campaign.log'}")


def supervise(args: argparse.Namespace) -> None:
    """Train; halt while PAUSE is there; score every so many hours; pass on a request to stop."""
    os.nice(args.nice)
    last = args.folder / "checkpoints" / "last.ckpt"
    command = [
        *(sys.executable, "-m", "arbstyle", "train", "fit"),
        *("--config", str(CONFIGS / "default.yaml"), "--config", str(CONFIGS / "campaign.yaml")),
        *("--data.content", str(args.content), "--data.style", str(args.style)),
        *("--trainer.default_root_dir", str(args.folder)),
        *args.fit,
    ]
    if last.is_file():
        command += ["--ckpt_path", str(last)]
    training = subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(training.pid, signal.SIGTERM))
    due, paused = time.monotonic() + 3600 * args.hours, False
    while training.poll() is None:
        time.sleep(2)
        wanted = (args.folder / "PAUSE").exists()
        if wanted != paused:
            os.killpg(training.pid, signal.SIGSTOP if wanted else signal.SIGCONT)
            paused = wanted
        if time.monotonic() > due and last.is_file() and not paused:
            due = time.monotonic() + 3600 * args.hours
            try:
                score_checkpoint(last, args)
            except Exception:  # training goes on whatever becomes of a score
                traceback.print_exc()
    sys.exit(training.returncode)


def score_checkpoint(checkpoint: Path, args: argparse.Namespace) -> None:
    import torch

    model = args.folder / "model.safetensors"
    subprocess.run(
        [sys.executable, "-m", "arbstyle", "export", str(checkpoint), "-o", str(model), "--overwrite"],
        cwd=REPOSITORY,
        check=True,
    )
    row = score(model, args)
    raw = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    append_score(args.folder / "log.csv", raw["global_step"], row, raw["information"]["loss"])


def append_score(log: Path, steps: int, row: dict[str, float], loss: dict[str, float]) -> None:
    """A line of the table of scores: when, steps, scores, and the weights of the loss."""
    values = [f"{row[column]:.4f}" for column in COLUMNS]
    line = [datetime.now().isoformat(" ", "minutes"), steps, *values, *(loss[name] for name in WEIGHTS)]
    is_new = not log.exists()
    with log.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["when", "steps", *COLUMNS, *WEIGHTS])
        writer.writerow(line)


def status(args: argparse.Namespace) -> None:
    pid = running_pid(args.folder)
    print(f"process {pid}" if pid else "not running", "paused" if (args.folder / "PAUSE").exists() else "")
    for name in ("log.csv", "campaign.log"):
        path = args.folder / name
        if path.is_file():
            print(path.read_bytes()[-1500:].decode(errors="replace").replace("\r", "\n").strip()[-700:])


def stop(args: argparse.Namespace) -> None:
    pid = running_pid(args.folder)
    if not pid:
        sys.exit("the campaign is not running")
    (args.folder / "PAUSE").unlink(missing_ok=True)  # who is halted can't stop
    os.kill(pid, signal.SIGTERM)
    while running_pid(args.folder):
        time.sleep(0.5)


def running_pid(folder: Path) -> int | None:
    try:
        pid = int((folder / "pid").read_text())
        os.kill(pid, 0)
        waited, _ = os.waitpid(pid, os.WNOHANG)
        return None if waited else pid
    except ChildProcessError:
        return pid if _is_campaign(pid) else None  # somebody else's child, and alive
    except (OSError, ValueError):
        return None


def _is_campaign(pid: int) -> bool:
    """Whether a process is one of these: numbers are used again. Where there is no /proc it may be."""
    try:
        return Path(__file__).name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


# --- the score ----------------------------------------------------------------------------------


def score(model: Path, args: argparse.Namespace) -> dict[str, float]:
    """Means and medians over the fixed pairs, lower is better: sums over relu1_1 to relu4_1.

    ``normalized`` is of means and deviations, as training weighs them; `arbstyle evaluate` has Gram matrices.
    """
    import torch

    from arbstyle import Stylizer
    from arbstyle.evaluation.pairs import spread_pairs
    from arbstyle.images import find_images, read_image, resize
    from arbstyle.perception import PerceptualEncoder, channel_moments, gram_matrix, normalized_error

    encoder = PerceptualEncoder("vgg19", STYLE_LAYERS)
    stylizer = Stylizer.from_pretrained(model)

    def statistics_of(features: dict[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, ...]]:
        return {
            layer: (gram_matrix(features[layer]), *channel_moments(features[layer])) for layer in STYLE_LAYERS
        }

    @torch.inference_mode()
    def run() -> list[dict[str, float]]:
        def load(folder: Path) -> list[torch.Tensor]:
            return [resize(read_image(path), args.size) for path in find_images(folder)]

        photos, styles = load(args.score_content), load(args.score_style)
        wanted = [statistics_of(encoder(style)) for style in styles]
        rows = []
        crossed = list(product(range(len(photos)), range(len(styles))))
        for i, j in spread_pairs(crossed, args.pairs):
            painted = stylizer.stylize(photos[i], styles[j])
            features = encoder(painted)
            found = statistics_of(features)
            errors = {
                layer: [
                    float((a - b).square().mean())
                    for a, b in zip(found[layer], wanted[j][layer], strict=True)
                ]
                for layer in STYLE_LAYERS
            }
            photo = encoder(photos[i])["relu4_1"]
            rows.append(
                {
                    "style": sum(sum(errors[layer][1:]) for layer in STYLE_LAYERS[:4]),
                    "normalized": sum(
                        float(normalized_error(found[layer][1:], wanted[j][layer][1:]))
                        for layer in STYLE_LAYERS[:4]
                    ),
                    "relu5_1": sum(errors["relu5_1"][1:]),
                    "gram": sum(errors[layer][0] for layer in STYLE_LAYERS[:4]),
                    "content": float((features["relu4_1"] - photo).square().mean()),
                }
            )
        return rows

    rows = run()
    result = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
    result |= {
        f"{name}_median": statistics.median(row[name] for row in rows) for name in ("style", "normalized")
    }
    return result


def print_scores(args: argparse.Namespace) -> None:
    for model in args.models:
        row = score(model, args)
        print(model, " ".join(f"{column} {row[column]:.3f}" for column in COLUMNS), flush=True)


def mix(args: argparse.Namespace) -> None:
    """Weights between a model and what it became: less of the new style, more of the old subject.

    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models". Noise that the earlier model lacks
    counts as silent.
    """
    import torch

    from arbstyle.networks import ConditionalNoise, load_styler, save_styler
    from arbstyle.networks.growing import graft

    (before, _), (after, information) = load_styler(args.before), load_styler(args.after)
    start, _ = load_styler(args.after)
    with torch.no_grad():
        graft(before, start)
        for site in start.transformer.sites:
            if isinstance(site, ConditionalNoise):
                site.take(start.head.weight.T).zero_()
                site.take(start.head.bias[None]).zero_()
        first, last = start.state_dict(), after.state_dict()
        gates = {key for key in last if ".gates." in key}  # no noise is gated in the earlier model
        after.load_state_dict(
            {
                key: last[key] if key in gates else torch.lerp(first[key], last[key], args.share)
                for key in last
            }
        )
    save_styler(after, args.output, {**information, "mixed": args.share})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for name, function in (("start", start), ("supervise", supervise), ("status", status), ("stop", stop)):
        command = commands.add_parser(name)
        command.add_argument("--folder", type=Path, default=FOLDER)
        command.set_defaults(run=function)
        if name in ("start", "supervise"):
            for role in ("content", "style"):
                command.add_argument(f"--{role}", type=Path, required=True)
            add_score_options(command, size=256)
            command.add_argument("--hours", type=float, default=1.0, help="between two scores")
            command.add_argument("--nice", type=int, default=5)
            command.add_argument("fit", nargs="*", help="after --: options of arbstyle train fit")
    command = commands.add_parser("mix")
    command.add_argument("before", type=Path)
    command.add_argument("after", type=Path)
    command.add_argument("--share", type=float, default=0.5, help="of the later model")
    command.add_argument("-o", "--output", type=Path, required=True)
    command.set_defaults(run=mix)
    command = commands.add_parser("score")
    command.add_argument("models", type=Path, nargs="+")
    add_score_options(command, size=512)
    command.set_defaults(run=print_scores)
    args = parser.parse_args()
    args.run(args)


def add_score_options(parser: argparse.ArgumentParser, size: int) -> None:
    for role in ("content", "style"):
        parser.add_argument(f"--score-{role}", type=Path, required=True)
    parser.add_argument("--size", type=int, default=size)
    parser.add_argument("--pairs", type=int, default=100)


if __name__ == "__main__":
    main()
