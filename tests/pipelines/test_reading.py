"""Rows of a source come into the order of its file, whoever read them when, and do not stay in memory."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import mapped, reading
from pipelines.config import BuildConfig
from pipelines.engines import open_engine
from pipelines.progress import Progress
from slvr_data.sources.base import SourceConfig
from tests.builds import photograph


@pytest.mark.parametrize("small", [100, 100_000])
def test_rows_are_those_of_the_file_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    monkeypatch.setattr(reading, "SMALL", small)
    monkeypatch.setattr(mapped, "SMALL", small)
    dice = random.Random(0)
    for picture in range(40):
        (tmp_path / f"{picture}.jpg").write_bytes(photograph(picture)[0])
    labels = [f"thing {number} {'x' * 400}" for number in range(3000)]
    rows = [{"image": f"{dice.randrange(40)}.jpg", "bbox": [1, 2, 30, 40], "label": label} for label in labels]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = SourceConfig(kind="jsonl", name="s", annotations=[tmp_path / "rows.jsonl"], images=tmp_path)
    config = BuildConfig(out=tmp_path / "set", sources=[source])
    progress = Progress(tmp_path / "progress.json")
    before = pa.total_allocated_bytes()
    with open_engine("local", config.ray, config, tmp_path, 2, progress.say) as engine:
        (table,) = reading.read_sources([source], config, tmp_path, engine, progress, defaultdict(float)).values()
    held = pa.total_allocated_bytes() - before
    assert table["label"].to_pylist() == labels and table["line"].to_pylist() == list(range(1, 3001))
    assert table.nbytes > 1 << 20
    if small < 3000:
        assert held < table.nbytes / 4
