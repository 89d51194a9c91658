"""Put a deeper style encoder in front of a trained model's transformer, without painting (needs VGG-19).

    python scripts/grow_encoder.py --style PAINTINGS --minutes 40 -o grown.safetensors
    arbstyle train fit --config configs/default.yaml --config configs/campaign.yaml \\
        --model.start.model grown.safetensors --model.style_encoder MomentsEncoder \
        --model.style_encoder.hidden 384 --model.optimization.optimizer muon --model.loss.noise_weight 80 …

The new encoder, a MomentsEncoder, begins with the convolutions of the PooledStatisticsEncoder and learns
to tell the moments of VGG's features of crops of paintings, in a hundredth of the time of painting. Then
its codes are fitted to those of the old encoder by ridge regression, so that the model's transformer and head
understand them. Further training teaches them to use what the new encoder sees (docs/training-log.md, 25).
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from arbstyle.images import find_images, read_image, resize
from arbstyle.networks import (
    ArbitraryStyler,
    MomentsEncoder,
    PooledStatisticsEncoder,
    load_styler,
    save_styler,
)
from arbstyle.perception import PerceptualEncoder, channel_moments

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGED = REPOSITORY / "arbstyle" / "assets" / "arbstyle.safetensors"
LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0, "relu5_1": 0.25}
"""And what the error of each counts."""

CROP = 192
BATCH = 32
HELD_OUT = 300
"""Paintings, or a tenth of them if there are few."""
RIDGE = 100.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--style", type=Path, required=True, help="folder of paintings")
    parser.add_argument("--crops", type=int, default=2, help="of each painting (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=40, help="of learning (default: %(default)s)")
    parser.add_argument("--hidden", type=int, default=384, help="see MomentsEncoder (default: %(default)s)")
    parser.add_argument("--model", type=Path, default=PACKAGED, help="default: the packaged one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    trained, information = load_styler(args.model)
    encoder = begun_from(trained.style_encoder, args.hidden, trained.style_encoder.code_size)
    paintings = find_images(args.style)
    if len(paintings) < 2:
        raise SystemExit(f"expected two paintings or more in {args.style}, got {len(paintings)}")
    held_out = min(HELD_OUT, len(paintings) // 10 + 1)
    crops, moments = examples(paintings, held_out, args.crops, random.Random(args.seed))
    head = first_head(encoder, crops[held_out:], moments[held_out:])
    encoder = learned(encoder, head, crops, moments, held_out, args.minutes)
    fit_codes(encoder, trained, crops, held_out)
    grown = ArbitraryStyler(encoder, trained.transformer)
    grown.head.load_state_dict(trained.head.state_dict())
    print(save_styler(grown, args.output, {**information, "encoder_grown": True}))


def begun_from(encoder: nn.Module, hidden: int, code_size: int) -> MomentsEncoder:
    """Convolutions of the old encoder, and between them new ones that hardly change anything."""
    if not isinstance(encoder, PooledStatisticsEncoder):
        raise SystemExit(f"expected a model with a PooledStatisticsEncoder, got {type(encoder).__name__}")
    convolutions = [layer for layer in encoder.stages.modules() if isinstance(layer, nn.Conv2d)]
    depths = (1, 2, 3, 2)
    deeper = MomentsEncoder(tuple(each.out_channels for each in convolutions), depths, hidden, code_size)
    layers = iter(deeper.layers)
    with torch.no_grad():
        for convolution, depth in zip(convolutions, depths, strict=True):
            next(layers).load_state_dict(convolution.state_dict())
            for _ in range(depth - 1):
                layer = next(layers)
                nn.init.dirac_(layer.get_parameter("weight"))
                layer.get_parameter("weight").add_(0.02 * torch.randn_like(layer.get_parameter("weight")))
    return deeper.to(memory_format=torch.channels_last)


# --- what is learned from ------------------------------------------------------------------------


def examples(
    paintings: list[Path], held_out: int, passes: int, chance: random.Random
) -> tuple[Tensor, Tensor]:
    """Crops M×3×192×192 of bytes and the moments of their features, M×2944, in random order.

    The first crops are of paintings that no later crop shows.
    """
    chance.shuffle(paintings)
    order = paintings[:held_out] + passes * paintings[held_out:]
    vgg = PerceptualEncoder("vgg19", tuple(LAYERS)).to(memory_format=torch.channels_last)
    crops = torch.stack([random_crop(read_image(path)[0], chance) for path in order])
    moments = []
    for some in crops.split(8):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            features = vgg(as_pictures(some))
            found = [each.float() for layer in LAYERS for each in channel_moments(features[layer])]
        moments.append(torch.cat(found, dim=1))
    return crops, torch.cat(moments)


def random_crop(picture: Tensor, chance: random.Random) -> Tensor:
    side = min(round(CROP * chance.uniform(1, 1.5)), max(CROP, min(picture.shape[1:])))
    picture = resize(picture[None], side)[0]
    top, left = (chance.randint(0, length - CROP) for length in picture.shape[1:])
    crop = picture[:, top : top + CROP, left : left + CROP]
    return (255 * (crop.flip(2) if chance.random() < 0.5 else crop)).round().byte()


def as_pictures(crops: Tensor) -> Tensor:
    return (crops.float() / 255).contiguous(memory_format=torch.channels_last)


# --- learning ------------------------------------------------------------------------------------


def describe(encoder: MomentsEncoder, crops: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return encoder.describe(as_pictures(crops)).float()


@torch.no_grad()
def first_head(encoder: MomentsEncoder, crops: Tensor, moments: Tensor) -> nn.Linear:
    """A linear map from descriptions to moments, by ridge regression; the encoder is standardised first."""
    some = torch.randperm(len(crops))[:1600]
    encoder.prepare([as_pictures(each) for each in crops[some[:768]].split(BATCH)])
    head = nn.Linear(encoder.description_size, moments.shape[1])
    described = torch.cat([describe(encoder, crops[each]) for each in some.split(BATCH)])
    weight, bias = ridge(described, moments[some])
    head.weight.copy_(weight)
    head.bias.copy_(bias)
    return head


def ridge(inputs: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer."""
    extended = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1).double()
    penalty = RIDGE * torch.eye(extended.shape[1], dtype=torch.float64)
    penalty[-1, -1] = 0
    solved = torch.linalg.solve(extended.T @ extended + penalty, extended.T @ wanted.double()).float()
    return solved[:-1].T, solved[-1]


def errors(predicted: Tensor, moments: Tensor) -> list[Tensor]:
    """As in the style loss, by layer: means and deviations."""
    sizes = [2 * n for n in (64, 128, 256, 512, 512)]
    squares = (predicted - moments).square().split(sizes, dim=1)
    return [2 * each.mean() for each in squares]  # of means and of deviations


def learned(
    encoder: MomentsEncoder,
    head: nn.Linear,
    crops: Tensor,
    moments: Tensor,
    held_out: int,
    minutes: float,
) -> MomentsEncoder:
    """The encoder, averaged over the last steps of AdamW, after so many minutes."""
    both = nn.ModuleList([encoder, head])
    slow_encoder, slow_head = average = copy.deepcopy(encoder), copy.deepcopy(head)
    slow_parameters = [*slow_encoder.parameters(), *slow_head.parameters()]
    optimizer = torch.optim.AdamW(both.parameters(), betas=(0.9, 0.99), weight_decay=1e-4)
    begun = time.monotonic()
    for step, chosen in enumerate(batches(held_out, len(crops))):
        done = (time.monotonic() - begun) / 60 / minutes
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, step / 100) * (0.51 + 0.49 * math.cos(math.pi * done))
        found = errors(head(describe(encoder, crops[chosen])), moments[chosen])
        optimizer.zero_grad()
        sum(weight * each for weight, each in zip(LAYERS.values(), found, strict=True)).backward()
        nn.utils.clip_grad_norm_(both.parameters(), 5.0)
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(slow_parameters, both.parameters(), strict=True):
                slow.lerp_(fast, 1 - min(0.998, (1 + step) / (10 + step)))
        if step % 200 == 0:
            report(step, *average, crops[:held_out], moments[:held_out])
    report(step, *average, crops[:held_out], moments[:held_out])
    return slow_encoder


def batches(first: int, end: int) -> Iterator[Tensor]:
    while True:
        yield from (torch.randperm(end - first) + first).split(BATCH)


@torch.no_grad()
def report(step: int, encoder: MomentsEncoder, head: nn.Linear, crops: Tensor, moments: Tensor) -> None:
    predicted = torch.cat([head(describe(encoder, each)) for each in crops.split(BATCH)])
    found = [float(each) for each in errors(predicted, moments)]
    by_layer = ", ".join(f"{name} {each:.3f}" for name, each in zip(LAYERS, found, strict=True))
    print(f"step {step}, held out: {by_layer}; relu1_1 to relu4_1 {sum(found[:4]):.3f}", flush=True)


# --- the codes -----------------------------------------------------------------------------------


@torch.no_grad()
def fit_codes(encoder: MomentsEncoder, trained: ArbitraryStyler, crops: Tensor, held_out: int) -> None:
    """Make the encoder's codes those of the trained model, as well as a linear map can."""
    described = torch.cat([describe(encoder, each) for each in crops.split(BATCH)])
    wanted = torch.cat([trained.encode(as_pictures(each)) for each in crops.split(BATCH)])
    weight, bias = ridge(described[held_out:], wanted[held_out:])
    encoder.to_code.weight.copy_(weight * encoder.description_size**0.5)
    encoder.to_code.bias.copy_(bias)
    off = encoder.code_of(described[:held_out]) - wanted[:held_out]
    spread = wanted[:held_out] - wanted.mean(dim=0)
    print(f"codes of held-out crops explained: {1 - float(off.square().sum() / spread.square().sum()):.3f}")


if __name__ == "__main__":
    main()
