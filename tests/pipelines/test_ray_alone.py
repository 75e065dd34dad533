"""The engine `ray` without a cluster: one of its own that dies with it, addresses where none is, no package."""

from __future__ import annotations

import pickle
import socket
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.config import BuildConfig
from pipelines.engines import ray_cluster
from pipelines.engines.config import RayConfig
from pipelines.engines.ray import RayEngine, _told_by, suited
from pipelines.engines.ray_task import Told, call, versions
from slvr_data.avoid.features import method
from slvr_data.errors import RunError
from slvr_data.remote.steady import RefusedError
from tests.builds import coco, end, of_coco, run, shards, start, wait_for
from tests.support import refused_here

needs_ray = pytest.mark.skipif(
    not any((Path(folder) / "ray").is_dir() for folder in sys.path), reason="the extra ray is not installed"
)


@needs_ray
@pytest.mark.slow
def test_nothing_of_it_survives(tmp_path: Path) -> None:
    """Killed in the middle of its work, it leaves no process behind."""
    file, out = coco(tmp_path, 60, size=(640, 480)), tmp_path / "set"
    process = start(*of_coco(file, "--out", out, "--shard-size", 1, "--engine", "ray", "--workers", 1))
    try:
        wait_for(lambda: len(shards(out)) >= 2, 300)
        family = psutil.Process(process.pid).children(recursive=True)
        assert any("raylet" in child.name() for child in family)
        process.kill()
        wait_for(lambda: not [child for child in family if alive(child)], 120)
    finally:
        end(process)
    assert len(shards(out, "check")) < 60, "killed in the middle"


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@needs_ray
def test_an_address_where_nothing_answers(tmp_path: Path) -> None:
    build = ["build-attributes", "scenes", "--limit", 1, "--out", tmp_path / "set", "--engine", "ray"]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        free = listening.getsockname()[1]
    done = run(*build, "--ray-address", f"127.0.0.1:{free}", code=1)
    assert f"--ray-address 127.0.0.1:{free}: nothing answers there" in done.stderr.splitlines()[-1]
    assert "ray start --head" in done.stderr.splitlines()[-1]


@needs_ray
def test_an_address_where_something_else_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself would try for many minutes."""
    monkeypatch.setattr(ray_cluster, "_HEALTH_SECONDS", 4)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(
            RunError, match=f"--ray-address {address}: what answers is not the head of a cluster of Ray"
        ):
            ray_cluster.connect(ray_cluster.ray_module(), address, None)


@needs_ray
@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:many", ":6379", "head:99999"])
def test_what_is_no_address(tmp_path: Path, capfd: pytest.CaptureFixture[str], address: str) -> None:
    build = ["build-attributes", "scenes", "--out", tmp_path / "set", "--engine", "ray", "--ray-address", address]
    assert f"--ray-address {address}: write host:port" in refused_here(capfd, *build)
    assert not (tmp_path / "set/.work").exists()


def test_options_that_do_not_go_together(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build = ["build-attributes", "scenes", "--out", tmp_path / "set"]
    said = refused_here(capfd, *build, "--ray-address", "head:6379")
    assert "--ray-address head:6379 goes with --engine ray, not with --engine local" in said
    assert "engine" in refused_here(capfd, *build, "--engine", "spark")
    assert "ray.check.cpus" in refused_here(capfd, *build, "--set", "ray.check.cpus=0")


class Sending(RayEngine):
    """It notes what it would send to a cluster."""

    sent: list[Any]

    def _send(self, sent: Any) -> None:
        self.sent.append(sent)


@needs_ray
def test_no_more_calls_at_once_than_workers(tmp_path: Path) -> None:
    """On a cluster with more processors than --workers, what is beyond is held here."""
    engine = Sending(BuildConfig(out=tmp_path), tmp_path, RayConfig(), 2, print)
    engine.sent = []
    futures = [engine.submit("read", number) for number in range(5)]
    settler = threading.Thread(target=engine._settle, daemon=True)
    settler.start()
    for number, future in enumerate(futures):
        assert len(engine.sent) == min(number + 2, 5)
        engine._arrived.put((engine.sent[number], answered(number)))
        assert future.result(60) == number
        wait_for(lambda wanted=min(number + 3, 5): len(engine.sent) == wanted, 60)
    engine.submit("read", 5)
    assert len(engine.sent) == 6, "there is room again"
    engine._arrived.put(None)
    settler.join(60)


def answered(result: int) -> Future[int]:
    future: Future[int] = Future()
    future.set_result(result)
    return future


@needs_ray
def test_what_a_worker_lacks_is_told_with_its_machine() -> None:
    from ray.exceptions import RayTaskError

    lacks = RefusedError("reading s3://pictures is refused: there are no credentials")
    raised = RayTaskError("call", "Traceback (most recent call last):", lacks, pid=7, ip="10.0.0.7")
    told = _told_by(raised, raised.cause)
    assert isinstance(told, RefusedError)
    assert str(told).startswith(f"the worker on 10.0.0.7: {lacks}") and "`ray start`" in str(told)


def test_without_the_package(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    build = ["build-attributes", "scenes", "--out", tmp_path / "set", "--engine", "ray"]
    assert "--engine ray needs the package ray: pip install '.[ray]' in a clone" in refused_here(capfd, *build)
    assert not (tmp_path / "set/.work").exists()


def test_a_worker_that_does_not_see_the_folder(tmp_path: Path) -> None:
    """Its disk is another one, or other versions of what decides bytes are installed there."""
    config = BuildConfig(out=tmp_path)
    told = Told(config, tmp_path / ".work", "token", versions())
    with pytest.raises(RunError, match=f"does not see {tmp_path}/.work: .* must lie on a disk that all machines"):
        call(pickle.dumps(told), "read", ("scenes", []))
    (tmp_path / ".work").mkdir()
    (tmp_path / ".work/token").touch()
    assert versions()["OpenCV"] == method(), "whatever package it came in"
    other = Told(config, tmp_path / ".work", "token", versions() | {"pillow": "1.0"})
    with pytest.raises(RunError, match=r"has pillow [\d.]+ instead of 1.0: install the same versions"):
        call(pickle.dumps(other), "read", ("scenes", []))


@pytest.mark.parametrize(
    ("asked", "suits"),
    [
        ({}, True), ({"cpus": 4}, True), ({"cpus": 4.5}, False), ({"memory_gb": 2}, True), ({"memory_gb": 2.1}, False),
        ({"resources": {"pictures": 1}}, True), ({"resources": {"pictures": 2}}, False),
        ({"resources": {"gold": 0.1}}, False),
    ],
)  # fmt: skip
def test_what_a_stage_asks_for(asked: dict[str, Any], suits: bool) -> None:
    told = RayConfig.model_validate({"encode": asked})
    machine = {"CPU": 4.0, "memory": 2.0 * 2**30, "pictures": 1.0}
    assert suited(machine, told.needs("prepare_questions")) is suits
    assert suited(machine, told.needs("run"))
