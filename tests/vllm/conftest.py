"""One real vLLM server for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.real import KEY, RunningVllm, running_vllm
from tests.vllm.asked import KEY_VARIABLE


@pytest.fixture(scope="session")
def vllm() -> Iterator[RunningVllm]:
    """The server; its key stands in the environment as `--api-key-env` names it."""
    with pytest.MonkeyPatch.context() as patch, running_vllm() as server:
        patch.setenv(KEY_VARIABLE, KEY)
        yield server
