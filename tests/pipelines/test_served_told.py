"""What a model is told of sources' words is part of a picture's state: the order of sources decides nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pipelines.plan import Plan, plan_table
from slvr_data.regions import PlanRow
from tests.builds import jsonl, jsonl_rows, published, run
from tests.served_builds import answered
from tests.servers.running import running_stub


def test_the_state_holds_the_words_that_are_told_and_no_others() -> None:
    def key(told: bool, *references: str) -> str:
        row = dict.fromkeys(PlanRow.__annotations__) | {
            "source": "own", "file": "a", "line": 1, "path": "a.jpg", "image_id": "i", "region_id": "r",
            "box": [0.0, 0.0, 9.0, 9.0], "label": "dog", "iscrowd": False, "exhaustive": False, "complete": False,
            "references": list(references), "questions": [],
        }  # fmt: skip
        plan = Plan([plan_table([PlanRow(**row)])], 0, (0.9, 0.05, 0.05), {}, set(), told)  # type: ignore[arg-type]
        return next(plan.pictures()).key

    before = hashlib.sha256(json.dumps(["i", False, [["r", "", False, False, True]]]).encode()).hexdigest()[:32]
    assert key(True) == key(False) == key(False, "the dog") == before, "sets that exist keep their states"
    assert len({key(True), key(True, "the dog"), key(True, "the pup"), key(True, "the dog", "the pup")}) == 4
    assert key(True, "a", "b", "c") == key(True, "a", "b"), "a third one is not told"


@pytest.mark.slow
def test_words_that_come_later_are_told_as_if_they_had_been_there(tmp_path: Path) -> None:
    lines = [row | {"references": []} for row in jsonl_rows(tmp_path, 0, 3)]
    more = [lines[4] | {"references": ["that one", "the second"]}]
    with running_stub(service_ms=1, invent=True) as stub:

        def build(out: Path) -> None:
            where = ("--annotator", "served", "--base-url", stub.base_url, "--model", "stub-vl", "--workers", 1)
            run("build-attributes", "jsonl", "--annotations", tmp_path / "regions.jsonl", "--images",
                tmp_path / "pictures", "--out", out, *where)  # fmt: skip

        jsonl(tmp_path, lines)
        build(tmp_path / "grown")
        before = answered(stub)
        jsonl(tmp_path, [*lines, *more])
        build(tmp_path / "grown")
        assert answered(stub) - before == 1, "the region with new words alone is asked again"
        build(tmp_path / "whole")
        assert published(tmp_path / "grown") == published(tmp_path / "whole")
