"""A judged run: the log stays as it is, the judge's words stand beside it, and its stamp is another."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmark.compare import check_comparable
from benchmark.judge import PROMPT_VERSION
from benchmark.judged import JUDGED, best_log, judge_run
from benchmark.models.base import ModelOptions
from benchmark.opened import open_runs
from benchmark.records import Item
from benchmark.runlog import open_log, read_log
from slvr_data.errors import UsageError
from tests.benchmark.bench_logs import able, header, items, line, write_run
from tests.servers.running import running_stub

MODEL = "stub/judge"
OPTIONS = ModelOptions(api_key_env="NO_KEY")


def open_run(folder: Path, asks: int = 6) -> Path:
    """A run of open questions whose answers are other words than the expected ones."""
    own = [item(i) for i in range(asks // 2)]
    lines = [
        line(each, position, "plain", 0, "something like crimson").model_copy(
            update={"choices": (), "answer": None, "outcome": "unparsed", "correct": False, "chance": None}
        )
        for each in own
        for position in range(2)
    ]
    with open_log(folder, header("m", len(own), len(lines), form="open")) as log:
        for one in lines:
            log.write(one)
    return folder


def item(number: int) -> Item:
    (found,) = items(1)
    return found.model_copy(update={"item_id": f"item{number}", "image_id": f"image{number}"})


def test_a_judge_adds_a_log_and_changes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run = open_run(tmp_path / "run")
    before = (run / "run.jsonl").read_bytes()
    with running_stub(model=MODEL, service_ms=0.5, slots=4) as stub:
        said = judge_run(run, f"{MODEL}@{stub.base_url}", OPTIONS, lambda text: None)
    assert (run / "run.jsonl").read_bytes() == before
    judged = best_log(run)
    assert judged.path.name == JUDGED and len(judged.lines) == 6
    assert judged.header.extraction == f"1, judge {MODEL}, judge_revision None, judge_prompt {PROMPT_VERSION}"
    answered = sum(one.outcome == "answer" for one in judged.lines)
    counts = {word: int(n) for word, n in re.findall(r"judge: (yes|no|unknown) (\d+)", said)}
    assert sum(counts.values()) == 6 and counts.get("yes", 0) + counts.get("no", 0) == answered
    assert sum(one.correct for one in judged.lines) == counts.get("yes", 0)
    with pytest.raises(UsageError, match="version of the extraction rules"):
        check_comparable(open_runs([run, open_run(tmp_path / "other")]))


def test_a_judged_log_that_lacks_replies_is_left_alone(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run")
    log = (run / "run.jsonl").read_text().splitlines(keepends=True)
    head = json.loads(log[0]) | {"extraction": "1, judge x"}
    (run / JUDGED).write_text(json.dumps(head) + "\n" + "".join(log[1:]))
    assert best_log(run).header.extraction == "1, judge x"
    (run / JUDGED).write_text(json.dumps(head) + "\n" + "".join(log[1:-1]))
    assert best_log(run).header.extraction == "1"
    assert best_log(run / JUDGED).path.name == JUDGED
    assert read_log(run).path.name == "run.jsonl"


def test_what_needs_no_judge_is_refused(tmp_path: Path) -> None:
    lettered = write_run(tmp_path / "lettered", "m", able(0.5), items(2))
    with pytest.raises(UsageError, match="--form open"):
        judge_run(lettered, "a@http://x/v1", OPTIONS, print)
    with pytest.raises(UsageError, match="--judge gpt: give the name as the server lists it"):
        judge_run(open_run(tmp_path / "open"), "gpt", OPTIONS, print)
