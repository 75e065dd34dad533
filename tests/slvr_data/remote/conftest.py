"""A place in memory, and a scratch copy of it."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from slvr_data.remote.place import Place
from tests.slvr_data.remote.copies import Copy


@pytest.fixture
def place() -> Place:
    return Place(f"memory://{uuid.uuid4().hex}/set")


@pytest.fixture
def copy(place: Place, tmp_path: Path) -> Copy:
    return Copy(place, tmp_path / "one" / "set").begin()
