"""Training steps a second of configs/adain.yaml, beside a plain loop of the same recipe in the same run.

python benchmarks/training.py --content PHOTOS --style PAINTINGS --size 64 --batch-size 4

Ours runs as it does from the command line: bfloat16, pictures decoded once, prefetched by a worker. The loop
below is what one writes first: float32, every picture opened and decoded when it is needed. Both take turns,
a few steps each, and the ratio is taken turn by turn, because a machine's speed drifts.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from common import machine
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_tensor

from arbstyle.images import find_images
from arbstyle.networks import AdaINTransformer
from arbstyle.perception import IMAGENET_MEAN, IMAGENET_STD, PerceptualEncoder
from arbstyle.training.command_line import OneLineParser, TrainingCLI
from arbstyle.training.data import StyleTransferData
from arbstyle.training.module import StyleTransferTraining

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")


class PlainLoop:
    """AdaIN's recipe (Huang & Belongie 2017), written down without a thought for speed."""

    def __init__(
        self, contents: list[Path], styles: list[Path], args: argparse.Namespace, device: torch.device
    ):
        self.contents, self.styles, self.args, self.device = contents, styles, args, device
        layers = dict(PerceptualEncoder("vgg19", LAYERS).layers.named_children())
        names = list(layers)
        ends = [names.index(name) + 1 for name in LAYERS]
        self.stages = [
            nn.Sequential(*(layers[name] for name in names[start:end])).to(device)
            for start, end in zip([0, *ends], ends, strict=False)
        ]
        for stage in self.stages:
            stage.to(memory_format=torch.contiguous_format)
        self.decoder = AdaINTransformer().decoder.to(device)
        self.optimizer = torch.optim.Adam(self.decoder.parameters(), lr=1e-4)
        self.mean = torch.tensor(IMAGENET_MEAN, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(IMAGENET_STD, device=device).view(1, 3, 1, 1)

    def step(self) -> None:
        content, style = self.batch(self.contents), self.batch(self.styles)
        with torch.no_grad():
            content_features, style_features = self.encode(content)[-1], self.encode(style)
            target = adain(content_features, style_features[-1])
        output_features = self.encode(self.decoder(target))
        loss = F.mse_loss(output_features[-1], target)
        for ours, theirs in zip(output_features, style_features, strict=True):
            for one, other in zip(moments(ours), moments(theirs), strict=True):
                loss = loss + 10 * F.mse_loss(one, other)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def encode(self, images: Tensor) -> list[Tensor]:
        x, features = (images - self.mean) / self.std, []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def batch(self, paths: list[Path]) -> Tensor:
        pictures = [self.picture(random.choice(paths)) for _ in range(self.args.batch_size)]
        return torch.stack(pictures).to(self.device)

    def picture(self, path: Path) -> Tensor:
        image = Image.open(path).convert("RGB")
        scale = self.args.resize / min(image.size)
        image = image.resize([max(self.args.resize, round(side * scale)) for side in image.size])
        left, top = (random.randint(0, side - self.args.size) for side in image.size)
        return to_tensor(image.crop((left, top, left + self.args.size, top + self.args.size)))


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    return features.mean(dim=(2, 3)), (features.var(dim=(2, 3), unbiased=False) + 1e-5).sqrt()


def adain(content: Tensor, style: Tensor) -> Tensor:
    mean, std = (value[:, :, None, None] for value in moments(content))
    style_mean, style_std = (value[:, :, None, None] for value in moments(style))
    return (content - mean) / std * style_std + style_mean


class Contest(pl.Callback):
    """Lets the plain loop take a turn after every few steps of ours."""

    def __init__(self, loop: PlainLoop, turn: int) -> None:
        self.loop, self.turn = loop, turn
        self.ours: list[float] = []
        self.plain: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.loop.step()
        self.began = self.now()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step % self.turn:
            return
        self.ours.append(self.now() - self.began)
        began = self.now()
        for _step in range(self.turn):
            self.loop.step()
        self.began = self.now()
        self.plain.append(self.began - began)

    def now(self) -> float:
        if self.loop.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def settings(args: argparse.Namespace, run: str) -> Iterator[str]:
    values = {
        "data.content": args.content,
        "data.style": args.style,
        "data.batch_size": args.batch_size,
        "data.crop_size": args.size,
        "data.resize": args.resize,
        "data.style_size": args.size,
        "data.style_resize": args.resize,
        "data.cache_short_side": args.resize,
        "data.num_workers": args.workers,
        "data.validation_pairs": 0,
        "model.logging.picture_every": 0,
        "model.optimization.compile": str(args.compile).lower(),
        "trainer.precision": "bf16-mixed",
        "trainer.max_steps": args.turns * args.turn,
        "trainer.log_every_n_steps": args.turn,
        "trainer.limit_val_batches": 0,
        "trainer.logger": "false",
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
        "trainer.default_root_dir": run,
    }
    yield from (f"--config={CONFIGS / name}" for name in ("default.yaml", "adain.yaml"))
    yield from (f"--{key}={value}" for key, value in values.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--content", required=True)
    parser.add_argument("--style", required=True)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--resize", type=int, default=128, help="short side before the crop")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--turn", type=int, default=5, help="steps in a turn")
    parser.add_argument(
        "--turns", type=int, default=8, help="turns of each, the first of them for warming up"
    )
    parser.add_argument("--compile", action="store_true")
    parser.add_argument(
        "--limit", type=int, default=400, help="pictures of each set, so that decoding them is quick"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as run:
        contents = some(args.content, args.limit, Path(run) / "contents")
        styles = some(args.style, args.limit, Path(run) / "styles")
        args.content, args.style = str(contents), str(styles)
        cli: Any = TrainingCLI(
            StyleTransferTraining,
            StyleTransferData,
            args=list(settings(args, run)),
            parser_class=OneLineParser,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            run=False,
        )
        loop = PlainLoop(find_images(contents), find_images(styles), args, cli.trainer.strategy.root_device)
        contest = Contest(loop, args.turn)
        cli.trainer.callbacks.append(contest)
        cli.trainer.fit(cli.model, cli.datamodule)
    ours, plain = contest.ours[1:], contest.plain[1:]
    report = {
        "ours_steps_per_second": round(args.turn / statistics.median(ours), 3),
        "plain_steps_per_second": round(args.turn / statistics.median(plain), 3),
        "ratio": round(statistics.median(b / a for a, b in zip(ours, plain, strict=True)), 2),
        "ratios": [round(b / a, 2) for a, b in zip(ours, plain, strict=True)],
        "share_of_our_time_spent_waiting_for_data": round(
            float(cli.trainer.callback_metrics["train/waiting_for_data"]), 3
        ),
        "settings": {key: value for key, value in vars(args).items() if key not in ("content", "style")},
        "device": str(loop.device),
        "machine": machine(),
    }
    print(json.dumps(report, indent=1))


def some(folder: str, limit: int, links: Path) -> Path:
    """Fill a folder with links to the first pictures of another."""
    links.mkdir()
    for number, path in enumerate(find_images(folder, recursive=True)[:limit]):
        (links / f"{number:05d}{path.suffix}").symlink_to(path.resolve())
    return links


if __name__ == "__main__":
    main()
