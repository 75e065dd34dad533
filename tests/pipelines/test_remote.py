"""Sets on a real S3 server: killed, resumed elsewhere, read from there, refused in one sentence."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from typer.testing import CliRunner

from benchmark.build import build as build_bench
from benchmark.folder import open_bench
from pipelines.cli import app
from slvr_data.errors import RunError, SlvrError, UsageError
from slvr_data.remote.holding import NAME, Holding
from slvr_data.remote.place import Place
from slvr_data.remote.steady import StoreError
from slvr_model.data import SlvSamples
from tests.builds import coco, end, published, run, start, wait_for
from tests.remotes import ask, build, published_at, s3_found
from tests.servers.s3 import RunningS3


@pytest.fixture(scope="module")
def s3() -> Iterator[RunningS3]:
    with s3_found() as server:
        yield server


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set on this machine, without questions."""
    folder = tmp_path_factory.mktemp("profiles") / "set"
    build(folder, folder)
    return folder


@pytest.fixture(scope="module")
def local(profiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with questions."""
    folder = tmp_path_factory.mktemp("local") / "set"
    shutil.copytree(profiles, folder)
    ask(folder, folder)
    return folder


@pytest.fixture(scope="module")
def there(s3: RunningS3, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same set, at an address."""
    scratch = tmp_path_factory.mktemp("scratch")
    build("s3://bucket/whole/set", scratch)
    ask("s3://bucket/whole/set", scratch)
    return "s3://bucket/whole/set"


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_killed_and_resumed_with_an_empty_scratch_it_gives_the_bytes_of_a_local_build(
    s3: RunningS3, tmp_path: Path
) -> None:
    address = "s3://bucket/killed/set"
    command = ["build-attributes", "scenes:easy", "--limit", 24, "--workers", 1, "--shard-size", 3]
    environment = s3.environment | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    s3.control(stall="^PUT /bucket/killed/set/data/")  # it ends in its publication, if it comes so far
    process, place = start(*command, "--out", address, **environment), Place(address)
    try:
        wait_for(lambda: sum(name.endswith("/whole.json") for name in place.names(".work/crop")) > 2, pause=0.05)
        with pytest.raises(UsageError, match=rf"is being written by process {process.pid} on"):
            build(address, tmp_path / "second", count=24)
        os.killpg(process.pid, signal.SIGKILL)
    finally:
        end(process)
        s3.well()
    assert "manifest.json" not in place.names()
    done = run(*command, "--out", address, "--scratch", tmp_path / "other", **environment)
    assert "taking over" in done.stderr
    assert "fetching" in done.stderr
    assert json.loads(place.read("run.json"))["counts"]["pictures reused"] >= 8
    build(tmp_path / "set", tmp_path, count=24, shard_size=50)
    assert published_at(place) == published(tmp_path / "set")


def test_both_builds_publish_there_what_they_publish_here(there: str, local: Path) -> None:
    assert published_at(Place(there)) == published(local)


def test_commands_read_it_where_it_lies(
    there: str, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "\nsound" in invoke("validate", there)
    assert json.loads(invoke("stats", there, "--json")) == json.loads(invoke("stats", local, "--json"))
    status = json.loads(invoke("status", there, "--json"))
    assert status["writer"] is None
    monkeypatch.setenv("SLVR_SCRATCH", str(tmp_path / "told"))
    assert status["published"]["queries published"] > 0
    assert Path(invoke("preview", there, "--pictures", 2).strip()).stat().st_size > 1000
    assert Path(invoke("audit", there, "-n", 5, "--html", tmp_path / "audit.html").strip()).stat().st_size > 1000
    assert not any((tmp_path / "told").glob("read-*/set/manifest.json"))
    invoke("rejections", there)
    assert any((tmp_path / "told").glob("read-*/set/manifest.json"))
    Place(there).write("data/images/train-00009-0123456789ab.parquet", b"left by somebody")
    result = CliRunner().invoke(app, ["validate", there])
    assert result.exit_code == 1
    assert "train-00009-0123456789ab.parquet: is not named by the manifest" in result.output


def test_training_and_benchmark_stream_it(there: str, local: Path, s3: RunningS3, tmp_path: Path) -> None:
    wanted = [(sample.query_id, sample.picture.tobytes()) for sample in SlvSamples(local)]
    s3.control(faults={"503": 0.1, "reset": 0.1, "reset_mid": 0.1, "lost": 0.1}, reset=True)
    found = [(sample.query_id, sample.picture.tobytes()) for sample in SlvSamples(Path(there))]
    calls = s3.well()
    assert found == wanted
    assert sum(count for kind, count in calls.items() if kind.startswith("fault")) > 0
    assert calls["GET"] < 60  # columns of a row group together, not one by one
    one = build_bench(local, tmp_path / "one", "all").bench
    two = build_bench(Path(there), tmp_path / "two", "all").bench
    assert one.revision == two.revision
    Place("s3://bucket/bench").put_all((path, path.name) for path in (tmp_path / "one").iterdir() if path.is_file())
    opened = open_bench(Path("s3://bucket/bench"))
    item = opened.items[-1]
    assert opened.revision == one.revision
    assert opened.picture(item.image_id) == one.picture(item.image_id)


def test_a_store_that_fails_all_the_time_costs_nothing_but_time(s3: RunningS3, profiles: Path, tmp_path: Path) -> None:
    address = "s3://bucket/faulty/set"
    s3.control(faults=dict.fromkeys(("503", "500", "reset", "reset_mid", "lost"), 0.04), seed=1, reset=True)
    try:
        build(address, tmp_path / "a")
    finally:
        calls = s3.well()
    assert published_at(Place(address)) == published(profiles)
    assert sum(count for kind, count in calls.items() if kind.startswith("fault")) > 5


def test_a_listing_that_is_late_costs_work_and_no_data(s3: RunningS3, profiles: Path, tmp_path: Path) -> None:
    address = "s3://bucket/late/set"
    build(address, tmp_path / "a")
    s3.control(hide=r"\.work/(crop/[0-7]|settings|slvr)")
    try:
        build(address, tmp_path / "b")
    finally:
        s3.well()
    assert published_at(Place(address)) == published(profiles)


def test_two_drivers_are_kept_apart(s3: RunningS3, tmp_path: Path) -> None:
    place = Place("s3://bucket/two/set")
    first = Holding(place, print)
    first.take()
    with pytest.raises(UsageError, match=rf"s3://bucket/two/set is being written by process {os.getpid()} on "):
        build(place.address, tmp_path)
    first.release()
    assert build(place.address, tmp_path).published


def test_what_is_wrong_is_one_sentence_with_the_place_and_the_cure(
    s3: RunningS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLVR_STORE_PATIENCE", "0")
    with pytest.raises(UsageError, match=r"s3://no-such/set/.* there is no such bucket: make it"):
        build("s3://no-such/set", tmp_path)
    s3.control(deny="^PUT")
    with pytest.raises(UsageError, match=r"writing s3://bucket/denied/.* permission denied .* let these credentials"):
        build("s3://bucket/denied/set", tmp_path)
    s3.well()
    s3.control(deny="^DELETE")
    with pytest.raises(UsageError, match=r"removing s3://bucket/kept/.* permission denied"):
        build("s3://bucket/kept/set", tmp_path)
    s3.well()
    assert Place("s3://bucket/kept").names() == {}
    place = Place("s3://bucket/other")
    place.write("somebody/else.txt", b"his own")
    with pytest.raises(UsageError, match=r"s3://bucket/other holds something else \(somebody/else.txt\)"):
        build(place.address, tmp_path)
    assert place.names() == {"somebody/else.txt": 7}
    with pytest.raises(UsageError, match=r"user.*\*\*\*@bucket/set holds a user"):
        try:
            build("s3://AKIA:hidden@bucket/set", tmp_path)
        except SlvrError as error:
            assert "hidden" not in str(error)
            raise UsageError("user " + str(error)) from None


def test_an_outage_is_named_and_what_was_made_is_kept(
    s3: RunningS3, profiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "s3://bucket/outage/set"
    monkeypatch.setenv("SLVR_STORE_PATIENCE", "0")
    s3.control(deny=r"^PUT .*/data/")  # the work goes there, the publication does not
    with pytest.raises(SlvrError, match=r"writing s3://bucket/outage/set/data/.* is refused"):
        build(address, tmp_path / "a")
    s3.well()
    names = Place(address).names()
    assert "manifest.json" not in names
    assert not json.loads(Place(address).read(NAME))["held"]
    monkeypatch.delenv("SLVR_STORE_PATIENCE")
    assert build(address, tmp_path / "b").counts["pictures reused"] == 12
    assert published_at(Place(address)) == published(profiles)


def test_a_scratch_on_a_full_disk_is_named(there: str, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(RunError, match=rf"the disk is full .* while writing {tmp_path}/set-"):
            build(there, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_pictures_at_an_address_give_the_bytes_of_local_ones(s3: RunningS3, tmp_path: Path) -> None:
    file = coco(tmp_path, 4)
    here = {"kind": "coco", "annotations": [str(file)], "images": str(tmp_path / "pictures")}
    build(tmp_path / "one", tmp_path, sources=[here])
    Place("s3://bucket/pictures").put_all((path, path.name) for path in (tmp_path / "pictures").iterdir())
    there = here | {"images": "s3://bucket/pictures"}
    build(tmp_path / "two", tmp_path, sources=[there])
    s3.control(reset=True)
    build(tmp_path / "two", tmp_path, sources=[there])
    assert published(tmp_path / "two") == published(tmp_path / "one")
    assert s3.control()["GET"] <= 1 + 4  # one listing; each picture once, for the publication alone


def test_uploads_that_a_killed_run_left_are_given_up(s3: RunningS3, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fsspec.filesystem("s3")
    for key in ("a/before", *(f"mine/set/data/{number}" for number in range(3)), "yours/set/data/x"):
        files.call_s3("create_multipart_upload", Bucket="bucket", Key=key)
    place = Place("s3://bucket/mine/set")
    s3.control(deny=r"^(GET|DELETE) /bucket")
    assert place.give_up_uploads() == 0
    s3.well()
    with monkeypatch.context() as patch:
        patch.setattr(type(files), "call_s3", paged(type(files).call_s3))
        assert place.give_up_uploads() == 3
    assert [upload["Key"] for upload in files.list_multipart_uploads("bucket")] == ["a/before", "yours/set/data/x"]


def paged(call: Callable[..., Any]) -> Callable[..., Any]:
    """The server has no pages of uploads: here each is a page of its own."""

    def called(self: Any, method: str, **options: Any) -> Any:
        after = options.pop("KeyMarker", ""), options.pop("UploadIdMarker", "")
        found = call(self, method, **options)
        if method != "list_multipart_uploads":
            return found
        uploads = sorted(found.get("Uploads", []), key=lambda upload: (upload["Key"], upload["UploadId"]))
        left = [upload for upload in uploads if (upload["Key"], upload["UploadId"]) > after]
        more = {"NextKeyMarker": left[0]["Key"], "NextUploadIdMarker": left[0]["UploadId"]} if left else {}
        return {"Uploads": left[:1], "IsTruncated": len(left) > 1} | more

    return called


def test_answers_that_come_too_late_and_a_store_that_is_away_are_waited_for(
    s3: RunningS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 0.5, "retries": {"max_attempts": 0}}}
    )
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    place = Place("s3://bucket/slow/set")
    s3.control(faults={"late": 0.5}, seed=3, reset=True)
    try:
        for number in range(4):
            place.write(f"{number}", b"%d" % number)
    finally:
        calls = s3.well()
    assert [place.read(f"{number}") for number in range(4)] == [b"0", b"1", b"2", b"3"]
    assert calls["fault late"] and calls["PUT"] > 4
    s3.control(down=True, reset=True)
    try:
        with monkeypatch.context() as patch, pytest.raises(StoreError, match="see that the store answers"):
            patch.setenv("SLVR_STORE_PATIENCE", "0")
            place.read("1")
        assert place.give_up_uploads() == 0
        writing = threading.Thread(target=place.write, args=("late", b"in the end"))
        writing.start()
        wait_for(lambda: s3.control().get("PUT", 0) > 0)
    finally:
        s3.well()
    writing.join(60)
    assert place.read("late") == b"in the end"
