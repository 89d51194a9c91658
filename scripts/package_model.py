"""After another model has been put into the package: make anew what the package derives from it.

    python scripts/package_model.py

writes the ONNX graphs beside the model, which take their weights from its file. Run it whenever
arbstyle/assets/arbstyle.safetensors has changed; tests fail until then.
"""

from __future__ import annotations

from pathlib import Path

from arbstyle import Stylizer
from arbstyle.onnx.export import export_onnx

PACKAGE = Path(__file__).resolve().parent.parent / "arbstyle"


def main() -> None:
    model = PACKAGE / "assets" / "arbstyle.safetensors"
    stylizer = Stylizer.from_pretrained(model, "cpu", "fp32")
    for path in export_onnx(stylizer.styler, model.parent, stylizer.information, weights=model):
        print(path)


if __name__ == "__main__":
    main()
