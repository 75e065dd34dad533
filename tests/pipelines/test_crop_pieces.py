"""What `crop` makes of a shard is committed in pieces of bounded bytes; a set does not depend on how many there are."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.build import build_attributes
from pipelines.config import BuildConfig
from pipelines.stages import crop
from tests.builds import published

PICTURES = 6


def built(out: Path) -> list[int]:
    """A set of one shard; how many pictures stand in each folder of `crop`."""
    told = {"sources": [{"kind": "scenes"}], "limit": PICTURES, "workers": 1, "shard_size": PICTURES, "out": out}
    build_attributes(BuildConfig.model_validate(told))
    return [pq.read_table(path).num_rows for path in sorted((out / ".work" / "crop").glob("*/images.parquet"))]


def test_memory_does_not_grow_with_the_bytes_of_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert built(tmp_path / "whole") == [PICTURES]
    monkeypatch.setattr(crop, "MOST_BYTES", 1)
    assert built(tmp_path / "pieces") == [1] * PICTURES
    assert published(tmp_path / "pieces") == published(tmp_path / "whole")
