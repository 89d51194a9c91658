"""What people preferred: votes from `preference.html`, scored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from arbstyle.errors import ArbstyleError
from arbstyle.evaluation.bootstrap import Interval
from arbstyle.evaluation.preference import KEY, LONGEST_KEY
from arbstyle.stored import read_json_file

CHOICES = ("left", "right", "tie")

PRIOR = 0.5
"""Wins that every method gets in advance over every other it met: a method without a loss stays finite."""


@dataclass(frozen=True)
class Contest:
    """Two methods side by side. `rate` is the share of `first`, ties counting half, with its interval."""

    first: str
    second: str
    wins: int
    losses: int
    ties: int
    rate: Interval


@dataclass(frozen=True)
class Verdict:
    """All votes. `strengths`: by method, the chance to be preferred to an average one (Bradley–Terry)."""

    judges: int
    votes: int
    contests: list[Contest]
    strengths: dict[str, float]


def score_votes(votes: Sequence[str | Path], report: str | Path) -> Verdict:
    """Score files that `preference.html` saved.

    A judge's last vote on a trial counts.

    Args:
        votes: files, of one or several judges.
        report: the folder that holds the page and its key.

    Raises:
        ArbstyleError: files that can't be read or don't belong to this report, or no votes at all.
    """
    study, methods = _read_key(Path(report) / KEY)
    counted: dict[tuple[str, str], tuple[str, str, float]] = {}
    for path in votes:
        judge, entries = _read_votes(Path(path), study, methods)
        for entry in entries:
            left, right = methods[entry["left"]], methods[entry["right"]]
            score = {"left": 1.0, "right": 0.0, "tie": 0.5}[entry["choice"]]
            counted[judge, entry["trial"]] = (left, right, score)
    if not counted:
        raise ArbstyleError("there is no vote in these files: answer at least one trial, then save again")
    wins: dict[tuple[str, str], float] = {}
    ties: dict[tuple[str, str], int] = {}
    for left, right, score in counted.values():
        wins[left, right] = wins.get((left, right), 0) + (score == 1)
        wins[right, left] = wins.get((right, left), 0) + (score == 0)
        for pair in ((left, right), (right, left)):
            ties[pair] = ties.get(pair, 0) + (score == 0.5)
    names = sorted({name for pair in wins for name in pair})
    contests = [
        _contest(first, second, wins, ties)
        for first, second in combinations(names, 2)
        if (first, second) in wins
    ]
    halves = {pair: wins[pair] + ties[pair] / 2 for pair in wins}
    return Verdict(len({judge for judge, _ in counted}), len(counted), contests, bradley_terry(halves))


def bradley_terry(wins: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """Strengths of methods from wins of the first over the second (ties as halves), best first.

    Bradley & Terry 1952, by Hunter's 2004 iteration, with `PRIOR` wins added on both sides of every contest.

    Returns:
        by method, the probability to be preferred to a method of average (geometric mean) strength.
    """
    names = sorted({name for pair in wins for name in pair})
    met = {frozenset(pair) for pair in wins}
    padded = {
        (a, b): wins.get((a, b), 0) + PRIOR
        for a in names
        for b in names
        if a != b and frozenset((a, b)) in met
    }
    strength = dict.fromkeys(names, 1.0)
    for _ in range(10_000):
        before = dict(strength)
        for name in names:
            won = sum(count for (winner, _), count in padded.items() if winner == name)
            games = sum(
                (count + padded[other, name]) / (strength[name] + strength[other])
                for (winner, other), count in padded.items()
                if winner == name
            )
            strength[name] = won / games
        middle = math.exp(sum(map(math.log, strength.values())) / len(names))
        strength = {name: value / middle for name, value in strength.items()}
        if max(abs(math.log(strength[name] / before[name])) for name in names) < 1e-10:
            break
    ranked = sorted(names, key=lambda name: -strength[name])
    return {name: strength[name] / (1 + strength[name]) for name in ranked}


def wilson_interval(successes: float, trials: int, z: float = 1.959964) -> Interval:
    """A share and its 95 % interval (Wilson 1927), which stays inside [0, 1] for few trials."""
    share = successes / trials
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def verdict_text(verdict: Verdict) -> str:
    """A verdict for a terminal."""
    lines = [f"{verdict.votes} votes of {verdict.judges} judge{'s' * (verdict.judges != 1)}"]
    for contest in verdict.contests:
        rate = contest.rate
        lines.append(
            f"{contest.first} against {contest.second}: preferred {rate.mean:.0%} "
            f"[{rate.low:.0%}, {rate.high:.0%}] ({contest.wins} : {contest.losses}, {contest.ties} ties)"
        )
    lines.append("probability to be preferred to an average method (Bradley–Terry):")
    lines += [f"  {probability:.0%}  {name}" for name, probability in verdict.strengths.items()]
    return "\n".join(lines)


def _contest(
    first: str, second: str, wins: Mapping[tuple[str, str], float], ties: Mapping[tuple[str, str], int]
) -> Contest:
    won, lost, tied = int(wins[first, second]), int(wins[second, first]), ties[first, second]
    rate = wilson_interval(won + tied / 2, won + lost + tied)
    return Contest(first, second, won, lost, tied, rate)


# --- files --------------------------------------------------------------------------------------


def _read_key(path: Path) -> tuple[str, dict[str, str]]:
    """The study's name, and the method of every picture."""
    key = _read_json(path, "the key of a preference page")
    try:
        methods = {str(name): str(made["method"]) for name, made in key["pictures"].items()}
        return str(key["study"]), methods
    except (KeyError, TypeError, AttributeError) as error:
        raise ArbstyleError(f"{path} is no key of a preference page: run the evaluation again") from error


def _read_votes(path: Path, study: str, methods: Mapping[str, str]) -> tuple[str, list[dict[str, str]]]:
    """Judge and votes of a file."""
    saved = _read_json(path, "saved votes")
    try:
        judge, votes, own = str(saved["judge"]), list(saved["votes"]), saved["study"]
        entries = [{name: vote[name] for name in ("trial", "left", "right", "choice")} for vote in votes]
    except (KeyError, TypeError) as error:
        raise ArbstyleError(
            f"{path} does not hold votes: save them from {KEY.replace('-key.json', '.html')}"
        ) from error
    if own != study:
        raise ArbstyleError(
            f"the votes in {path} are about other pictures: give the report that they came from"
        )
    for entry in entries:
        known = all(isinstance(entry[side], str) and entry[side] in methods for side in ("left", "right"))
        if (
            not known
            or entry["left"] == entry["right"]
            or entry["choice"] not in CHOICES
            or not isinstance(entry["trial"], str)
        ):
            raise ArbstyleError(f"{path} holds a vote that its page can't have saved: {entry}")
    return judge, entries


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        return read_json_file(path, LONGEST_KEY)
    except OSError as error:
        raise ArbstyleError(
            f"{what} are expected in {path}, which can't be read ({error.strerror})"
        ) from error
    except ValueError as error:
        raise ArbstyleError(f"{path} is not {what}: it is no JSON file of one ({error})") from error
