"""No body is read without a bound: a server that has lost its way must not fill memory and disks.

Imported where a server is about to be called, for it imports the HTTP client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from slvr_data.requests.wire import TooMuchError

LARGEST = 4 << 20
"""Bytes of a body."""
LARGEST_VECTORS = 64 << 20
"""Bytes of a body with embeddings: 64 of 8,192 numbers are about a sixth of it."""
PACKED = 64
"""A body that comes compressed, which nobody asked for, may be so many times smaller only."""


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends, or raises TooMuchError, after `most` bytes."""

    def __init__(self, body: httpx2.AsyncByteStream, most: int, raises: bool) -> None:
        self._body, self._most, self._raises = body, most, raises

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._body:
            read += len(chunk)
            if read > self._most and self._raises:
                raise TooMuchError(self._most)
            yield chunk
            if read > self._most:
                return

    async def aclose(self) -> None:
        await self._body.aclose()


async def bounded(response: httpx2.Response) -> None:
    """A hook for the HTTP client: bound the body before it is read.

    A good status with a longer body raises TooMuchError from the call. Of an error's body the beginning is enough.
    """
    vectors = response.request.url.path.endswith("/embeddings")
    packed = response.headers.get("content-encoding", "identity") != "identity"
    most = (LARGEST_VECTORS if vectors else LARGEST) // (PACKED if packed else 1)
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream, most, raises=response.status_code == 200)
