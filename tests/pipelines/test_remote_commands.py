"""Commands on a set at an address, where the store itself is not the point: what they fetch, say, and refuse."""

from __future__ import annotations

import fcntl
import json
import threading
import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmark.cli import app as bench_app
from pipelines.cli import app
from pipelines.progress import Progress
from pipelines.remote import reading
from slvr_data.errors import UsageError
from slvr_data.remote.addresses import copy_of
from slvr_data.remote.holding import NAME
from slvr_data.remote.mirror import scratch_of
from slvr_data.remote.place import Place
from tests.builds import rows, wait_for
from tests.remotes import build


@pytest.fixture(scope="module")
def avoiding(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a set that avoids one of its own pictures."""
    root = tmp_path_factory.mktemp("avoiding")
    build(root / "plain", root, count=4)
    (root / "bench").mkdir()
    (root / "bench" / "one.png").write_bytes(rows(root / "plain", "images")[0]["image"]["bytes"])
    address = f"memory://{uuid.uuid4().hex}/set"
    build(address, root, count=4, avoid=[str(root / "bench")])
    return address


def test_what_was_avoided_is_read_without_the_drivers_place_and_without_other_work(
    avoiding: str, tmp_path: Path
) -> None:
    place = Place(avoiding)
    driver = place.read(NAME)
    found = CliRunner().invoke(app, ["avoided", avoiding, "--scratch", str(tmp_path), "--json"], catch_exceptions=False)
    assert [json.loads(line)["avoided"]["name"] for line in found.stdout.splitlines()] == ["one.png"]
    found = CliRunner().invoke(app, ["avoided", avoiding, "--scratch", str(tmp_path)], catch_exceptions=False)
    page = Path(found.stdout.splitlines()[-1])
    assert "one.png" in page.read_text()
    assert {path.parent.parent.name for path in page.parent.glob("*/*/*.parquet")} == {"compared"}
    assert not (page.parents[1] / "data").exists()
    assert place.read(NAME) == driver


def test_a_reader_tells_what_it_fetches_and_for_whom_it_waits(
    avoiding: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = Place(avoiding)
    with reading(Path(avoiding), scratch=tmp_path):
        said = capfd.readouterr().err
    assert f"MiB of {avoiding} into {tmp_path}" in said
    done = threading.Event()

    def read() -> None:
        with reading(Path(avoiding), scratch=tmp_path):
            done.set()

    with (scratch_of(place, tmp_path, "read").parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        thread = threading.Thread(target=read)
        thread.start()
        wait_for(lambda: "waiting for another command that reads memory://" in capfd.readouterr().err)
        assert not done.is_set()
    thread.join(60)
    assert done.is_set()
    assert "fetching" not in capfd.readouterr().err


def test_lines_of_a_run_name_the_set_by_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("/cache/set-0/set")
    with copy_of(folder, "s3://bucket/set"):
        Progress(folder / "progress.json").say(f"run slvr-data build-multiquery {folder} again")
    assert capsys.readouterr().err == "run slvr-data build-multiquery s3://bucket/set again\n"


@pytest.mark.parametrize(
    ("application", "arguments"),
    [
        ("data", ["publish", "set", "--to"]),
        ("data", ["convert", "set", "--to", "llava", "--out"]),
        ("bench", ["build", "set", "--out"]),
        ("bench", ["import", "file.json", "--out"]),
        ("bench", ["edited", "--out"]),
    ],
)
def test_what_cannot_be_written_to_an_address_is_refused_and_nothing_is_made(
    application: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = bench_app if application == "bench" else app
    with pytest.raises(UsageError, match=rf"{arguments[-1]} s3://bucket/out is an address: name a place on this"):
        CliRunner().invoke(command, [*arguments, "s3://bucket/out"], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("told", ["SLVR_SCRATCH", "--scratch"])
def test_the_scratch_folder_that_is_told_is_used(
    avoiding: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By commands that write as by those that read; the user's cache is left alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SLVR_SCRATCH", raising=False)
    scratch = tmp_path / "scratch"
    more = ["--scratch", str(scratch)]
    if told == "SLVR_SCRATCH":
        monkeypatch.setenv(told, str(scratch))
        more = []
    CliRunner().invoke(app, ["attach", avoiding, *more], catch_exceptions=False)
    CliRunner().invoke(app, ["audit", avoiding, *more], catch_exceptions=False)
    assert sorted(path.name.partition("-")[0] for path in scratch.iterdir()) == ["read", "set"]
    assert not (tmp_path / "cache").exists()
