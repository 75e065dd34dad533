"""One small published set for all tests of stage 1, and a configuration that learns it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slvr_model.sft.config import SftConfig
from slvr_model.sft.settings import load_config
from tests.builds import run, shared


def _make(folder: Path) -> None:
    out = folder / "set"
    run("build-attributes", "scenes:easy", "--annotator", "exact", "--limit", "16", "--workers", "1", "--out", out)
    run("build-multiquery", out, "--workers", "1")
    run("embed", out, "--model", "local-hash-1:256")


@pytest.fixture(scope="session")
def scenes_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen easy scenes with questions and embeddings; not to be changed."""
    return shared(tmp_path_factory, "sft", _make) / "set"


@pytest.fixture
def configured(scenes_set: Path, tmp_path: Path) -> Callable[..., SftConfig]:
    """A configuration by name, about the set, with assignments; its run goes to `out` below the test's folder."""

    def make(*assignments: str, name: str = "tiny-debug", out: str = "run") -> SftConfig:
        fixed = [f"data.set={scenes_set}", f"out={tmp_path / out}", f"data.cache={scenes_set.parent / 'cache'}"]
        config: SftConfig = load_config(name, [*fixed, *assignments])
        return config

    return make
