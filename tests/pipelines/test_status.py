"""What `slvr-data status` tells of a run: how far it is, and since when, if that can be known here."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.progress import Progress
from pipelines.report import print_tree, status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".work").mkdir()
    with Progress(tmp_path / ".work/progress.json").phase("working", "pictures", 9) as counting:
        counting.advance(3)
    return tmp_path


def changed(folder: Path, **more: Any) -> dict[str, Any]:
    """What is told where the run wrote something else."""
    file = folder / ".work/progress.json"
    state = {key: value for key, value in (json.loads(file.read_bytes()) | more).items() if value is not None}
    file.write_text(json.dumps(state))
    found: dict[str, Any] = status(folder)["progress"]
    return found


def test_a_run_on_this_machine(folder: Path) -> None:
    found = changed(folder)
    assert found["done"] == 3 and found["total"] == 9 and 0 <= found["seconds_since_update"] < 600
    assert not {"host", "updated", "started"} & found.keys()
    print_tree(status(folder))


def test_the_clock_of_another_machine_tells_nothing(folder: Path) -> None:
    for host in ("another", None):  # None: a run of an earlier version
        found = changed(folder, host=host)
        assert found["done"] == 3 and "seconds_since_update" not in found


def test_a_clock_that_was_set_back(folder: Path) -> None:
    assert changed(folder, updated=time.time() + 5000)["seconds_since_update"] == 0
