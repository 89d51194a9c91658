"""How the page looks: Gradio components around a :class:`~arbstyle.app.painter.Painter`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib.resources import files
from typing import Any

import gradio as gr
from PIL import Image

from arbstyle.app.painter import Limits, Painter, restrict_pillow
from arbstyle.errors import ArbstyleError
from arbstyle.painting import KEEP_COLORS, Stylizer

SLOTS = 3
"""Styles that can be mixed."""

OWN_PICTURE = "(your own picture)"
MASK_SIDE = 640
EXAMPLES = "photo-cat", "photo-coffee", "photo-raccoon", "photo-astronaut"
KEPT_SECONDS = 1800
"""How long uploads and results stay on the disk."""


def serve(stylizer: Stylizer, limits: Limits | None = None, **launch: Any) -> gr.Blocks:
    """Serve the page until it is interrupted: on this machine alone, at the first free port from 7860 on.

    Args:
        stylizer: paints.
        limits: of what a visitor may ask for.
        **launch: what Gradio's ``launch`` takes, such as ``server_name``, ``server_port`` and ``inbrowser``.
    """
    limits = limits or Limits()
    restrict_pillow(limits)
    page = build(Painter(stylizer, limits))
    page.queue(max_size=limits.queue, default_concurrency_limit=limits.concurrency)
    launch |= {"max_file_size": f"{limits.upload_megabytes}mb", "ssr_mode": False}
    launch |= {"footer_links": [], "enable_monitoring": False}
    page.launch(
        theme=gr.themes.Soft(font="system-ui", font_mono="monospace"), **launch
    )  # no fonts from elsewhere
    return page


def build(painter: Painter) -> gr.Blocks:
    """The page."""
    names = list(painter.styles)
    with gr.Blocks(
        title="arbstyle", analytics_enabled=False, delete_cache=(KEPT_SECONDS, KEPT_SECONDS)
    ) as page:
        gr.Markdown("# arbstyle\nAny photograph in the style of any picture.")
        with gr.Row():
            with gr.Column():
                photo = _upload(label="Photo", sources=["upload", "webcam", "clipboard"], height=360)
                folder = files("arbstyle") / "assets" / "calibration"
                gr.Examples(
                    [[str(folder / f"{name}.webp")] for name in EXAMPLES], [photo], label="Photos to try"
                )
                pictures = [(style.thumbnail, name) for name, style in painter.styles.items()]
                look: dict[str, Any] = {
                    "columns": 4,
                    "height": 460 if len(names) > 4 else 150,
                    "object_fit": "cover",
                }
                plain: dict[str, Any] = {
                    "show_label": False,
                    "allow_preview": False,
                    "interactive": False,
                    "buttons": [],
                }
                gallery = gr.Gallery(pictures, label="Styles", **look, **plain)
                slots = _slot(names, 1)
                with gr.Accordion("Mix with other styles", open=False):
                    for number in range(2, SLOTS + 1):
                        slots += _slot(names, number)
            with gr.Column():
                result = gr.ImageSlider(label="Before and after", format="png", interactive=False)
                button = gr.Button("Paint", variant="primary")
                strength = gr.Slider(
                    0, 1.5, 1, step=0.05, label="Strength", info="0 is the photo, 1 the style"
                )
                size = gr.Slider(128, 1440, 720, step=16, label="Size", info="short side at most, in pixels")
                colours = gr.Radio(list(KEEP_COLORS), value="none", label="Keep the photo's colours")
                with gr.Accordion("Paint only a part: brush over it", open=False):
                    brush = gr.Brush(default_size=40, colors=["#ffffffc0"], color_mode="fixed")
                    tools: dict[str, Any] = {"sources": [], "layers": False, "transforms": [], "brush": brush}
                    mask = gr.ImageEditor(
                        label="What is to be painted", show_label=False, type="pil", **tools
                    )

        @_told_plainly
        def paint(
            photo: str | None,
            *values: Any,
            progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio finds it there
        ) -> tuple[Image.Image, Image.Image]:
            *wishes, strength, size, colours, canvas = values
            chosen = [None if name == OWN_PICTURE else name for name in wishes[::3]]
            return painter.paint(
                photo,
                list(zip(chosen, wishes[1::3], wishes[2::3], strict=True)),
                strength=strength,
                size=int(size),
                keep_colors=colours,
                mask=next(iter((canvas or {}).get("layers") or ()), None),
                progress=lambda done, what: progress(done, desc=what),
            )

        @_told_plainly
        def preview(photo: str | None) -> Image.Image | None:
            return painter.preview(photo, MASK_SIDE)

        def choose(event: gr.SelectData) -> str:
            return names[event.index]

        button.click(paint, [photo, *slots, strength, size, colours, mask], result, api_name="paint")
        photo.change(preview, photo, mask, api_visibility="private", show_progress="hidden")
        gallery.select(choose, None, slots[0], api_visibility="private")
    return page


def _slot(names: list[str], number: int) -> list[gr.components.Component]:
    """Name, picture and weight of one style."""
    with gr.Row():
        with gr.Column():
            name = gr.Dropdown([OWN_PICTURE, *names], value=OWN_PICTURE, label=f"Style {number}")
            weight = gr.Slider(0, 1, 1 if number == 1 else 0.5, step=0.05, label="Weight")
        with gr.Column():
            picture = _upload(label="Your own picture", sources=["upload", "clipboard"], height=180)
    name.change(lambda name: gr.Image(visible=name == OWN_PICTURE), name, picture, api_visibility="private")
    return [name, picture, weight]


def _upload(**options: Any) -> gr.Image:
    """A picture as the file it came in: Gradio would open it, and not say what is wrong with it."""
    picture = gr.Image(type="filepath", **options)
    picture.preprocess = lambda payload: payload.path if payload else None  # type: ignore[method-assign]
    return picture


def _told_plainly(answer: Callable[..., Any]) -> Callable[..., Any]:
    """Our errors in the page's own words; others stay in the log, and the page says no more than "Error"."""

    @wraps(answer)
    def told(*values: Any, **options: Any) -> Any:
        try:
            return answer(*values, **options)
        except ArbstyleError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return told
