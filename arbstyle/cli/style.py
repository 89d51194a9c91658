"""Keep a style in a small file, and look into one."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Annotated

from arbstyle.cli._options import ModelOptions


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
    if path.exists() and not overwrite:
        raise ArbstyleError(f"'{path}' exists; add --overwrite, or give another -o")
    stylizer = options.stylizer()
    if refine is None:
        style = stylizer.style(picture, name=name, style_size=style_size)
    else:
        style = stylizer.refine(
            picture, photos, refine, name=name, style_size=style_size, vgg_weights=options.vgg_weights
        )
    print(style.save(path))


def show(files: list[str], *, thumbnail: Annotated[str | None, "PICTURE"] = None, json: bool = False) -> None:
    """Tell what is in style files.

    Args:
        files: files that 'arbstyle style save' wrote.
        thumbnail: write the (only) file's thumbnail there.
        json: as JSON.
    """
    from arbstyle.errors import ArbstyleError
    from arbstyle.images import check_output_path, check_outputs, from_pil, write_image
    from arbstyle.painting import Style

    if thumbnail:
        check_output_path(thumbnail)
        check_outputs([("--thumbnail", thumbnail)], [("FILES", file) for file in files])
    if thumbnail and len(files) > 1:
        raise ArbstyleError(f"--thumbnail writes one picture, but {len(files)} files are given; give one")
    styles = {path: Style.load(path) for path in files}
    if json:
        print(dumps([{"file": path, **style.description()} for path, style in styles.items()], indent=2))
    for path, style in ({} if json else styles).items():
        facts = [f"{key.replace('_', ' ')}: {value}" for key, value in style.description().items()]
        print(f"{path}\n  " + "\n  ".join(facts))
    if thumbnail:
        write_image(from_pil(styles[files[0]].thumbnail), thumbnail)


ACTIONS = (save, show)
