"""Finished shards that are not to be seen, as where a network file system shows new folders late: told, never lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.asking_config import load_asking
from pipelines.build import Summary, build_attributes
from pipelines.config import load_config
from pipelines.finished import Finished
from pipelines.multiquery import build_multiquery
from pipelines.plan import Plan, PlannedPicture
from pipelines.republish import republish
from pipelines.store import StageStore
from slvr_data.requests.failures import UnfinishedError
from tests.builds import published

PICTURES = 6


def build(out: Path, **more: Any) -> Summary:
    source = {"kind": "scenes", "name": "scenes-easy", "count": PICTURES}
    return build_attributes(
        load_config(None, {"out": out, "workers": 1, "shard_size": 2, "sources": [source]} | more, [])
    )


def ask(out: Path) -> Summary:
    return build_multiquery(out, load_asking({"workers": 1, "shard_size": 2}, None, []))


@contextmanager
def late(stage: str) -> Iterator[None]:
    """The file system does not show the first shard of a stage."""
    names = StageStore._names

    def seen(store: StageStore) -> list[str]:
        return names(store)[1:] if store.folder.name == stage else names(store)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageStore, "_names", seen)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "set"
    build(out).end()
    return published(out)


@pytest.mark.parametrize("stage", ["crop", "attributes", "check"])
def test_regions_that_are_not_seen_are_unfinished(stage: str, whole: dict[str, str], tmp_path: Path) -> None:
    with late(stage):
        summary = build(tmp_path / "set")
    told = summary.accounts
    assert told["published"] and told["regions_unfinished"]
    assert told["published"] + told["rejected"] + told["regions_unfinished"] == told["regions"]
    with pytest.raises(
        UnfinishedError, match=r"regions are unfinished .*not show them here yet.*the same command goes on"
    ):
        summary.end()
    again = build(tmp_path / "set")
    again.end()
    assert again.counts["pictures reused"] == PICTURES and published(tmp_path / "set") == whole


def test_a_part_that_is_not_seen_is_unfinished(tmp_path: Path) -> None:
    with late("check"), pytest.raises(UnfinishedError, match="pictures of part 0/1 are unfinished"):
        build(tmp_path / "part", shard="0/1").end()
    build(tmp_path / "part", shard="0/1").end()


def test_questions_that_are_not_seen_are_unfinished(tmp_path: Path) -> None:
    build(tmp_path / "set").end()
    with late("multiquery"):
        summary = ask(tmp_path / "set")
    assert summary.accounts["pictures_without_questions"]
    with pytest.raises(UnfinishedError, match=r"pictures have no questions yet .*the same command goes on"):
        summary.end()
    again = ask(tmp_path / "set")
    again.end()
    assert not again.accounts["pictures_without_questions"]


def test_finished_work_is_looked_up_before_and_after_and_no_more(tmp_path: Path) -> None:
    """Each look-up reads every shard of a set; the plan of a large one is walked only for what a retry has opened."""
    made, walked = Finished.__init__, Plan.pictures
    looks: list[bool] = []
    walks: list[Plan] = []

    def look(finished: Finished, work: Path, old: bool = True) -> None:
        looks.append(old)
        made(finished, work, old)

    def walk(plan: Plan) -> Iterator[PlannedPicture]:
        walks.append(plan)
        return walked(plan)

    out = tmp_path / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finished, "__init__", look)
        build(out).end()
        build(out).end()
        assert len(looks) == 4
        del looks[:]
        patch.setattr(Plan, "pictures", walk)
        build(tmp_path / "part", shard="0/1").end()
        assert len(looks) == 2 and len(walks) == 2, "once to work, once to count what is open"
        del looks[:]
        republish(out, {}, None)
        assert len(looks) == 1
