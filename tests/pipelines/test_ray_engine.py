"""The engine `ray` on a real cluster: workers are killed, a node goes, a picture ends every worker; same bytes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.engines.ray_cluster import connect
from slvr_data.remote.place import Place
from tests.builds import coco, of_coco, published, refused, run, wait_for
from tests.clusters import cluster, node_of
from tests.remotes import published_at, s3_found
from tests.served_builds import calls
from tests.servers.running import running_stub

pytest.importorskip("ray", reason="the extra ray is not installed")

PICTURES, REGIONS = 20, 4
TRAPS = Path(__file__).parent / "traps"
DEADLY, HELD, HELD_TOO, DEADLY_LATER = "00007.jpg", "00003.jpg", "00012.jpg", "00015.jpg"


@dataclass
class Ray:
    """A cluster with traps for its workers."""

    made: Any
    traps: Path
    options: list[object] = field(default_factory=list)

    def set(self, picture: str, kind: str) -> None:
        (self.traps / f"{picture}.{kind}").touch()

    def held(self, picture: str) -> int:
        """The worker that a picture holds."""
        found = wait_for(lambda: list(self.traps.glob(f"{picture}.held-*")), 300)
        return int(found[0].name.rpartition("-")[2])

    def clear(self) -> None:
        for trap in self.traps.iterdir():
            trap.unlink()

    def release(self, picture: str) -> None:
        (self.traps / f"{picture}.hold").unlink()


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ray]:
    traps = tmp_path_factory.mktemp("traps")
    with cluster(2, SLVR_TEST_TRAPS=str(traps), PYTHONPATH=str(TRAPS)) as made:
        yield Ray(made, traps, ["--engine", "ray", "--ray-address", made.address])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco(tmp_path_factory.mktemp("photographs"), PICTURES, regions=REGIONS)


@pytest.fixture(scope="module")
def local(file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What one process of one machine publishes: profiles, and questions with them; a picture is avoided."""
    out = tmp_path_factory.mktemp("local") / "set"
    run(*of_coco(file, "--workers", 1, "--out", out, "--avoid", avoided(file)))
    profiles = published(out)
    run("build-multiquery", out, "--workers", 1)
    return {"profiles": profiles, "questions": published(out)}


def avoided(file: Path) -> Path:
    """One of the pictures, as a file of its own."""
    copy = file.parent / "avoided" / "copy.jpg"
    copy.parent.mkdir(exist_ok=True)
    if not copy.exists():
        shutil.copyfile(next(file.parent.rglob("00004.jpg")), copy)
    return copy


class Running(threading.Thread):
    """A command that runs meanwhile."""

    def __init__(self, *arguments: object, code: int) -> None:
        super().__init__()
        self._arguments, self._code = arguments, code
        self.done: subprocess.CompletedProcess[str] | None = None
        self.start()

    def run(self) -> None:
        self.done = run(*self._arguments, code=None)

    def ended(self) -> subprocess.CompletedProcess[str]:
        self.join(600)
        assert self.done is not None
        assert self.done.returncode == self._code, self.done.stderr
        return self.done


@pytest.mark.slow
def test_a_served_build_asks_from_one_process(ray: Ray, file: Path, tmp_path: Path) -> None:
    """A shard ends its worker while it encodes: its other picture is asked about alone, and nothing is asked twice."""
    out, alone = tmp_path / "set", tmp_path / "alone"
    with running_stub(service_ms=5, invent=True) as stub:
        served = ["--annotator", "served", "--base-url", stub.base_url, "--model", "stub-vl", "--limit", 8]
        run(*of_coco(file, "--out", alone, "--workers", 1, *served))
        asked = len(calls(stub))
        ray.set(DEADLY, "kill")
        command = of_coco(file, "--out", out, *served)
        done = run(*command, "--shard-size", 2, "--set", "ray.attempts=1", *ray.options, code=3)
        told = assert_unfinished(out, done.stderr, 8)
        assert len(told) == 3, "the shard, the picture alone, and the last line"
        ray.clear()
        run(*command, "--workers", 1)
        assert published(out) == published(alone)
        assert len(calls(stub)) - asked <= asked + 4, "but for the canaries of two starts"


@pytest.mark.slow
def test_a_worker_a_node_and_a_picture_that_kills(ray: Ray, file: Path, local: Any, tmp_path: Path) -> None:
    """A killed worker and a node that goes cost nothing; the pictures that kill their workers, one only when it
    is compared with what is avoided, stay open, alone.
    """
    out = tmp_path / "set"
    for picture, kind in ((HELD, "hold"), (HELD_TOO, "hold"), (DEADLY, "kill"), (DEADLY_LATER, "kill-compared")):
        ray.set(picture, kind)
    command = of_coco(file, "--out", out, "--avoid", avoided(file))
    building = Running(*command, "--shard-size", 1, "--set", "ray.attempts=2", *ray.options, code=3)
    held = {node_of(ray.made, pid): pid for pid in (ray.held(HELD), ray.held(HELD_TOO))}
    assert "is being written by" in refused(*command, *ray.options), "one driver at a time"
    shown = json.loads(run("status", out, "--json").stdout)
    assert shown["progress"]["phase"] == "working" and "2 workers on 2 machines" in shown["progress"]["note"]
    os.kill(held.pop(ray.made.head_node), signal.SIGKILL)
    (node,) = held
    ray.made.remove_node(node, allow_graceful=False)
    ray.release(HELD)
    ray.release(HELD_TOO)
    errors = building.ended().stderr
    told = assert_unfinished(out, errors, PICTURES, DEADLY_LATER, 2)
    assert len(told) == 3 and all(f"coco:{DEADLY}" in told[place] for place in (0, 2)), errors
    assert published(out) != local["profiles"]
    ray.clear()
    run(*command, "--workers", 1)
    assert published(out) == local["profiles"]
    run("build-multiquery", out, *ray.options)
    assert published(out) == local["questions"]
    assert not list((out / ".work").glob(".*")), "nothing is left over"


@pytest.mark.slow
def test_a_set_at_an_address_is_published_as_a_local_one(ray: Ray, file: Path, tmp_path: Path) -> None:
    """Workers fill the scratch and know nothing of the store: one is killed over a picture; questions come from an
    empty scratch.
    """
    local, pictures = tmp_path / "set", 6
    build = of_coco(file, "--limit", pictures)
    with s3_found():
        place = Place("s3://bucket/ray/set")
        ray.set(HELD, "hold")
        there = ["--out", place.address, "--scratch", tmp_path / "one", "--shard-size", 1]
        building = Running(*build, *there, *ray.options, code=0)
        try:
            run(*build, "--out", local, "--workers", 1)
            held = ray.held(HELD)
            assert node_of(ray.made, held), "it is a worker of the cluster that makes this set"
            os.kill(held, signal.SIGKILL)
        finally:
            ray.clear()
        building.ended()
        assert published_at(place) == published(local)
        assert json.loads(place.read("manifest.json"))["accounts"]["published"] == pictures * REGIONS
        asking = Running("build-multiquery", place.address, "--scratch", tmp_path / "two", *ray.options, code=0)
        run("build-multiquery", local, "--workers", 1)
        asking.ended()
        assert published_at(place) == published(local)


def test_machines_without_slvr(ray: Ray, tmp_path: Path) -> None:
    (ray.traps / "no-slvr").touch()
    said = refused("build-attributes", "scenes", "--limit", 2, "--out", tmp_path / "set", *ray.options, code=1)
    ray.clear()
    assert re.search(r"the worker on [\d.]+ cannot load slvr \(ModuleNotFoundError: No module named 'pipe", said), said
    assert "install the same versions on all machines" in said


def test_a_stop_is_still_ours(ray: Ray) -> None:
    """Ray takes SIGTERM for itself when it connects; the command wants it back."""
    import ray as package

    before = signal.getsignal(signal.SIGTERM)
    assert connect(package, ray.made.address, None)
    try:
        assert signal.getsignal(signal.SIGTERM) is before
        assert not connect(package, ray.made.address, None), "who is connected stays so"
    finally:
        package.shutdown()


def assert_unfinished(out: Path, errors: str, pictures: int, last: str = DEADLY, count: int = 1) -> list[str]:
    """So many pictures are open, and `last` is named last; the rest is published, and all is accounted for. What was
    said of workers.
    """
    accounts = json.loads((out / "manifest.json").read_bytes())["accounts"]
    assert accounts["regions"] == pictures * REGIONS
    assert accounts["regions_unfinished"] == count * REGIONS
    assert accounts["published"] + accounts["rejected"] + accounts["regions_unfinished"] == accounts["regions"]
    told = [line for line in errors.splitlines() if "that took it" in line]
    assert f"(coco:{last}) has ended" in told[-2] and "the same command goes on" in told[-1], errors
    assert f"{count * REGIONS} regions are unfinished" in told[-1]
    return told
