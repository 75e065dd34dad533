"""Runs are compared only where the same was asked in the same way; what differs is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.compare import (
    Comparing,
    as_text,
    check_comparable,
    compared,
    despite_of,
    disagreements,
    in_spite,
    may_differ,
    too_few,
    verdict,
)
from benchmark.exports import leaderboard_row
from benchmark.opened import Run, bench_of, open_runs, place_of, runs_below
from benchmark.panels import shown_run
from benchmark.report import gather, page_of
from benchmark.scores import scores_of
from slvr_data.errors import UsageError
from tests.benchmark.bench_logs import able, header, items, lines, write_run


def refused(folder: Path, other: dict[str, object], **more: object) -> str:
    paths = [write_run(folder / "a", "a", able(0.5)), write_run(folder / "b", "b", able(0.6), **(other | more))]  # type: ignore[arg-type]
    with pytest.raises(UsageError) as error:
        check_comparable(open_runs(paths))
    return str(error.value)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"data_revision": "e" * 64}, "data revision dddddddddddd and eeeeeeeeeeee"),
        ({"form": "open"}, "form lettered and open"),
        ({"protocol": "letter-1"}, "protocol bare-1 and letter-1"),
        ({"prompt_sha256": "b" * 64}, "prompt text aaaaaaaaaaaa and bbbbbbbbbbbb"),
        ({"extraction": "2"}, "version of the extraction rules 1 and 2"),
        ({"seeds": [0, 1]}, "seeds 0 and 0, 1"),
        ({"max_new_tokens": 65}, "limit on new tokens 64 and 65"),
    ],
)
def test_each_stamp_that_must_agree_is_named(tmp_path: Path, other: dict[str, object], said: str) -> None:
    assert refused(tmp_path, other) == f"a and b cannot be compared: {said}"


CURE = " (ask both with one --max-pixels, or compare them all the same with --despite pictures)"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"max_pixels": 1000}, "picture budget unknown and 1,000 pixels"),
        (
            {"most_pixels": 1000, "largest_picture": 2000},
            "picture budget unknown and 1,000 pixels; the largest picture has 2,000",
        ),
    ],
)
def test_budgets_that_bite_are_named(tmp_path: Path, other: dict[str, object], said: str) -> None:
    assert refused(tmp_path, other) == f"a and b cannot be compared: {said}{CURE}"


SIZES = {"smallest_picture": 3_136, "largest_picture": 12_000_000}


def pair(
    folder: Path, one: dict[str, object], other: dict[str, object], models: tuple[str, str] = ("a", "b")
) -> list[Run]:
    told = zip("ab", models, (one, other), strict=True)
    return open_runs([write_run(folder / name, model, able(0.5), **(SIZES | more)) for name, model, more in told])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"most_pixels": 802_816}, {"most_pixels": 12_845_056}),
        ({"most_pixels": 802_816}, {}),
        ({"most_pixels": 802_816, "max_pixels": 802_816}, {"max_pixels": 802_817}),
        ({"least_pixels": 3_136}, {"least_pixels": 3_137}),
    ],
)
def test_a_budget_that_bites_is_refused_and_may_be_passed_over(
    tmp_path: Path, one: dict[str, object], other: dict[str, object]
) -> None:
    runs = pair(tmp_path, one, other)
    with pytest.raises(UsageError, match="despite pictures"):
        compared(runs)
    assert len(compared(runs, Comparing(despite=("pictures",)))) == 4
    assert "picture" in in_spite(runs, ("pictures",)) or "pixels" in in_spite(runs, ("pictures",))
    gathered = gather(runs, None, Comparing(despite=("pictures",)))
    assert gathered.warnings[0].startswith("Compared although these differ: ") and gathered.differences
    assert gather(runs, None).warnings[0].startswith("No comparison: a and b cannot be compared: ")


@pytest.mark.parametrize(
    ("one", "other", "models"),
    [
        ({"most_pixels": 12_000_000}, {"most_pixels": 12_845_056}, ("a", "b")),
        ({"most_pixels": 802_816}, {"max_pixels": 802_816}, ("slvr:x", "served:y")),
        ({"least_pixels": 3_136}, {"least_pixels": 784}, ("a", "b")),
        ({"least_pixels": 9_000}, {}, ("hf:x", "served:x")),
        ({"most_pixels": 802_816}, {}, ("slvr:x", "blind")),
        ({"most_pixels": 802_816}, {"max_pixels": 5}, ("slvr:x", "noisy-oracle:0.6,0.2")),
    ],
)
def test_a_budget_that_does_not_bite_does_not_hinder(
    tmp_path: Path, one: dict[str, object], other: dict[str, object], models: tuple[str, str]
) -> None:
    runs = pair(tmp_path, one, other, models)
    check_comparable(runs)
    assert in_spite(runs, ("pictures",)) == ""


def test_what_bites_is_told_with_the_picture_that_it_bites(tmp_path: Path) -> None:
    runs = [run.header for run in pair(tmp_path, {"least_pixels": 3_000}, {"least_pixels": 3_137})]
    assert disagreements(*runs) == ["least pixels of a picture 3,000 and 3,137; the smallest picture has 3,136"]


def test_budgets_and_visual_tokens_are_told(tmp_path: Path) -> None:
    one, other = pair(tmp_path, {"most_pixels": 802_816}, {}, ("slvr:x", "served:y"))
    seen = [line.model_copy(update={"picture_tokens": 700 + 100 * (n % 2)}) for n, line in enumerate(one.log.lines)]
    one = Run(one.name, replace(one.log, lines=seen))
    told = dict(may_differ([one, other]))
    assert told["picture budget"] == ["802,816 pixels", "unknown"]
    assert told["visual tokens (mean)"] == ["750.0", "unknown"]
    row = json.loads(leaderboard_row(one, scores_of(one.lines)))
    assert (row["most_pixels"], row["visual_tokens"]) == (802_816, 750.0)
    assert ("visual tokens", "mean 750.0") in shown_run(one).facts
    page = page_of(gather([one, other], None, Comparing(despite=("pictures",))), 0, "")
    assert ("Picture budget", "802,816 pixels, unknown") in page.facts


def test_other_differences_that_may_be_passed_over(tmp_path: Path) -> None:
    runs = pair(tmp_path, {"max_new_tokens": 64}, {"max_new_tokens": 65, "extraction": "2"})
    with pytest.raises(UsageError, match=r"extraction rules 1 and 2$"):
        compared(runs, Comparing(despite=despite_of("tokens")))
    assert dict(may_differ(runs))["limit on new tokens"] == ["64", "65"]
    assert compared(runs, Comparing(despite=despite_of("tokens, extraction")))
    with pytest.raises(UsageError, match=r"--despite form: give pictures, tokens, prompt, extraction; other"):
        despite_of("form")


def test_each_run_against_one(tmp_path: Path) -> None:
    runs = open_runs([write_run(tmp_path / name, name, able(0.2 * n)) for n, name in enumerate("abcd", 1)])
    for named in ("c", str(tmp_path / "c"), str(tmp_path / "c/run.jsonl")):
        rows = compared(runs, Comparing(base=named, draws=200))
        assert [(row.first, row.second) for row in rows[::4]] == [("c", "a"), ("c", "b"), ("c", "d")]
    all_pairs = compared(runs, Comparing(draws=200))
    (once,) = [row for row in all_pairs if (row.first, row.second, row.score) == ("c", "d", "lift")]
    (same,) = [row for row in rows if (row.second, row.score) == ("d", "lift")]
    assert (once.difference, once.p) == (same.difference, same.p)
    with pytest.raises(UsageError, match=r"--base e: it is none of the runs"):
        compared(runs, Comparing(base="e"))


def test_it_is_said_where_no_difference_could_be_shown(tmp_path: Path) -> None:
    """Six pairs of four scores, 200 exchanges: 24 / 201 is above 0.05 after Holm's correction."""
    runs = open_runs([write_run(tmp_path / name, name, able(0.24 * n)) for n, name in enumerate("abcd", 1)])
    few, enough = compared(runs, Comparing(draws=200)), compared(runs)
    assert too_few(few).endswith("compare with one run (--base RUN), name fewer runs, or give more --draws.")
    assert "24 tests" in too_few(few) and "0.12" in too_few(few) and too_few(few) in as_text(runs, few)
    assert {verdict(row) for row in few} == {"no difference is shown"}
    assert too_few(enough) == "" and "cannot be shown" not in as_text(runs, enough)
    assert verdict(next(row for row in enough if (row.first, row.second) == ("a", "d"))) == "d is higher"
    assert too_few(compared(runs, Comparing(draws=200, base="a"))) != ""
    assert too_few(few) in gather(runs, None, Comparing(draws=200)).warnings


def test_seventeen_runs_can_differ(tmp_path: Path) -> None:
    """136 pairs of four scores: with 10,000 exchanges the least p after Holm's correction would be 0.054."""
    skills = [0.2, 0.95, *[0.5 + 0.01 * n for n in range(15)]]
    runs = open_runs([write_run(tmp_path / str(n), f"m{n}", able(skill, "m")) for n, skill in enumerate(skills)])
    rows = compared(runs)
    assert len(rows) == 544 and too_few(rows) == ""
    clear = rows[0]
    assert (clear.first, clear.second, clear.score) == ("m0", "m1", "accuracy")
    assert clear.exchanges == 54_400 and clear.p == pytest.approx(1 / 54_401) and verdict(clear) == "m1 is higher"


def test_several_differences_are_named_together(tmp_path: Path) -> None:
    said = refused(tmp_path, {"protocol": "letter-1", "max_new_tokens": 1})
    assert "protocol bare-1 and letter-1; limit on new tokens 64 and 1" in said


def test_other_items_other_choices_and_unfinished_runs_are_refused(tmp_path: Path) -> None:
    said = refused(tmp_path / "1", {}, all_items=items(59))
    assert "b lacks" in said and "item59/" in said and "--limit" in said
    said = refused(tmp_path / "2", {}, missing=3)
    assert "b is not whole (177 of 180 replies)" in said
    turned = items()
    query = turned[5].queries[0]
    turned[5] = turned[5].model_copy(
        update={"queries": (query.model_copy(update={"choices": query.choices[::-1]}), *turned[5].queries[1:])}
    )
    assert "item5/q5-0/plain/0 in other words or another order" in refused(tmp_path / "3", {}, all_items=turned)
    with pytest.raises(UsageError, match="name two or more"):
        check_comparable(open_runs([tmp_path / "1/a"]))


def test_what_may_differ_is_told_and_does_not_hinder(tmp_path: Path) -> None:
    runs = open_runs(
        [
            write_run(tmp_path / "a", "a", able(0.5), variants=("plain",)),
            write_run(
                tmp_path / "b", "b", able(0.5), model_details={"weights": "f" * 64, "chat_template": "x"},
                variants=("plain", "intact"), sampling={"temperature": 0.7},
            ),
        ]
    )  # fmt: skip
    check_comparable(runs)
    told = dict(may_differ(runs))
    assert told["model"] == ["a", "b"]
    assert told["chat template"] == ["none", "x"]
    assert told["weights"][1] == "f" * 12
    assert "sampling" in told and "dtype" in told
    assert disagreements(runs[0].header, runs[1].header) == []


def test_names_tell_runs_of_one_model_apart(tmp_path: Path) -> None:
    places = [tmp_path / "one/first", tmp_path / "one/second", tmp_path / "two/second", tmp_path / "other"]
    models = ["m", "m", "m", "n"]
    for place, model in zip(places, models, strict=True):
        write_run(place, model, able(0.5), items(3))
    names = [run.name for run in open_runs(places)]
    assert names == ["m (first)", f"m ({places[1]})", f"m ({places[2]})", "n"]
    with pytest.raises(UsageError, match="named twice"):
        open_runs([places[0], tmp_path / "one/../one/first"])
    with pytest.raises(UsageError, match="holds no run"):
        open_runs([tmp_path / "nothing"])


def test_where_runs_lie(tmp_path: Path) -> None:
    place = place_of(tmp_path / "bench", "served:Qwen/Qwen2.5-VL@http://localhost:8000/v1")
    assert place == tmp_path / "bench/runs/served-Qwen-Qwen2.5-VL-http-localhost-8000-v1"
    assert place_of(tmp_path, "slvr:/") == tmp_path / "runs/slvr"
    write_run(place, "m", able(0.5), items(2))
    (run,) = open_runs([place])
    assert bench_of(run) == (tmp_path / "bench").resolve()
    assert runs_below(tmp_path / "bench") == runs_below(tmp_path / "bench/runs") == [place]
    assert runs_below(place) == [place]
    write_run(tmp_path / "alone", "m", able(0.5), items(2))
    assert bench_of(open_runs([tmp_path / "alone"])[0]) is None


def test_a_log_that_grows_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    place = write_run(tmp_path / "run", "m", able(0.5))
    file = place / "run.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    (run,) = open_runs([place])
    assert run.state == "179 of 180 replies, 1 damaged line"
    assert header("m", 60, 180) == run.header
    assert [line.ask_id for line in run.lines] == [line.ask_id for line in lines(items(), able(0.5))][:-1]
