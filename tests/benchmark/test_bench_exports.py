"""Reports in other forms: readable by what they are for, and saying the same."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest

from benchmark.comparison import differences
from benchmark.exports import COLUMNS, HEADLINE, as_csv, as_json, as_latex, as_markdown, leaderboard_row
from benchmark.opened import Run, open_runs
from benchmark.scores import Scores, scores_of
from benchmark.wording import between, kind_of, titled, word_of, written
from tests.benchmark.bench_logs import able, items, write_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    variants = ("plain", "paraphrase-1", "intact", "masked")
    names = ("slvr:tiny", "a|b_c & <b>50 %</b> $x$\\")
    return open_runs([write_run(folder / str(n), name, able(0.6, name), items(80, 40), variants) for n, name in
                      enumerate(names)])  # fmt: skip


@pytest.fixture(scope="module")
def scores(runs: list[Run]) -> list[Scores]:
    return [scores_of(run.lines, draws=200) for run in runs]


def test_json_holds_everything(runs: list[Run], scores: list[Scores]) -> None:
    rows = differences({run.name: run.lines for run in runs}, ["both"], draws=100)
    tree = json.loads(as_json(runs, scores, rows))
    assert [run["name"] for run in tree["runs"]] == [run.name for run in runs]
    for shown, own, run in zip(tree["runs"], scores, runs, strict=True):
        assert shown["header"] == run.header.model_dump(mode="json")
        assert set(shown["scores"]) == set(own)
        assert shown["scores"]["accuracy"]["value"] == own["accuracy"].value
        assert (shown["scores"]["both"]["low"], shown["scores"]["both"]["high"]) == (own["both"].low, own["both"].high)
        assert shown["scores"]["accuracy"]["clusters"] == 40
    assert [(row["second"], row["difference"]) for row in tree["comparisons"]] == [(runs[1].name, rows[0].difference)]


def test_csv_is_read_back(runs: list[Run], scores: list[Scores]) -> None:
    text = as_csv(runs, scores)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == sum(map(len, scores))
    table = pd.read_csv(io.StringIO(text)).set_index(["run", "score"])
    for run, own in zip(runs, scores, strict=True):
        assert table.loc[(run.name, "accuracy"), "value"] == own["accuracy"].value
        assert table.loc[(run.name, "evidence/masked/hallucination_rate"), "items"] == 80


def test_markdown_has_a_row_per_run_and_nothing_in_it_is_markup(runs: list[Run], scores: list[Scores]) -> None:
    lines = as_markdown(runs, scores).splitlines()
    columns = [name for name in HEADLINE if name in scores[0]]
    bars = [sum(c == "|" and line[i - 1 : i] != "\\" for i, c in enumerate(line)) for line in lines[:4]]
    assert bars == [len(columns) + 2] * 4
    assert lines[3].startswith(r"| a\|b\_c & \<b\>50 %\</b\> $x$\\ |")
    accuracy = scores[0]["accuracy"]
    assert f"| {written(accuracy.value)} ({between(accuracy.low, accuracy.high)}) |" in lines[2]
    assert "leave out" not in lines[5]
    assert "80 regions of 40 pictures" in lines[5] and "revision dddddddddddd" in lines[5]


def test_regions_that_scores_leave_out_are_in_every_form(tmp_path: Path) -> None:
    """Of 20 regions the last lacks replies: scores of regions are over 19, accuracy is over all."""
    own = items(20, 10)
    run = open_runs([write_run(tmp_path / "cut", "m_<b>", able(0.6), own, missing=1)])
    scores = [scores_of(run[0].lines, own, draws=50)]
    found = json.loads(as_json(run, scores, []))["runs"][0]["scores"]
    assert (found["both"]["left_out"], found["both"]["items"], found["accuracy"]["left_out"]) == (1, 19, 0)
    table = pd.read_csv(io.StringIO(as_csv(run, scores))).set_index("score")
    assert (table.loc["both", "left_out"], table.loc["accuracy", "left_out"]) == (1, 0)
    words = "Scores of regions leave out those with missing replies: 1 of"
    assert f"{words} m\\_\\<b\\>." in as_markdown(run, scores) and f"{words} m\\_<b>." in as_latex(run, scores)


def test_latex_escapes_names(runs: list[Run], scores: list[Scores]) -> None:
    text = as_latex(runs, scores)
    assert r"a|b\_c \& <b>50 \%</b> \$x\$\textbackslash{} & $" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in body} == {len([n for n in HEADLINE if n in scores[0]])}
    assert text.count("{") == text.count("}")


def test_a_leaderboard_row_carries_every_stamp(runs: list[Run], scores: list[Scores], tmp_path: Path) -> None:
    row = json.loads(leaderboard_row(runs[0], scores[0]))
    for name in ("data_revision", "prompt_sha256", "extraction", "max_new_tokens", "max_pixels", "seeds", "protocol"):
        assert row[name] == getattr(runs[0].header, name)
    assert row["model"] == "slvr:tiny" and row["model_details"]["dtype"] == "float32"
    assert row["both"]["value"] == scores[0]["both"].value and row["both"]["left_out"] == 0
    (cut,) = open_runs([write_run(tmp_path / "cut", "m", able(0.5), items(5), missing=1)])
    with pytest.raises(ValueError, match="not whole"):
        leaderboard_row(cut, scores[0])


def test_numbers_as_they_are_printed() -> None:
    assert [written(v) for v in (0.6128, 0.0, 1.0, -0.00004, None, float("nan"))] == [
        "61.3", "0.0", "100.0", "0.0", "–", "–",
    ]  # fmt: skip
    assert written(0.05, signed=True) == "+5.0" and written(-0.05, signed=True) == "−5.0"
    assert written(0.213, percent=False) == "0.21"
    assert between(0.1, 0.25) == "10.0 to 25.0" and between(None, 0.2) == "" == between(float("nan"), 0.2)


def test_every_score_has_words(scores: list[Scores]) -> None:
    bare = sorted({name.rsplit("/", 1)[-1] for own in scores for name in own if not word_of(name).meaning})
    assert bare == []
    assert kind_of("facet/color/over_chance") == "points" and kind_of("phi") == "coefficient"
    assert titled("facet/visible_text/accuracy") == ("visible text", "")
    assert titled("evidence/cropped-out/hallucination_rate")[0] == "cropped out: Hallucination"
