"""What a server can do wrong: which call is hit, and how the harm looks on the wire."""

from __future__ import annotations

import asyncio
import email.utils
import json
import socket
import struct
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiohttp import web

BEFORE = (
    "timeout", "reset", "429", "429_date", "500", "502", "503", "400", "html",
)  # fmt: skip
"""The call is turned away before it has a slot."""
AFTER = ("malformed", "schema", "length", "whitespace", "empty", "refusal", "slow", "reset_mid", "truncated")
"""The call is served, and its reply is bad or broken."""
KINDS = BEFORE + AFTER
ALIASES = {"4xx": ("400",), "5xx": ("500", "502", "503"), "garbled": ("html", "truncated")}
"""Classes of `slvr_data.requests.failures` that have several forms."""
SLOW_FACTOR = 10
RETRY_AFTER_SECONDS = 1


def mixed(rate: float, without: tuple[str, ...] = ()) -> dict[str, float]:
    """All kinds in equal shares, `rate` together; `refused` is an action (`POST /control`), not a rate."""
    kinds = [kind for kind in KINDS if kind not in without]
    return dict.fromkeys(kinds, rate / len(kinds))


@dataclass
class Faults:
    """Rates per kind. Which fault a call meets depends on the seed and the call's number alone."""

    rates: dict[str, float] = field(default_factory=dict)
    """Of kinds or of classes with several forms; together at most 1."""
    seed: int = 0

    def __post_init__(self) -> None:
        spread: dict[str, float] = {}
        for name, rate in self.rates.items():
            kinds = ALIASES.get(name, (name,))
            for kind in kinds:
                if kind not in KINDS:
                    raise ValueError(f"there is no fault {kind!r}: use {', '.join((*KINDS, *ALIASES))}")
                spread[kind] = spread.get(kind, 0) + rate / len(kinds)
        self.rates = spread

    def draw(self, number: int) -> str | None:
        """The fault of call `number`, or None."""
        if not self.rates:
            return None
        point = Random(f"{self.seed}:{number}").random()
        for kind in sorted(self.rates):
            point -= self.rates[kind]
            if point < 0:
                return kind
        return None


def error(status: int, message: str, kind: str, param: str | None = None, **headers: str) -> web.Response:
    """An error in the form of vLLM."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": status}}
    return web.json_response(body, status=status, headers=headers)


async def turned_away(kind: str, request: web.Request) -> web.StreamResponse:
    """The reply to a call that gets no slot."""
    if kind == "timeout":
        await asyncio.sleep(3600)
    if kind in ("timeout", "reset"):
        return reset(request)
    if kind == "html":
        page = "<html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>"
        return web.Response(text=page, content_type="text/html")
    if kind == "400":
        return error(400, "The decoder prompt cannot be empty", "BadRequestError")
    if kind.startswith("429"):
        when = str(RETRY_AFTER_SECONDS)
        if kind == "429_date":
            when = email.utils.formatdate(time.time() + RETRY_AFTER_SECONDS, usegmt=True)
        return error(429, "Too many requests", "RateLimitError", **{"Retry-After": when})
    if kind == "500":
        return error(500, "EngineCore encountered an issue", "InternalServerError")
    return web.Response(status=int(kind), text=f"<html><body>{kind} from the gateway</body></html>",
                        content_type="text/html")  # fmt: skip


def spoil(kind: str, completion: dict[str, Any]) -> None:
    """Make the reply's content bad, in place."""
    choice = completion["choices"][0]
    message = choice["message"]
    text: str = message["content"]
    if kind == "malformed":
        message["content"] = text[: len(text) // 2] + " and so on, as you can see }"
    elif kind == "schema":
        message["content"] = json.dumps({"wrong": "field", "list": [1, 2, {"deep": None}]})
    elif kind == "length":
        message["content"], choice["finish_reason"] = text[: max(1, len(text) * 2 // 3)], "length"
    elif kind == "whitespace":  # a loop that only the cap on tokens ends
        message["content"], choice["finish_reason"] = text[:1] + "\n  " * 400, "length"
    elif kind == "empty":
        message["content"] = ""
    elif kind == "refusal":
        message["content"], message["refusal"] = None, "I'm sorry, but I can't help with that."


async def broken(kind: str, request: web.Request, body: bytes) -> web.StreamResponse:
    """A reply that does not come whole: "reset_mid" breaks the connection, "truncated" ends the JSON early."""
    if kind == "truncated":
        return web.Response(body=body[: len(body) // 2], content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    await asyncio.sleep(0.01)
    reset(request)
    return response


def reset(request: web.Request) -> web.StreamResponse:
    """Cut the connection off with a TCP reset."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)
