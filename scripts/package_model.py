"""After another model has been put into the package: make anew what the package derives from it.

    python scripts/package_model.py

writes the ONNX graphs beside the model, which take their weights from its file; the codes of the gallery's
styles, from the pictures in their files; and a sheet of them for the documents. Run it whenever
arbstyle/assets/arbstyle.safetensors has changed; tests fail until then.

To put another work in the public domain into the gallery:

    python scripts/package_model.py add woodcut picture.jpg --artist "Katsushika Hokusai" \\
        --title "Fine Wind, Clear Morning" --year "about 1831" --technique "woodblock print"
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from arbstyle import Stylizer
from arbstyle.cli import main as main_command
from arbstyle.images import atomic_path, fit_into, read_image, to_pil
from arbstyle.onnx.export import export_onnx
from arbstyle.painting.gallery import SUFFIX, gallery_files
from arbstyle.painting.style_file import Style

REPOSITORY = Path(__file__).resolve().parent.parent
ASSETS = REPOSITORY / "arbstyle" / "assets"
GALLERY = ASSETS / "gallery"
SIDES = 288, 400
"""Height and width that a picture of the gallery is reduced to fit into, either way round."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_subparsers(dest="action").add_parser("add", help="put a work into the gallery")
    add.add_argument("name")
    add.add_argument("picture")
    for fact in ("artist", "title", "year", "technique"):
        add.add_argument(f"--{fact}", required=True)
    arguments = parser.parse_args()
    stylizer = Stylizer.from_pretrained(ASSETS / "arbstyle.safetensors", "cpu", "fp32")
    if arguments.action == "add":
        facts = {fact: getattr(arguments, fact) for fact in ("title", "artist", "year", "technique")}
        print(add_work(stylizer, arguments.name, arguments.picture, facts))
        return
    for path in export_onnx(
        stylizer.styler, ASSETS, stylizer.information, weights=ASSETS / "arbstyle.safetensors"
    ):
        print(path)
    for name, path in gallery_files().items():
        print(renew(stylizer, name, path))
    photo, sheet = (
        REPOSITORY / "examples" / "photo-pagoda.jpg",
        REPOSITORY / "docs" / "images" / "gallery.webp",
    )
    main_command(["styles", str(photo), "--size", "150", "--overwrite", "-o", str(sheet)])


def add_work(stylizer: Stylizer, name: str, picture: str, facts: dict[str, str]) -> Path:
    """A new file of the gallery."""
    pixels = read_image(picture)
    sides = sorted(SIDES) if pixels.shape[2] <= pixels.shape[3] else sorted(SIDES, reverse=True)
    thumbnail = to_pil(fit_into(pixels, *sides))
    about = {**facts, "licence": "public domain"}
    style = Style(
        name, stylizer.style(thumbnail).code, None, stylizer.fingerprint, stylizer.name, thumbnail, about
    )
    return renew(stylizer, name, style.save(GALLERY / f"{name}{SUFFIX}"))


def renew(stylizer: Stylizer, name: str, path: Path) -> Path:
    """The same file with the code of this model for its picture, which stays as it is, byte for byte."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    known = Style.load(path)
    with safe_open(path, "numpy") as file:
        metadata, picture = file.metadata(), file.get_tensor("thumbnail")
    about = {"name": name, "model": stylizer.fingerprint, "model_name": stylizer.name}
    tensors = {"code": stylizer.style(known.thumbnail).code.numpy(), "thumbnail": picture}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {**metadata, "style": json.dumps(about)})
    return path


if __name__ == "__main__":
    main()
