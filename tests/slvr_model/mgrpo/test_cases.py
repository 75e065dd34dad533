"""Cases: every rollout is a row with what it said and earned, and a resumed run leaves the same bytes as another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from PIL import Image

from slvr_data.errors import RunError, UsageError
from slvr_data.images import decoded
from slvr_model.mgrpo.cases import SHARP, SIDE, Cases, read_cases
from tests.slvr_model.mgrpo.case_support import REGIONS, contents, earned, rollouts, written
from tests.slvr_model.objectives.objective_support import tiny


def rows_of(folder: Path, **options: Any) -> list[dict[str, Any]]:
    return pa.concat_tables(list(read_cases(folder, **options))).to_pylist()


def test_a_row_is_a_rollout_with_all_that_it_said_and_earned(tmp_path: Path) -> None:
    written(tmp_path, [3], ["r2"])
    of = rollouts(3, "r2")
    (terms, advantages, reward), rows = earned(of), rows_of(tmp_path)
    assert [(row["query_id"], row["rollout"]) for row in rows] == [
        (sample.query_id, g) for sample in of.shown.group.samples for g in range(3)
    ]
    tokenizer = tiny()[1].tokenizer
    for at, row in enumerate(rows):
        i, g = divmod(at, 3)
        sample = of.shown.group.samples[i]
        assert (row["step"], row["region_id"], row["image_id"]) == (3, "r2", sample.image_id)
        assert (row["question"], row["right"], row["facet"]) == (sample.question, sample.answer, sample.facet)
        assert (row["answer"], row["formed"]) == (of.answers[at], of.formed[at])
        sampled_T = of.decoded.sampled_BT[at]
        assert row["reply"] == tokenizer.decode(of.decoded.ids_BT[at][sampled_T])
        assert row["tokens"] == int(sampled_T.sum())
        assert row["logprob"] == pytest.approx(float(of.decoded.logprobs_BT[at][sampled_T].mean()), rel=1e-5)
        assert row["advantage"] == float(advantages[i, g]) and row["reward"] == float(reward[i, g])
        assert [one["term"] for one in row["rewards"]] == ["format", "brief"]
        assert row["rewards"][0]["value"] == float(terms["format"][i, g])
        brief = float(terms["brief"][i, g])
        assert row["rewards"][1]["value"] == (None if brief != brief else brief)
        assert row["box"] == list(of.shown.group.box)
    assert any(row["rewards"][1]["value"] is None for row in rows), "a term that cannot be told is part of the test"


def test_a_picture_is_kept_once_in_a_file(tmp_path: Path) -> None:
    written(tmp_path, range(3))
    rows = rows_of(tmp_path)
    assert len(rows) == 3 * 2 * 6
    (first,) = [row for row in rows if row["picture"]]
    assert first is rows[0] and len({row["image_id"] for row in rows}) == 1
    source = rollouts(0, "r1").shown.group.samples[0].picture
    kept = decoded(first["picture"]["bytes"])
    assert (first["width"], first["height"]) == source.size
    assert max(source.size) > SHARP or kept.tobytes() == source.tobytes()


def test_a_large_picture_is_kept_small(tmp_path: Path) -> None:
    of = rollouts(0, "r1")
    large = Image.effect_noise((1000, 500), 60).convert("RGB")
    samples = tuple(replace(one, picture=large) for one in of.shown.group.samples)
    shown = replace(of.shown, group=replace(of.shown.group, samples=samples))
    cases = Cases(tmp_path)
    terms, advantages, _ = earned(of)
    cases.add(0, replace(of, shown=shown), terms, advantages)
    cases.flush()
    row = rows_of(tmp_path)[0]
    assert decoded(row["picture"]["bytes"]).size == (SIDE, SIDE // 2) and (row["width"], row["height"]) == (1000, 500)
    assert row["reply"] is None and row["reward"] is None


def test_a_file_has_the_steps_that_its_name_tells(tmp_path: Path) -> None:
    written(tmp_path, range(1, 10))
    names = ["00000000-00000003.0000.parquet", "00000004-00000007.0000.parquet", "00000008-00000011.0000.parquet"]
    assert list(contents(tmp_path)) == names
    assert [sorted(set(rows["step"].to_pylist())) for rows in read_cases(tmp_path)] == [[1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert {row["step"] for row in rows_of(tmp_path, steps=(3, 5))} == {3, 4, 5}
    assert set(rows_of(tmp_path, columns=["answer"])[0]) == {"step", "answer"}


@pytest.mark.parametrize(("flushed", "again"), [(7, 6), (7, 4), (6, 2), (9, 9), (9, 1)])
def test_a_resumed_run_leaves_the_same_bytes(tmp_path: Path, flushed: int, again: int) -> None:
    written(tmp_path / "whole", range(1, 10))
    written(tmp_path / "cut", range(1, flushed + 1))
    (tmp_path / "cut" / ".00000004-00000007.0000.parquet.1.tmp").write_bytes(b"half")
    written(tmp_path / "cut", range(again, 10))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_flushing_in_between_changes_nothing(tmp_path: Path) -> None:
    written(tmp_path / "whole", range(6))
    cases = Cases(tmp_path / "often", tiny()[1].tokenizer, steps=4)
    for step in range(6):
        for region in REGIONS:
            terms, advantages, reward = earned(rollouts(step, region))
            cases.add(step, rollouts(step, region), terms, advantages, reward)
            cases.flush()
    assert contents(tmp_path / "often") == contents(tmp_path / "whole")


def test_processes_have_files_of_their_own_and_fewer_can_go_on(tmp_path: Path) -> None:
    for rank, region in enumerate(REGIONS):
        written(tmp_path / "two", range(6), [region], rank=rank, ranks=2)
    assert len(contents(tmp_path / "two")) == 4
    together = {(row["step"], row["region_id"]) for row in rows_of(tmp_path / "two")}
    assert together == {(step, region) for step in range(6) for region in REGIONS}
    written(tmp_path / "two", range(3, 6))  # one process now: all of step 3 and later is its own
    rows = rows_of(tmp_path / "two")
    assert len(rows) == 6 * 2 * 6, "nothing twice"
    assert {(row["step"], row["region_id"]) for row in rows} == together


def _write_for_ever(folder: str) -> None:
    torch.set_num_threads(1)
    cases = Cases(Path(folder), steps=1_000_000)
    of, step = rollouts(0, "r1"), 0
    terms, advantages, reward = earned(of)
    while True:
        cases.add(step, of, terms, advantages, reward)
        cases.flush()
        step += 1


def test_a_killed_run_leaves_a_whole_file(tmp_path: Path) -> None:
    rollouts(0, "r1")
    process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(str(tmp_path),))
    process.start()
    try:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("*.parquet")) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.2)
    finally:
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    rows = rows_of(tmp_path)
    assert rows and len(rows) % 6 == 0 and [row["step"] for row in rows[::6]] == list(range(len(rows) // 6))


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no cases: .*cases\.every"):
        list(read_cases(tmp_path))
    cases = written(tmp_path / "run" / "cases", [5])
    terms, advantages, reward = earned(rollouts(4, "r1"))
    with pytest.raises(ValueError, match="step 4 after those of step 5"):
        cases.add(4, rollouts(4, "r1"), terms, advantages, reward)
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "run" / "cases")
    (path,) = (tmp_path / "run" / "cases").iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UsageError, match="cannot be read"):
        list(read_cases(tmp_path / "run"))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="making"):
        written(tmp_path / "file" / "cases", [0])


def test_what_a_killed_process_left_goes_and_what_another_is_writing_stays(tmp_path: Path) -> None:
    left = [tmp_path / f".00000000-00000019.{rank:04d}.parquet.77.tmp" for rank in range(4)]
    for path in left:
        path.write_bytes(b"half")
    cases = Cases(tmp_path, tiny()[1].tokenizer, rank=0, ranks=2)
    cases.add(0, rollouts(3, "r2"), *earned(rollouts(3, "r2")))
    assert [path.exists() for path in left] == [False, True, False, True]
