"""Painting by optimisation: change a picture until its features match (Gatys, Ecker & Bethge 2015, 2016).

One engine does three jobs: with a content and a style it transfers the style, with a style alone it
synthesises a texture, with a content alone it reconstructs what the chosen layers keep of it.

    from arbstyle.optimize import optimize
    result = optimize("photo.jpg", "painting.jpg", steps=300)
    result.save("result.png")

A picture's loss is badly conditioned in its pixels: VGG's first layers hardly see slow changes and saturated
colours, so L-BFGS spends its evaluations on noise. Here it works on a `Canvas` instead, the picture in
decorrelated colours and in a Fourier basis scaled like natural pictures (Olah, Mordvintsev & Schubert 2017).
"""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from arbstyle.devices import choose_device
from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path, read_image, resize, write_image
from arbstyle.losses import LossTerms, PerceptualLoss, StyleStatistic, Targets, parse_layers
from arbstyle.perception import Network, PerceptualEncoder, Pooling

Basis = Literal["fourier", "pixels"]
Optimizer = Literal["lbfgs", "adam"]
Stop = Literal["finished", "converged", "interrupted", "non-finite"]
Layers = Mapping[str, float] | Sequence[str]
Source = Tensor | str | Path
Callback = Callable[["Evaluation", Tensor], object]

DEFAULT_LONGEST_SIDE = 512
"""Of pictures read from files, in pixels: an evaluation's time and memory grow with the area."""

NOISES = ("noise", "white-noise")

NOISE_STD = 0.2
"""Of the canvas values that a run from noise starts with."""

SPECTRAL_DECAY = 0.75
"""Natural pictures fall with about frequency⁻¹; a little less converges faster (docs/optimization.md)."""

FIRST_STEP = 0.02
"""Mean change of a canvas value in L-BFGS' first step."""

HISTORY_SIZE = 20
"""Steps that L-BFGS remembers."""

LOSS_AT_START = 1e3
"""Whatever the weights, the loss starts here: PyTorch's L-BFGS compares curvatures with a fixed number."""

_NATURAL_COLORS = (
    # Square root of ImageNet's colour covariance, largest column of length 1 (lucid, `param/color.py`).
    (0.5628, 0.1948, 0.0433),
    (0.5845, 0.0000, -0.1082),
    (0.5845, -0.1948, 0.0649),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a picture is optimised.

    Attributes:
        steps: loss evaluations in all, over all scales; line searches spend them too.
        size: longer side of the result in pixels; `None` keeps the content's (without content, the first
            style's), for pictures read from files up to `DEFAULT_LONGEST_SIDE`.
        scales: sizes from coarse to fine, each double the one before; steps are shared out evenly.
        init: `content`, `style`, a picture, `noise` (clouds, with the spectrum of natural pictures) or
            `white-noise` (uniform in every pixel, as published); `None` is `content` for transfers, else
            `noise`.
        content_layers, style_layers: layer → weight, or names such as `relu4_1` and `relu4_1:0.5`.
        content_weight, style_weight, tv_weight: of the three terms.
        style_weights: one a style picture; only their ratios matter.
        style_scale: longer side of the style pictures over that of the result; they are never enlarged.
        style_statistic: see `PerceptualLoss`.
        balance: see `PerceptualLoss`; without it, weights that suit a bright style are wrong for a dull one.
        basis: of the `Canvas`.
        learning_rate: of Adam; L-BFGS has a line search instead.
        encoder, vgg_weights, pooling, normalize_filters: see `PerceptualEncoder`.
        seed: of the noise; the same seed gives the same picture on the same machine.
        device: `auto` takes a GPU where there is one.
    """

    steps: int = 300
    size: int | None = None
    scales: int = 1
    init: Source | None = None
    optimizer: Optimizer = "lbfgs"
    content_layers: Layers = field(default_factory=lambda: {"relu4_2": 1.0})
    style_layers: Layers = field(
        default_factory=lambda: dict.fromkeys(("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), 1.0)
    )
    content_weight: float = 1.0
    style_weight: float = 1.0
    tv_weight: float = 0.0
    style_weights: Sequence[float] | None = None
    style_scale: float = 1.0
    style_statistic: StyleStatistic = "gram"
    balance: bool = True
    basis: Basis = "fourier"
    learning_rate: float = 0.05
    encoder: Network = "vgg19"
    vgg_weights: str | Path | None = None
    pooling: Pooling = "max"
    normalize_filters: bool = True
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", Optimizer), ("basis", Basis)):
            if getattr(self, name) not in get_args(choices):
                raise ArbstyleError(
                    f"expected {name} {' or '.join(get_args(choices))}, got '{getattr(self, name)}'"
                )
        for name in ("steps", "size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArbstyleError(f"expected {name} of 1 or more, got {value}")
        if not 1 <= self.scales <= 16:
            raise ArbstyleError(f"expected scales from 1 to 16, got {self.scales}")
        for name in ("style_scale", "learning_rate"):
            if not 0 < getattr(self, name) <= 1000:
                raise ArbstyleError(f"expected {name} above 0 and up to 1000, got {getattr(self, name)}")
        for name in ("content_weight", "style_weight", "tv_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ArbstyleError(f"expected {name} to be 0 or more, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**63:
            raise ArbstyleError(f"expected a seed from 0 to 2⁶³ - 1, got {self.seed}")


@dataclass(frozen=True)
class Evaluation:
    """The loss at one evaluation.

    Attributes:
        number: from 1.
        total, content, style, tv: weighted terms; total is their sum.
        layers: unweighted, by `content/<layer>` and `style/<layer>`.
        weighted_layers: the same after all weights; they add up to `content + style`.
        size: height and width at this scale.
        full_size: height and width of the result.
    """

    number: int
    total: float
    content: float
    style: float
    tv: float
    layers: Mapping[str, float]
    weighted_layers: Mapping[str, float]
    size: tuple[int, int]
    full_size: tuple[int, int]

    def row(self) -> dict[str, float]:
        """By the history file's column names."""
        terms = {"total": self.total, "content": self.content, "style": self.style, "tv": self.tv}
        return {"evaluation": self.number, **terms, **self.layers}

    def shares(self) -> dict[str, float]:
        """Each layer's part of its own term: `content/…` add up to 1, and so do `style/…`."""
        terms = {"content": self.content or 1.0, "style": self.style or 1.0}
        return {name: value / terms[name.split("/")[0]] for name, value in self.weighted_layers.items()}


@dataclass(frozen=True, eq=False)
class Optimized:
    """The best picture found, and how it was found.

    Attributes:
        image: 1×3×H×W in [0,1], on the CPU.
        history: every evaluation, in order.
        best: the evaluation that `image` is from (the last scale's; `image` is enlarged to the full size
            if the run stopped at a coarser one).
        stopped: `finished` all steps; `converged` (no way down any more); `interrupted`; or `non-finite`
            (the loss was no longer a number).
        seconds: time the optimisation took.
    """

    image: Tensor
    history: Sequence[Evaluation]
    best: Evaluation
    stopped: Stop
    seconds: float

    def save(self, path: str | Path) -> Path:
        """Write the picture in the format that the file name asks for."""
        return write_image(self.image, path)

    def save_history(self, path: str | Path) -> None:
        """Write a CSV file with a row per evaluation; several scales add `height` and `width` at its end."""
        rows = [evaluation.row() for evaluation in self.history]
        if len({evaluation.size for evaluation in self.history}) > 1:
            for row, evaluation in zip(rows, self.history, strict=True):
                row["height"], row["width"] = evaluation.size
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def plot_history(history: Sequence[Evaluation], path: str | Path) -> None:
    """Draw the loss terms over the evaluations, on a logarithmic scale; dotted lines part the scales.

    Raises:
        ArbstyleError: matplotlib is not installed, or the file can't be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ArbstyleError("a plot needs matplotlib: pip install 'arbstyle[plot]'") from error
    axes = (figure := Figure(figsize=(7, 4), layout="constrained")).subplots()
    numbers = [evaluation.number for evaluation in history]
    for term in ("total", "content", "style", "tv"):
        values = [getattr(evaluation, term) for evaluation in history]
        if any(values):
            axes.plot(numbers, values, label=term, linewidth=2 if term == "total" else 1)
    for before, after in pairwise(history):
        if before.size != after.size:
            axes.axvline(after.number - 0.5, color="grey", linestyle=":")
    axes.set(xlabel="loss evaluations", ylabel="weighted loss", yscale="log")
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary)


def optimize(
    content: Source | None = None,
    style: Source | Sequence[Source] | None = None,
    settings: Settings | None = None,
    *,
    callback: Callback | None = None,
    **changes: Any,
) -> Optimized:
    """Optimise a picture towards the content of one picture and the style of others.

    Args:
        content: photo, a file or 1×3×H×W in [0,1]; without it, a texture is synthesised.
        style: one or several pictures likewise; without any, the content is reconstructed.
        settings: `Settings()` if left out.
        callback: called after every evaluation with the `Evaluation` and the picture, 1×3×h×w. It ends the
            run, and keeps the best picture, by raising `KeyboardInterrupt`.
        changes: fields of `Settings` that differ, such as `steps=100`.

    Returns:
        the best picture, also where Ctrl-C or a loss that is no longer finite ended the run early.

    Raises:
        ArbstyleError: wrong settings or pictures (before the long work), too little memory, or a loss that is
            not finite from the start.
    """
    settings = replace(settings or Settings(), **changes)
    started = time.monotonic()
    styles = [] if style is None else [style] if isinstance(style, (Tensor, str, Path)) else list(style)
    inputs = _read_inputs(content, styles, settings)
    loss = _build_loss(inputs, settings)
    objective = _Objective(loss, settings.steps, inputs.sizes[-1], callback)
    stopped: Stop
    with _exact_convolutions(), _clear_memory_errors(inputs.sizes[-1]):
        try:
            stopped = _paint(inputs, objective, settings)
        except KeyboardInterrupt:
            stopped = "interrupted"
        except _NonFiniteLossError:
            stopped = "non-finite"
    if objective.best is None:
        if stopped == "interrupted":
            raise KeyboardInterrupt
        raise ArbstyleError("the loss is not a finite number from the start; choose smaller weights")
    best, image = objective.best
    seconds = time.monotonic() - started
    return Optimized(resize(image.cpu(), inputs.sizes[-1]), objective.history, best, stopped, seconds)


@contextmanager
def _exact_convolutions() -> Iterator[None]:
    """On a GPU, the same result every time, and losses exact enough for a line search to compare."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


@contextmanager
def _clear_memory_errors(size: tuple[int, int]) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not re.search("out of memory|not enough memory|can't allocate memory", str(error)):
            raise
        height, width = size
        raise ArbstyleError(
            f"not enough memory to optimise a picture of {width}×{height}; choose a smaller size"
        ) from error


# --- inputs: read, checked, on the device -------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Inputs:
    content: Tensor | None
    styles: Sequence[Tensor]
    init: Tensor | None  # None starts from clouds
    sizes: Sequence[tuple[int, int]]  # height and width, coarse to fine
    device: torch.device


def _read_inputs(content: Source | None, styles: Sequence[Source], settings: Settings) -> _Inputs:
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
    return _Inputs(
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


def _build_loss(inputs: _Inputs, settings: Settings) -> PerceptualLoss:
    with_content = inputs.content is not None and settings.content_weight > 0
    with_style = bool(inputs.styles) and settings.style_weight > 0
    content_layers = _layer_weights(settings.content_layers) if with_content else {}
    style_layers = _layer_weights(settings.style_layers) if with_style else {}
    if not any(content_layers.values()) and not any(style_layers.values()):
        raise ArbstyleError("nothing to optimise: expected a content or style term with a weight above 0")
    encoder = PerceptualEncoder(
        settings.encoder,
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
        balance=settings.balance,
    ).to(inputs.device)


def _layer_weights(layers: Layers) -> dict[str, float]:
    return dict(layers) if isinstance(layers, Mapping) else parse_layers(layers)


def _check_depth(encoder: PerceptualEncoder, inputs: _Inputs, settings: Settings) -> None:
    """Every pooling halves a picture; one that is pooled away has no features."""
    needed = 2 ** sum(name.startswith("pool") for name, _ in encoder.layers.named_children())
    coarsest = inputs.sizes[0]
    shapes = [coarsest, *(_style_at(style, coarsest, inputs, settings).shape[-2:] for style in inputs.styles)]
    height, width = min(shapes, key=min)
    if min(height, width) < needed:
        raise ArbstyleError(
            f"pictures need {needed} pixels a side for these layers, and one would be {width}×{height}; "
            "choose a larger size, fewer scales or shallower layers"
        )


def _style_at(style: Tensor, size: tuple[int, int], inputs: _Inputs, settings: Settings) -> Tensor:
    """The style picture for one scale: in the same proportion to the canvas at every scale."""
    full = max(inputs.sizes[-1])
    longest = min(max(style.shape[-2:]), full * settings.style_scale)
    return resize(style, max(1, round(longest * max(size) / full)), edge="long")


# --- the picture being painted ------------------------------------------------------------------


class Canvas(nn.Module):
    """A picture as the numbers that an optimiser changes; calling it gives the picture, in (0,1).

    In the `fourier` basis the values are the picture's Fourier coefficients in decorrelated colours, divided
    by the typical amplitudes of natural pictures (Olah et al. 2017, "Feature visualization"). They are held
    in the space domain, which an orthonormal transform makes equivalent. In the `pixels` basis they are
    the pixels. In both a sigmoid of slope 1 at mid-grey keeps the picture in range: clamping would cut
    gradients off, and give a line search a kink at every pixel that touches black or white.

    Args:
        height, width: of the picture.
        basis: `fourier` or `pixels`.
        unit: what the parameter's values are counted in.
    """

    colors: Tensor
    amplitudes: Tensor

    def __init__(self, height: int, width: int, *, basis: Basis = "fourier", unit: float = 1.0) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(1, 3, height, width))
        self.basis = basis
        self.unit = unit
        self.register_buffer("colors", torch.tensor(_NATURAL_COLORS))
        self.register_buffer("amplitudes", _natural_amplitudes(height, width))

    def forward(self) -> Tensor:
        """The picture, 1×3×H×W in (0,1)."""
        values = self.values * self.unit
        if self.basis == "fourier":
            values = self._mix(self._filter(values, self.amplitudes), self.colors)
        return torch.sigmoid(4 * values)

    @torch.no_grad()
    def show(self, image: Tensor) -> None:
        """Set the values to a picture, 1×3×H×W; black and white move in to where the sigmoid has a slope."""
        values = torch.logit(image.clamp(0.01, 0.99)) / 4
        if self.basis == "fourier":
            values = self._filter(self._mix(values, self.colors.inverse()), 1 / self.amplitudes)
        self.values.copy_(values / self.unit)

    @torch.no_grad()
    def randomize(self, seed: int) -> None:
        """Set the values to noise, which is white in the `pixels` basis and cloudy in the `fourier` one."""
        noise = torch.randn(self.values.shape, generator=torch.Generator().manual_seed(seed))
        self.values.copy_(noise * (NOISE_STD / self.unit))

    def _filter(self, values: Tensor, gains: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(values) * gains
        return torch.fft.irfft2(spectrum, s=values.shape[-2:])

    def _mix(self, values: Tensor, matrix: Tensor) -> Tensor:
        return torch.einsum("ij,njhw->nihw", matrix, values)


def _natural_amplitudes(height: int, width: int) -> Tensor:
    vertical = torch.fft.fftfreq(height).unsqueeze(1)
    horizontal = torch.fft.rfftfreq(width).unsqueeze(0)
    frequency = torch.hypot(vertical, horizontal).clamp_min(1 / max(height, width))
    amplitudes = frequency**-SPECTRAL_DECAY
    return amplitudes / amplitudes.square().mean().sqrt()


# --- the search ---------------------------------------------------------------------------------


def _paint(inputs: _Inputs, objective: _Objective, settings: Settings) -> Stop:
    """Paint from coarse to fine; each scale starts from the best picture of the one before."""
    converged = False
    for done, size in enumerate(inputs.sizes):
        budget = objective.left // (len(inputs.sizes) - done)
        if budget == 0:
            continue
        canvas = Canvas(*size, basis=settings.basis, unit=_unit(size, settings.optimizer)).to(inputs.device)
        start = inputs.init if objective.best is None else objective.best[1]
        if start is None:
            canvas.randomize(settings.seed)
        else:
            canvas.show(resize(start, size))
        content = None if inputs.content is None else resize(inputs.content, size)
        styles = [_style_at(style, size, inputs, settings) for style in inputs.styles]
        objective.begin(canvas, objective.loss.targets(content, styles, settings.style_weights), budget)
        converged = _minimize(objective, settings)
    return "converged" if converged else "finished"


def _unit(size: tuple[int, int], optimizer: Optimizer) -> float:
    """PyTorch's first L-BFGS step has an L1 length of at most 1: shared out over all values, next to nothing.

    Values counted in a unit that large make it a step of `FIRST_STEP` each.
    """
    return FIRST_STEP * 3 * math.prod(size) if optimizer == "lbfgs" else 1.0


def _minimize(objective: _Objective, settings: Settings) -> bool:
    """Spend the scale's budget; true if there was no way down any more."""
    try:
        if settings.optimizer == "adam":
            adam = torch.optim.Adam([objective.canvas.values], lr=settings.learning_rate)
            while True:
                adam.step(objective)
        return _minimize_lbfgs(objective)
    except _BudgetSpentError:
        return False


def _minimize_lbfgs(objective: _Objective) -> bool:
    while True:
        lowest, left = objective.lowest, objective.left
        lbfgs = torch.optim.LBFGS(
            [objective.canvas.values],
            max_iter=left,
            max_eval=left,
            history_size=HISTORY_SIZE,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )
        lbfgs.step(objective)
        # Its model of the curvature may be what misled it: only if a fresh start fails too is this a minimum.
        if objective.lowest >= lowest:
            return True


class _BudgetSpentError(Exception):
    """Ends PyTorch's optimisers from inside: a line search asks for as many evaluations as it likes."""


class _NonFiniteLossError(Exception):
    """The loss is infinite or not a number."""


class _Objective:
    """The loss at the canvas, as the closure of PyTorch's optimisers; counts, records and keeps the best."""

    def __init__(
        self, loss: PerceptualLoss, steps: int, full_size: tuple[int, int], callback: Callback | None
    ) -> None:
        self.loss = loss
        self.steps = steps
        self.full_size = full_size
        self.callback = callback
        self.history: list[Evaluation] = []
        self.best: tuple[Evaluation, Tensor] | None = None

    @property
    def left(self) -> int:
        return self.steps - len(self.history)

    def begin(self, canvas: Canvas, targets: Targets, budget: int) -> None:
        """Turn to another scale, with a budget of evaluations; `best` stays until its first one."""
        self.canvas = canvas
        self.targets = targets
        self.last = len(self.history) + budget
        self.lowest = math.inf
        self.factor: float | None = None

    def __call__(self) -> Tensor:
        if len(self.history) == self.last:
            raise _BudgetSpentError
        self.canvas.zero_grad()
        image = self.canvas()
        terms = self.loss(image, self.targets)
        evaluation = self._read_off(terms, image)
        if self.factor is None:
            self.factor = LOSS_AT_START / evaluation.total if evaluation.total else 1.0
        objective = terms.total * self.factor
        objective.backward()
        self.history.append(evaluation)
        if evaluation.total < self.lowest:
            self.lowest = evaluation.total
            self.best = evaluation, image.detach()
        if self.callback is not None:
            self.callback(evaluation, image.detach())
        return objective.detach()

    def _read_off(self, terms: LossTerms, image: Tensor) -> Evaluation:
        names = list(terms.layers)
        scalars = [
            terms.content,
            terms.style,
            terms.tv,
            *terms.layers.values(),
            *terms.weighted_layers.values(),
        ]
        content, style, tv, *layers = torch.stack(scalars).tolist()  # at once: a GPU waits for every read
        total = content + style + tv
        if not math.isfinite(total):
            raise _NonFiniteLossError
        return Evaluation(
            number=len(self.history) + 1,
            total=total,
            content=content,
            style=style,
            tv=tv,
            layers=dict(zip(names, layers[: len(names)], strict=True)),
            weighted_layers=dict(zip(names, layers[len(names) :], strict=True)),
            size=(image.shape[-2], image.shape[-1]),
            full_size=self.full_size,
        )
