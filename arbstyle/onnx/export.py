"""A styler as three ONNX graphs that any runtime can paint with.

- ``style.onnx``: a style picture → its code and its parameters;
- ``head.onnx``: a code, such as a style file holds, → parameters;
- ``painter.onnx``: photos and parameters (and a seed, if the transformer paints from noise) → painted photos.

Blending styles and strength are weighted means of parameters, so they need no graph.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

import arbstyle
from arbstyle.errors import ArbstyleError
from arbstyle.images import atomic_path, check_output_path
from arbstyle.networks import ArbitraryStyler, TransformerNetwork
from arbstyle.onnx.storage import FILE_FORMAT, halve, pack, refer
from arbstyle.onnx.views import OPSET, look_first
from arbstyle.painting import fingerprint

if TYPE_CHECKING:
    import onnx


GraphPrecision = Literal["fp32", "fp16"]


def export_onnx(
    styler: ArbitraryStyler,
    folder: str | Path,
    information: Mapping[str, Any] | None = None,
    *,
    precision: GraphPrecision = "fp32",
    weights: str | Path | None = None,
    model: str | Path | None = None,
) -> list[Path]:
    """Write the graphs of a styler.

    Args:
        styler: the networks.
        folder: where to; made if need be, and graphs in it are replaced.
        information: what the model's file says of itself.
        precision: what convolutions are computed in. Norms and pooled statistics are computed in float32 in
            any case, and so are all inputs and outputs. Weights that half precision holds without loss are
            stored in it either way.
        weights: the model's own file, if the graphs are to lie beside it and take their weights from it.
        model: the model's own file, if graphs without ``weights`` are to store in eight bits what it stores
            so, which is exact, too.

    Returns:
        the files: ``style.onnx`` (not for a bank, whose styles are numbers), ``head.onnx``, ``painter.onnx``.

    Raises:
        ArbstyleError: the packages for it are not installed, or the folder cannot be written.
    """
    if precision not in get_args(GraphPrecision):
        raise ArbstyleError(
            f"expected a precision among {', '.join(get_args(GraphPrecision))}, got '{precision}'"
        )
    import onnx

    folder = Path(folder)
    check_output_path(folder / "painter.onnx", (".onnx",))
    graphs = make_graphs(styler, information, precision)
    paths = [folder / f"{name}.onnx" for name in graphs]
    with ExitStack() as all_or_none:  # graphs of two models don't go together
        for path, graph in zip(paths, graphs.values(), strict=True):
            if weights is not None:
                refer(graph, Path(weights))
            else:
                if model is not None:
                    pack(graph, Path(model))
                halve(graph)
            onnx.save_model(graph, all_or_none.enter_context(atomic_path(path)))
    return paths


def make_graphs(
    styler: ArbitraryStyler,
    information: Mapping[str, Any] | None = None,
    precision: GraphPrecision = "fp32",
) -> dict[str, onnx.ModelProto]:
    """The graphs by name, each with metadata that says what it is and which model it belongs to."""
    check_installed()
    styler = styler.eval().cpu().float()
    about = {
        "format": FILE_FORMAT,
        "version": arbstyle.__version__,
        "name": str((information or {}).get("name", "unnamed model")),
        "fingerprint": fingerprint(styler),
        "precision": precision,
        "information": json.dumps(dict(information or {})),
    }
    picture = torch.rand(2, 3, 135, 101)
    code = torch.rand(2, styler.style_encoder.code_size)
    with torch.no_grad():
        parameters = styler.parameters_of(code)
    graphs = {}
    if not styler.style_encoder.takes_index:
        graphs["style"] = _style_graph(styler)
    graphs["head"] = _trace(_Head(styler), {"code": code}, ["parameters"])
    inputs = {"photo": picture, "parameters": parameters}
    if styler.transformer.noise_inputs:
        inputs["seed"] = torch.tensor([1])
    graphs["painter"] = _trace(_Painter(styler.transformer, precision), inputs, ["painted"])
    for name, graph in graphs.items():
        for key, value in {**about, "part": name}.items():
            graph.metadata_props.add(key=key, value=value)
    return graphs


def check_installed() -> None:
    """Raise an ArbstyleError if a package that exporting needs is not there."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ArbstyleError(
            f"exporting to ONNX needs the package {error.name}: pip install 'arbstyle[onnx]'"
        ) from error


def _style_graph(styler: ArbitraryStyler) -> onnx.ModelProto:
    encoder = styler.style_encoder
    side = max(101, encoder.smallest_side)
    patches = () if encoder.patch_side is None else (2,)
    views = torch.rand(2, *patches, 3, side + 34, side)
    reader = _trace(_StyleReader(styler), {"views": views}, ["code", "parameters"])
    return look_first(reader, encoder.smallest_side, encoder.patch_side)


class _StyleReader(nn.Module):
    # Attributes of all wrappers are named as in the styler, so that weights keep the names of its state.
    def __init__(self, styler: ArbitraryStyler) -> None:
        super().__init__()
        self.style_encoder = styler.style_encoder
        self.head = styler.head

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Of pictures N×3×h×w, or of their patches N×patches×3×h×w."""
        code = self.style_encoder.read(views.flatten(0, -4), len(views))
        return code, self.head(code)


class _Head(nn.Module):
    def __init__(self, styler: ArbitraryStyler) -> None:
        super().__init__()
        self.head = styler.head

    def forward(self, code: Tensor) -> Tensor:
        return self.head(code) * 1.0  # a graph whose output is its input is none, and AdaIN's head is that


class _Painter(nn.Module):
    def __init__(self, transformer: TransformerNetwork, precision: GraphPrecision) -> None:
        super().__init__()
        self.dtype = torch.float16 if precision == "fp16" else torch.float32
        self.transformer = transformer if precision == "fp32" else _half_copy(transformer)

    def forward(self, photo: Tensor, parameters: Tensor, seed: Tensor | None = None) -> Tensor:
        height, width = photo.shape[2:]
        rows, columns = (
            _padded_positions(length, self.transformer.multiple, self.transformer.smallest)
            for length in (height, width)
        )
        padded = photo[:, :, rows][..., columns].to(self.dtype)
        noise = () if seed is None else self.transformer.make_noise(padded.shape[2], padded.shape[3], seed[0])
        return self.transformer.repaint(padded, parameters, noise)[..., :height, :width].float()


def _half_copy(transformer: TransformerNetwork) -> TransformerNetwork:
    import copy

    return copy.deepcopy(transformer).half()


def _padded_positions(length: int, multiple: int, smallest: int) -> Tensor:
    """Where each row (or column) of a padded photo comes from: ``TransformerNetwork.pad`` without branches.

    Args:
        length: of the photo, maybe a symbol.
        multiple, smallest: as in :class:`~arbstyle.networks.TransformerNetwork`.
    """
    # Rounding up this way also holds where division cuts off instead of rounding down, as ONNX's does.
    size = multiple * torch.sym_max((length + multiple - 1) // multiple, -(-smallest // multiple))
    wanted = torch.arange(size)
    last = length - 1
    mirrored = last - (last - wanted).abs()
    return torch.where(torch.tensor(size) < 2 * length, mirrored, wanted.clamp(max=last))


def _trace(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> onnx.ModelProto:
    """Export with every axis free but that of channels or numbers; whole numbers stay as many as they are."""
    free = torch.export.Dim.DYNAMIC
    shapes = tuple(
        {axis: free for axis in range(value.dim()) if axis != max(1, value.dim() - 3)}
        if value.is_floating_point()
        else {}
        for value in inputs.values()
    )
    with _quiet(), _interruptible(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:  # of the old exporter only
        raise RuntimeError("the exporter gave no program")
    graph = program.model_proto
    for node in graph.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")  # stack traces of the machine that exported
    for info in graph.graph.value_info:
        info.ClearField("metadata_props")
    return graph


@contextmanager
def _interruptible() -> Iterator[None]:
    """The exporter takes Ctrl-C for a failure of its own and explains that at length."""
    try:
        yield
    except Exception as error:
        reason: BaseException | None = error
        while reason is not None:
            if isinstance(reason, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            reason = reason.__cause__ or reason.__context__
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
