"""How the page looks: Gradio components around a :class:`~arbstyle.app.painter.Painter`."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import gradio as gr
from PIL import Image

from arbstyle.app.painter import PAINTED_PIXELS, Painter
from arbstyle.errors import ArbstyleError
from arbstyle.images import read_upload, restrict_pillow, to_pil
from arbstyle.painting import KEEP_COLORS, StrengthWarning, Stylizer

SLOTS = 3
"""Styles that can be mixed."""

OWN_PICTURE = "(your own picture)", ""
"""Words and value of that choice."""

MASK_PIXELS = 640 * 480
EXAMPLES = "photo-cat", "photo-coffee", "photo-raccoon", "photo-astronaut"
UPLOAD_SIZE = "20mb"
VISITORS_WAITING = 64
KEPT_SECONDS = 1800, 1800
"""How often the disk is tidied, and how long uploads and results stay there."""

PROGRESS = gr.Progress()
"""Gradio gives each call its own where it finds this as a default."""


def serve(stylizer: Stylizer, pixels: int = PAINTED_PIXELS, concurrency: int = 1, **launch: Any) -> gr.Blocks:
    """Serve the page until it is interrupted: on this machine alone, at the first free port from 7860 on.

    Args:
        stylizer: paints.
        pixels: of a picture that is painted, at most.
        concurrency: pictures painted at a time.
        **launch: what Gradio's ``launch`` takes, such as ``server_name``, ``server_port`` and ``inbrowser``.

    Raises:
        ArbstyleError: no port is free there.
    """
    restrict_pillow()  # Gradio opens uploads, too
    warnings.simplefilter("ignore", StrengthWarning)  # the slider ends where it looks odd
    page = build(Painter(stylizer, pixels))
    page.queue(max_size=VISITORS_WAITING, default_concurrency_limit=concurrency)
    launch |= {
        "max_file_size": UPLOAD_SIZE,
        "ssr_mode": False,
        "footer_links": [],
        "enable_monitoring": False,
    }
    launch["theme"] = gr.themes.Soft(font="system-ui", font_mono="monospace")  # no fonts from elsewhere
    host, port = launch.get("server_name") or "127.0.0.1", launch.get("server_port")
    try:
        _check_address(host, port or 0)
        page.launch(**launch)
    except OSError as error:  # Gradio speaks of its own settings
        place = f"{host}:{port or '7860 and on'}"
        raise ArbstyleError(
            f"cannot serve on {place}: it is taken, or not of this machine; give another --port or --host"
        ) from error
    return page


def _check_address(host: str, port: int) -> None:
    """Raise an OSError where nothing can be served: Gradio would try for ever."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)


def build(painter: Painter) -> gr.Blocks:
    """The page."""
    names = list(painter.styles)
    with gr.Blocks(title="arbstyle", analytics_enabled=False, delete_cache=KEPT_SECONDS) as page:
        gr.Markdown("# arbstyle\nAny photograph in the style of any picture.")
        with gr.Row():
            with gr.Column():
                photo = _upload("Photo", 360, "upload", "webcam", "clipboard")
                folder = files("arbstyle") / "assets" / "calibration"
                examples = [str(folder / f"{name}.webp") for name in EXAMPLES]
                gr.Examples(examples, photo, label="Photos to try")
                gallery = _gallery(painter)
                slots = _slot(names, 1)
                with gr.Accordion("Mix with other styles", open=False):
                    for number in range(2, SLOTS + 1):
                        slots += _slot(names, number)
            with gr.Column():
                result = gr.ImageSlider(label="Before and after", format="png", interactive=False)
                button = gr.Button("Paint", variant="primary")
                strength = gr.Slider(0, 1.5, 1, label="Strength", info="0 is the photo, 1 the style")
                size = gr.Slider(128, 1440, 720, step=16, label="Size", info="short side at most, in pixels")
                colours = gr.Radio(list(KEEP_COLORS), value="none", label="Keep the photo's colours")
                with gr.Accordion("Paint only a part: brush over it", open=False):
                    mask = _mask()

        @_told_plainly()
        def paint(photo: str | None, *values: Any, progress: gr.Progress = PROGRESS) -> Any:
            *wishes, strength, size, colours, canvas = values
            layers = (canvas or {}).get("layers") or [None]
            styles = list(zip(wishes[::3], wishes[1::3], wishes[2::3], strict=True))
            return painter.paint(photo, styles, strength, int(size), colours, layers[0], progress)

        @_told_plainly()
        def preview(photo: str | None) -> Image.Image | None:
            return to_pil(read_upload(photo, pixels=MASK_PIXELS)) if photo else None

        def choose(event: gr.SelectData) -> str:
            return names[event.index]

        button.click(paint, [photo, *slots, strength, size, colours, mask], result, api_name="paint")
        photo.change(preview, photo, mask, api_visibility="private", show_progress="hidden")
        gallery.select(choose, None, slots[0], api_visibility="private")
    return page


def _gallery(painter: Painter) -> gr.Gallery:
    pictures = [(style.thumbnail, name) for name, style in painter.styles.items()]
    height = 460 if len(pictures) > 4 else 150
    look: dict[str, Any] = {"columns": 4, "height": height, "object_fit": "cover", "show_label": False}
    return gr.Gallery(pictures, label="Styles", allow_preview=False, interactive=False, buttons=[], **look)


def _slot(names: list[str], number: int) -> list[gr.components.Component]:
    """Name, picture and weight of one style."""
    with gr.Row():
        with gr.Column():
            name = gr.Dropdown([OWN_PICTURE, *names], value="", label=f"Style {number}")
            weight = gr.Slider(0, 1, 1 if number == 1 else 0.5, label="Weight")
        with gr.Column():
            picture = _upload("Your own picture", 180, "upload", "clipboard")
    name.change(lambda name: gr.Image(visible=not name), name, picture, api_visibility="private")
    return [name, picture, weight]


def _mask() -> gr.ImageEditor:
    brush = gr.Brush(default_size=40, colors=["#ffffffc0"], color_mode="fixed")
    tools: dict[str, Any] = {"sources": [], "layers": False, "transforms": [], "brush": brush}
    return gr.ImageEditor(label="What is to be painted", show_label=False, type="pil", **tools)


def _upload(label: str, height: int, *sources: Any) -> gr.Image:
    """A picture as the file it came in: Gradio would open it, and not say what is wrong with it."""
    picture = gr.Image(type="filepath", label=label, height=height, sources=list(sources))
    picture.preprocess = lambda payload: payload.path if payload else None  # type: ignore[method-assign]
    return picture


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Our errors in the page's own words; others stay in the log, and the page says no more than "Error"."""
    try:
        yield
    except ArbstyleError as error:
        raise gr.Error(str(error), print_exception=False) from error
