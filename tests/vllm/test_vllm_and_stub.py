"""The stub answers as a real vLLM does: same status, same fields, same names of metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers.real import KEY, MODEL, RunningVllm, got, posted
from tests.servers.running import RunningStub, running_stub
from tests.vllm.asked import data_url, jpeg

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": ["A", "B"]}},
    "required": ["answer"],
    "additionalProperties": False,
}


def call(**changed: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    content = changed.pop("content", [data_url(jpeg()), {"type": "text", "text": "Which is it?\nA: red\nB: blue"}])
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    plain = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 64, "seed": 1}
    return plain | {"response_format": form} | changed


BAD = {
    "unknown model": call(model="other"),
    "undecodable picture": call(content=[data_url(b"no picture"), {"type": "text", "text": "?"}]),
    "too long": call(content="word " * 60_000),
    "no messages": {"model": MODEL},
}


@pytest.fixture(scope="module")
def stub() -> Iterator[RunningStub]:
    with running_stub(model=MODEL, api_key=KEY, max_model_len=8192, service_ms=1) as running:
        yield running


def fields(tree: Any) -> Any:
    """The names of all fields, without their values; a list by its first item."""
    if isinstance(tree, dict):
        return {name: fields(value) for name, value in sorted(tree.items())}
    if isinstance(tree, list):
        return [fields(tree[0])] if tree else []
    return None


def both(vllm: RunningVllm, stub: RunningStub, path: str, body: Any, key: str = KEY) -> list[tuple[int, Any]]:
    return [posted(root + path, body, key) for root in (vllm.root, stub.root)]


def test_completions(vllm: RunningVllm, stub: RunningStub) -> None:
    (real_status, real), (status, found) = both(vllm, stub, "/v1/chat/completions", call())
    assert real_status == status == 200, (real, found)
    details = found["usage"]["prompt_tokens_details"]
    assert details["cached_tokens"] == 0 == real["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert fields(found) == fields(real)


def test_a_reply_that_was_cut(vllm: RunningVllm, stub: RunningStub) -> None:
    (_, real), (_, found) = both(vllm, stub, "/v1/chat/completions", call(max_tokens=1))
    assert real["choices"][0]["finish_reason"] == found["choices"][0]["finish_reason"] == "length"
    assert real["usage"]["completion_tokens"] == found["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize("name", BAD)
def test_errors(name: str, vllm: RunningVllm, stub: RunningStub) -> None:
    (real_status, real), (status, found) = both(vllm, stub, "/v1/chat/completions", BAD[name])
    assert status == real_status, (real, found)
    assert fields(found) == fields(real)
    assert {k: found["error"][k] for k in ("type", "code")} == {k: real["error"][k] for k in ("type", "code")}


def test_a_wrong_key(vllm: RunningVllm, stub: RunningStub) -> None:
    real, found = both(vllm, stub, "/v1/chat/completions", call(), key="another")
    assert real == found == (401, {"error": "Unauthorized"})


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/metrics", "/version", "/v1/nothing"])
@pytest.mark.parametrize("key", [KEY, None])
def test_paths(path: str, key: str | None, vllm: RunningVllm, stub: RunningStub) -> None:
    (real_status, real), (status, found) = (got(root + path, key) for root in (vllm.root, stub.root))
    assert status == real_status
    if path in ("/v1/models", "/version", "/v1/nothing"):
        assert fields(json.loads(found)) == fields(json.loads(real))


def test_names_of_metrics(vllm: RunningVllm, stub: RunningStub) -> None:
    """The stub has some of vLLM's metrics, each with its name, its labels and its kind."""

    def told(text: str) -> set[tuple[str, str]]:
        samples = re.findall(r"^(vllm:\w+)\{([^\n]*)\} ", text, re.MULTILINE)
        labels = {(name, ",".join(sorted(re.findall(r'(\w+)="', found)))) for name, found in samples}
        return labels | set(re.findall(r"^# TYPE (vllm:\w+) (\w+)$", text, re.MULTILINE))

    real, found = (told(got(f"{root}/metrics")[1]) for root in (vllm.root, stub.root))
    assert found and found <= real, sorted(found - real)
