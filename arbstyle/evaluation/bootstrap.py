"""How sure a mean over pictures is: bootstrap intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from arbstyle.errors import ArbstyleError


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(
    values_a: ArrayLike,
    values_b: ArrayLike | None = None,
    *,
    clusters: Sequence[Sequence[Hashable]] = (),
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval (Efron 1979) of the mean of `values_a`, or of `values_a - values_b`.

    Values are paired: entry i of both belongs to the same photo and style, and is drawn together.
    By default entries are drawn independently. When they come from crossing few photos with few styles
    they are not independent; `clusters` then names, for each entry, the photo (first sequence) and the
    style (second sequence) it belongs to, and photos and styles are drawn instead of entries (the
    pigeonhole bootstrap of Owen 2007, on the safe side): the interval is about new photos and new styles.

    Raises `ArbstyleError` for no values, or sequences of different lengths.
    """
    differences = np.asarray(values_a, dtype=np.float64)
    if values_b is not None:
        subtrahend = np.asarray(values_b, dtype=np.float64)
        if subtrahend.shape != differences.shape:
            raise ArbstyleError(
                f"a paired bootstrap needs as many values on both sides, got {differences.size} and "
                f"{subtrahend.size}: give the values of the same pairs in the same order"
            )
        differences = differences - subtrahend
    if differences.ndim != 1 or differences.size == 0:
        raise ArbstyleError(
            f"a bootstrap needs a sequence of at least one value, got shape {differences.shape}: "
            "measure at least one picture"
        )
    for labels in clusters:
        if len(labels) != differences.size:
            raise ArbstyleError(
                f"each cluster sequence needs a label for each of the {differences.size} values, "
                f"got {len(labels)}: give one label per value"
            )
    weights = _bootstrap_weights(np.random.default_rng(seed), clusters, differences.size, resamples)
    means = weights @ differences / weights.sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(differences.mean()), float(low), float(high))


def _bootstrap_weights(
    generator: np.random.Generator, clusters: Sequence[Sequence[Hashable]], count: int, resamples: int
) -> np.ndarray:
    """How often each entry is drawn in each resample: resamples×count, less the rows that drew nothing."""
    weights = np.ones((resamples, count))
    for labels in clusters or [range(count)]:
        numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
        draws = generator.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=resamples)
        weights *= draws[:, [numbers[label] for label in labels]]
    # Only an incomplete cross can draw photos and styles that no entry combines.
    return weights[weights.any(axis=1)]
