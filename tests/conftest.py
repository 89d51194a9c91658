"""Fixtures: where real weights and pictures lie, and why a test was skipped without them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

pytest_plugins = ["evaluation_fixtures"]

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """A shell starts background jobs with SIGINT ignored, as are their children: Ctrl-C tests would hang."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep the tests' caches out of the user's home, and everything that would phone home offline."""
    saved = dict(os.environ)
    os.environ["ARBSTYLE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["WANDB_MODE"] = "offline"
    os.environ["WANDB_SILENT"] = "true"
    os.environ["HF_HUB_OFFLINE"] = "1"
    yield
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture(scope="module")
def quick_calibration(tmp_path_factory: pytest.TempPathFactory):
    """Normalise VGG filters on one tiny picture: for random weights, whose true means matter to nobody."""
    import torch

    from arbstyle.images import write_image
    from arbstyle.perception import filters

    folder = tmp_path_factory.mktemp("calibration")
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    picture = write_image(pixels, folder / "noise.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filters, "calibration_files", lambda: iter([picture]))
        yield


@pytest.fixture(scope="session")
def vgg19_weights() -> Path:
    """Real VGG-19 weights: the file in ARBSTYLE_VGG19, or the one shared beside the checkout."""
    path = Path(os.environ.get("ARBSTYLE_VGG19", SHARED / "weights" / "vgg19.safetensors"))
    if not path.is_file():
        pytest.skip("needs real VGG-19 weights: set ARBSTYLE_VGG19 to a .safetensors or .pth file")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with content/ and style/ pictures beside the checkout."""
    path = SHARED / "data"
    if not path.is_dir():
        pytest.skip("needs the shared picture sets beside the checkout")
    return path
