"""Style encoders: a style picture (or its number) in, a style code out.

One class a system. A new one subclasses :class:`StyleEncoder`; the contract test finds it by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arbstyle.errors import ArbstyleError
from arbstyle.networks.described import Described
from arbstyle.perception import IMAGENET_MEAN, IMAGENET_STD, FrozenNetwork, PerceptualEncoder, channel_moments


class StyleEncoder(Described, ABC):
    """Style picture → code.

    Codes are what is blended, saved and refined; :meth:`make_head` builds what turns a code into the
    parameters of a transformer's conditional sites.
    """

    code_size: int
    takes_index = False
    """Whether ``forward`` takes the numbers of known styles instead of pictures."""

    @abstractmethod
    def forward(self, style: Tensor) -> Tensor:
        """Encode.

        Args:
            style: N×3×h×w in [0,1], any size (or N whole numbers, see ``takes_index``).

        Returns:
            N×code_size.
        """

    def prepare(self, styles: Sequence[Tensor]) -> None:
        """Get to know some of the training's styles, batches N×3×h×w, before the first step."""

    def make_head(self, neutral: Tensor) -> nn.Module:
        """Map from codes to the transformer's parameters.

        Args:
            neutral: P numbers, scale 1 and shift 0 at every site: where the map starts.
        """
        head = nn.Linear(self.code_size, len(neutral))
        nn.init.normal_(head.weight, std=0.3 * self.code_size**-0.5)
        with torch.no_grad():
            head.bias.copy_(neutral)
        return head


class PooledStatisticsEncoder(StyleEncoder):
    """Our own: mean and standard deviation of a small convolutional network's channels at every depth.

    A style is in the statistics of its features, shallow ones for palette and grain, deep ones for strokes
    and motifs; pooling them over positions makes the code independent of the picture's size and
    of what stands where. No normalisation inside: it would remove what is being measured.

    Args:
        widths: channels at 1/2, 1/4, 1/8 … resolution.
        hidden: width of the perceptron that reads the pooled statistics.
        code_size: numbers in a code.
    """

    def __init__(
        self, widths: tuple[int, ...] = (32, 64, 128, 192), hidden: int = 512, code_size: int = 256
    ) -> None:
        super().__init__()
        self.code_size = code_size
        first, *rest = widths
        stages = [nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, first, 3, padding=1))]
        for inputs, outputs in zip(widths, rest, strict=False):
            stages.append(nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)))
        self.stages = nn.ModuleList(stages)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(2 * (3 + sum(widths))),
            nn.Linear(2 * (3 + sum(widths)), hidden),
            nn.SiLU(),
            nn.Linear(hidden, code_size),
            nn.SiLU(),
        )
        _start_for_relu(self.stages)

    def forward(self, style: Tensor) -> Tensor:
        x = _at_least(style, 2 ** (len(self.stages) + 1))
        x = x[..., : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
        x = (x - 0.5) * 4
        pooled = [*channel_moments(x)]
        for stage in self.stages:
            x = F.relu(stage(x))
            pooled += channel_moments(x)
        return self.perceptron(torch.cat(pooled, dim=1))


class MomentsEncoder(StyleEncoder):
    """Our own, deeper than :class:`PooledStatisticsEncoder`, and made to tell the moments of VGG's features.

    Training with ``moments_weight`` teaches it to see what the loss judges by. The code is linear in its
    description: pooled statistics, standardised, and a hidden layer on them.

    Args:
        widths: channels at 1/2, 1/4, 1/8 … resolution.
        depths: convolutions at each of these.
        hidden: of the numbers in a description, those that are not linear in the statistics.
        code_size: numbers in a code.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128, 192),
        depths: tuple[int, ...] = (1, 2, 3, 2),
        hidden: int = 1024,
        code_size: int = 256,
    ) -> None:
        super().__init__()
        self.code_size = code_size
        layers: list[nn.Module] = []
        if len(depths) != len(widths):
            raise ArbstyleError(f"expected as many depths as widths ({len(widths)}), got {len(depths)}")
        for i, (inputs, outputs, depth) in enumerate(zip((12, *widths), widths, depths, strict=False)):
            layers.append(nn.Conv2d(inputs, outputs, 3, stride=1 if i == 0 else 2, padding=1))
            layers += [nn.Conv2d(outputs, outputs, 3, padding=1) for _ in range(depth - 1)]
        self.layers = nn.ModuleList(layers)
        pooled = 2 * (3 + sum(width * depth for width, depth in zip(widths, depths, strict=True)))
        self.standardize = Standardize(pooled)
        self.hidden = nn.Linear(pooled, hidden)
        self.description_size = pooled + hidden
        self.to_code = nn.Linear(self.description_size, code_size)
        nn.init.normal_(self.to_code.weight)
        self._smallest = 2 ** (len(widths) + 1)
        _start_for_relu(self.layers)

    def prepare(self, styles: Sequence[Tensor]) -> None:
        pooled = torch.cat([self._pool(style) for style in styles])
        if len(pooled) > 1:
            self.standardize.fit(pooled)

    def describe(self, style: Tensor) -> Tensor:
        """What a style N×3×h×w in [0,1] is coded from, N×description_size."""
        statistics = self.standardize(self._pool(style))
        return torch.cat([statistics, F.silu(self.hidden(statistics))], dim=1)

    def _pool(self, style: Tensor) -> Tensor:
        x = _patches(_at_least(style, self._smallest))
        x = (x[..., : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2] - 0.5) * 4
        pooled = [*self._moments(x, len(style))]
        x = F.pixel_unshuffle(x, 2)
        for layer in self.layers:
            x = F.relu(layer(x))
            pooled += self._moments(x, len(style))
        return torch.cat(pooled, dim=1)

    @staticmethod
    def _moments(features: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Moments over all patches of each picture."""
        mean, deviation = channel_moments(features)
        if len(features) == number:
            return mean, deviation
        means, squares = (
            each.unflatten(0, (number, -1)).mean(dim=1) for each in (mean, deviation.square() + mean.square())
        )
        return means, (squares - means.square()).clamp(min=1e-5).sqrt()

    def forward(self, style: Tensor) -> Tensor:
        # Of length 1 or so: else a step of the optimiser would throw codes about, the more the wider it is.
        return self.to_code(self.describe(style) * self.description_size**-0.5)


class Standardize(nn.Module):
    """Shift and scale numbers to about mean 0 and deviation 1, by what they are for some examples.

    Found once, before training (as in data-dependent initialisation, Salimans & Kingma 2016, sec. 3), so it
    does the same in training as in use and batches may be of one.

    Args:
        size: how many numbers.
        limit: in deviations; what lies beyond is cut off.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int, limit: float = 5.0) -> None:
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit(self, examples: Tensor) -> None:
        """Take mean and deviation of M×size examples, M at least 2."""
        deviation = examples.std(dim=0)
        self.mean.copy_(examples.mean(dim=0))
        # Numbers that hardly differ, or did not by chance, must not come out huge.
        self.deviation.copy_(deviation + 0.1 * deviation.mean() + 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """N×size to N×size."""
        return ((x - self.mean) / self.deviation).clamp(-self.limit, self.limit)


class NormalizationNetwork(StyleEncoder):
    """A small network trained end to end with the transformer (Desai 2017).

    His published code took scale and shift through ``.data``, so no gradient ever reached the network; here
    it does. Strided convolutions, average pooling so that any size goes, one linear layer to all parameters.

    Args:
        widths: channels of the stride-2 convolutions, 1/2 resolution first.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256, 256)) -> None:
        super().__init__()
        self.code_size = widths[-1]
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        _start_for_relu(self.layers)

    def forward(self, style: Tensor) -> Tensor:
        return self.layers((style - 0.5) * 4).mean(dim=(2, 3))


class StylePredictor(StyleEncoder):
    """A frozen pretrained backbone, averaged over positions, then a bottleneck (Ghiasi et al. 2017).

    Args:
        backbone: ``inception_v3`` (its ``Mixed_6e``, as published), ``vgg19`` (``relu4_1``) or
            ``mobilenet_v3`` (large, the features' output).
        weights: ``None`` for torchvision's download; ``"random"``, the same each time; for ``vgg19`` also a
            file.
        code_size: the bottleneck, 100 as published.
    """

    def __init__(
        self,
        backbone: Literal["inception_v3", "vgg19", "mobilenet_v3"] = "inception_v3",
        weights: str | Path | None = None,
        code_size: int = 100,
    ) -> None:
        super().__init__()
        self.code_size = code_size
        self.backbone = (
            _VggBackbone(weights) if backbone == "vgg19" else _TorchvisionBackbone(backbone, weights)
        )
        self.bottleneck = nn.Linear(self.backbone.channels, code_size)

    def forward(self, style: Tensor) -> Tensor:
        return self.bottleneck(self.backbone(style).to(self.bottleneck.weight).mean(dim=(2, 3)))


class AdaINEncoder(StyleEncoder):
    """Deviation and mean of the style's own VGG features (Huang & Belongie 2017, eq. 8); nothing to train.

    Fits a transformer with one site at that layer, and no other.

    Args:
        layer: VGG-19 layer.
        weights: VGG weights as for :class:`~arbstyle.perception.PerceptualEncoder`.
    """

    def __init__(self, layer: str = "relu4_1", weights: str | Path | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.encoder = PerceptualEncoder("vgg19", [layer], weights=weights)
        self.code_size = 2 * self.encoder.channels[layer]

    def forward(self, style: Tensor) -> Tensor:
        mean, deviation = channel_moments(self.encoder(_at_least(style, 16))[self.layer])
        return torch.cat([deviation, mean], dim=1)

    def make_head(self, neutral: Tensor) -> nn.Module:
        if len(neutral) != self.code_size:
            raise ArbstyleError(
                f"AdaINEncoder gives the {self.code_size} moments of {self.layer}, but the transformer's "
                f"sites need {len(neutral)} numbers; use it with AdaINTransformer"
            )
        return nn.Identity()


class StyleBank(StyleEncoder):
    """A table of styles known by number (Dumoulin et al. 2017); a bank of one is Johnson et al. 2016.

    A code is the style's one-hot vector, so blends of styles are blends of rows.

    Args:
        num_styles: rows.
    """

    takes_index = True

    def __init__(self, num_styles: int = 1) -> None:
        super().__init__()
        if num_styles < 1:
            raise ArbstyleError(f"expected a style bank of at least 1 style, got {num_styles}")
        self.code_size = num_styles

    def forward(self, style: Tensor) -> Tensor:
        if style.numel() and not 0 <= int(style.min()) <= int(style.max()) < self.code_size:
            raise ArbstyleError(
                f"the bank holds styles 0 to {self.code_size - 1}, got {int(style.min())} to "
                f"{int(style.max())}; set num_styles to the number of style pictures, or limit the pictures"
            )
        return F.one_hot(style, self.code_size).float()

    def make_head(self, neutral: Tensor) -> StyleTable:
        return StyleTable(self.code_size, neutral)


class StyleTable(nn.Module):
    """One row of parameters a style, each a parameter of its own so that it can be trained alone."""

    def __init__(self, num_styles: int, neutral: Tensor) -> None:
        super().__init__()
        # Equal rows would all get the same gradient direction from the shared network at first.
        rows = (neutral + 0.1 * torch.randn_like(neutral) for _ in range(num_styles))
        self.rows = nn.ParameterList(nn.Parameter(row) for row in rows)

    def forward(self, code: Tensor) -> Tensor:
        return code @ torch.stack(list(self.rows))

    def add_row(self) -> None:
        """Append a style that starts as the mean of the others."""
        self.rows.append(nn.Parameter(torch.stack(list(self.rows)).detach().mean(dim=0)))


class _TorchvisionBackbone(FrozenNetwork):
    """A torchvision classifier up to one of its layers."""

    _CUTS: ClassVar = {  # torchvision's name, last layer, mean and deviation that its weights expect
        "inception_v3": ("inception_v3", "Mixed_6e", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "mobilenet_v3": ("mobilenet_v3_large", "features", IMAGENET_MEAN, IMAGENET_STD),
    }
    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str | Path | None) -> None:
        super().__init__()
        if name not in self._CUTS:
            raise ArbstyleError(f"expected a backbone among {', '.join(self._CUTS)} and vgg19, got '{name}'")
        if weights not in (None, "random"):
            raise ArbstyleError(f"backbone {name} takes torchvision's weights or 'random', not {weights}")
        builder, last, mean, std = self._CUTS[name]
        self.network = _until(last, _pretrained(builder) if weights is None else _random(builder)).eval()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        with torch.no_grad():
            self.channels = self.network(torch.zeros(1, 3, 96, 96)).shape[1]
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        return self.network((_at_least(images, 96) - self.mean) / self.std)


class _VggBackbone(FrozenNetwork):
    def __init__(self, weights: str | Path | None) -> None:
        super().__init__()
        self.encoder = PerceptualEncoder("vgg19", ["relu4_1"], weights=weights)
        self.channels = self.encoder.channels["relu4_1"]
        self.freeze()

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(_at_least(images, 16))["relu4_1"]


def _until(last: str, model: nn.Module) -> nn.Sequential:
    """The model's layers in their order, which is that of its forward pass, up to the one named."""
    names = [name for name, _ in model.named_children()]
    layers = nn.Sequential()
    for name in names[: names.index(last) + 1]:
        layers.add_module(name, model.get_submodule(name))
    return layers


def _pretrained(builder: str) -> nn.Module:
    import torchvision.models  # here, because it takes longer than painting a picture

    try:
        return torchvision.models.get_model(builder, weights="DEFAULT")
    except (OSError, RuntimeError) as error:
        raise ArbstyleError(
            f"could not download torchvision's {builder} weights ({' '.join(str(error).split())}); "
            "connect to the network, or choose backbone vgg19 with a weights file"
        ) from error


def _random(builder: str) -> nn.Module:
    """The same random weights every time, since frozen networks are in no checkpoint and no model file."""
    import torchvision.models

    options = {"init_weights": False} if builder == "inception_v3" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision.models.get_model(builder, weights=None, **options)
        _start_for_relu(model)  # torchvision's own start fades to nothing over Inception's depth
    return model


def _start_for_relu(network: nn.Module) -> None:
    """Start convolutions so that activations keep their size through ReLUs (He et al. 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _patches(images: Tensor, side: int = 256) -> Tensor:
    """The middles of a large picture's squares of twice the side: a quarter, with much the same statistics.

    Args:
        images: N×C×H×W.
        side: of a patch; pictures whose short side is less than four times as long stay whole.

    Returns:
        (N·patches)×C×side×side, each picture's patches in a row; or the images.
    """
    if min(images.shape[2:]) < 4 * side:
        return images
    inner = images[..., side // 2 :, side // 2 :]
    squares = inner.unfold(2, side, 2 * side).unfold(3, side, 2 * side)
    return squares.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def _at_least(images: Tensor, side: int) -> Tensor:
    """Enlarge pictures whose short side is below what the network can take.

    Their shape is kept, except that strips thinner than 1 : 16 don't get longer than need be: one of a single
    row would grow to hundreds of millions of pixels.
    """
    short = min(images.shape[2:])
    if short >= side:
        return images
    height, width = (
        max(side, min(round(length * side / short), max(length, 16 * side))) for length in images.shape[2:]
    )
    return F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)
