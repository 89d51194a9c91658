"""The ComfyUI node and the Space, with as much of their hosts as they use."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from arbstyle import ArbstyleError, Stylizer
from arbstyle.images import read_image

REPOSITORY = Path(__file__).resolve().parent.parent
INTEGRATIONS = REPOSITORY / "integrations"
PHOTO, PAINTING, DRAWING = (
    REPOSITORY / "examples" / name for name in ("photo-cat.jpg", "painting-night.jpg", "drawing-oz.jpg")
)


class Recorded:
    """Keeps what it was made with; stands for schemas, inputs and outputs."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.args, self.options = args, options


class Given(Recorded):
    """An input: its name, and the options that all versions of the schema know for its kind."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        assert options.keys() <= {"default", "min", "max", "step", "options", "optional", "tooltip"}


def fake_comfy_api() -> types.ModuleType:
    """The part of `comfy_api.latest` that a V3 node touches."""
    kind = types.SimpleNamespace(Input=Given, Output=Recorded)
    names = ("Image", "Float", "Int", "Combo", "Mask", "String")
    io = types.SimpleNamespace(
        ComfyNode=object, Schema=Recorded, NodeOutput=Recorded, **dict.fromkeys(names, kind)
    )
    module = types.ModuleType("comfy_api.latest")
    module.__dict__.update(io=io, ComfyExtension=object)
    return module


@pytest.fixture(scope="module")
def node() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "comfy_api", types.ModuleType("comfy_api"))
        patch.setitem(sys.modules, "comfy_api.latest", fake_comfy_api())
        spec = importlib.util.spec_from_file_location(
            "arbstyle_comfyui", INTEGRATIONS / "comfyui" / "__init__.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    (node,) = asyncio.run(asyncio.run(module.comfy_entrypoint()).get_node_list())
    return node


def comfy(path: Path, size: int = 48) -> Tensor:
    """B×H×W×C, as ComfyUI holds pictures."""
    return read_image(path, size=size).permute(0, 2, 3, 1)


def test_the_schema_names_what_execute_takes(node):
    schema = node.define_schema()
    names = [given.args[0] for given in schema.options["inputs"]]
    code = node.execute.__func__.__code__
    assert names == ["photo", "style", "strength", "keep_colors", "style_size", *names[5:]]
    assert sorted(names) == sorted(code.co_varnames[1 : code.co_argcount])


def test_it_paints_what_the_stylizer_paints(node):
    (painted,) = node.execute(comfy(PHOTO), comfy(PAINTING), strength=0.8, style_size=128).args
    expected = Stylizer.from_pretrained().stylize(
        read_image(PHOTO, size=48), read_image(PAINTING, size=48), 0.8, style_size=128
    )
    assert torch.equal(painted, expected.permute(0, 2, 3, 1))


def test_batches_blends_and_masks(node):
    photos = torch.cat([comfy(PHOTO), comfy(PHOTO).flip(2)])
    first, second = comfy(PAINTING), comfy(DRAWING)
    mask = torch.zeros(1, 10, 10)
    mask[..., :5] = 1
    (plain,) = node.execute(photos, first, style_size=64).args
    (only_first,) = node.execute(photos, first, style_size=64, second_style=second, second_weight=0.0).args
    (half,) = node.execute(photos, first, style_size=64, mask=mask).args
    assert torch.allclose(plain, only_first)
    width = photos.shape[2]
    edge = width // 10 + 2
    assert torch.equal(half[:, :, width // 2 + edge :], photos[:, :, width // 2 + edge :])
    assert torch.allclose(half[:, :, : width // 2 - edge], plain[:, :, : width // 2 - edge], atol=1e-6)
    (with_alpha,) = node.execute(torch.cat([photos, photos[..., :1]], -1), first, style_size=64).args
    assert torch.equal(with_alpha, plain)


def test_a_model_that_is_not_there_is_told(node):
    with pytest.raises(ArbstyleError, match="no such file"):
        node.execute(comfy(PHOTO), comfy(PAINTING), model="no-such.safetensors")


def test_the_space_says_what_to_run():
    folder = INTEGRATIONS / "space"
    front = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert front["sdk"] == "gradio"
    assert (folder / front["app_file"]).is_file()
    assert (folder / "requirements.txt").read_text().split() == ["arbstyle[app,hub]"]
    compile((folder / "app.py").read_text(), "app.py", "exec")
