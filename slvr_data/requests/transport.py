"""One server over HTTP: every outcome of a call is a reply, a class of failure, or a server that is plainly wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from slvr_data.errors import UsageError
from slvr_data.requests.config import ServedConfig, shown_address
from slvr_data.requests.failures import BadReplyError, Failed
from slvr_data.requests.metrics import Load, parse_load
from slvr_data.requests.proxies import direct, proxy_between
from slvr_data.requests.wire import (
    Reply,
    TooMuchError,
    embeddings_body,
    parse_embeddings,
    parse_reply,
    rejected,
    said,
    short,
    unread,
)

if TYPE_CHECKING:
    import httpx2

UNPAID = (402, 407)
"""No credit is left; a proxy wants a password."""
IDLE = 3.0
"""Seconds for which an unused connection is kept: less than servers keep theirs (uvicorn: 5)."""


class CallFailed(Exception):  # noqa: N818 - an outcome among others, not an error of the program
    """No reply came: the class of the failure, and how long the server asked to be left alone."""

    def __init__(self, failure: Failed, evidence: str, retry_after: float | None = None) -> None:
        super().__init__(evidence)
        self.failure = failure
        self.evidence = evidence
        self.retry_after = retry_after


class Redirected(CallFailed):
    """No reply: the address only points to another one, which is never followed (the key would go there)."""


class WrongServer(Exception):  # noqa: N818
    """401, 403, 404: no call of this kind is ever answered, or this one is not; 402, 407: none is answered for now."""

    def __init__(self, status: int, evidence: str) -> None:
        super().__init__(evidence)
        self.status = status
        self.evidence = evidence


class Transport:
    """The client of one server. Retries nothing; whoever calls decides."""

    def __init__(self, base_url: str, config: ServedConfig) -> None:
        """Raises UsageError for an address that is none, a key that no header can carry, a missing package."""
        try:
            import aiohttp
            import httpx2
            import openai
        except ImportError as error:
            cure = f"calling a server needs the package {error.name}: pip install '.[serve]' in a clone"
            raise UsageError(cure) from None
        from slvr_data.requests.reading import bounded

        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            shown = shown_address(base_url)
            raise UsageError(f"--base-url {shown}: not an address such as http://localhost:8000/v1")
        self.url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
        """The address as it may be shown, without a password."""
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._key = _key(config)
        self._proxy = proxy_between(base_url)
        self._timeout = config.timeout
        self._response = httpx2.Response
        self._breaks = (openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError, OSError)
        self._openai = openai
        self._http = openai.DefaultAioHttpClient(
            timeout=openai.Timeout(config.timeout, connect=config.connect_timeout, pool=None),
            limits=httpx2.Limits(max_connections=0, keepalive_expiry=IDLE),  # 0: none; the gate is the limit
            follow_redirects=False,
            headers={"Accept-Encoding": "identity"},
            mounts=direct(base_url),
            event_hooks={"response": [bounded]},
        )
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none", base_url=base_url, max_retries=0, http_client=self._http
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def chat(self, body: bytes, timeout: float | None = None) -> Reply:
        """One chat completion. A status of 4xx is a reply (`Reply.rejected`); raises CallFailed, WrongServer."""
        try:
            data = await self._post("/chat/completions", body, timeout)
        except _Rejected as error:
            return rejected("", str(error))
        except TooMuchError as error:
            return unread(error.read)
        try:
            return parse_reply(data, self._hidden)
        except ValueError as error:
            raise CallFailed("garbled", f"200, but no chat completion: {error}") from None

    async def embeddings(self, texts: list[str], model: str) -> tuple[list[list[float]], int]:
        """(Vectors in the order of `texts`, tokens). Raises CallFailed, WrongServer, BadReplyError (4xx)."""
        try:
            return parse_embeddings(await self._post("/embeddings", embeddings_body(texts, model)), len(texts))
        except _Rejected as error:
            raise BadReplyError("4xx", str(error)) from None
        except (ValueError, TooMuchError) as error:
            raise CallFailed("garbled", f"200, but no embeddings: {error}") from None

    async def models(self, timeout: float) -> list[str]:
        """Names of the models that the server lists. Raises CallFailed, WrongServer."""
        try:
            data = await self._called(self._client.get("/models", cast_to=self._response), timeout)
            return [str(row["id"]) for row in data["data"]]
        except _Rejected as error:
            raise CallFailed("garbled", f"no list of models: {error}") from None
        except (KeyError, TypeError, TooMuchError):
            raise CallFailed("garbled", "200, but no list of models") from None

    async def load(self, timeout: float = 2.0) -> Load | None:
        """What the server says of its load; None where it says nothing that we know, or not now."""
        try:
            async with asyncio.timeout(timeout):
                response = await self._http.get(f"{self._root}/metrics")
        except (TimeoutError, TooMuchError, *self._breaks):
            return None  # no figures now; the next look may find some
        return parse_load(response.text) if response.status_code == 200 else None

    async def _post(self, path: str, body: bytes, timeout: float | None = None) -> Any:
        options: Any = {"headers": {"Content-Type": "application/json"}}
        return await self._called(
            self._client.post(path, content=body, cast_to=self._response, options=options), timeout or self._timeout
        )

    async def _called(self, call: Any, timeout: float) -> Any:
        """The decoded JSON of a call's response. Raises TooMuchError beside the others."""
        try:
            async with asyncio.timeout(timeout):
                response: httpx2.Response = await call
        except TimeoutError:
            raise CallFailed("timeout", f"no reply within {timeout:g} s") from None
        except self._openai.APIStatusError as error:
            raise self._status(error.response) from None
        except self._breaks as error:
            raise self._broken(error) from None
        try:
            return json.loads(response.content)
        except (ValueError, RecursionError):
            kind = response.headers.get("content-type", "no content type")[:80]
            start = short(response.text, self._hidden, 120)
            raise CallFailed("garbled", f"200, but no JSON ({kind}): {start!r}") from None

    def _status(self, response: httpx2.Response) -> Exception:
        """What a status other than 2xx means."""
        status = response.status_code
        try:
            words = said(json.loads(response.content), self._hidden)
        except (ValueError, RecursionError):
            words = short(response.text, self._hidden)
        evidence = f"{status} {words}".strip()
        if status in (401, 403, 404, *UNPAID):
            return WrongServer(status, evidence)
        if status == 408:
            return CallFailed("timeout", evidence)
        if status == 429 or status >= 500:
            after = retry_after(response.headers.get("retry-after"))
            return CallFailed("429" if status == 429 else "5xx", evidence, after)
        if status >= 400:
            return _Rejected(evidence)
        if "location" in response.headers:
            return Redirected("garbled", f"{status}, it redirects to {self._target(response)}")
        return CallFailed("garbled", evidence)

    def _target(self, response: httpx2.Response) -> str:
        """Where a redirection leads, without password and query."""
        try:
            parts = urlsplit(urljoin(str(response.request.url), response.headers["location"]))
        except ValueError:
            return "no address"
        host = parts.netloc.rpartition("@")[2]
        return short(urlunsplit((parts.scheme, host, parts.path, "", "")), self._hidden)

    def _broken(self, error: Exception) -> CallFailed:
        """Which class a broken connection is. The transport calls almost all of them timeouts: ask the cause."""
        import aiohttp
        import httpx2

        chain: list[BaseException] = [error]
        while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
            chain.append(cause)
        words = self._hidden(str(chain[-1]) or type(chain[-1]).__name__) + self._between
        if any(isinstance(one, aiohttp.ConnectionTimeoutError) for one in chain):
            return CallFailed("refused", f"no connection to {self.url} in time{self._between}")
        if any(isinstance(one, aiohttp.ClientConnectorError) for one in chain):
            return CallFailed("refused", f"no connection to {self.url}: {words}")
        if any(isinstance(one, aiohttp.ServerTimeoutError) for one in chain):
            return CallFailed("timeout", f"no reply within {self._timeout:g} s")
        unreadable = (aiohttp.ClientResponseError, httpx2.DecodingError, httpx2.ProtocolError, httpx2.TooManyRedirects)
        if any(isinstance(one, unreadable) for one in chain):
            return CallFailed("garbled", f"not HTTP as it should be: {words}")
        return CallFailed("reset", f"the connection broke: {words}")

    @property
    def _between(self) -> str:
        """What to add about a proxy."""
        return f" (through the proxy {self._proxy} that the environment names)" if self._proxy else ""

    def _hidden(self, text: str) -> str:
        """`text` without the key, should the server repeat it."""
        return text.replace(self._key, "***") if self._key else text


class _Rejected(Exception):  # noqa: N818
    """4xx: the server does not take this request."""


def _key(config: ServedConfig) -> str:
    key = os.environ.get(config.api_key_env, "").strip()
    if not key.isascii() or not key.isprintable():
        raise UsageError(f"the key in {config.api_key_env} has characters that no header can carry: set it again")
    return key


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, as seconds or as an HTTP date; None where it says nothing."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
