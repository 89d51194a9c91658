"""What is compared: our model, Gatys' optimisation, other systems' pictures, and two anchors."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arbstyle import __version__
from arbstyle.errors import ArbstyleError
from arbstyle.evaluation.digests import digest, digest_of_code, digest_of_module
from arbstyle.evaluation.examiner import Description, Examiner
from arbstyle.evaluation.pairs import Pair
from arbstyle.evaluation.results import PICTURES
from arbstyle.images import read_image, resize
from arbstyle.optimization import Settings, optimize
from arbstyle.painting import Style, Stylizer
from arbstyle.painting.options import MATCHING_COLORS, check_options, style_size_for
from arbstyle.perception.weights import weights_source

MAX_ASPECT_ERROR = 0.02
"""Networks with strides round sizes; a picture further off shows something else than the photo."""


class Method(ABC):
    """Something that has a picture for every pair."""

    name: str
    description: str

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that the pictures depend on besides photo and style, as JSON."""

    @abstractmethod
    def picture(self, pair: Pair, report: Path) -> Path:
        """The file whose content is measured; `report` is the report folder."""

    @abstractmethod
    def describe(self, path: Path, pair: Pair, examiner: Examiner) -> Description:
        """What the measures need to know of that file, at the photo's size."""


class PhotoCopy(Method):
    """Anchor: perfect content, no style."""

    name = "photo copy"
    description = "the photo, unchanged"

    def settings(self) -> dict[str, Any]:
        return {}

    def picture(self, pair: Pair, report: Path) -> Path:
        return pair.content

    def describe(self, path: Path, pair: Pair, examiner: Examiner) -> Description:
        return examiner.reference(path)


class StyleCopy(Method):
    """Anchor: perfect style, no content."""

    name = "style copy"
    description = "the style picture, enlarged if need be and centre-cropped to the photo's size"

    def settings(self) -> dict[str, Any]:
        return {}

    def picture(self, pair: Pair, report: Path) -> Path:
        return pair.style

    def describe(self, path: Path, pair: Pair, examiner: Examiner) -> Description:
        photo, style = examiner.reference(pair.content), examiner.reference(path)
        if style.pixels.shape == photo.pixels.shape:
            return style
        return examiner.describe(_cover(style.pixels, photo.size))


class WrittenMethod(Method):
    """A method whose pictures are files, read and fitted to the photo's size."""

    def describe(self, path: Path, pair: Pair, examiner: Examiner) -> Description:
        photo = examiner.reference(pair.content)
        pixels = read_image(path)
        height, width = pixels.shape[-2:]
        if abs(width / height / (photo.size[1] / photo.size[0]) - 1) > MAX_ASPECT_ERROR:
            raise ArbstyleError(
                f"{path} is {width}×{height}, its photo {photo.size[1]}×{photo.size[0]}: "
                "a picture of the photo's proportions is expected"
            )
        return examiner.describe(resize(pixels, photo.size), delivered=(height, width))


class OutputFolder(WrittenMethod):
    """Another system's pictures."""

    def __init__(self, name: str, folder: Path, pairs: Sequence[Pair]) -> None:
        self.name = name
        self.description = f"pictures found in {folder}"
        self._folder = folder
        if not folder.is_dir():
            raise ArbstyleError(
                f"the outputs of '{name}' are expected in a folder, {folder} is none: correct the path"
            )
        missing = [path.name for pair in pairs if not (path := self._folder / f"{pair.name}.png").is_file()]
        if missing:
            raise ArbstyleError(
                f"{folder} lacks {len(missing)} of the {len(pairs)} pictures of '{name}', such as "
                f"{missing[0]}: add them, or compare fewer pairs with --contents and --styles"
            )

    def settings(self) -> dict[str, Any]:
        return {}

    def picture(self, pair: Pair, report: Path) -> Path:
        return self._folder / f"{pair.name}.png"


class GeneratingMethod(WrittenMethod):
    """A method that runs here and writes its pictures into the report."""

    def picture(self, pair: Pair, report: Path) -> Path:
        return report / PICTURES / file_name(self.name) / f"{pair.name}.png"

    encodes_style = False
    """Whether `prepare` does a part of the work that another photo in the same style does not need again."""

    def prepare(self, content: Tensor, style: Tensor) -> Any:
        """What `stylize` gets for its style, from photo 1×3×H×W and style 1×3×h×w in [0, 1] on the CPU."""
        return style

    @abstractmethod
    def stylize(self, content: Tensor, style: Any) -> Tensor:
        """Photo 1×3×H×W in [0, 1] on the CPU, and a prepared style, to a picture 1×3×H×W."""


class FeedForward(GeneratingMethod):
    """A trained model, in one pass; ``options`` are those of `Stylizer.stylize`."""

    def __init__(self, name: str, stylizer: Stylizer, **options: Any) -> None:
        self.name = name
        chosen = ", ".join(f"{option} {value}" for option, value in options.items())
        passes = "one forward pass" if options.get("stroke", 1) == 1 else "painting"
        self.description = f"{passes} of {stylizer.name}" + (f", {chosen}" if chosen else "")
        self._stylizer = stylizer
        self._options = options
        self.encodes_style = options.get("keep_colors") not in MATCHING_COLORS

    @cached_property
    def _weights(self) -> str:
        """Of all networks: a model's file and fingerprint leave out a VGG-19 that it contains."""
        return digest_of_module(self._stylizer.styler)

    def settings(self) -> dict[str, Any]:
        return {
            "model": self._stylizer.fingerprint,
            "weights": self._weights,
            "precision": str(self._stylizer.dtype),
            "version": __version__,
            "code": digest_of_code("painting", "networks", "perception", "images"),
            **self._options,
        }

    def prepare(self, content: Tensor, style: Tensor) -> Style | Tensor:
        if not self.encodes_style:
            return style
        return self._stylizer.style(style, style_size=style_size_for(content))

    def stylize(self, content: Tensor, style: Style | Tensor) -> Tensor:
        return self._stylizer.stylize(content, style, **self._options)


class Optimization(GeneratingMethod):
    """Gatys' optimisation of the pixels, from the photo."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.description = f"optimisation from the photo, loss evaluations: {settings.steps}"
        self._settings = settings

    def settings(self) -> dict[str, Any]:
        settings = {name: value for name, value in asdict(self._settings).items() if name != "device"}
        code = digest_of_code("optimization", "perception", "images")
        return settings | {"vgg_weights": self._weights, "version": __version__, "code": code}

    @cached_property
    def _weights(self) -> str:
        """Tells weights apart by content, because a file may be replaced or move."""
        source = weights_source(self._settings.vgg, self._settings.vgg_weights)
        return digest(Path(source)) if source and Path(source).is_file() else str(source)

    def stylize(self, content: Tensor, style: Tensor) -> Tensor:
        result = optimize(content, style, self._settings)
        if result.stopped == "interrupted":
            raise KeyboardInterrupt
        return result.image


FORWARD = re.compile(r"stylize(@(?P<file>.+?))?(?P<options>(:\w+=[^:=]*)*)")
OPTIONS: dict[str, Callable[[str], Any]] = {"strength": float, "stroke": int, "keep_colors": str, "seed": int}
"""Of a feed-forward method, as a command line may name them."""


def named_method(
    text: str | Method, model: str | Path | None, vgg_weights: str | Path | None, device: torch.device
) -> Method:
    """The method that a command line names; see `evaluate`."""
    if isinstance(text, Method):
        return text
    forward = FORWARD.fullmatch(text)
    if forward:
        options = _painting_options(text, forward["options"])
        stylizer = Stylizer.from_pretrained(forward["file"] or model, device, weights=vgg_weights)
        return FeedForward(text, stylizer, **options)
    kind, _, argument = text.partition(":")
    if kind == "optimize" and argument.isdecimal() and int(argument) > 0:
        settings = Settings(steps=int(argument), init="content", vgg_weights=vgg_weights, device=str(device))
        return Optimization(text, settings)
    raise ArbstyleError(
        "a method is 'stylize', 'stylize@MODEL_FILE', either with options (such as stylize:stroke=2), or "
        f"'optimize:EVALUATIONS' (such as optimize:100), got '{text}': correct it, or add another system's "
        "pictures with --outputs NAME=FOLDER"
    )


def _painting_options(method: str, text: str) -> dict[str, Any]:
    """``:stroke=2:strength=0.7`` to options of `Stylizer.stylize`."""
    options: dict[str, Any] = {}
    for word in filter(None, text.split(":")):
        name, _, value = word.partition("=")
        try:
            options[name] = OPTIONS[name](value)
        except (KeyError, ValueError):
            raise ArbstyleError(
                f"the options of a method are {', '.join(OPTIONS)} with a value each, got '{word}' in "
                f"'{method}': write for example stylize:stroke=2:strength=0.8"
            ) from None
    check_options(**{name: value for name, value in options.items() if name != "seed"})
    return options


def file_name(name: str) -> str:
    return re.sub(r"[^\w.@+]+", "-", name).strip("-.")


def _cover(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale 1×3×h×w until it covers height × width, and crop the centre."""
    height, width = pixels.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    scaled = resize(pixels, (max(size[0], round(height * scale)), max(size[1], round(width * scale))))
    top, left = (scaled.shape[-2] - size[0]) // 2, (scaled.shape[-1] - size[1]) // 2
    return scaled[..., top : top + size[0], left : left + size[1]]
