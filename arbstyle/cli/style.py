"""Keep a style in a small file, and look into one."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from arbstyle.cli._options import ModelOptions, check_new

if TYPE_CHECKING:
    from arbstyle import Stylizer
    from arbstyle.onnx.runtime import OnnxStylizer


def save(
    picture: str,
    *,
    output: Annotated[str | None, "-o", "FILE"] = None,
    name: str | None = None,
    overwrite: bool = False,
    style_size: Annotated[int | None, "PIXELS"] = None,
    refine: int | None = None,
    photos: Annotated[Sequence[str], "FILE"] = (),
    options: ModelOptions,
) -> None:
    """Look at a picture and keep its style; use the file as any --style.

    Args:
        picture: style picture.
        output: ends in .safetensors (default: the picture's name with .style.safetensors, in this folder).
        name: of the style (default: that of the picture).
        overwrite: replace a file that exists.
        style_size: short side at which the picture is looked at, best that of the photos to be painted
            (default: what suits the first of --photos, or photos of 512).
        refine: improve the style by N steps (100 or so) of the training's loss, on --photos; needs VGG-19.
        photos: a handful of photos like those to be painted.
    """
    from arbstyle.errors import ArbstyleError
    from arbstyle.images import check_output_path, check_outputs
    from arbstyle.painting import check_options

    check_options(style_size=style_size)
    if (refine is None) != (not photos):
        raise ArbstyleError(
            "--refine N and --photos FILE… go together: the style is improved on those photos"
        )
    path = Path(output or f"{Path(picture).stem}.style.safetensors")
    check_output_path(path, (".safetensors",))
    inputs = [("PICTURE", picture), *(("--photos", photo) for photo in photos), *options.files()]
    check_outputs([("--output", path)], inputs)
    if not overwrite:
        check_new([path])
    if refine is None:
        print(_quickest(options).style(picture, name=name, style_size=style_size).save(path))
        return
    refined = options.stylizer().refine(
        picture, photos, refine, name=name, style_size=style_size, vgg_weights=options.vgg_weights
    )
    print(refined.save(path))


def _quickest(options: ModelOptions) -> Stylizer | OnnxStylizer:
    """What looks at the style, without PyTorch if that can be."""
    from arbstyle.cli._onnx_painter import is_possible

    if options.model is not None or not is_possible(options.device):
        return options.stylizer()
    from arbstyle.onnx.runtime import OnnxStylizer

    return OnnxStylizer()


def show(
    files: list[str],
    *,
    thumbnail: Annotated[str | None, "PICTURE"] = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Tell what is in style files.

    Args:
        files: files that 'arbstyle style save' wrote, or names of the gallery.
        thumbnail: write the (only) file's thumbnail there.
        overwrite: replace a picture that exists.
        json: as JSON.
    """
    import numpy as np

    from arbstyle.errors import ArbstyleError, one_line
    from arbstyle.images import check_output_path, check_outputs
    from arbstyle.images.encoding import write_array
    from arbstyle.painting.gallery import gallery_file
    from arbstyle.painting.style_contents import StyleContents

    if thumbnail:
        check_output_path(thumbnail)
        check_outputs([("--thumbnail", thumbnail)], [("FILES", file) for file in files])
    if thumbnail and not overwrite:
        check_new([thumbnail], "give another --thumbnail")
    if thumbnail and len(files) > 1:
        raise ArbstyleError(f"--thumbnail writes one picture, but {len(files)} files are given; give one")
    styles = {path: StyleContents.load(gallery_file(path) or path) for path in files}
    if json:
        print(dumps([{"file": path, **style.description()} for path, style in styles.items()], indent=2))
    for path, style in ({} if json else styles).items():
        facts = [one_line(f"{key.replace('_', ' ')}: {value}") for key, value in style.description().items()]
        print(f"{path}\n  " + "\n  ".join(facts))
    if thumbnail:
        write_array(np.asarray(styles[files[0]].thumbnail).transpose(2, 0, 1), thumbnail)


ACTIONS = (save, show)
