"""arbstyle in ComfyUI: a node that paints any photo in the style of any picture (V3 schema)."""

from __future__ import annotations

import functools

import torch
from comfy_api.latest import ComfyExtension, io
from torch import Tensor

from arbstyle import Stylizer
from arbstyle.images import resize
from arbstyle.painting import KEEP_COLORS


class ArbstyleStylize(io.ComfyNode):
    """Photos in one style, in a style each, or in a blend of two."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ArbstyleStylize",
            display_name="Stylize (arbstyle)",
            category="image/style",
            description="Style transfer: photos in the style of any picture, in one forward pass.",
            inputs=[
                io.Image.Input("photo"),
                io.Image.Input("style", tooltip="One picture, or one for each photo of the batch."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="0 is the photo, 1 the style.",
                ),
                io.Combo.Input("keep_colors", options=list(KEEP_COLORS), default="none"),
                io.Int.Input(
                    "style_size",
                    default=0,
                    min=0,
                    max=2048,
                    tooltip="Short side of the style; 0: as the photo's.",
                ),
                io.Image.Input("second_style", optional=True, tooltip="To be blended with the first."),
                io.Float.Input(
                    "second_weight", default=0.5, min=0.0, max=1.0, step=0.05, tooltip="Of the second style."
                ),
                io.Mask.Input("mask", optional=True, tooltip="White where it is to be painted."),
                io.String.Input(
                    "model",
                    default="",
                    tooltip="A model file or owner/name on the Hub; empty: the packaged one.",
                ),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(
        cls,
        photo: Tensor,
        style: Tensor,
        strength: float = 1.0,
        keep_colors: str = "none",
        style_size: int = 0,
        second_style: Tensor | None = None,
        second_weight: float = 0.5,
        mask: Tensor | None = None,
        model: str = "",
    ) -> io.NodeOutput:
        photos = _planes(photo)
        styles = [_planes(one) for one in (style, second_style) if one is not None]
        painted = _stylizer(model).stylize(
            photos,
            styles,
            strength,
            weights=[1 - second_weight, second_weight] if len(styles) == 2 else None,
            keep_colors=keep_colors,
            style_size=style_size if style_size >= 16 else None,
        )
        if mask is not None:
            height, width = photos.shape[2:]
            inside = resize(mask.reshape(-1, 1, *mask.shape[-2:]).to(painted).clamp(0, 1), (height, width))
            painted = torch.lerp(photos, painted, inside)
        return io.NodeOutput(painted.permute(0, 2, 3, 1).contiguous())


def _planes(pictures: Tensor) -> Tensor:
    """ComfyUI's B×H×W×C as B×3×H×W in [0, 1]; alpha is dropped."""
    planes = pictures[..., :3].permute(0, 3, 1, 2).float().clamp(0, 1)
    return planes.expand(-1, 3, -1, -1).contiguous()


@functools.lru_cache(2)
def _stylizer(model: str) -> Stylizer:
    return Stylizer.from_pretrained(model.strip() or None)


class ArbstyleExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [ArbstyleStylize]


async def comfy_entrypoint() -> ArbstyleExtension:
    """What ComfyUI calls."""
    return ArbstyleExtension()
