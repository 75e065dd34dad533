"""The published set of stage 1's tests, and configurations of stage 2 about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.sft.settings import load_config
from tests.slvr_model.sft.conftest import scenes_set

__all__ = ["scenes_set"]


@pytest.fixture
def set_up(scenes_set: Path, tmp_path: Path) -> Callable[..., MgrpoConfig]:
    """A configuration by name, about the set, with assignments; its run goes to `out` below the test's folder."""

    def make(*assignments: str, name: str = "mgrpo-tiny-debug", out: str = "run") -> MgrpoConfig:
        fixed = [f"data.set={scenes_set}", f"out={tmp_path / out}", f"data.cache={scenes_set.parent / 'cache'}"]
        config: MgrpoConfig = load_config(name, [*fixed, *assignments], "mgrpo")
        return config

    return make
