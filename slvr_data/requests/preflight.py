"""Is the server what it should be? Asked before any work: reachable, key, model, and whether it sees pictures."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import isqrt
from typing import TypeVar

from PIL import Image

from slvr_data.errors import SlvrError
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import ServerError, UnfinishedError
from slvr_data.requests.messages import Message, Request, Sampling, SentPicture
from slvr_data.requests.transport import UNPAID, CallFailed, Redirected, Transport, WrongServer
from slvr_data.requests.wire import Reply, chat_body

R = TypeVar("R")

TRIES = 3
"""Calls that may fail before a probe is given up: one fault among many is no reason to stop."""
LISTED = 5.0
"""Seconds for one answer to "which models do you have?"."""
LOOKED = (20.0, 40.0, 60.0)
"""Seconds for an answer to a picture, by try: the first call of a fresh server compiles."""


async def check(
    transports: Sequence[Transport], config: ServedConfig, say: Callable[[str], None], vision: bool = True
) -> None:
    """Raises ServerError with one sentence; servers of a pool that are not there are said, if others are.

    Where an account is empty it is UnfinishedError.
    """
    found = raised(await asyncio.gather(*(_reach(each, config) for each in transports), return_exceptions=True))
    there = [transport for transport, missing in zip(transports, found, strict=True) if missing is None]
    missing = [why for why in found if why is not None]
    if not there:
        raise ServerError(f"no server answers: {'; '.join(missing)}")
    for why in missing:
        say(f"going on without one server: {why}")
    if vision:
        raised(await asyncio.gather(*(_sees(transport, config) for transport in there), return_exceptions=True))


def raised(results: Sequence[R | BaseException]) -> list[R]:
    """What calls side by side gave, when all have ended; raises the first of their errors."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def _reach(transport: Transport, config: ServedConfig) -> str | None:
    """None when the server is there and has the model, or why it cannot be reached."""
    last = ""
    for _ in range(TRIES):
        try:
            models = await transport.models(min(LISTED, config.connect_timeout))
        except WrongServer as error:
            if error.status == 404:
                return None  # it lists nothing; the first call will tell
            raise await wrong(transport, config, error) from None
        except Redirected as error:
            raise _elsewhere(transport, error) from None
        except CallFailed as failed:
            last = f"{transport.url}: {failed.evidence}"
            if failed.failure in ("timeout", "refused"):
                break
            continue
        if config.model not in models:
            raise _unknown(transport, config, models)
        return None
    return last


async def wrong(transport: Transport, config: ServedConfig, error: WrongServer) -> SlvrError:
    """The sentence for a server that turns every call down: UnfinishedError where it may take them later."""
    if error.status in UNPAID:
        who = "the account is empty" if error.status == 402 else "a proxy wants a name and a password"
        return UnfinishedError(
            f"{transport.url} answers no call, {who} ({error.evidence}); what is finished is kept: "
            "run the same command when that is mended"
        )
    if error.status in (401, 403):
        return ServerError(
            f"{transport.url} does not accept the key in {config.api_key_env} ({error.evidence}): "
            f"set {config.api_key_env}, or name another variable with --api-key-env"
        )
    try:
        models = await transport.models(LISTED)
    except (CallFailed, WrongServer):
        return ServerError(f"{transport.url} has no such path ({error.evidence}): does the address end in /v1?")
    if config.model in models:
        return ServerError(f"{transport.url} lists the model {config.model}, but has no such path: {error.evidence}")
    return _unknown(transport, config, models)


def _elsewhere(transport: Transport, error: Redirected) -> ServerError:
    """The sentence for an address that points to another one."""
    return ServerError(
        f"{transport.url} does not answer itself ({error.evidence}): set --base-url to the right address"
    )


def _unknown(transport: Transport, config: ServedConfig, models: Sequence[str]) -> ServerError:
    names = ", ".join(sorted(models)[:10]) or "no model at all"
    return ServerError(f"{transport.url} does not know the model {config.model}; it lists {names}: set --model")


async def _sees(transport: Transport, config: ServedConfig) -> None:
    """Raises ServerError when two pictures of different size and colour make no difference."""
    probes = _probes(min(512, isqrt(config.max_pixels)))
    looks = await asyncio.gather(*(_look(transport, config, each) for each in probes), return_exceptions=True)
    small, large = raised(looks)
    if small.prompt_tokens != large.prompt_tokens or small.text.strip() != large.text.strip():
        return
    raise ServerError(
        f"the model {config.model} at {transport.url} does not see pictures: two different ones gave the same "
        f"{small.prompt_tokens} prompt tokens and the same answer; a vision-language model is needed"
    )


async def _look(transport: Transport, config: ServedConfig, picture: SentPicture) -> Reply:
    """The reply to one picture."""
    question = "Which colour is this picture? Answer with one word."
    body = _body(config, (picture, question))
    last = ""
    for seconds in LOOKED:
        try:
            reply = await transport.chat(body, min(seconds, config.timeout))
        except WrongServer as error:
            raise await wrong(transport, config, error) from None
        except Redirected as error:
            raise _elsewhere(transport, error) from None
        except CallFailed as failed:
            last = failed.evidence
            continue
        if not reply.rejected:
            return reply
        last = reply.rejected
    raise ServerError(await _why_blind(transport, config, question, last))


async def _why_blind(transport: Transport, config: ServedConfig, question: str, evidence: str) -> str:
    """The sentence for a server that answers no call with a picture: does it answer one without?"""
    try:
        reply = await transport.chat(_body(config, (question,)), LISTED)
        answers = not reply.rejected
    except (CallFailed, WrongServer):
        answers = False
    if answers:
        return (
            f"the model {config.model} at {transport.url} does not take pictures ({evidence}): "
            "a vision-language model is needed"
        )
    return f"{transport.url} does not answer: {evidence}"


def like(request: Request[R]) -> Request[str]:
    """A small call of the same kind: with a picture where there is one, the same schema and the same sampling.

    A server that takes this and not `request` has something against its content, not against all of them.
    """
    sees = any(isinstance(part, SentPicture) for message in request.messages for part in message.parts)
    text = "Answer in the form that is asked for, about anything."
    parts = (_probes(56)[0], text) if sees else (text,)
    return replace(request, messages=(Message("user", parts),), accept=str)  # type: ignore[arg-type, return-value]


def _body(config: ServedConfig, parts: tuple[str | SentPicture, ...]) -> bytes:
    request = Request(
        purpose="preflight",
        group="preflight",
        messages=(Message("user", parts),),
        sampling=Sampling(temperature=0.0, top_p=1.0, max_tokens=16, seed=0),
        prompt_version="",
        context={},
        accept=str,
    )
    return chat_body(request, str(config.model), request.sampling)


@cache
def _probes(side: int) -> tuple[SentPicture, SentPicture]:
    """A small red picture and a blue one of `side` pixels, far enough apart for any grid of patches."""
    return _plain(max(min(56, side // 2), 1), (200, 20, 20)), _plain(side, (20, 20, 200))


def _plain(side: int, color: tuple[int, int, int]) -> SentPicture:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), color).save(stream, "JPEG")
    return SentPicture(f"preflight {side}", stream.getvalue(), side, side)
