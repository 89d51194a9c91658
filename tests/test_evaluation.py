"""The evaluation protocol: its numbers, its bookkeeping, its report and its command line."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
from collections.abc import Sequence
from html import escape
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_fixtures import SIZE, Mix, SmallEncoder
from PIL import Image
from skimage.metrics import structural_similarity

from arbstyle import evaluation as protocol
from arbstyle.cli import main
from arbstyle.errors import ArbstyleError
from arbstyle.evaluation import evaluate, text_table, write_report
from arbstyle.evaluation.methods import FeedForward, named_method
from arbstyle.evaluation.pairs import all_pairs, spread_pairs
from arbstyle.evaluation.results import LAYERS, MEASURES, Row, Summary
from arbstyle.images import read_image, write_image
from arbstyle.networks import (
    AdaINEncoder,
    AdaINTransformer,
    ArbitraryStyler,
    FastTransformer,
    PooledStatisticsEncoder,
    load_styler,
    save_styler,
)
from arbstyle.optimization import LossRecord, Optimized, Settings
from arbstyle.painting import Stylizer
from arbstyle.perception import PerceptualEncoder
from arbstyle.perception.metrics import STYLE_LAYERS


def row_of(evaluation: protocol.Evaluation, method: str, content: str, style: str) -> Row:
    (row,) = [
        row for row in evaluation.rows if (row.method, row.content, row.style) == (method, content, style)
    ]
    return row


def summary_of(evaluation: protocol.Evaluation, method: str) -> Summary:
    return next(summary for summary in evaluation.summaries if summary.method == method)


def csv_rows(report: Path) -> list[dict[str, str]]:
    with (report / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- numbers ------------------------------------------------------------------------------------


def test_a_row_against_an_independent_computation(folders, encoder):
    content, style, report = folders
    evaluation = evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    row = row_of(evaluation, "mix", "dog", "oil")

    picture = np.array(Image.open(report / "pictures" / "mix" / "dog__oil.png"))
    photo, painting = (
        torch.from_numpy(np.rint(read_image(path, size=SIZE)[0].permute(1, 2, 0).numpy() * 255)) / 255
        for path in (content / "dog.png", style / "oil.png")
    )
    features = [
        {
            name: maps[0].flatten(1).double().numpy()
            for name, maps in encoder(image.permute(2, 0, 1)[None].float()).items()
        }
        for image in (torch.from_numpy(picture) / 255, photo, painting)
    ]
    ours, theirs, target = features
    expected = {
        "content_loss": ((ours["relu4_1"] - theirs["relu4_1"]) ** 2).mean(),
        "ssim": structural_similarity(
            picture / 255 @ [0.299, 0.587, 0.114],
            photo.double().numpy() @ [0.299, 0.587, 0.114],
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        ),
    }
    for layer in LAYERS:
        a, b = ours[layer], target[layer]
        expected[f"style_loss/{layer}"] = ((a.mean(1) - b.mean(1)) ** 2 + (a.std(1) - b.std(1)) ** 2).mean()
        expected[f"gram_loss/{layer}"] = ((a @ a.T / a.shape[1] - b @ b.T / b.shape[1]) ** 2).mean()
    for loss in ("style_loss", "gram_loss"):
        expected[loss] = sum(expected[f"{loss}/{layer}"] for layer in STYLE_LAYERS)
    # tests/test_measures.py has the values of the others.
    others = {"normalized_style_loss", "color_distance", "cfsd", "stray_marks"}
    assert set(row.measures) == set(MEASURES) - {"ms_ssim", "lpips"}
    assert {name: row.measures[name] for name in expected} == pytest.approx(expected, rel=2e-3)
    assert set(expected) | others == set(row.measures)
    assert (row.width, row.height) == (91, 64)
    assert row.seconds
    assert row.peak_mib is None or row.peak_mib > 50


def test_anchors_are_perfect_in_one_respect(folders, encoder):
    content, style, report = folders
    evaluation = evaluate(content, style, report, methods=[], size=SIZE, encoder=encoder)
    assert [summary.method for summary in evaluation.summaries] == ["photo copy", "style copy"]
    for row in evaluation.rows:
        if row.method == "photo copy":
            assert row.measures["content_loss"] == 0
            assert row.measures["ssim"] == pytest.approx(1)
            assert row.measures["style_loss"] > 0
        else:
            assert row.measures["content_loss"] > 0
            assert row.measures["ssim"] < 0.9
        assert row.seconds is None
    same_size = row_of(evaluation, "style copy", "bridge", "ink").measures
    assert all(same_size[name] == 0 for name in MEASURES if name.startswith(("style", "gram")))
    cropped = row_of(evaluation, "style copy", "dog", "oil")
    assert (cropped.width, cropped.height) == (91, 64)


def test_other_systems_are_measured_alike(folders, encoder, tmp_path):
    """The same pictures, given as a folder, get the same numbers; those of another size are resized."""
    content, style, report = folders
    first = evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    other = tmp_path / "other"
    second = evaluate(
        content,
        style,
        other,
        methods=[],
        outputs={"theirs": report / "pictures" / "mix"},
        size=SIZE,
        encoder=encoder,
    )
    assert [row.measures for row in second.rows if row.method == "theirs"] == [
        row.measures for row in first.rows if row.method == "mix"
    ]
    assert not (other / "pictures").exists()
    picture = report / "pictures" / "mix" / "bridge__ink.png"
    write_image(read_image(picture, size=96), picture)
    third = evaluate(
        content, style, other, methods=[], outputs={"theirs": picture.parent}, size=SIZE, encoder=encoder
    )
    resized = row_of(third, "theirs", "bridge", "ink")
    assert (resized.width, resized.height) == (96, 96)
    assert (
        resized.measures["content_loss"] != row_of(second, "theirs", "bridge", "ink").measures["content_loss"]
    )
    assert summary_of(third, "theirs").sizes == ["64×64", "91×64", "96×96"]


def test_means_and_paired_differences(folders, encoder):
    content, style, report = folders
    evaluation = evaluate(
        content, style, report, methods=[Mix(), Mix("strong", share=0.9)], size=SIZE, encoder=encoder
    )
    values = {
        name: np.array([row.measures["content_loss"] for row in evaluation.rows if row.method == name])
        for name in ("mix", "strong")
    }
    summary = summary_of(evaluation, "mix")
    assert (summary.method, summary.pairs) == ("mix", 4)
    interval = summary.means["content_loss"]
    assert interval.mean == pytest.approx(values["mix"].mean(), rel=1e-6)
    assert values["mix"].min() <= interval.low < interval.mean < interval.high <= values["mix"].max()
    assert evaluation.reference == "mix"
    assert set(evaluation.differences) == {"strong", "photo copy", "style copy"}
    difference = evaluation.differences["strong"]["content_loss"]
    assert difference.mean == pytest.approx((values["strong"] - values["mix"]).mean(), rel=1e-6)
    assert difference.low > 0
    assert summary.medians["content_loss"] == pytest.approx(np.median(values["mix"]))


def test_a_single_photo_and_a_single_style(folders, encoder):
    content, style, report = folders
    evaluation = evaluate(
        content / "dog.png", style / "oil.png", report, methods=[Mix()], size=SIZE, encoder=encoder
    )
    assert [pair.name for pair in evaluation.pairs] == ["dog__oil"]


def test_a_refused_report_leaves_no_folder(folders, encoder, capsys):
    content, style, report = folders
    command = ["evaluate", "--content", str(content), "--size", str(SIZE), "-o", str(report)]
    for words, message in (
        (["--style", "woodcut"], "names a style of the gallery"),
        (["--style", str(style), "--methods", "stylize@nothing.safetensors"], "nothing.safetensors"),
        (["--style", str(style), "--methods", "stylize:stroke=3"], "strokes 1, 2, 4"),
    ):
        assert main([*command, *words]) == 2
        assert message in capsys.readouterr().err
    assert not report.exists()


def test_subsets_are_the_first_by_name(folders, encoder):
    content, style, report = folders
    evaluation = evaluate(content, style, report, methods=[Mix()], size=SIZE, contents=1, encoder=encoder)
    assert [pair.name for pair in evaluation.pairs] == ["bridge__ink", "bridge__oil"]


def test_a_number_of_pairs_is_spread_over_photos_and_styles_and_grows(folders, encoder):
    content, style, report = folders
    options = {"methods": [Mix()], "size": SIZE, "encoder": encoder}
    two, three = (
        {pair.name for pair in evaluate(content, style, report, pairs=number, **options).pairs}
        for number in (2, 3)
    )
    assert (len(two), len(three)) == (2, 3)
    assert two < three
    with pytest.raises(ArbstyleError, match="at least one pair"):
        evaluate(content, style, report, pairs=0, **options)


def test_spread_pairs_of_a_large_cross_take_in_most_photos_and_styles():
    crossed = all_pairs([Path(f"c{n}.png") for n in range(20)], [Path(f"s{n}.png") for n in range(40)])
    chosen = spread_pairs(crossed, 100)
    assert len({pair.content for pair in chosen}) == 20
    assert len({pair.style for pair in chosen}) > 30
    assert spread_pairs(crossed, 1000) == crossed


# --- methods ------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    transformer = FastTransformer(width=8, deep_width=8, blocks=1, deep_blocks=1, fine_width=8)
    styler = ArbitraryStyler(PooledStatisticsEncoder(widths=(4, 4, 4, 4), hidden=8, code_size=8), transformer)
    return save_styler(styler, tmp_path / "model.safetensors", {"name": "tiny"})


def test_a_models_picture_is_the_stylizers(folders, encoder, model):
    content, style, report = folders
    methods = ["stylize", f"stylize@{model}"]
    evaluation = evaluate(content, style, report, methods=methods, model=model, size=SIZE, encoder=encoder)
    first, second = (summary_of(evaluation, name) for name in methods)
    assert first.description == "one forward pass of tiny"
    assert first.means == second.means
    assert first.seconds_median
    photo, painting = (read_image(path, size=SIZE) for path in (content / "dog.png", style / "oil.png"))
    expected = Stylizer.from_pretrained(model).stylize(photo, painting)
    written = read_image(report / "pictures" / "stylize" / "dog__oil.png")
    # Two roundings to 8 bits lie between: the photo's, which the network may amplify, and the picture's.
    torch.testing.assert_close(written, expected, rtol=0, atol=4 / 255)


def test_options_of_a_method_are_the_stylizers(folders, encoder, model):
    content, style, report = folders
    name = f"stylize@{model}:stroke=2:strength=0.5"
    evaluation = evaluate(
        content, style, report, methods=[name], contents=1, styles=1, size=96, encoder=encoder
    )
    assert evaluation.summaries[0].description == "painting of tiny, stroke 2, strength 0.5"
    photo, painting = (
        read_image(path, size=96).mul(255).round().div(255)  # as every method sees them
        for path in (content / "bridge.png", style / "ink.png")
    )
    expected = Stylizer.from_pretrained(model).stylize(photo, painting, stroke=2, strength=0.5)
    (written,) = (report / "pictures").glob("*/bridge__ink.png")
    torch.testing.assert_close(read_image(written), expected, rtol=0, atol=1 / 255)


@pytest.mark.parametrize("how", ["histogram", "coral"])
def test_a_method_may_give_the_style_the_photos_colours(folders, encoder, model, how):
    content, style, report = folders
    methods = [f"stylize@{model}", f"stylize@{model}:keep_colors={how}"]
    settings = {"contents": 1, "styles": 1, "size": 96, "encoder": encoder}
    evaluation = evaluate(content, style, report, methods=methods, **settings)
    rows = {row.method: row for row in evaluation.rows}
    assert rows[methods[0]].measures != rows[methods[1]].measures
    assert rows[methods[0]].seconds_painting
    assert rows[methods[1]].seconds_painting is None, "another photo needs the style anew"


def test_other_weights_of_vgg_are_another_method(tmp_path, monkeypatch):
    device = torch.device("cpu")

    def settings() -> dict[str, Any]:
        return named_method("optimize:3", None, None, device).settings()

    seen = []
    for content in (b"one", b"other"):
        (tmp_path / "vgg.pth").write_bytes(content)
        monkeypatch.setenv("ARBSTYLE_VGG19", str(tmp_path / "vgg.pth"))
        seen.append(settings())
    monkeypatch.setenv("ARBSTYLE_VGG19", "random")
    seen.append(settings())
    assert seen[0] != seen[1] != seen[2] != seen[0]


def test_other_weights_of_a_models_vgg_are_another_method():
    """They are no part of the model's file, nor of its fingerprint."""

    def settings(change: float) -> dict[str, Any]:
        styler = ArbitraryStyler(AdaINEncoder(weights="random"), AdaINTransformer(weights="random"))
        for encoder in (each for each in styler.modules() if isinstance(each, PerceptualEncoder)):
            next(encoder.parameters()).data.add_(change)
        return FeedForward("it", Stylizer(styler, device="cpu")).settings()

    torch.manual_seed(0)
    one = settings(0)
    torch.manual_seed(0)
    other = settings(0.01)
    assert one["model"] == other["model"]
    assert one != other


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("stylize:brush=2", "got 'brush=2'"),
        ("stylize:stroke=wide", "got 'stroke=wide'"),
        ("stylize:stroke=3", "strokes 1, 2, 4"),
        ("stylize:strength=-1", "strength from 0"),
        ("stylise", "a method is"),
    ],
)
def test_a_method_that_means_nothing_is_refused_before_anything_is_painted(folders, encoder, method, message):
    content, style, report = folders
    with pytest.raises(ArbstyleError, match=message):
        evaluate(content, style, report, methods=[method], size=SIZE, encoder=encoder)
    assert not list(report.rglob("*.png"))


def test_another_model_under_the_same_name_is_run_again(folders, encoder, model):
    content, style, report = folders
    settings = {"methods": ["stylize"], "model": model, "size": SIZE, "encoder": encoder}
    before = evaluate(content, style, report, **settings)
    styler, information = load_styler(model)
    with torch.no_grad():
        for parameter in styler.transformer.parameters():
            parameter.mul_(0.9)
    save_styler(styler, model, information)
    after = evaluate(content, style, report, **settings)
    assert summary_of(after, "stylize").means != summary_of(before, "stylize").means


def test_ctrl_c_during_an_optimisation_leaves_no_half_done_picture(folders, encoder, monkeypatch):
    def interrupted(content: torch.Tensor, style: torch.Tensor, settings: Settings) -> Optimized:
        best = LossRecord(1, 0, 0, 0, 0, {}, {}, (SIZE, SIZE), (SIZE, SIZE))
        return Optimized(content, [best], best, "interrupted", 0.1)

    monkeypatch.setattr("arbstyle.evaluation.methods.optimize", interrupted)
    content, style, report = folders
    with pytest.raises(KeyboardInterrupt):
        evaluate(content, style, report, methods=["optimize:2"], size=SIZE, encoder=encoder)
    assert not (report / "pictures").exists()
    assert csv_rows(report) == []


# --- taking up an earlier run -------------------------------------------------------------------


def test_an_interrupted_run_is_taken_up(folders, encoder):
    content, style, report = folders
    with pytest.raises(KeyboardInterrupt):
        evaluate(content, style, report, methods=[Mix(interrupt_at=3)], size=SIZE, encoder=encoder)
    finished = csv_rows(report)
    assert len(finished) == 3
    method = Mix()
    resumed = evaluate(content, style, report, methods=[method], size=SIZE, encoder=encoder)
    assert method.calls == 1
    assert csv_rows(report)[:3] == finished
    again = Mix()
    repeated = evaluate(content, style, report, methods=[again], size=SIZE, encoder=encoder)
    assert again.calls == 0
    assert [row.measures for row in repeated.rows] == [
        pytest.approx(row.measures, rel=1e-6) for row in resumed.rows
    ]


def test_a_row_cut_off_by_a_crash_is_measured_again(folders, encoder):
    content, style, report = folders
    evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    table = report / "results.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:4]) + lines[4][:40])
    method = Mix()
    evaluate(content, style, report, methods=[method], size=SIZE, encoder=encoder)
    assert method.calls == 1
    assert len(csv_rows(report)) == len(lines) - 1


@pytest.mark.parametrize(
    ("change", "made_again"),
    [
        ("picture lost", 1),
        ("picture changed", 1),
        ("photo changed", 2),
        ("settings", 4),
        ("size", 4),
        ("encoder", 0),
    ],
)
def test_what_has_changed_is_done_again(folders, encoder, tmp_path, change, made_again):
    content, style, report = folders
    evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    picture = report / "pictures" / "mix" / "dog__ink.png"
    method, size = Mix(), SIZE
    if change == "picture lost":
        picture.unlink()
    elif change == "picture changed":
        write_image(read_image(picture).flip(3), picture)
    elif change == "photo changed":
        write_image(read_image(content / "dog.png").flip(3), content / "dog.png")
    elif change == "settings":
        method = Mix(share=0.6)
    elif change == "size":
        size = 48
    else:
        encoder = SmallEncoder(seed=1)
    evaluate(content, style, report, methods=[method], size=size, encoder=encoder)
    assert method.calls == made_again
    evaluate(content, style, tmp_path / "new", methods=[method], size=size, encoder=encoder)
    assert len(csv_rows(report)) == 3 * 4
    for row, expected in zip(csv_rows(report), csv_rows(tmp_path / "new"), strict=True):
        assert {name: row[name] for name in MEASURES} == {name: expected[name] for name in MEASURES}
    assert [row["ms_ssim"] for row in csv_rows(report)] == [""] * 12


def test_rows_of_methods_not_asked_for_are_kept(folders, encoder):
    content, style, report = folders
    evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    evaluation = evaluate(content, style, report, methods=[Mix("other")], size=SIZE, encoder=encoder)
    assert {row.method for row in evaluation.rows} == {"other", "photo copy", "style copy"}
    method = Mix()
    evaluate(content, style, report, methods=[method], size=SIZE, encoder=encoder)
    assert method.calls == 0


# --- the report ---------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_contains_everything_it_shows(folders, encoder):
    content, style, report = folders
    evaluation = evaluate(content, style, report, methods=[Mix("a <b> & c")], size=SIZE, encoder=encoder)
    page = write_report(evaluation).read_text(encoding="utf-8")
    tags = Tags(page).found
    sources = [attributes["src"] or "" for tag, attributes in tags if tag == "img"]
    assert len(sources) == 4 * 3 + 2 * 3 * 3  # and two times the three worst cases
    for source in sources:
        kind, data = source.split(",", 1)
        assert kind == "data:image/webp;base64"
        with Image.open(BytesIO(base64.b64decode(data))) as thumbnail:
            assert min(thumbnail.size) == 240
    assert not {"link", "iframe", "b"} & {tag for tag, _ in tags}
    assert [attributes for tag, attributes in tags if tag == "script"] == [{}]
    assert all(attributes["loading"] == "lazy" for tag, attributes in tags if tag == "img")
    assert not re.search(r"https?://|url\(", page)
    assert "a &lt;b&gt; &amp; c" in page


def test_a_large_evaluation_shows_a_sample(folders, encoder, monkeypatch):
    content, style, report = folders
    monkeypatch.setattr("arbstyle.evaluation.page.MAX_THUMBNAILS", 7)
    page = write_report(
        evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    ).read_text()
    assert page.count("<img") == 2 * 3 + 2 * 3 * 3
    assert "2 of 4 pairs" in page


def test_the_json_is_complete(folders, encoder):
    content, style, report = folders
    evaluation = evaluate(content, style, report, methods=[Mix(), Mix("other")], size=SIZE, encoder=encoder)
    page = write_report(evaluation).read_text()
    results = json.loads((report / "results.json").read_text(encoding="utf-8"))
    assert all(f" is left out: {escape(why)}." in page for why in results["absent"].values())
    assert "artfid" in results["absent"]
    assert {method["method"] for method in results["methods"]} == {"mix", "other", "photo copy", "style copy"}
    for method in results["methods"]:
        assert set(method["means"]) == set(method["medians"]) == set(MEASURES) - set(results["absent"])
        assert (
            method["means"]["ssim"]["low"]
            <= method["means"]["ssim"]["mean"]
            <= method["means"]["ssim"]["high"]
        )
    assert results["settings"]["size"] == SIZE
    assert set(results["settings"]["contents"]) == {"bridge", "dog"}
    assert results["settings"]["methods"]["mix"] == {"share": 0.5}
    assert results["differences"]["reference"] == "mix"
    assert results["differences"]["methods"]["other"]["style_loss"] == {"mean": 0, "low": 0, "high": 0}
    assert results["environment"]["torch"] == str(torch.__version__)
    assert results["date"].endswith("+00:00")


def test_the_terminal_table_has_a_line_for_each_method(folders, encoder):
    content, style, report = folders
    lines = text_table(
        evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    ).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["method", "mix", "photo copy", "style copy"]
    assert len({len(line) for line in lines}) == 1


# --- what can't be used -------------------------------------------------------------------------


def test_wrong_proportions_are_refused(folders, encoder, tmp_path):
    content, style, report = folders
    evaluate(content, style, report, methods=[Mix()], size=SIZE, encoder=encoder)
    picture = report / "pictures" / "mix" / "dog__oil.png"
    write_image(read_image(picture)[..., :64], picture)
    with pytest.raises(ArbstyleError, match=r"dog__oil\.png is 64×64, its photo 91×64"):
        evaluate(
            content,
            style,
            tmp_path / "new",
            methods=[],
            outputs={"x": picture.parent},
            size=SIZE,
            encoder=encoder,
        )


def mistaken_commands(content: Path, style: Path, report: Path) -> dict[str, tuple[list[str], str]]:
    folder = report.parent
    (folder / "empty").mkdir()
    (folder / "file").write_text("not a folder")
    (folder / "twice").mkdir()
    for suffix in ("png", "jpg"):
        write_image(torch.zeros(1, 3, 64, 64), folder / "twice" / f"a.{suffix}")
    (folder / "partly").mkdir()
    write_image(torch.zeros(1, 3, 64, 64), folder / "partly" / "bridge__ink.png")
    basic = ["--content", str(content), "--style", str(style), "-o", str(report)]

    def with_content(name: str) -> list[str]:
        return ["--content", str(folder / name), *basic[2:]]

    return {
        "no such folder": (with_content("nowhere"), "nowhere"),
        "empty folder": (with_content("empty"), "no pictures"),
        "same name twice": (with_content("twice"), "several pictures named 'a'"),
        "no photos": ([*basic, "--contents", "0"], "at least one"),
        "tiny": ([*basic, "--size", "16"], "at least 32"),
        "unknown method": ([*basic, "--methods", "magic"], "got 'magic'"),
        "no evaluations": ([*basic, "--methods", "optimize:0"], "got 'optimize:0'"),
        "not a number": ([*basic, "--methods", "optimize:many"], "got 'optimize:many'"),
        "no model": ([*basic, "--model", str(folder / "none.safetensors")], "none.safetensors"),
        "method twice": ([*basic, "--methods", "optimize:2,optimize:2"], "name of its own"),
        "outputs without name": ([*basic, "--outputs", str(folder / "partly")], "NAME=FOLDER"),
        "outputs without folder": ([*basic, "--outputs", f"x={folder / 'nowhere'}"], "nowhere"),
        "outputs incomplete": ([*basic, "--outputs", f"x={folder / 'partly'}"], "lacks 3 of the 4 pictures"),
        "outputs twice": ([*basic, "--outputs", "x=a", "x=b"], "twice"),
        "outputs named like an anchor": (
            [*basic, "--outputs", f"photo copy={folder / 'full'}"],
            "name of its own",
        ),
        "report is a file": ([*basic[:4], "-o", str(folder / "file")], "file"),
        "no weights": (
            [*basic, "--methods", "optimize:1", "--vgg-weights", str(folder / "none.pth")],
            "none.pth",
        ),
        "no report": (basic[:4], "-o"),
    }


def test_mistakes_are_answered_in_one_line(folders, capsys):
    content, style, report = folders
    outputs = report.parent / "full"
    for photo in ("bridge", "dog"):
        for painting in ("ink", "oil"):
            write_image(torch.zeros(1, 3, 64, 64), outputs / f"{photo}__{painting}.png")
    for case, (arguments, expected) in mistaken_commands(content, style, report).items():
        assert main(["evaluate", *arguments]) == 2, case
        message = capsys.readouterr().err
        assert expected in message, case
        assert message.count("\n") == 1, f"{case}: {message}"
    assert not (report / "results.csv").exists()


# --- command line -------------------------------------------------------------------------------


def test_ctrl_c_says_how_to_go_on(folders, capsys, monkeypatch):
    def interrupt(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("arbstyle.evaluation.evaluate", interrupt)
    content, style, report = folders
    assert main(["evaluate", "--content", str(content), "--style", str(style), "-o", str(report)]) == 130
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"finished rows in {report}" in message


def test_command_line_end_to_end(folders, vgg19_weights, capsys):
    content, style, report = folders
    command = ["evaluate", "--content", str(content), "--style", str(style), "--methods", "optimize:20"]
    command += ["--size", str(SIZE), "--vgg-weights", str(vgg19_weights), "-o", str(report)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("optimize:20", "photo copy", "style copy", "index.html"))
    assert (report / "index.html").is_file()
    assert (report / "results.json").is_file()
    rows = csv_rows(report)
    assert len(rows) == 3 * 4
    assert {Path(path).name for path in (report / "pictures" / "optimize-20").iterdir()} == {
        f"{photo}__{painting}.png" for photo in ("bridge", "dog") for painting in ("ink", "oil")
    }
    gram = {
        method: np.mean([float(row["gram_loss"]) for row in rows if row["method"] == method])
        for method in ("optimize:20", "photo copy")
    }
    assert gram["optimize:20"] < gram["photo copy"]

    theirs = shutil.copytree(report / "pictures" / "optimize-20", report.parent / "theirs")
    command += ["--outputs", f"theirs={theirs}"]
    assert main(command) == 0
    rows = csv_rows(report)
    by_method = {
        method: [row["style_loss"] for row in rows if row["method"] == method]
        for method in ("optimize:20", "theirs")
    }
    assert by_method["theirs"] == by_method["optimize:20"]
