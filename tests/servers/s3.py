"""A real S3 server (moto's) as a process, behind a proxy that fails as object stores do.

`running_s3` starts it; `RunningS3.environment` is what a command needs to find it, and `control` makes it fail.
Listings come in pages of 25 objects. `python -m tests.servers.s3` serves on a port that it prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, web
from yarl import URL

from tests.servers.faults import reset

BUCKET = "bucket"
KINDS = ("503", "500", "reset", "reset_mid", "lost", "late")
""" "reset_mid": cut off while the body is sent or received; "lost": done, and the answer never comes; "late": an answer
after two seconds."""
_CONTROL = "/-control-"
_SLOW_DOWN = (
    '<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
)
_DENIED = '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive"}


class _Proxy:
    """Hands calls on, but for those that are to fail."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._rates: dict[str, float] = {}
        self._deny: str | None = None
        self._hide: str | None = None
        self._stall: str | None = None
        self._down, self._latency = False, 0.0
        self._dice = Random(0)
        self.calls: Counter[str] = Counter()
        self.asked: list[tuple[str, str, str]] = []
        self._session: ClientSession | None = None

    async def control(self, request: web.Request) -> web.Response:
        told = await request.json()
        if "faults" in told:
            assert set(told["faults"]) <= set(KINDS), told
            self._rates, self._dice = told["faults"], Random(told.get("seed", 0))
        self._deny, self._hide = told.get("deny", self._deny), told.get("hide", self._hide)
        self._stall = told.get("stall", self._stall)
        self._down, self._latency = told.get("down", self._down), told.get("latency", self._latency)
        found = {"calls": dict(self.calls), "asked": self.asked} if told.get("asked") else dict(self.calls)
        if told.get("reset"):
            self.calls.clear()
            self.asked = []
        return web.json_response(found)

    async def call(self, request: web.Request) -> web.StreamResponse:
        kind = self._drawn()
        self.calls[request.method] += 1
        self.asked.append((request.method, request.path, request.headers.get("Range", "")))
        self.calls["bytes in"] += request.content_length or 0
        if self._down:
            return reset(request)
        while self._stall and re.search(self._stall, f"{request.method} {request.path}"):
            await asyncio.sleep(0.05)
            if request.transport is None or request.transport.is_closing():
                return web.Response(status=500)
        if self._latency:
            await asyncio.sleep(self._latency / 1000)
        if self._deny and re.search(self._deny, f"{request.method} {request.path}"):
            return web.Response(status=403, text=_DENIED, content_type="application/xml")
        if kind is not None:
            self.calls[f"fault {kind}"] += 1
        if kind == "503":
            return web.Response(status=503, text=_SLOW_DOWN, content_type="application/xml")
        if kind == "500":
            return web.Response(status=500, text="<html>upstream</html>", content_type="text/html")
        if kind == "reset" or (kind == "reset_mid" and request.method not in ("GET", "PUT")):
            return reset(request)
        if kind == "reset_mid" and request.method == "PUT":
            with contextlib.suppress(Exception):
                await request.content.read(1024)
            return reset(request)
        return await self._handed_on(request, kind)

    def _drawn(self) -> str | None:
        point = self._dice.random()
        for kind in sorted(self._rates):
            point -= self._rates[kind]
            if point < 0:
                return kind
        return None

    async def _handed_on(self, request: web.Request, kind: str | None) -> web.StreamResponse:
        if self._session is None:
            self._session = ClientSession(timeout=ClientTimeout(60), auto_decompress=False, cookie_jar=DummyCookieJar())
        data = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = f"{self._target}{request.raw_path}"
        async with self._session.request(
            request.method, URL(url, encoded=True), data=data or None, headers=headers, allow_redirects=False
        ) as answer:
            body = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        if kind == "lost":
            return reset(request)
        if kind == "late":
            await asyncio.sleep(2)
        if self._hide and "list-type" in request.query_string:
            body = _without(body, self._hide)
        self.calls["bytes out"] += len(body)
        if kind == "reset_mid":
            return await _cut(request, answer.status, kept, body)
        if request.method == "HEAD":
            kept["Content-Length"] = answer.headers.get("Content-Length", "0")
            return web.Response(status=answer.status, headers=kept)
        return web.Response(status=answer.status, body=body, headers=kept)


def _without(body: bytes, hidden: str) -> bytes:
    """A listing without the objects whose key matches, as a store that lists late gives it."""
    entries = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
    key = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)

    def kept(entry: re.Match[bytes]) -> bytes:
        named = key.search(entry[0])
        return b"" if named and re.search(hidden, named[1].decode()) else entry[0]

    return entries.sub(kept, body)


async def _cut(request: web.Request, status: int, headers: dict[str, str], body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers | {"Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return reset(request)


async def _serve(target: str) -> None:
    proxy = _Proxy(target)
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post(_CONTROL, proxy.control)
    app.router.add_route("*", "/{path:.*}", proxy.call)
    runner = web.AppRunner(app, auto_decompress=False, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"ready {runner.addresses[0][1]}", flush=True)
    parent = os.getppid()
    while os.getppid() == parent:  # it ends with its parent, however that ends
        await asyncio.sleep(1)


def main() -> None:
    """Serve S3 on one port, without faults, and the proxy on the port that is printed."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    asyncio.run(_serve(f"http://{host}:{port}"))


class RunningS3:
    """The server's process, and its bucket."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process, self.url = process, f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "AKIATESTONLY", "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }  # fmt: skip
        """For a process that is to find it."""

    def control(self, **wanted: Any) -> dict[str, int]:
        """faults={kind: rate}, deny=, hide=, stall= (regular expressions), down=, latency= (ms); the calls by kind.

        reset=True counts them from here on.
        """
        found: dict[str, int] = self._controlled(wanted)
        return found

    def asked(self) -> list[tuple[str, str, str]]:
        """Method, path and range ("bytes=0-9", or nothing) of each call since they were counted anew."""
        return [(method, path, span) for method, path, span in self._controlled({"asked": True})["asked"]]

    def _controlled(self, wanted: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self.url + _CONTROL, json.dumps(wanted).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())

    def well(self) -> dict[str, int]:
        """No more faults; the calls so far."""
        return self.control(faults={}, deny="", hide="", stall="", down=False)

    def make_bucket(self, name: str = BUCKET) -> None:
        """A new bucket."""
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=60).read()

    def stop(self) -> None:
        """End the process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


@contextlib.contextmanager
def running_s3() -> Iterator[RunningS3]:
    """A server with one bucket; it never outlives the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.s3"], stdout=subprocess.PIPE, text=True, start_new_session=True,
        cwd=Path(__file__).parents[2], env=os.environ | {"OMP_NUM_THREADS": "1", "MOTO_S3_DEFAULT_MAX_KEYS": "25"},
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("ready "):
        process.kill()
        raise RuntimeError("the S3 server did not start")
    server = RunningS3(process, int(line.split()[1]))
    try:
        server.make_bucket()
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    main()
