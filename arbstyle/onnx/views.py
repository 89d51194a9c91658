"""What comes before a style encoder in its graph: small pictures are enlarged, large ones cut into patches.

Tracing takes the way that suits the traced picture's size, for all sizes. So these steps are not traced but
written: ``at_least`` and ``patches`` of :mod:`arbstyle.networks.style_encoders.tools`, as operators without
branches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""Of all graphs."""

_ENLARGE = """
    sides = Shape <start = 2> (style)
    rest = Shape <end = 2> (style)
    smallest = Constant <value = int64[1] {{{smallest}}}> ()
    longest = Constant <value = int64[1] {{{longest}}}> ()
    short = ReduceMin (sides)
    wanted = Max (short, smallest)
    products = Mul (sides, wanted)
    dividend = Cast <to = 11> (products)
    divisor = Cast <to = 11> (short)
    quotients = Div (dividend, divisor)
    rounded = Round (quotients)
    scaled = Cast <to = 7> (rounded)
    limits = Max (sides, longest)
    limited = Min (scaled, limits)
    enlarged_sides = Max (limited, smallest)
    shape = Concat <axis = 0> (rest, enlarged_sides)
    enlarged = Resize <mode = "linear"> (style, , , shape)
"""
"""In 64 bits, as Python computes, and numbers are rounded as Python does, halves to the even one."""

_CUT = """
    zero = Constant <value = int64 {{0}}> ()
    one = Constant <value = int64 {{1}}> ()
    ones = Constant <value = int64[1] {{1}}> ()
    side = Constant <value = int64[1] {{{side}}}> ()
    half = Constant <value = int64[1] {{{half}}}> ()
    stride = Constant <value = int64[1] {{{stride}}}> ()
    large_from = Constant <value = int64[1] {{{large_from}}}> ()
    enlarged_short = ReduceMin (enlarged_sides)
    times = Div (enlarged_short, large_from)
    is_large = Min (times, ones)
    excess = Sub (enlarged_sides, side)
    cut_off = Mul (excess, is_large)
    view_sides = Sub (enlarged_sides, cut_off)
    beyond_first = Sub (excess, half)
    steps = Div (beyond_first, stride)
    steps_if_large = Mul (steps, is_large)
    counts = Add (steps_if_large, ones)
    first = Mul (half, is_large)
{rows}
{columns}
    some_rows = Gather <axis = 2> (enlarged, rows)
    cut = Gather <axis = 4> (some_rows, columns)
    ordered = Transpose <perm = [0, 2, 4, 1, 3, 5]> (cut)
    each_picture = Constant <value = int64[3] {{0, -1, 3}}> ()
    views_shape = Concat <axis = 0> (each_picture, view_sides)
    views = Reshape (ordered, views_shape)
"""

_POSITIONS = """
    {name}_count = Gather (counts, {axis})
    {name}_length = Gather (view_sides, {axis})
    {name}_numbers = Range (zero, {name}_count, one)
    {name}_steps = Mul ({name}_numbers, stride)
    {name}_firsts = Add ({name}_steps, first)
    {name}_first_of_each = Unsqueeze ({name}_firsts, ones)
    {name}_within = Range (zero, {name}_length, one)
    {name} = Add ({name}_first_of_each, {name}_within)
"""


def look_first(reader: onnx.ModelProto, smallest_side: int, patch_side: int | None) -> onnx.ModelProto:
    """A graph that reads ``style``, pictures N×3×h×w of any size, from one that reads ``views`` of them.

    Args:
        reader: takes enlarged pictures N×3×h×w, or their patches N×patches×3×h×w.
        smallest_side, patch_side: as in :class:`~arbstyle.networks.style_encoders.base.StyleEncoder`.
    """
    import onnx.compose

    looking = _looking(smallest_side, patch_side, reader.ir_version)
    looking = onnx.compose.add_prefix(looking, "looking.", rename_inputs=False)
    (result,) = looking.graph.output
    return onnx.compose.merge_models(looking, reader, io_map=[(result.name, "views")])


def _looking(smallest_side: int, patch_side: int | None, version: int) -> onnx.ModelProto:
    """From ``style`` to what an encoder reads, in a version of ONNX's format."""
    import onnx.parser

    steps = _ENLARGE.format(smallest=smallest_side, longest=16 * smallest_side)
    result = "float[N, 3, H, W] enlarged"
    if patch_side is not None:
        steps += _CUT.format(
            side=patch_side,
            half=patch_side // 2,
            stride=2 * patch_side,
            large_from=4 * patch_side,
            rows=_POSITIONS.format(name="rows", axis="zero"),
            columns=_POSITIONS.format(name="columns", axis="one"),
        )
        result = "float[N, patches, 3, H, W] views"
    return onnx.parser.parse_model(
        f'<ir_version: {version}, opset_import: ["": {OPSET}]> '
        f"looking (float[N, 3, h, w] style) => ({result}) {{{steps}}}"
    )
