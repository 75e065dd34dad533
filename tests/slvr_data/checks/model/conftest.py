"""A stub that knows a few drawn pictures, and these pictures as they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.judging import SCRIPT
from tests.servers.running import RunningStub, running_stub

PICTURES = 4


@pytest.fixture(scope="module")
def shared() -> Iterator[RunningStub]:
    with running_stub(model=SCRIPT.MODEL, scenes=f"full:{PICTURES}", scenes_seed=3, service_ms=0.5, slots=64) as stub:
        stub.wait_drawn()
        yield stub


@pytest.fixture
def stub(shared: RunningStub) -> Iterator[RunningStub]:
    shared.control(reset=True, faults={}, errors={"rate": 0, "repeat": 0, "answers": 0})
    yield shared
    shared.control(faults={}, errors={"rate": 0, "repeat": 0, "answers": 0})


@pytest.fixture(scope="module")
def pictures() -> list[Any]:
    return [SCRIPT.prepared(picture) for picture in SCRIPT.drawn(PICTURES, 3)]
