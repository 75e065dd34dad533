"""What a large set costs: beyond its bounds nothing is published otherwise, and memory does not grow with the set."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType

import pytest

from pipelines import mapped, plan
from pipelines.build import make_plan
from pipelines.finished import Finished
from pipelines.history import history_of
from pipelines.partitions import load_partitions
from pipelines.republish import config_of, known_settings, republish
from slvr_data import spilled
from slvr_data.checks.global_ import whole
from tests.builds import mixed_set, run, shared


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of three sources, with questions; not to be changed."""

    def make(folder: Path) -> None:
        shutil.copytree(shared(tmp_path_factory, "mixed", mixed_set) / "set", folder / "set")
        run("build-multiquery", folder / "set", "--workers", 1)

    return shared(tmp_path_factory, "asked-about", make) / "set"


@pytest.fixture
def tiny_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that spills does so at once."""
    for module, name in ((spilled, "HELD"), (whole, "TABLE"), (mapped, "SMALL"), (plan, "REMEMBERED")):
        monkeypatch.setattr(module, name, 8)
    monkeypatch.setattr("pipelines.publish.REMEMBERED", 8)
    monkeypatch.setattr(mapped, "_PIECE", 16)
    monkeypatch.setattr(mapped, "_BLOCK", 16)


def test_what_lies_on_disk_is_published_as_what_does_not(seed: Path, tmp_path: Path, tiny_bounds: None) -> None:
    shutil.copytree(seed, tmp_path / "set")
    before = (seed / "manifest.json").read_bytes(), (seed / "README.md").read_bytes()
    splits = (seed / ".work/splits.parquet").read_bytes()
    accounts = republish(tmp_path / "set", {}, None)
    assert accounts["rejected"] and accounts["malformed"] and accounts["queries_published"]
    assert ((tmp_path / "set/manifest.json").read_bytes(), (tmp_path / "set/README.md").read_bytes()) == before
    assert (tmp_path / "set/.work/splits.parquet").read_bytes() == splits


def many_regions() -> ModuleType:
    """`perf/many_regions.py`, which grows sets."""
    path = Path(__file__).parents[2] / "perf/many_regions.py"
    spec = importlib.util.spec_from_file_location("perf_many_regions", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["perf_many_regions"] = module
    spec.loader.exec_module(module)
    return module


def held_by_a_resume(out: Path) -> int:
    """Bytes at the peak of what finds all work of a set finished."""
    work = out / ".work"
    config = config_of(known_settings(out, work), out)
    tracemalloc.start()
    found = make_plan(config, load_partitions(work / "plan"), history_of(out, work))
    finished = Finished(work)
    assert all(finished.open_work(picture) is None for picture in found.pictures())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_resume_holds_of_a_large_set_what_it_holds_of_a_small_one(
    seed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(seed, tmp_path / "seed")
    grow = many_regions().grow
    made = [grow(tmp_path / "seed", tmp_path / str(regions), regions) for regions in (400, 1600)]
    assert made[1] > 3.9 * made[0] > 1500
    for module, name in ((spilled, "HELD"), (mapped, "SMALL"), (plan, "REMEMBERED"), (plan, "AT_ONCE")):
        monkeypatch.setattr(module, name, 32)
    few, many = (held_by_a_resume(tmp_path / str(regions)) for regions in (400, 1600))
    assert many < 1.35 * few, "of each picture, its id is held"
    monkeypatch.setattr(spilled, "HELD", 1 << 20)
    assert held_by_a_resume(tmp_path / "1600") > 1.35 * many, "without bounds it would be more"
