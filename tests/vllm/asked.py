"""What the tests of the real server ask it, and what it counts meanwhile."""

from __future__ import annotations

import base64
import io
from types import TracebackType
from typing import Any

from PIL import Image

from pipelines.doctor import drawn_requests
from slvr_data.prompts import load_prompts
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.messages import Request
from slvr_data.schema import AttributeProfile
from tests.servers.real import MODEL, RunningVllm

KEY_VARIABLE = "SLVR_TEST_VLLM_KEY"
COUNTERS = (
    "prompt_tokens_total", "generation_tokens_total", "prompt_tokens_cached_total", "request_success_total",
    "prefix_cache_queries_total", "prefix_cache_hits_total", "mm_cache_queries_total", "mm_cache_hits_total",
)  # fmt: skip


def settings(server: RunningVllm, **changed: Any) -> dict[str, Any]:
    """Of a client of the server."""
    plain = {"base_urls": [server.base_url], "model": MODEL, "api_key_env": KEY_VARIABLE, "timeout": 120}
    return plain | changed


def profile_requests(server: RunningVllm) -> list[Request[AttributeProfile]]:
    """The request for the profile of each region of some scenes, as a build makes them."""
    return drawn_requests(ServedConfig(**settings(server)), load_prompts(None))


class Counted:
    """How far the server's own counters move within a block: `moved[name]`."""

    def __init__(self, server: RunningVllm) -> None:
        self._server = server
        self.moved: dict[str, int] = {}

    def __enter__(self) -> Counted:
        self._before = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        after = self._read()
        self.moved = {name: after[name] - before for name, before in self._before.items()}

    def _read(self) -> dict[str, int]:
        return {name: int(self._server.count(name)) for name in COUNTERS}


def data_url(data: bytes) -> dict[str, Any]:
    """A picture as a part of a message."""
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"}}


def jpeg(color: tuple[int, int, int] = (200, 30, 40), side: int = 112) -> bytes:
    """A picture of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), color).save(stream, "JPEG")
    return stream.getvalue()
