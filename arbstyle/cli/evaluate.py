"""`arbstyle evaluate`: methods measured on every pair of photos and styles, with a report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from arbstyle.cli._options import ModelOptions


def evaluate(
    *,
    content: Annotated[Path | None, "DIR"] = None,
    style: Annotated[Path | None, "DIR"] = None,
    output: Annotated[Path, "-o", "DIR"],
    methods: Annotated[str | None, "LIST"] = None,
    against: Annotated[str | None, "NAME"] = None,
    outputs: Annotated[Sequence[str], "NAME=DIR"] = (),
    size: Annotated[int, "PIXELS"] = 512,
    contents: int | None = None,
    styles: int | None = None,
    pairs: int | None = None,
    votes: Annotated[Sequence[Path], "FILE"] = (),
    options: ModelOptions,
) -> int:
    """Measure methods on every pair of a folder of photos and a folder of styles.

    Args:
        content: folder of photos, or a pattern.
        style: the same for styles.
        output: report folder: results.csv, results.json, index.html, preference.html, pictures/; takes up an
            earlier run in it.
        methods: comma-separated: 'stylize' (the packaged model, or --model), 'stylize@FILE' (another
            model), either with options (stylize:stroke=2:strength=0.8), 'optimize:N' (Gatys' optimisation
            from the photo, N loss evaluations); default: stylize, or none where --outputs is given.
        against: the method that the others are compared with, pair by pair; default: the first.
        outputs: another system's pictures: a folder of {content}__{style}.png (file names without suffix).
        size: short side at which all is shown and measured.
        contents: only the first N photos by name.
        styles: only the first N styles by name.
        pairs: only N pairs, spread over all photos and styles, the same ones every time.
        votes: only score votes that people saved from preference.html of the report folder.
    """
    from arbstyle.errors import ArbstyleError
    from arbstyle.evaluation import evaluate as measure
    from arbstyle.evaluation import score_votes, text_table, verdict_text, write_report

    if votes:
        print(verdict_text(score_votes(votes, output)))
        return 0
    if content is None or style is None:
        raise ArbstyleError("expected --content and --style, the pictures to compare methods on (or --votes)")
    folders = _named_folders(outputs)
    if methods is None:
        methods = "" if folders else "stylize"
    try:
        evaluation = measure(
            content,
            style,
            output,
            methods=[method.strip() for method in methods.split(",") if method.strip()],
            outputs=folders,
            reference=against,
            size=size,
            contents=contents,
            styles=styles,
            pairs=pairs,
            vgg_weights=options.vgg_weights,
            model=options.model,
            device=options.device,
            progress=True,
        )
    except KeyboardInterrupt:
        print(
            f"arbstyle: interrupted; the same command takes up the finished rows in {output}", file=sys.stderr
        )
        return 130
    print(", ".join(f"{count} rows {done}" for done, count in evaluation.work.items()))
    print(text_table(evaluation))
    print(write_report(evaluation))
    return 0


def _named_folders(texts: Sequence[str]) -> dict[str, Path]:
    from arbstyle.errors import ArbstyleError

    folders: dict[str, Path] = {}
    for text in texts:
        name, separator, folder = text.partition("=")
        if not (name and separator and folder):
            raise ArbstyleError(
                f"--outputs expects NAME=FOLDER, got '{text}': write for example other=results/other"
            )
        if name in folders:
            raise ArbstyleError(f"--outputs got the name '{name}' twice: give each folder a name of its own")
        folders[name] = Path(folder)
    return folders
