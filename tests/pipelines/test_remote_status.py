"""`slvr-data status` of a set at an address: what its finished work tells is left, without fetching the set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from slvr_data.errors import RunError, UsageError
from slvr_data.ids import part_of
from slvr_data.remote.holding import Holding
from slvr_data.remote.place import Place
from tests.builds import coco, jsonl, jsonl_rows, rows
from tests.remotes import ask, build, s3_found
from tests.servers.s3 import RunningS3


@pytest.fixture(scope="module")
def s3() -> Iterator[RunningS3]:
    with s3_found() as server:
        yield server


def status(address: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["status", address, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def of_stage(place: Place, stage: str) -> list[str]:
    """Names of its shards."""
    return sorted({name.split("/")[2] for name in place.names(f".work/{stage}")})


def drop(place: Place, unit: str, only: str = "") -> None:
    """Remove the objects of a shard, or one of them."""
    place.remove([name for name in place.names(f".work/{unit}") if name.endswith(only)])


def test_a_finished_set_has_nothing_left_and_nothing_of_it_is_fetched(s3: RunningS3, tmp_path: Path) -> None:
    address = "s3://bucket/done/set"
    photographs = {"kind": "coco", "name": "photographs", "annotations": [str(coco(tmp_path, 9))]}
    photographs["images"] = str(tmp_path / "pictures")
    lines: list[dict[str, Any]] = [*jsonl_rows(tmp_path, 4, 8), {"image": "no-such.jpg", "bbox": [1, 1, 9, 9]}]
    told = {"kind": "jsonl", "name": "lines", "annotations": [str(jsonl(tmp_path, lines))]}
    told["images"] = str(tmp_path / "pictures")
    build(address, tmp_path / "a", sources=[photographs, told])
    ask(address, tmp_path / "a")
    s3.control(reset=True)
    found = status(address)
    accounts = json.loads(Place(address).read("manifest.json"))["accounts"]
    planned = accounts["pictures"]
    assert accounts["malformed"] and planned > 9
    assert found["pictures"] == {"planned": planned, "checked": planned, "left": 0}
    shards = -(-planned // 3)
    assert {stage: told["shards"] for stage, told in found["stages"].items()} == {
        "crop": shards, "attributes": shards, "check": shards, "multiquery": len(of_stage(Place(address), "multiquery"))
    }  # fmt: skip
    assert found["writer"] is None
    read = {path.removeprefix("/bucket/done/set/") for method, path, _ in s3.asked() if method == "GET"} - {"/bucket"}
    tables = {name for name in read if name.startswith(".work/check/") and name.endswith("/pictures.parquet")}
    assert len(tables) == shards
    assert sum("/.work/check/" in path for _, path, _ in s3.asked()) == shards  # a call each
    assert all(name.startswith(".work/plan/") or name.count("/") < 2 or name.endswith("ledger.json")
               for name in read - tables), read  # fmt: skip


def test_what_a_killed_run_left_is_what_the_next_one_does(s3: RunningS3, tmp_path: Path) -> None:
    address = "s3://bucket/cut/set"
    place = Place(address)
    build(address, tmp_path / "a", count=14)
    a, b, c, *others = of_stage(place, "check")
    assert len(others) == 2
    drop(place, f"check/{a}", "whole.json")  # its upload was cut off
    place.write(f".work/check/old-1-{c}/pictures.parquet", place.read(f".work/check/{c}/pictures.parquet"))
    place.write(f".work/check/old-1-{c}/whole.json", b"{}")  # opened again, and not finished yet
    for shard in (b, c):
        drop(place, f"check/{shard}")
    place.remove(["manifest.json"])
    found = status(address)
    assert found["stages"]["crop"] == {"shards": 5}
    assert found["stages"]["check"] == {"shards": 2, "not whole": 1, "from before a retry": 1}
    pictures = found["pictures"]
    assert pictures["planned"] == 14 == pictures["checked"] + pictures["left"]
    assert 4 < pictures["checked"] < 7  # one shard of five has two pictures
    assert "published" not in found
    drop(place, f"check/old-1-{c}")
    build(address, tmp_path / "b", count=14)
    assert json.loads(place.read("run.json"))["counts"]["pictures reused"] == pictures["checked"]
    assert status(address)["pictures"] == {"planned": 14, "checked": 14, "left": 0}


def test_a_part_tells_in_which_parts_the_rest_is(s3: RunningS3, tmp_path: Path) -> None:
    address = "s3://bucket/part/set"
    build(tmp_path / "whole", tmp_path, count=12)
    in_first = sum(part_of(row["image_id"], 3) == 1 for row in rows(tmp_path / "whole", "images"))
    assert 0 < in_first < 12
    build(address, tmp_path / "a", count=12, shard="1/3")
    found = status(address)["pictures"]
    assert found == {"planned": 12, "checked": in_first, "left": 12 - in_first, "left in parts": "0/3, 2/3"}


def test_while_it_is_written_the_time_that_is_left_is_told(s3: RunningS3, tmp_path: Path) -> None:
    address = "s3://bucket/written/set"
    place = Place(address)
    driver = Holding(place, print)
    driver.take()
    assert status(address).keys() == {"writer"}  # nothing is there yet but who writes
    state = {"phase": "working", "unit": "pictures", "total": 90, "done": 30, "reused": 0, "started": 1.0}
    place.write(".work/progress.json", json.dumps(state | {"updated": 11.0, "rate": 2.0, "host": "far"}).encode())
    assert status(address)["progress"]["left"] == "0 min 30 s left"
    driver.release()
    found = status(address)
    assert found["writer"] is None and found["progress"]["left"] == ""


def test_what_is_damaged_is_left_or_named(s3: RunningS3, tmp_path: Path) -> None:
    address = "s3://bucket/damaged/set"
    place = Place(address)
    build(address, tmp_path / "a", count=6)
    shard = of_stage(place, "check")[0]
    place.write(f".work/check/{shard}/pictures.parquet", b"no table")
    assert status(address)["pictures"] == {"planned": 6, "checked": 3, "left": 3}
    (plan,) = place.names(".work/plan")
    place.write(plan, place.read(plan)[:-9])
    with pytest.raises(RunError, match=rf"^{address}/{plan} cannot be read .* run the command that builds the set"):
        status(address)


def test_where_no_set_is_nothing_is_told(s3: RunningS3) -> None:
    with pytest.raises(UsageError, match=r"^s3://bucket/nothing/set is not the folder of a set"):
        status("s3://bucket/nothing/set")
    with pytest.raises(UsageError, match=r"s3://no-such/set/manifest.json is refused: there is no such bucket"):
        status("s3://no-such/set")
