"""A page on which people choose between two methods' pictures without knowing whose they are.

The page carries pictures under random names; which method made which stands in a file beside it,
`preference-key.json`, that judges don't get.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Sequence
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import numpy as np

from arbstyle.evaluation.digests import digest
from arbstyle.evaluation.evaluation import Evaluation
from arbstyle.evaluation.methods import Method, PhotoCopy, StyleCopy
from arbstyle.evaluation.pairs import Pair
from arbstyle.evaluation.thumbnails import data_url
from arbstyle.images import atomic_path
from arbstyle.stored import read_json_file

PAGE = "preference.html"
KEY = "preference-key.json"
LONGEST_KEY = 1 << 26
"""Characters; a picture takes some hundred."""

MAX_TRIALS = 60
"""A quarter of an hour's work; some 6 MB."""

SIDE = 384
"""Short side of the pictures in pixels."""


def write_preference_page(evaluation: Evaluation) -> Path | None:
    """Write the page and its key into the report folder; returns the page, `None` for fewer than two methods.

    The same pictures make the same page, so that judges can go on where they stopped.
    """
    methods = [method for method in evaluation.methods if not isinstance(method, PhotoCopy | StyleCopy)]
    if len(methods) < 2:
        return None
    key_path = evaluation.folder / KEY
    names = _SecretNames(_known_salt(key_path) or secrets.token_hex(16))
    pictures: dict[str, str] = {}
    made_by: dict[str, dict[str, str]] = {}
    trials = []
    for pair, sides in _chosen_trials(evaluation.pairs, methods):
        photo, style = names.of(pair.content), names.of(pair.style)
        painted = []
        for method in sides:
            name = names.of(method.picture(pair, evaluation.folder), method.name)
            made_by[name] = {
                "method": method.name,
                "content": pair.content.stem,
                "style": pair.style.stem,
            }
            pictures.setdefault(name, data_url(method.picture(pair, evaluation.folder), SIDE))
            painted.append(name)
        pictures.setdefault(photo, data_url(pair.content, SIDE))
        pictures.setdefault(style, data_url(pair.style, SIDE))
        # In the order of their random names, which says nothing about the methods.
        sides_by_name = sorted(painted)
        trials.append(
            {"id": names.join(sides_by_name), "photo": photo, "style": style, "sides": sides_by_name}
        )
    trials.sort(key=lambda trial: str(trial["id"]))
    study = names.join([str(trial["id"]) for trial in trials])
    data = {"study": study, "trials": trials, "pictures": dict(sorted(pictures.items()))}
    _write(key_path, json.dumps({"study": study, "salt": names.salt, "pictures": made_by}, indent=1) + "\n")
    page = evaluation.folder / PAGE
    _write(page, _template().replace("{{DATA}}", json.dumps(data)))
    return page


class _SecretNames:
    """Names that tell pictures apart and nothing else, for whoever doesn't have the salt."""

    def __init__(self, salt: str) -> None:
        self.salt = salt

    def of(self, path: Path, owner: str = "") -> str:
        """Of a picture: the same as long as its content and owner are."""
        return self.join([digest(path), owner, path.stem])

    def join(self, parts: Sequence[str]) -> str:
        return hashlib.sha256(json.dumps([self.salt, *parts]).encode()).hexdigest()[:12]


def _known_salt(key: Path) -> str | None:
    try:
        salt = read_json_file(key, LONGEST_KEY)["salt"]
    except (OSError, ValueError, KeyError):
        return None
    return salt if isinstance(salt, str) else None


def _chosen_trials(
    pairs: Sequence[Pair], methods: Sequence[Method]
) -> list[tuple[Pair, tuple[Method, Method]]]:
    """As many of every two methods, on pairs drawn at random."""
    generator = np.random.default_rng(0)
    contests = list(combinations(methods, 2))
    each = max(1, min(len(pairs), MAX_TRIALS // len(contests)))
    return [
        (pairs[number], (first, second))
        for first, second in contests
        for number in generator.permutation(len(pairs))[:each]
    ]


def _template() -> str:
    return (files("arbstyle") / "evaluation" / PAGE).read_text(encoding="utf-8")


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
