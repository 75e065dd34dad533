"""What a real vLLM says when something is wrong, and what our client makes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import BadReplyError, ServerError
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Message, Sampling, SentPicture
from slvr_data.requests.transport import Transport
from slvr_data.requests.wire import Reply, chat_body
from tests.builds import in_time
from tests.calls import asking
from tests.servers.real import KEY, MODEL, RunningVllm
from tests.vllm.asked import KEY_VARIABLE, settings

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def chat(server: RunningVllm, **changed: Any) -> Reply:
    async def call() -> Reply:
        request = asking(**changed)
        transport = Transport(server.base_url, ServedConfig(**settings(server)))
        try:
            return await transport.chat(chat_body(request, MODEL, request.sampling))
        finally:
            await transport.close()

    return asyncio.run(asyncio.wait_for(call(), 120))


def checked(server: RunningVllm, tmp_path: Any, **changed: Any) -> None:
    """The preflight."""

    async def check() -> None:
        config = ServedConfig(**settings(server, **changed))
        async with Client(config, None, Ledger(tmp_path / "ledger.json"), print) as client:
            await client.check()

    asyncio.run(asyncio.wait_for(check(), 60))


def test_the_preflight_finds_nothing_wrong(vllm: RunningVllm, tmp_path: Any) -> None:
    checked(vllm, tmp_path)


def test_an_unknown_model_is_one_sentence(vllm: RunningVllm, tmp_path: Any) -> None:
    def said() -> None:
        with pytest.raises(ServerError, match=f"does not know the model other; it lists {MODEL}"):
            checked(vllm, tmp_path, model="other")

    in_time(10, said)


def test_a_wrong_key_is_one_sentence_without_the_key(
    vllm: RunningVllm, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> None:
        with pytest.raises(ServerError, match=f"does not accept the key in {KEY_VARIABLE}") as raised:
            checked(vllm, tmp_path)
        assert "another-key" not in str(raised.value)

    monkeypatch.setenv(KEY_VARIABLE, "another-key")
    in_time(10, said)


def test_a_wrong_path_is_one_sentence(vllm: RunningVllm, tmp_path: Any) -> None:
    with pytest.raises(ServerError, match="does the address end in /v1"):
        checked(vllm, tmp_path, base_urls=[vllm.root])


def test_a_picture_that_cannot_be_decoded_costs_its_call(vllm: RunningVllm) -> None:
    reply = chat(vllm, picture=SentPicture("broken", b"no picture at all", 56, 56))
    assert reply.rejected.startswith("400 Failed to load image")
    with pytest.raises(BadReplyError) as bad:
        reply.check()
    assert bad.value.failure == "4xx"


def test_a_prompt_that_is_too_long_costs_its_call(vllm: RunningVllm) -> None:
    reply = chat(vllm, messages=(Message("user", ("word " * 30_000,)),))
    assert reply.rejected.startswith("400 This model's maximum context length is")


def test_a_reply_cut_at_its_cap_is_never_parsed(vllm: RunningVllm) -> None:
    reply = chat(vllm, sampling=Sampling(0.2, 0.95, 3, 0))
    assert reply.finish_reason == "length" and reply.completion_tokens == 3
    with pytest.raises(BadReplyError) as bad:
        reply.check()
    assert bad.value.failure == "length"


def test_a_reply_follows_its_seed(vllm: RunningVllm) -> None:
    def text(seed: int) -> str:
        return chat(vllm, schema=None, sampling=Sampling(1.0, 1.0, 40, seed)).text

    assert text(1) == text(1) != text(2)


def test_its_log_never_shows_the_key(vllm: RunningVllm) -> None:
    """vLLM prints its arguments when it starts: `slvr-data serve` must not make it print a key."""
    shown = [line for line in vllm.log.read_text().splitlines() if KEY in line]
    assert not shown, shown[:3]
