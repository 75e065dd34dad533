"""Kill it at any moment and run the same command: nothing lost, nothing twice, the same bytes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from tests.builds import (  # fmt: skip
    coco,
    counts,
    end,
    environment,
    jsonl,
    jsonl_rows,
    of_coco,
    of_jsonl,
    published,
    refused,
    run,
    shards,
    shared,
    sound,
    start,
    wait_for,
)

PICTURES = 32
CRASH = Path(__file__).parent / "crash.py"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, and the set that an uninterrupted build of them makes (in `set`)."""

    def make(folder: Path) -> None:
        file = coco(folder, PICTURES, size=(320, 240), regions=8)
        run(*of_coco(file, "--workers", 1, "--out", folder / "set"))

    return shared(tmp_path_factory, "whole", make)


def command(whole: Path, out: Path) -> list[object]:
    return of_coco(whole / "instances.json", "--workers", 2, "--shard-size", 1, "--out", out)


def once_per_picture(out: Path) -> None:
    """Every picture and every region went through each stage once."""
    seen: Counter[str] = Counter()
    for stage, table, key in (("crop", "images", "image_id"), ("crop", "crops", "region_id"),
                              ("attributes", "profiles", "region_id"), ("check", "verdicts", "region_id")):  # fmt: skip
        for shard in shards(out, stage):
            ids = pq.read_table(out / ".work" / stage / shard / f"{table}.parquet")[key].to_pylist()
            seen.update(f"{stage} {key} {identifier}" for identifier in ids)
    assert len(seen) == PICTURES + 3 * 8 * PICTURES
    assert set(seen.values()) == {1}, [key for key, count in seen.items() if count > 1][:5]


def moment(name: str, out: Path) -> Any:
    """Whether a running build has come to a moment."""
    if name == "reading":
        return (out / ".work" / "lock").exists()
    if name == "publishing":
        return (out / ".work" / "publish").exists()
    return len(shards(out)) >= int(name)


def kill(process: subprocess.Popen[str], group: bool) -> bool:
    """SIGKILL to the command, alone or with its group; its workers end by themselves. False if it ended before that."""
    children = psutil.Process(process.pid).children(recursive=True)
    if group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    struck = process.wait(120) == -signal.SIGKILL
    _, alive = psutil.wait_procs(children, timeout=120)
    for child in alive:
        child.kill()
    assert not alive, "workers outlive the command that started them"
    return struck


@pytest.mark.parametrize(
    ("group", "moments"),
    [(False, ["reading", "3", str(random.randrange(8, 20))]), (True, [str(random.randrange(1, 20)), "publishing"])],
    ids=["parent alone", "group"],
)
def test_killed_several_times_in_a_row(whole: Path, tmp_path: Path, group: bool, moments: list[str]) -> None:
    out = tmp_path / "set"
    done: dict[str, int] = {}
    kills = 0
    for name in moments:
        process = start(*command(whole, out))
        try:
            wait_for(lambda name=name, process=process: moment(name, out) or process.poll() is not None)
            if process.poll() is not None:  # the moment passed unseen: this machine is busy
                continue
            kills += kill(process, group)
        finally:
            end(process)
        after = shards(out)
        assert all(after[shard] == when for shard, when in done.items()), "a finished shard was made again"
        done = after
    finished = len(shards(out, "check"))
    assert kills
    assert finished == PICTURES or "publishing" not in moments
    run(*command(whole, out))
    assert published(out) == published(whole / "set")
    assert all(shards(out)[shard] == when for shard, when in done.items())
    assert counts(out).get("pictures reused", 0) == finished
    once_per_picture(out)


def struck(
    whole: Path, tmp_path: Path, pictures: int, strike: Callable[[subprocess.Popen[str]], Any]
) -> tuple[Path, int, str]:
    """A build that was struck when so many pictures were finished: its folder, exit code, and what it said.

    One that had finished all of them before, since this machine is busy, is begun anew.
    """
    for number in range(5):
        out = tmp_path / f"set-{number}"
        process = start(*command(whole, out))
        try:
            wait_for(lambda out=out: len(shards(out, "check")) >= pictures)
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                strike(process)
            errors = process.communicate(timeout=300)[1]
        finally:
            end(process)
        if process.returncode and len(shards(out, "check")) < PICTURES:
            return out, process.returncode, errors
    raise AssertionError("it always ended before it was struck")


def test_what_is_left_is_done_and_no_more(whole: Path, tmp_path: Path) -> None:
    out, code, _ = struck(whole, tmp_path, 10, lambda process: kill(process, group=True))
    assert code == -signal.SIGKILL
    done = {stage: shards(out, stage) for stage in ("crop", "attributes", "check")}
    assert len(done["check"]) >= 10
    run(*command(whole, out))
    assert published(out) == published(whole / "set")
    assert counts(out)["pictures reused"] == len(done["check"])
    assert counts(out)["pictures worked"] == PICTURES - len(done["check"])
    assert counts(out)["pictures annotated"] == PICTURES - len(done["attributes"])
    assert counts(out)["regions cropped"] == 8 * (PICTURES - len(done["crop"]))
    once_per_picture(out)


def test_a_killed_worker_costs_the_run_nothing(whole: Path, tmp_path: Path) -> None:
    """What it had in hand is done again; one that had finished everything before is begun anew."""
    for number in range(5):
        out = tmp_path / f"set-{number}"
        process = start(*command(whole, out))
        try:
            wait_for(lambda out=out: len(shards(out, "check")) >= 4)
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):  # it has just ended
                children = psutil.Process(process.pid).children(recursive=True)
                workers = [child for child in children if any("spawn_main" in word for word in child.cmdline())]
                workers[0].kill()
            errors = process.communicate(timeout=300)[1]
        finally:
            end(process)
        assert process.returncode == 0 and "Traceback" not in errors, errors
        assert published(out) == published(whole / "set")
        if "a worker process died: what the workers had is done again" in errors:
            once_per_picture(out)
            return
    raise AssertionError("it always ended before it was struck")


def test_ctrl_c_ends_the_run_with_one_line(whole: Path, tmp_path: Path) -> None:
    out, code, errors = struck(whole, tmp_path, 4, lambda process: os.killpg(process.pid, signal.SIGINT))
    assert code == 130
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("slvr-data: stopped")
    run(*command(whole, out))
    assert published(out) == published(whole / "set")


def crashes(template: Path, scratch: Path, *arguments: object) -> list[dict[str, Any]]:
    """What `crash.py` tells of every change to the file system that the command makes."""
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, str(CRASH), str(template), str(scratch), *map(str, arguments)],
        capture_output=True, text=True, env=environment(), timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_crashes(found: list[dict[str, Any]], before: list[str] | None) -> None:
    """Every reader found the set before or the set after, and every run ended with the same bytes."""
    first, *struck = found
    assert not first["killed"]
    assert sum(state["killed"] for state in struck) == len(struck) - 1 >= 5
    for state in struck:
        assert state["published"] == first["published"], state["change"]
        assert state["readable"] in (before, first["readable"]), state["change"]
    assert before != first["readable"]
    assert {str(state["readable"]) for state in struck} == {str(before), str(first["readable"])}


def data_files(out: Path, *configs: str) -> list[str]:
    return sorted(name for name in published(out) if name.startswith("data/") and name.split("/")[1] in configs)


@pytest.mark.slow
def test_killed_before_every_change_of_an_extension(tmp_path: Path) -> None:
    base = tmp_path / "base"
    run("build-attributes", "scenes", "--limit", 2, "--workers", 1, "--out", base)
    arguments = ("build-attributes", "scenes", "--limit", 4, "--workers", 1, "--shard-size", 9, "--out", "{}")
    found = crashes(base, tmp_path / "scratch", *arguments)
    check_crashes(found, data_files(base, "images", "attributes"))
    run("build-attributes", "scenes", "--limit", 4, "--workers", 1, "--out", tmp_path / "at-once")
    assert found[0]["published"] == published(tmp_path / "at-once")


def test_killed_before_every_change_of_attach(tmp_path: Path) -> None:
    base, ship = tmp_path / "base", tmp_path / "ship"
    run("build-attributes", "scenes", "--limit", 2, "--workers", 1, "--out", base)
    run("publish", base, "--pictures", "reference", "--to", ship)
    found = crashes(ship, tmp_path / "scratch", "attach", "{}")
    check_crashes(found, data_files(ship, "images", "attributes"))


@pytest.mark.slow
def test_killed_before_every_change_of_merge(tmp_path: Path) -> None:
    parts = [tmp_path / f"part-{index}" for index in range(2)]
    for index, part in enumerate(parts):
        run(
            "build-attributes",
            "scenes",
            "--limit",
            3,
            "--shard-size",
            9,
            "--workers",
            1,
            "--shard",
            f"{index}/2",
            "--out",
            part,
        )
    (tmp_path / "empty").mkdir()
    found = crashes(tmp_path / "empty", tmp_path / "scratch", "merge", *parts, "--out", "{}")
    check_crashes(found, None)


def test_killed_between_manifest_and_card(tmp_path: Path) -> None:
    from datasets import load_dataset

    file = coco(tmp_path, 8)
    old, new = tmp_path / "old", tmp_path / "new"
    run(*of_coco(file, "--limit", 3, "--workers", 1, "--out", old))
    shutil.copytree(old, new)
    run(*of_coco(file, "--workers", 1, "--out", new))
    expected = published(new)
    for name in data_files(old, "images", "attributes", "rejections"):  # the old files are still there,
        shutil.copyfile(old / name, new / name)
    shutil.copyfile(old / "README.md", new / "README.md")  # and the card still names them

    def loaded() -> set[str]:
        found = load_dataset(str(new), "images", cache_dir=str(tmp_path / "cache"))
        return {image for split in found.values() for image in split["image_id"]}

    before = loaded()
    assert len(before) == 3
    assert "is not named by the manifest" in run("validate", new, code=1).stderr
    run(*of_coco(file, "--workers", 1, "--out", new))
    assert published(new) == expected
    after = loaded()
    assert len(after) == 8
    assert before < after
    sound(new)


def test_another_source_after_a_reading_that_was_killed(tmp_path: Path) -> None:
    """Rows that a stopped run has read, but not worked on, do not enter the set of another command."""
    out, file = tmp_path / "set", coco(tmp_path, 3)
    own = jsonl(tmp_path, jsonl_rows(tmp_path, 100, 2))
    run(*of_coco(file, "--workers", 1, "--out", out))
    for stage in ("crop", "attributes", "check"):
        shutil.rmtree(out / ".work" / stage)
    shutil.rmtree(out / "data")
    (out / "manifest.json").unlink()
    run(*of_jsonl(own, "--workers", 1, "--out", out))
    assert json.loads((out / "manifest.json").read_bytes())["accounts"]["rows"] == 6
    run(*of_jsonl(own, "--workers", 1, "--out", out))
    run(*of_jsonl(own, "--workers", 1, "--out", tmp_path / "apart"))
    assert published(out) == published(tmp_path / "apart")


def test_a_folder_with_work_but_no_publication_has_nothing_to_read(whole: Path, tmp_path: Path) -> None:
    out, _, _ = struck(whole, tmp_path, 2, lambda process: kill(process, group=True))
    assert "holds no published set" in refused("validate", out)
    assert "pictures are not finished: run the build again" in refused("publish", out)
