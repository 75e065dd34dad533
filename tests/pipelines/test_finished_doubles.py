"""One state of a picture in two shards: a part was merged, then retried there, then merged again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.finished import Finished
from pipelines.stages.attributes import PICTURES, PROFILES
from pipelines.stages.check import VERDICTS
from pipelines.store import StageStore


def commit(work: Path, shard: str, replied: list[bool], checked_in: str | None = None) -> None:
    """A shard with the state K of a picture, a region for each of `replied`: with a profile, or with a failure."""
    pictures = pa.Table.from_pylist([{"image_id": "i", "picture_key": "K"}], schema=PICTURES)
    rows: list[dict[str, Any]] = [
        {"region_id": str(n), "picture_key": "K"} | ({"profile": shard} if good else {"reason": "reply-schema"})
        for n, good in enumerate(replied)
    ]
    profiles = pa.Table.from_pylist(rows, schema=PROFILES)
    StageStore(work, "attributes").commit(shard, {"profiles": profiles, "pictures": pictures})
    verdicts = [{"region_id": r["region_id"], "picture_key": "K", "verdicts": "[]"} for r in rows if "profile" in r]
    tables = {"verdicts": pa.Table.from_pylist(verdicts, schema=VERDICTS), "pictures": pictures}
    StageStore(work, "check").commit(checked_in or shard, tables)


@pytest.mark.parametrize(("old", "new"), [("ffff", "0000"), ("0000", "ffff")])
@pytest.mark.parametrize("before", [[False, True], [False, False]])
def test_the_answer_wins_over_the_failure_whatever_the_shards_are_called(
    tmp_path: Path, old: str, new: str, before: list[bool]
) -> None:
    commit(tmp_path, old, before)
    commit(tmp_path, new, [True, True])
    finished = Finished(tmp_path)
    assert finished.profiled["K"] == new and finished.checked["K"] == new


@pytest.mark.parametrize(("old", "new"), [("ffff", "0000"), ("0000", "ffff")])
def test_verdicts_that_were_made_again_elsewhere_are_found(tmp_path: Path, old: str, new: str) -> None:
    commit(tmp_path, old, [False, True])
    commit(tmp_path, new, [True, True], checked_in="8888")
    finished = Finished(tmp_path)
    assert finished.profiled["K"] == new and finished.checked["K"] == "8888"


def test_one_shard_is_as_it_was(tmp_path: Path) -> None:
    commit(tmp_path, "ffff", [False, True])
    finished = Finished(tmp_path)
    assert finished.profiled["K"] == finished.checked["K"] == "ffff"
