"""The libraries of the extra `video`, asked for only where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from arbstyle.errors import ArbstyleError


def load_av() -> ModuleType:
    """PyAV, which brings the FFmpeg libraries along.

    Raises:
        ArbstyleError: it is not installed.
    """
    return _load("av", "PyAV")


def load_cv2() -> ModuleType:
    """OpenCV.

    Raises:
        ArbstyleError: it is not installed.
    """
    return _load("cv2", "OpenCV")


def _load(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ArbstyleError(
            f"video needs {name}, which is not installed: run pip install 'arbstyle[video]'"
        ) from error
