"""What many rows say: means, intervals, paired differences, a score that no copy can win, worst cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arbstyle.evaluation.bootstrap import Interval, paired_bootstrap
from arbstyle.evaluation.methods import Method, PhotoCopy, StyleCopy
from arbstyle.evaluation.results import Row, Summary

Key = tuple[str, str]
"""A photo's name and a style's."""


def summaries(methods: Sequence[Method], rows: Sequence[Row]) -> list[Summary]:
    """A summary a method, the best `balance` first."""
    found = [_summary(method, rows) for method in methods]
    return sorted(found, key=lambda summary: -summary.balance.mean)


def balance(rows: Sequence[Row], method: str) -> list[float]:
    """How far each picture gets towards the style without losing the photo; from 0 to 1, by pair.

    The harmonic mean of two shares: the part of the photo's normalised style loss that is gone, and the part
    of the style copy's content loss that is avoided. A copy of the photo has 0 of the first and a copy of
    the style 0 of the second, so neither can win. It ranks methods that pass for reasonable; it is no
    substitute for eyes.
    """
    photo, style = (_by_pair(rows, anchor.name) for anchor in (PhotoCopy, StyleCopy))
    scores = []
    for key, row in _by_pair(rows, method).items():
        gained = _share(row.measures["normalized_style_loss"], photo[key].measures["normalized_style_loss"])
        kept = _share(row.measures["content_loss"], style[key].measures["content_loss"])
        scores.append(2 * gained * kept / (gained + kept) if gained + kept else 0.0)
    return scores


def differences(
    reference: str, methods: Sequence[Method], rows: Sequence[Row]
) -> dict[str, dict[str, Interval]]:
    """Paired differences of every other method to the reference, by method and measure."""
    return {
        method.name: _differences(method.name, reference, rows)
        for method in methods
        if method.name != reference
    }


def worst_cases(rows: Sequence[Row], method: str, count: int = 3) -> dict[str, list[Row]]:
    """A method's rows with the least of the style, and those with the least of the photo; worst first."""
    own = list(_by_pair(rows, method).values())
    orders = {"least of the style": "normalized_style_loss", "least of the photo": "content_loss"}
    return {title: sorted(own, key=lambda row: -row.measures[name])[:count] for title, name in orders.items()}


def _share(value: float, bound: float) -> float:
    return min(1.0, max(0.0, 1 - value / bound)) if bound > 0 else 0.0


def _by_pair(rows: Sequence[Row], method: str) -> dict[Key, Row]:
    return {(row.content, row.style): row for row in rows if row.method == method}


def _summary(method: Method, rows: Sequence[Row]) -> Summary:
    own = list(_by_pair(rows, method.name).values())
    clusters = [[row.content for row in own], [row.style for row in own]]
    seconds, painting, peaks = (
        [value for row in own if (value := getattr(row, name)) is not None]
        for name in ("seconds", "seconds_painting", "peak_mib")
    )
    return Summary(
        method=method.name,
        description=method.description,
        pairs=len(own),
        means={
            name: paired_bootstrap([row.measures[name] for row in own], clusters=clusters)
            for name in own[0].measures
        },
        medians={name: float(np.median([row.measures[name] for row in own])) for name in own[0].measures},
        balance=paired_bootstrap(balance(rows, method.name), clusters=clusters),
        seconds_median=float(np.median(seconds)) if seconds else None,
        seconds_painting_median=float(np.median(painting)) if painting else None,
        peak_mib=max(peaks, default=None),
        sizes=sorted({f"{row.width}×{row.height}" for row in own}),
    )


def _differences(method: str, reference: str, rows: Sequence[Row]) -> dict[str, Interval]:
    """Method minus reference, on the pairs of both."""
    ours, theirs = (list(_by_pair(rows, name).values()) for name in (method, reference))
    clusters = [[row.content for row in ours], [row.style for row in ours]]
    return {
        name: paired_bootstrap(
            [row.measures[name] for row in ours], [row.measures[name] for row in theirs], clusters=clusters
        )
        for name in ours[0].measures
    }
