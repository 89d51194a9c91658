"""The blind page and its votes: nothing on it tells the methods apart; scores against independent ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_fixtures import SIZE, Mix
from scipy.optimize import minimize
from scipy.stats import binomtest

from arbstyle.cli import main
from arbstyle.errors import ArbstyleError
from arbstyle.evaluation import evaluate, write_report
from arbstyle.evaluation.preference import KEY, PAGE, write_preference_page
from arbstyle.evaluation.votes import PRIOR, bradley_terry, score_votes, wilson_interval


@pytest.fixture
def report(folders, encoder) -> Path:
    content, style, output = folders
    methods = [Mix("weak", share=0.2), Mix("strong", share=0.8)]
    write_report(evaluate(content, style, output, methods=methods, size=SIZE, encoder=encoder))
    return output


def page_data(report: Path) -> dict[str, Any]:
    page = (report / PAGE).read_text(encoding="utf-8")
    match = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert match
    return json.loads(match[1])


def vote(report: Path, file: str, prefer: str, judge: str = "j", limit: int | None = None) -> Path:
    """A judge who always prefers one method, as the page would save it."""
    key = json.loads((report / KEY).read_text())
    votes = []
    for trial in page_data(report)["trials"][:limit]:
        left, right = trial["sides"]
        choice = (
            "tie" if prefer == "tie" else "left" if key["pictures"][left]["method"] == prefer else "right"
        )
        votes.append({"trial": trial["id"], "left": left, "right": right, "choice": choice})
    path = report / file
    path.write_text(json.dumps({"study": key["study"], "judge": judge, "votes": votes}))
    return path


# --- the page -----------------------------------------------------------------------------------


def test_the_page_carries_everything_and_tells_nothing(report):
    page = (report / PAGE).read_text(encoding="utf-8")
    for word in ("weak", "strong", "bridge", "dog", "ink", "oil", "mix"):
        assert not re.search(rf"\b{word}\b", page)
    assert not re.search(r"https?://|src=\"(?!data:)", page)
    data = page_data(report)
    assert len(data["trials"]) == 4
    for trial in data["trials"]:
        assert {trial["photo"], trial["style"], *trial["sides"]} <= set(data["pictures"])
        assert trial["sides"] == sorted(trial["sides"])
    key = json.loads((report / KEY).read_text())
    lefts = [key["pictures"][trial["sides"][0]]["method"] for trial in data["trials"]]
    assert set(key["pictures"]) < set(data["pictures"])
    assert {made["method"] for made in key["pictures"].values()} == {"weak", "strong"}
    assert set(lefts) <= {"weak", "strong"}


def test_the_same_pictures_make_the_same_page_and_another_report_another(report, folders, encoder, tmp_path):
    before = (report / PAGE).read_bytes()
    content, style, _ = folders
    methods = [Mix("weak", share=0.2), Mix("strong", share=0.8)]
    settings = {"methods": methods, "size": SIZE, "encoder": encoder}
    write_report(evaluate(content, style, report, **settings))
    assert (report / PAGE).read_bytes() == before
    other = evaluate(content, style, tmp_path / "other", **settings)
    write_report(other)
    assert not set(page_data(report)["pictures"]) & set(page_data(tmp_path / "other")["pictures"])


def test_one_method_alone_makes_no_page(folders, encoder):
    content, style, output = folders
    evaluation = evaluate(content, style, output, methods=[Mix()], size=SIZE, encoder=encoder)
    assert write_preference_page(evaluation) is None
    assert "Let people choose" not in write_report(evaluation).read_text(encoding="utf-8")


def test_many_methods_share_the_trials(folders, encoder, monkeypatch):
    monkeypatch.setattr("arbstyle.evaluation.preference.MAX_TRIALS", 7)
    content, style, output = folders
    methods = [Mix(name, share) for name, share in (("a1", 0.1), ("b1", 0.5), ("c1", 0.9))]
    write_report(evaluate(content, style, output, methods=methods, size=SIZE, encoder=encoder))
    key = json.loads((output / KEY).read_text())
    contests = [
        {key["pictures"][side]["method"] for side in trial["sides"]} for trial in page_data(output)["trials"]
    ]
    assert sorted(map(sorted, contests)) == 2 * [["a1", "b1"]] + 2 * [["a1", "c1"]] + 2 * [["b1", "c1"]]


SCRIPT = """<script>
localStorage.clear();
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
URL.createObjectURL = (blob) => { blob.text().then((text) => {
  const result = document.createElement("pre"); result.id = "result"; result.textContent = text;
  document.body.append(result); }); return "#"; };
const keys = ["ArrowLeft", "ArrowRight", "Backspace", "ArrowDown", "ArrowRight", "ArrowLeft", "s"];
for (const key of keys) press(key);
</script></body>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium on the path")
def test_the_keyboard_in_a_real_browser(report):
    page = report / "driven.html"
    page.write_text((report / PAGE).read_text(encoding="utf-8").replace("</body>", SCRIPT), encoding="utf-8")
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000"]
    command += [f"--user-data-dir={report / 'profile'}", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    match = re.search(r'<pre id="result">(.*?)</pre>', dom, re.DOTALL)
    assert match, dom[-2000:]
    saved = report / "saved.json"
    saved.write_text(match[1])
    assert [vote["choice"] for vote in json.loads(match[1])["votes"]] == ["left", "tie", "right", "left"]
    assert "All 4 answered" in dom
    assert score_votes([saved], report).votes == 4


# --- scores -------------------------------------------------------------------------------------


def test_votes_are_scored(report):
    files = [vote(report, "a.json", "strong", judge="a"), vote(report, "b.json", "weak", "b", limit=1)]
    files.append(vote(report, "c.json", "tie", "c", limit=2))
    verdict = score_votes(files, report)
    assert (verdict.judges, verdict.votes) == (3, 7)
    (contest,) = verdict.contests
    assert (contest.first, contest.second) == ("strong", "weak")
    assert (contest.wins, contest.losses, contest.ties) == (4, 1, 2)
    assert contest.rate.mean == pytest.approx(5 / 7)
    assert list(verdict.strengths) == ["strong", "weak"]


def test_a_judges_second_file_replaces_the_first(report):
    files = [vote(report, "a.json", "strong"), vote(report, "b.json", "weak")]
    assert score_votes(files, report).contests[0].losses == 4
    assert score_votes(files, report).votes == 4


def test_wilson_agrees_with_scipy():
    for successes, trials in ((0, 5), (3, 7), (50, 60), (9, 9)):
        ours = wilson_interval(successes, trials)
        theirs = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_bradley_terry_is_the_most_likely():
    """Against a general optimiser on the likelihood, written out."""
    names = ["a", "b", "c"]
    wins = {("a", "b"): 7, ("b", "a"): 3, ("b", "c"): 4.5, ("c", "b"): 5.5, ("a", "c"): 8, ("c", "a"): 0}

    def loss(strengths: np.ndarray) -> float:
        value = dict(zip(names, strengths, strict=True))
        return (
            sum(
                (count + PRIOR) * np.log1p(np.exp(value[second] - value[first]))
                for (first, second), count in wins.items()
            )
            + 1e-3 * strengths.mean() ** 2
        )

    best = minimize(loss, np.zeros(3), tol=1e-10).x
    expected = 1 / (1 + np.exp(best.mean() - best))
    ours = bradley_terry(wins)
    assert [ours[name] for name in names] == pytest.approx(expected.tolist(), abs=1e-4)
    assert next(iter(ours)) == "a"


def test_bradley_terry_of_a_method_that_always_wins_is_finite():
    strengths = bradley_terry({("a", "b"): 10, ("b", "a"): 0})
    # With half a win in advance on both sides the odds between the two are 10.5 : 0.5.
    assert strengths["a"] == pytest.approx(21**0.5 / (1 + 21**0.5))


def test_the_command_line_scores_votes(report, capsys):
    assert main(["evaluate", "--votes", str(vote(report, "a.json", "weak")), "-o", str(report)]) == 0
    printed = capsys.readouterr().out
    assert "4 votes of 1 judge\n" in printed
    assert "strong against weak: preferred 0% [0%, 49%] (0 : 4, 0 ties)" in printed


def test_files_that_hold_no_votes_are_answered_in_one_line(report, tmp_path, capsys):
    good = json.loads(vote(report, "good.json", "weak").read_text())
    picture = good["votes"][0]["left"]
    mistakes: dict[str, tuple[Any, str]] = {
        "not json": ("{", "no JSON"),
        "deep": ("[" * 100_000, "no JSON"),
        "a list": ([], "expected a JSON object, got list"),
        "null": (None, "expected a JSON object, got NoneType"),
        "votes a number": (good | {"votes": 3}, "does not hold votes"),
        "a vote a word": (good | {"votes": ["left"]}, "does not hold votes"),
        "another study": (good | {"study": "x"}, "other pictures"),
        "unknown picture": (
            good | {"votes": [{"trial": "t", "left": "x", "right": picture, "choice": "left"}]},
            "can't have saved",
        ),
        "a picture that is a list": (
            good | {"votes": [{"trial": "t", "left": [], "right": picture, "choice": "left"}]},
            "can't have saved",
        ),
        "a picture beside itself": (
            good | {"votes": [good["votes"][0] | {"left": picture, "right": picture}]},
            "can't have saved",
        ),
        "unknown choice": (good | {"votes": [good["votes"][0] | {"choice": "both"}]}, "can't have saved"),
        "none": (good | {"votes": []}, "no vote"),
    }
    path = report / "mistake.json"
    for case, (content, expected) in mistakes.items():
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        assert main(["evaluate", "--votes", str(path), "-o", str(report)]) == 2, case
        message = capsys.readouterr().err
        assert expected in message, case
        assert message.count("\n") == 1, case
    assert main(["evaluate", "--votes", str(report / "none.json"), "-o", str(report)]) == 2
    assert main(["evaluate", "--votes", str(report / "good.json"), "-o", str(tmp_path / "elsewhere")]) == 2
    assert main(["evaluate", "-o", str(report)]) == 2
    assert "--content and --style" in capsys.readouterr().err
    (report / KEY).write_text("{}")
    with pytest.raises(ArbstyleError, match="no key of a preference page"):
        score_votes([report / "good.json"], report)
