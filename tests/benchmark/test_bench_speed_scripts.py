"""The script that measures the builder: what it counts is what was built."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.benchmark.bench_pictures import scenes


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "perf/bench_build.py"
    sys.path.insert(0, str(path.parent))  # its neighbours
    spec = importlib.util.spec_from_file_location("perf_bench_build", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["perf_bench_build"] = module
    spec.loader.exec_module(module)
    return module


def test_it_counts_what_was_built(script: ModuleType, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    start = script.cost("list")
    found = script.built(scenes(tmp_path_factory), tmp_path / "bench", start)
    accounts = json.loads((tmp_path / "bench" / "bench.json").read_text())["accounts"]
    assert (found.groups, found.items, found.queries) == tuple(accounts[n] for n in ("groups", "items", "queries"))
    assert len((tmp_path / "bench" / "items.jsonl").read_text().splitlines()) == found.items > 0
    assert 0 < found.cpu < 300
    assert 16 << 20 < start[2] <= found.peak < 8 << 30, "at least that of this process, which a child begins as"
    with pytest.raises(SystemExit, match="no-set-here"):
        script.cost("build", tmp_path / "no-set-here", "--out", tmp_path / "other")


def test_figures_are_over_cpu_time_and_tell_how_they_grow(script: ModuleType) -> None:
    rows = [script.Built(1000, 500, 1500, 2.0, 3.0, 100 << 20), script.Built(4000, 2000, 6000, 9.0, 11.0, 400 << 20)]
    first, second, last = script.table(rows, (0.5, 0.6, 50 << 20)).splitlines()[-3:]
    assert first.split() == ["1,000", "500", "1,500", "2.00", "250", "3.00", "100"]
    assert second.split() == ["4,000", "2,000", "6,000", "9.00", "222", "11.00", "400"]
    assert last == "of 4.0 times the groups: 4.5 times the CPU; 102,400 KiB of memory per thousand groups more"
