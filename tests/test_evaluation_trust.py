"""What makes an evaluation trustworthy: what is kept, one run at a time, no copy that wins, worst cases."""

from __future__ import annotations

import csv
import multiprocessing
import os
import re
import time
from pathlib import Path

import pytest
import torch
from evaluation_fixtures import SIZE, Mix

from arbstyle.errors import ArbstyleError
from arbstyle.evaluation import evaluate, write_report
from arbstyle.evaluation.digests import digest_of_code
from arbstyle.evaluation.pairs import all_pairs
from arbstyle.evaluation.summary import balance, worst_cases
from arbstyle.images import resize, write_image
from arbstyle.images.locking import locked

# --- what is kept -------------------------------------------------------------------------------


def test_rows_are_counted_by_what_was_done(folders, encoder):
    content, style, report = folders
    settings = {"size": SIZE, "encoder": encoder}
    first = evaluate(content, style, report, methods=[Mix()], **settings)
    assert first.work == {"painted": 4, "measured": 8, "kept": 0}
    (report / "pictures" / "mix" / "dog__ink.png").unlink()
    second = evaluate(content, style, report, methods=[Mix(), Mix("new")], **settings)
    assert second.work == {"painted": 5, "measured": 0, "kept": 11}


@pytest.mark.parametrize("place", ["content", "style", "others"])
def test_the_report_is_not_mixed_with_pictures(place, folders, encoder, tmp_path):
    content, style, report = folders
    evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    others = {"other": report / "pictures" / "mix"}
    folder = {"content": content, "style": style, "others": others["other"]}[place]
    link = tmp_path / "link"
    link.symlink_to(folder)
    before = sorted(folder.iterdir())
    with pytest.raises(ArbstyleError, match="would be mixed with it"):
        evaluate(content, style, link, methods=[Mix("new")], outputs=others, size=SIZE, encoder=encoder)
    assert sorted(folder.iterdir()) == before


def test_pictures_of_others_are_not_replaced(folders, encoder):
    content, style, report = folders
    mine = report / "pictures" / "mix" / "dog__ink.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ArbstyleError, match="not from an evaluation"):
        evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    assert mine.read_text() == "mine"


def test_changed_measuring_code_measures_again_and_paints_nothing(folders, encoder, monkeypatch):
    content, style, report = folders
    evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    monkeypatch.setattr("arbstyle.evaluation.examiner.digest_of_code", lambda *rooms: "another")
    method = Mix()
    again = evaluate(content, style, report, methods=[method], size=SIZE, encoder=encoder)
    assert (method.calls, again.work) == (0, {"painted": 0, "measured": 12, "kept": 0})
    assert again.settings["measuring code"] == "another"


def test_the_digest_of_code_sees_code_and_not_comments(tmp_path, monkeypatch):
    monkeypatch.setattr("arbstyle.evaluation.digests.files", lambda name: tmp_path)
    module = tmp_path / "room" / "module.py"
    module.parent.mkdir()

    def digest_of(source: str) -> str:
        module.write_text(source)
        digest_of_code.cache_clear()
        return digest_of_code("room")

    first = digest_of('"""A module."""\n\ndef f(x):\n    """Twice."""\n    return 2 * x\n')
    assert digest_of("def f(x):\n    # as before\n    return 2 * x  # twice\n") == first
    assert digest_of("def f(x):\n    return 3 * x\n") != first
    digest_of_code.cache_clear()


def test_the_digest_covers_rooms_and_single_modules():
    digests = {digest_of_code("measures"), digest_of_code("evaluation/examiner"), digest_of_code("images")}
    assert len(digests) == 3
    assert digest_of_code("measures", "images") not in digests


# --- one folder, one evaluation; one pair, one file -----------------------------------------------


def _hold(folder: Path, ready: str, seconds: float) -> None:
    with locked(folder, "evaluation"):
        (folder / ready).touch()
        time.sleep(seconds)


def test_a_second_evaluation_in_a_folder_is_refused_until_the_first_has_ended(folders, encoder):
    content, style, report = folders
    report.mkdir()
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(report, "ready", 60))
    process.start()
    while not (report / "ready").exists():
        assert process.is_alive()
        time.sleep(0.05)
    with pytest.raises(ArbstyleError, match="another evaluation is at work"):
        evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    process.kill()  # the system frees the folder
    process.join()
    evaluation = evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    assert len(evaluation.rows) == 12


def test_pairs_that_would_share_a_file_are_refused():
    def paths(*names: str) -> list[Path]:
        return [Path(f"{name}.png") for name in names]

    assert len(all_pairs(paths("a", "b"), paths("c", "b__c"))) == 4
    for contents, styles in ((("a", "a__b"), ("b__c", "c")), (("Dog", "dog"), ("ink",))):
        with pytest.raises(ArbstyleError, match="rename one of the four"):
            all_pairs(paths(*contents), paths(*styles))


def test_four_colliding_pairs_are_refused_before_anything_is_painted(tmp_path, encoder):
    for name in ("content/a.png", "content/a__b.png", "style/b__c.png", "style/c.png"):
        write_image(torch.rand(1, 3, 64, 64), tmp_path / name)
    method = Mix()
    with pytest.raises(ArbstyleError, match="'a__b__c': rename"):
        evaluate(
            tmp_path / "content", tmp_path / "style", tmp_path / "out", methods=[method], encoder=encoder
        )
    assert method.calls == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "'=x", "''-x", "'plain'", "plain"])
def test_names_are_no_formulas_and_survive_the_file(folders, encoder, name):
    content, style, report = folders
    (content / "dog.png").rename(content / f"{name}.png")
    first = evaluate(content, style, report, methods=[Mix(name)], size=SIZE, encoder=encoder)
    with (report / "results.csv").open(newline="", encoding="utf-8") as file:
        cells = [row[column] for row in csv.DictReader(file) for column in ("method", "content", "style")]
    assert not [cell for cell in cells if re.match(r"[=+\-@\t\r]", cell)]
    again = evaluate(content, style, report, methods=[Mix(name)], size=SIZE, encoder=encoder)
    assert again.work["kept"] == 12
    assert {row.content for row in again.rows} == {row.content for row in first.rows} == {"bridge", name}


# --- what can't be gamed ------------------------------------------------------------------------


class Overlay(Mix):
    """The photo and the whole style picture, one over the other."""

    def stylize(self, content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        return torch.lerp(content, resize(style, (content.shape[2], content.shape[3])), self.share)


def test_no_copy_wins_the_summary(folders, encoder):
    content, style, report = folders
    methods = [Mix("photo again", share=0.0), Overlay(share=0.9)]
    evaluation = evaluate(content, style, report, methods=methods, size=SIZE, encoder=encoder)
    scores = {summary.method: summary.balance.mean for summary in evaluation.summaries}
    assert next(iter(scores)) == "mix"
    assert 0 < scores["mix"] <= 1
    assert scores["photo copy"] == scores["style copy"] == 0
    assert scores["photo again"] == pytest.approx(0, abs=1e-6)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_balance_worked_by_hand(folders, encoder):
    content, style, report = folders
    evaluation = evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    measures = {
        row.method: row.measures for row in evaluation.rows if (row.content, row.style) == ("dog", "oil")
    }
    name = "normalized_style_loss"
    gained = 1 - measures["mix"][name] / measures["photo copy"][name]
    kept = 1 - measures["mix"]["content_loss"] / measures["style copy"]["content_loss"]
    expected = 2 * gained * kept / (gained + kept) if gained > 0 and kept > 0 else 0
    pairs = [(pair.content.stem, pair.style.stem) for pair in evaluation.pairs]
    assert balance(evaluation.rows, "mix")[pairs.index(("dog", "oil"))] == pytest.approx(expected)


def test_differences_are_taken_from_the_chosen_method(folders, encoder):
    content, style, report = folders
    settings = {"methods": [Mix(), Mix("strong", share=0.9)], "size": SIZE, "encoder": encoder}
    by_first = evaluate(content, style, report, **settings)
    by_second = evaluate(content, style, report, reference="strong", **settings)
    assert set(by_second.differences) == {"mix", "photo copy", "style copy"}
    one, other = by_first.differences["strong"]["ssim"], by_second.differences["mix"]["ssim"]
    assert (one.mean, one.low) == pytest.approx((-other.mean, -other.high))
    with pytest.raises(ArbstyleError, match="is one of mix, strong, photo copy, style copy, got 'weak'"):
        evaluate(content, style, report, reference="weak", **settings)


def test_worst_cases_are_the_extremes(folders, encoder):
    content, style, report = folders
    evaluation = evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    own = [row.measures for row in evaluation.rows if row.method == "mix"]
    cases = worst_cases(evaluation.rows, "mix", count=2)
    losses = {"least of the style": "normalized_style_loss", "least of the photo": "content_loss"}
    for title, name in losses.items():
        expected = sorted((measures[name] for measures in own), reverse=True)[:2]
        assert [row.measures[name] for row in cases[title]] == expected
    page = write_report(evaluation).read_text(encoding="utf-8")
    assert "Worst cases" in page
    assert page.count("least of the style") == 1


def test_the_time_without_the_styles_encoding_is_a_part_of_the_whole(folders, encoder):
    class Slow(Mix):
        encodes_style = True

        def prepare(self, content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
            time.sleep(0.05)
            return style

    content, style, report = folders
    evaluation = evaluate(content, style, report, methods=[Slow()], size=SIZE, encoder=encoder)
    rows = [row for row in evaluation.rows if row.method == "mix"]
    assert all((row.seconds or 0) - (row.seconds_painting or 9) > 0.04 for row in rows)
    summary = next(each for each in evaluation.summaries if each.method == "mix")
    assert (summary.seconds_painting_median or 9) < (summary.seconds_median or 0)


@pytest.mark.parametrize("name", ["results.csv", ".lock"])
def test_pipes_in_a_report_folder_are_not_waited_for(name, folders, encoder):
    content, style, report = folders
    report.mkdir()
    os.mkfifo(report / name)
    with pytest.raises(ArbstyleError, match=r"not a regular file|not from an evaluation"):
        evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)


def test_a_damaged_picture_is_told_before_the_work(folders, encoder):
    content, style, report = folders
    last = sorted(style.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-100])
    method = Mix()
    with pytest.raises(ArbstyleError, match=last.name):
        evaluate(content, style, report, methods=[method], size=SIZE, encoder=encoder)
    assert method.calls == 0
