"""Calls that a Ray cluster loses: what counts against them, when and where they are sent again; versions of workers."""

from __future__ import annotations

import pickle
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipelines.config import BuildConfig
from pipelines.engines import ray_task, resent
from pipelines.engines.config import RayConfig
from pipelines.engines.lost import WorkerLostError
from pipelines.engines.ray import RayEngine
from pipelines.engines.resent import MOST_MACHINES, Losses, Machines
from slvr_data.errors import RunError

needs_ray = pytest.mark.skipif(
    not any((Path(folder) / "ray").is_dir() for folder in sys.path), reason="the extra ray is not installed"
)
BAD, GOOD = "a" * 56, "b" * 56
"""Two machines, as Ray names them."""


class Cluster:
    """In the place of Ray's remote function: it notes where each call is sent, and ends it as `becomes` says."""

    def __init__(self, becomes: Callable[[str | None], Any]) -> None:
        self.becomes = becomes
        self.sent: list[str | None] = []

    def options(self, **options: Any) -> Cluster:
        strategy = options.get("scheduling_strategy")
        assert strategy is None or strategy.soft, "it may run elsewhere where that machine is gone"
        self.sent.append(strategy and strategy.node_id)
        return self

    def remote(self, *arguments: Any) -> Cluster:
        return self

    def future(self) -> Future[Any]:
        future: Future[Any] = Future()
        end = self.becomes(self.sent[-1])
        future.set_exception(end) if isinstance(end, Exception) else future.set_result(end)
        return future


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayEngine]:
    """Of a cluster of two machines, that is still to be named; it says what it says to `engine.said`."""
    monkeypatch.setattr(resent, "_PAUSE_SECONDS", 0.001)
    made = RayEngine(BuildConfig(out=tmp_path), tmp_path, RayConfig(), None, lambda text: None)
    made._told_workers = b""
    made._machines, made._looked = {BAD: {"CPU": 1}, GOOD: {"CPU": 1}}, float("inf")
    settler = threading.Thread(target=made._settle, daemon=True)
    settler.start()
    yield made
    made._arrived.put(None)
    settler.join(60)


def on(engine: RayEngine, becomes: Callable[[str | None], Any]) -> Cluster:
    cluster = Cluster(becomes)
    engine.__dict__["_remote"] = cluster
    return cluster


@needs_ray
def test_a_machine_on_which_everything_fails_is_not_the_last_that_is_tried(engine: RayEngine) -> None:
    """The cluster, which sees only that it is free, gives it every call."""
    from ray.exceptions import WorkerCrashedError

    cluster = on(engine, lambda machine: 7 if machine == GOOD else WorkerCrashedError())
    assert engine.submit("build", 1).result(60) == 7
    assert cluster.sent == [None, BAD, GOOD]
    del cluster.sent[:]
    assert [engine.submit("build", 1).result(60) for _ in range(3)] == [7, 7, 7]
    assert cluster.sent == 3 * [None, GOOD], "it is known now"


@needs_ray
def test_a_call_that_ends_each_of_its_workers_is_given_up(engine: RayEngine) -> None:
    from ray.exceptions import OutOfMemoryError

    cluster = on(engine, lambda machine: OutOfMemoryError(f"Memory on the node (IP: 10.0.0.7, ID: {GOOD}) is full"))
    with pytest.raises(WorkerLostError, match=r"has ended each of 3 workers that took it \(out of memory\)$"):
        engine.submit("build", 1).result(60)
    assert cluster.sent == [None, BAD, BAD], "which machine it was is read from the error"


@needs_ray
def test_machines_that_go_away_do_not_count_as_its_doing(engine: RayEngine) -> None:
    from ray.exceptions import NodeDiedError

    gone = deque([NodeDiedError(f"preempted, as {BAD} has noticed")] * (MOST_MACHINES - 1))
    cluster = on(engine, lambda machine: gone.popleft() if gone else 7)
    assert engine.submit("build", 1).result(60) == 7
    assert cluster.sent == [None] * MOST_MACHINES
    assert engine._past.another([BAD, GOOD], Losses(workers=1)) == BAD, "nothing was lost there"
    gone.extend([NodeDiedError("preempted")] * MOST_MACHINES)
    with pytest.raises(WorkerLostError, match=f"has lost each of {MOST_MACHINES} machines that took it"):
        engine.submit("build", 1).result(60)


@needs_ray
def test_a_lost_call_waits_before_it_is_sent_again(engine: RayEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import WorkerCrashedError

    monkeypatch.setattr(resent, "_PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr(resent, "_LONGEST_SECONDS", 3600.0)
    lost = deque([WorkerCrashedError()])
    cluster = on(engine, lambda machine: lost.popleft() if lost else 7)
    first, second = engine.submit("build", 1), engine.submit("build", 2)
    assert second.result(60) == 7, "whose turn came after the loss of the first"
    assert not first.done() and len(cluster.sent) == 2


def test_pauses_grow_to_a_bound() -> None:
    losses = Losses()
    pauses = []
    for _ in range(8):
        losses.count(machine_gone=len(pauses) % 2 == 1, on=None)
        pauses.append(losses.pause)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_of_machines_the_one_where_it_went_well_comes_first() -> None:
    machines, lost = Machines(), Losses()
    assert machines.another(["a", "b"], lost) is None, "it has ended no worker"
    lost.count(machine_gone=True, on="a")
    assert machines.another(["a", "b"], lost) is None
    lost.count(machine_gone=False, on=None)
    assert [machines.another(["a", "b", "c"], lost) for _ in range(4)] == ["a", "b", "c", "a"], "in turn"
    machines.note("a", lost=True)
    machines.note(None, lost=True)
    assert machines.another(["a", "b"], lost) == "b"
    machines.note("a", lost=False)
    assert machines.another(["a", "b"], Losses(1, 0, {"b"})) == "a"
    assert machines.another(["b"], Losses(1, 0, {"b"})) is None, "there is no other: the cluster chooses"


def test_a_hash_of_our_files_tells_checkouts_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them may have one version."""
    before = ray_task._OURS

    def hashed(root: Path) -> str:
        copies = []
        for package in before:
            copies.append(ModuleType(package.__name__))
            copies[-1].__file__ = str(root / package.__name__ / "__init__.py")
        monkeypatch.setattr(ray_task, "_OURS", tuple(copies))
        ray_task.sources.cache_clear()
        return ray_task.sources()

    try:
        for name in ("one", "two"):
            for package in before:
                shutil.copytree(Path(str(package.__file__)).parent, tmp_path / name / package.__name__)
        assert hashed(tmp_path / "one") == hashed(tmp_path / "two")
        for changed in ("pipelines/stages/crop.py", "slvr_data/prompts/profile.txt"):
            now = hashed(tmp_path / "two")
            (tmp_path / "two" / changed).write_text((tmp_path / "two" / changed).read_text() + "\n")
            assert hashed(tmp_path / "two") != now
        was = hashed(tmp_path / "one")
        (tmp_path / "one/pipelines/worker.of-another-python.pyc").write_bytes(b"code")
        (tmp_path / "one/pipelines/.worker.py.swp").write_bytes(b"an editor's")
        assert hashed(tmp_path / "one") == was
    finally:
        ray_task.sources.cache_clear()


@pytest.mark.parametrize("name", ["pycocotools", "slvr's files"])
def test_a_worker_with_other_code(tmp_path: Path, name: str) -> None:
    (tmp_path / "token").touch()
    versions = ray_task.versions()
    told = ray_task.Told(BuildConfig(out=tmp_path), tmp_path, "token", versions | {name: "other"})
    with pytest.raises(RunError, match=f"has {name} {versions[name]} instead of other: install the same versions"):
        ray_task.call(pickle.dumps(told), "read", ("scenes", []))
