"""After another model has been put into the package: make anew what the package derives from it.

    python scripts/package_model.py

writes the ONNX graphs beside the model, which take their weights from its file; the codes of the gallery's
styles, from the pictures in their files; and a sheet of them for the documents. Run it whenever
arbstyle/assets/arbstyle.safetensors has changed; tests fail until then. It undoes `refine`: run that again.

To put another work in the public domain into the gallery:

    python scripts/package_model.py add woodcut picture.jpg --artist "Katsushika Hokusai" \\
        --title "Fine Wind, Clear Morning" --year "about 1831" --technique "woodblock print"

To improve what the model knows of the gallery's works, by the style and content loss of
configs/campaign.yaml (needs VGG-19, and takes half a minute to two minutes a work):

    python scripts/package_model.py refine --photos PHOTOS

To make the model itself a weighted mean of models that share a past (docs/training-log.md, 22):

    python scripts/package_model.py mean 0.5=one.safetensors 0.5=other.safetensors --stem-noise 0.1
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from arbstyle import Stylizer
from arbstyle.cli import main as main_command
from arbstyle.images import atomic_path, find_images, fit_into, from_pil, read_image, resize, to_pil
from arbstyle.networks import load_styler, save_styler
from arbstyle.networks.model_file import describe_styler
from arbstyle.onnx.export import export_onnx
from arbstyle.painting.gallery import SUFFIX, gallery_files
from arbstyle.painting.style_file import Style
from arbstyle.perception import PerceptualEncoder, PerceptualLoss, stray_marks

REPOSITORY = Path(__file__).resolve().parent.parent
ASSETS = REPOSITORY / "arbstyle" / "assets"
GALLERY = ASSETS / "gallery"
CODE_RATE = 0.04
CONTENT_WEIGHT = 4.0
"""Above training's: fitted codes have style to spare, and the subject is missed first."""

PHOTO_SIDE = 224
WORTH = 0.9
"""A refined code is kept if its style loss falls below this share of the first; less cost colours."""

SIDES = 288, 400
"""Height and width that a picture of the gallery is reduced to fit into, either way round."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action")
    add = actions.add_parser("add", help="put a work into the gallery")
    add.add_argument("name")
    add.add_argument("picture")
    for fact in ("artist", "title", "year", "technique"):
        add.add_argument(f"--{fact}", required=True)
    refine = actions.add_parser("refine", help="improve the codes of the gallery by training's loss")
    refine.add_argument("--photos", required=True, help="folder of photos; 24 drawn from it take turns")
    refine.add_argument(
        "--steps", type=int, default=96, help="48 at least: the first and last 24 are compared"
    )
    refine.add_argument("--names", nargs="+", help="works (default: all)")
    mean = actions.add_parser("mean", help="make the model a weighted mean of others")
    mean.add_argument("models", nargs="+", metavar="WEIGHT=FILE", type=weighted)
    mean.add_argument("--stem-noise", type=float, default=1.0, help="share of it to keep (default: all)")
    mean.add_argument("--other-noise", type=float, default=1.0, help="share of the other noise")
    mean.add_argument("-o", "--output", default=str(ASSETS / "arbstyle.safetensors"))
    arguments = parser.parse_args()
    if arguments.action == "refine" and arguments.steps < 48:
        parser.error(f"expected --steps of 48 or more, got {arguments.steps}")
    if arguments.action == "mean":
        print(mean_of(arguments.models, arguments.output, arguments.stem_noise, arguments.other_noise))
        return
    stylizer = Stylizer.from_pretrained(ASSETS / "arbstyle.safetensors", "cpu", "fp32")
    if arguments.action == "add":
        facts = {fact: getattr(arguments, fact) for fact in ("title", "artist", "year", "technique")}
        print(add_work(stylizer, arguments.name, arguments.picture, facts))
        return
    if arguments.action == "refine":
        refine_gallery(stylizer, arguments.photos, arguments.steps, arguments.names or gallery_files())
        return
    for path in export_onnx(
        stylizer.styler, ASSETS, stylizer.information, weights=ASSETS / "arbstyle.safetensors"
    ):
        print(path)
    for name, path in gallery_files().items():
        print(renew(stylizer, name, path))
    photo, sheet = (
        REPOSITORY / "examples" / "photo-pagoda.jpg",
        REPOSITORY / "docs" / "images" / "gallery.webp",
    )
    main_command(["styles", str(photo), "--size", "150", "--overwrite", "-o", str(sheet)])


def weighted(text: str) -> tuple[float, str]:
    weight, _, file = text.partition("=")
    return float(weight), file


def mean_of(
    models: Sequence[tuple[float, str]], output: str, stem_noise: float = 1.0, other_noise: float = 1.0
) -> Path:
    """A model whose every weight is the mean of those of the models, which must be built alike.

    Of the noise that is added after the stem, and of that after the down-sampling and the merge, a share may
    be kept: the losses like more of it than eyes do.
    """
    (_, first), *_ = models
    loaded = [(weight, *load_styler(file)) for weight, file in models]
    styler, information = load_styler(first)
    for _, other, _ in loaded:
        if describe_styler(other) != describe_styler(styler):
            raise SystemExit("expected models that are built alike, with the same sizes, got others")
    whole = sum(weight for weight, _, _ in loaded)
    states = [(weight / whole, other.state_dict()) for weight, other, _ in loaded]
    state = {
        name: sum(weight * each[name] for weight, each in states) if value.is_floating_point() else value
        for name, value in styler.state_dict().items()
    }
    styler.load_state_dict(state)
    kept = {"stem_noise": stem_noise, "deep_noise": other_noise, "merge_noise": other_noise}
    for place, share in kept.items():
        if share != 1:
            for numbers in (styler.head.weight.T, styler.head.bias[None]):
                getattr(styler.transformer, place).take(numbers.detach()).mul_(share)
    parents = [{"weight": weight, "information": known} for weight, _, known in loaded]
    made = {"name": "arbstyle", "mean_of": parents, "noise_kept": kept}
    return save_styler(styler, output, {**information, **made}, packed=True)


def add_work(stylizer: Stylizer, name: str, picture: str, facts: dict[str, str]) -> Path:
    """A new file of the gallery."""
    pixels = read_image(picture)
    sides = sorted(SIDES) if pixels.shape[2] <= pixels.shape[3] else sorted(SIDES, reverse=True)
    thumbnail = to_pil(fit_into(pixels, *sides))
    about = {**facts, "licence": "public domain"}
    style = Style(
        name, stylizer.style(thumbnail).code, None, stylizer.fingerprint, stylizer.name, thumbnail, about
    )
    return renew(stylizer, name, style.save(GALLERY / f"{name}{SUFFIX}"))


def renew(stylizer: Stylizer, name: str, path: Path) -> Path:
    """The same file with the code of this model for its picture."""
    known = Style.load(path)
    return write_code(replace(known, name=name), seen_code(stylizer, known), stylizer, path)


def seen_code(stylizer: Stylizer, style: Style) -> Tensor:
    """What the encoder sees in a work's picture at its own size: enlarged, its strokes would be soft."""
    return stylizer.style(style.thumbnail, style_size=min(style.thumbnail.size)).code


def write_code(style: Style, code: Tensor, stylizer: Stylizer, path: Path) -> Path:
    """Put another code into a file of the gallery; the picture stays as it is, byte for byte."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(path, "numpy") as file:
        metadata, picture = file.metadata(), file.get_tensor("thumbnail")
    about = {"name": style.name, "model": stylizer.fingerprint, "model_name": stylizer.name}
    tensors = {"code": code.numpy(), "thumbnail": picture}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {**metadata, "style": json.dumps(about)})
    return path


def refine_gallery(stylizer: Stylizer, folder: str, steps: int, names: Iterable[str]) -> None:
    """Descend the terms of configs/campaign.yaml with more content in each work's code; networks stay fixed.

    A code is 256 numbers, so what is learned on two dozen photos holds for others.
    """
    loss = campaign_loss()
    files = find_images(folder)
    photos = [middle(read_image(file)) for file in random.Random(0).sample(files, min(24, len(files)))]
    with bf16():
        contents = [loss.targets(photo, None).content for photo in photos]
    for name in names:
        path = gallery_files()[name]
        style = Style.load(path)
        code, seen = refined_code(stylizer, style, loss, list(zip(photos, contents, strict=True)), steps)
        first, last = (torch.tensor(part).mean(0).tolist() for part in (seen[:24], seen[-24:]))
        worth_it = last[0] < WORTH * first[0]
        write_code(style, code if worth_it else seen_code(stylizer, style), stylizer, path)
        verdict = "refined" if worth_it else "as the encoder sees it"
        style_loss, content_loss = (f"{old:.2f} to {new:.2f}" for old, new in zip(first, last, strict=True))
        print(f"{name}: {verdict}; style loss {style_loss}, content loss {content_loss}", flush=True)


def refined_code(
    stylizer: Stylizer,
    style: Style,
    loss: PerceptualLoss,
    photos: Sequence[tuple[Tensor, dict[str, Tensor]]],
    steps: int,
) -> tuple[Tensor, list[tuple[float, float]]]:
    """The code after some steps of Adam, a photo each, and each step's style and content loss."""
    with bf16():
        goal = loss.targets(None, from_pil(style.thumbnail))
    marks_weight = campaign_settings()["marks_weight"]
    code = seen_code(stylizer, style).clone().requires_grad_()
    optimizer = torch.optim.Adam([code], lr=CODE_RATE, betas=(0.9, 0.99))
    losses = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = CODE_RATE * (1 - step / steps)
        photo, content = photos[step % len(photos)]
        with bf16():
            painted = stylizer.styler.transformer(photo, stylizer.styler.head(code))
            terms = loss(painted, replace(goal, content=content))
        optimizer.zero_grad()
        (terms.total + marks_weight * stray_marks(painted, photo)).backward()
        optimizer.step()
        losses.append((terms.style.item(), terms.content.item()))
    return code.detach(), losses


def campaign_settings() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "configs" / "campaign.yaml").read_text())["model"]["loss"]


def campaign_loss() -> PerceptualLoss:
    settings = campaign_settings()
    layers = settings["style_layers"]
    encoder = PerceptualEncoder("vgg19", (*layers, "relu4_1"))
    chosen = ("style_weight", "tv_weight", "style_statistic", "style_bound")
    settings = {name: settings[name] for name in chosen}
    return PerceptualLoss(encoder, {"relu4_1": 1.0}, layers, content_weight=CONTENT_WEIGHT, **settings)


def middle(photo: Tensor) -> Tensor:
    photo = resize(photo, PHOTO_SIDE)
    top, left = ((side - PHOTO_SIDE) // 2 for side in photo.shape[2:])
    return photo[..., top : top + PHOTO_SIDE, left : left + PHOTO_SIDE]


def bf16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


if __name__ == "__main__":
    main()
