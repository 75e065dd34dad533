"""Fixtures of all tests; what they are made of stands in `tests/support.py`."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import Published, build, encoded, picture, write_jsonl, write_pictures


@pytest.fixture(scope="session")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A published set of two pictures and three regions from `jsonl`; not to be changed."""
    folder = tmp_path_factory.mktemp("small")
    write_pictures(folder / "pictures", {f"{n}.png": encoded(picture(seed=n)) for n in range(2)})
    rows = [{"image": f"{n % 2}.png", "bbox": [10, 10, 50, 40 + n], "label": "thing"} for n in range(3)]
    file = write_jsonl(folder / "rows.jsonl", rows)
    found = build("jsonl", folder / "set", "--images", folder / "pictures", "--annotations", file)
    return Published(folder / "set", found.stderr)


# The same examples on every machine, however slow it is.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


@pytest.fixture
def terminable() -> Iterator[None]:
    """SIGTERM does here what it does in the command."""

    def terminated(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminated)
    yield
    signal.signal(signal.SIGTERM, before)
