"""Pictures and loss of an optimisation: read, checked, and on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arbstyle.devices import choose_device
from arbstyle.errors import ArbstyleError
from arbstyle.images import read_image, resize
from arbstyle.optimization.settings import Layers, Settings, Source
from arbstyle.perception import PerceptualEncoder, PerceptualLoss, parse_layers

DEFAULT_LONGEST_SIDE = 512
"""Of pictures read from files, in pixels: an evaluation's time and memory grow with the area."""

NOISES = ("noise", "white-noise")


@dataclass(frozen=True, eq=False)
class Inputs:
    content: Tensor | None
    styles: Sequence[Tensor]
    init: Tensor | None  # None starts from clouds
    sizes: Sequence[tuple[int, int]]  # height and width, coarse to fine
    device: torch.device


def read_inputs(content: Source | None, styles: Sequence[Source], settings: Settings) -> Inputs:
    if content is None and not styles:
        raise ArbstyleError("expected a content picture, a style picture or both, got neither")
    if settings.style_weights is not None and len(settings.style_weights) != len(styles):
        raise ArbstyleError(
            f"expected a weight for each of {len(styles)} style pictures, got {len(settings.style_weights)}"
        )
    sources = {"content": content, "style": styles[0] if styles else None, **dict.fromkeys(NOISES)}
    init = settings.init
    if init is None:
        init = "content" if content is not None and styles else "noise"
    if isinstance(init, str) and init in ("content", "style") and sources[init] is None:
        raise ArbstyleError(f"can't start from the {init}: no such picture was given; add it, or take noise")
    start = sources.get(init, init) if isinstance(init, str) else init

    device = choose_device(settings.device)
    content_image = None if content is None else _read(content)
    style_images = [_read(style) for style in styles]
    if content is not None and content_image is not None:
        sizes = _sizes(content, content_image, settings)
    else:
        sizes = _sizes(styles[0], style_images[0], settings)
    start_image = None if start is None else _read(start).to(device)
    if init == "white-noise":
        generator = torch.Generator().manual_seed(settings.seed)
        start_image = torch.rand(1, 3, *sizes[0], generator=generator).to(device)
    return Inputs(
        content=None if content_image is None else content_image.to(device),
        styles=[style.to(device) for style in style_images],
        init=start_image,
        sizes=sizes,
        device=device,
    )


def _read(source: Source) -> Tensor:
    if not isinstance(source, Tensor):
        return read_image(source)
    if source.dim() != 4 or source.shape[:2] != (1, 3) or not source.is_floating_point():
        got = f"{source.dtype} of shape {tuple(source.shape)}"
        raise ArbstyleError(f"expected a picture as a float tensor 1×3×H×W in [0,1], got {got}")
    return source.detach().float()


def _sizes(source: Source, image: Tensor, settings: Settings) -> list[tuple[int, int]]:
    height, width = image.shape[-2:]
    own = max(height, width)
    longer = settings.size or (own if isinstance(source, Tensor) else min(own, DEFAULT_LONGEST_SIDE))
    divisors = (own / longer * 2**halvings for halvings in reversed(range(settings.scales)))
    return [(max(1, round(height / by)), max(1, round(width / by))) for by in divisors]


def build_loss(inputs: Inputs, settings: Settings) -> PerceptualLoss:
    with_content = inputs.content is not None and settings.content_weight > 0
    with_style = bool(inputs.styles) and settings.style_weight > 0
    content_layers = _layer_weights(settings.content_layers) if with_content else {}
    style_layers = _layer_weights(settings.style_layers) if with_style else {}
    if not any(content_layers.values()) and not any(style_layers.values()):
        raise ArbstyleError("nothing to optimise: expected a content or style term with a weight above 0")
    encoder = PerceptualEncoder(
        settings.vgg,
        list({**content_layers, **style_layers}),
        weights=settings.vgg_weights,
        pooling=settings.pooling,
        normalize_filters=settings.normalize_filters,
    )
    _check_depth(encoder, inputs, settings)
    return PerceptualLoss(
        encoder,
        content_layers,
        style_layers,
        content_weight=settings.content_weight,
        style_weight=settings.style_weight,
        tv_weight=settings.tv_weight,
        style_statistic=settings.style_statistic,
        relative_errors=settings.relative_errors,
    ).to(inputs.device)


def _layer_weights(layers: Layers) -> dict[str, float]:
    return dict(layers) if isinstance(layers, Mapping) else parse_layers(layers)


def _check_depth(encoder: PerceptualEncoder, inputs: Inputs, settings: Settings) -> None:
    """Every pooling halves a picture; one that is pooled away has no features."""
    needed = encoder.smallest_side
    coarsest = inputs.sizes[0]
    shapes = [coarsest, *(style_at(style, coarsest, inputs, settings).shape[-2:] for style in inputs.styles)]
    height, width = min(shapes, key=min)
    if min(height, width) < needed:
        raise ArbstyleError(
            f"pictures need {needed} pixels a side for these layers, and one would be {width}×{height}; "
            "choose a larger size, fewer scales or shallower layers"
        )


def style_at(style: Tensor, size: tuple[int, int], inputs: Inputs, settings: Settings) -> Tensor:
    """The style picture for one scale: in the same proportion to the canvas at every scale."""
    full = max(inputs.sizes[-1])
    longest = min(max(style.shape[-2:]), full * settings.style_scale)
    return resize(style, max(1, round(longest * max(size) / full)), edge="long")
