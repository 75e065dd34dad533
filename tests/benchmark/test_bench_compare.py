"""Runs are compared only where the same was asked in the same way; what differs is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.compare import check_comparable, disagreements, may_differ
from benchmark.opened import bench_of, open_runs, place_of, runs_below
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
        ({"max_pixels": 1000}, "picture budget (pixels) none and 1000"),
        ({"max_new_tokens": 65}, "limit on new tokens 64 and 65"),
    ],
)
def test_each_stamp_that_must_agree_is_named(tmp_path: Path, other: dict[str, object], said: str) -> None:
    assert refused(tmp_path, other) == f"a and b cannot be compared: {said}"


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
