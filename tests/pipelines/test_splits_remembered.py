"""Splits are remembered of what was published, and of nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.build import build_attributes
from pipelines.config import BuildConfig
from slvr_data.release import Release


def test_a_run_that_ends_before_it_publishes_leaves_no_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would decide over rows that come later, as if readers had seen them."""
    told: dict[str, Any] = {"sources": [{"kind": "scenes"}], "limit": 2, "workers": 1, "out": tmp_path / "set"}

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Release, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            build_attributes(BuildConfig.model_validate(told))
    memory = tmp_path / "set" / ".work" / "splits.parquet"
    assert not memory.exists()
    build_attributes(BuildConfig.model_validate(told))
    assert memory.exists()
