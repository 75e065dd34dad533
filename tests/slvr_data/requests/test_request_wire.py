"""What a reply says, where a server writes other things into it than it should."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slvr_data.requests.wire import parse_embeddings
from tests.calls import MODEL, calling, run
from tests.servers.wire import embedding
from tests.slvr_data.requests.test_request_turned_down import embedding_at


def told(*vectors: list[Any]) -> dict[str, Any]:
    return {"data": [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]}


def test_an_embedding_is_numbers() -> None:
    vectors, _ = parse_embeddings(told([0.5, 1, -2], [1.0, 2.0, 1e30]), 2)
    assert vectors == [[0.5, 1.0, -2.0], [1.0, 2.0, 1e30]]
    assert {type(number) for vector in vectors for number in vector} == {float}


def test_a_number_that_is_null_costs_its_text_alone() -> None:
    """NaN is not JSON, so servers write null; whoever keeps the vector refuses its text."""
    (good, bad), _ = parse_embeddings(told([0.5, 1.0], [None, 1.0]), 2)
    assert good == [0.5, 1.0] and math.isnan(bad[0]) and bad[1] == 1.0


@pytest.mark.parametrize(
    ("odd", "says"),
    [("0.5", "holds a str"), ([0.5], "holds a list"), ({}, "holds a dict"), (True, "a bool"), (10**400, "too large")],
    ids=["text", "list", "object", "truth", "huge"],
)
def test_an_embedding_that_holds_something_else_is_none(odd: object, says: str) -> None:
    with pytest.raises(ValueError, match=f"embedding of row 1 .*{says}"):
        parse_embeddings(told([0.5, 1.0], [odd, 1.0]), 2)


def test_a_call_that_brings_such_an_embedding_is_made_again(tmp_path: Path) -> None:
    async def work() -> None:
        calls = 0

        async def embed(request: web.Request) -> web.Response:
            nonlocal calls
            calls += 1
            found = embedding(MODEL, (await request.json())["input"], 8, "float")
            if calls == 2:
                found["data"][0]["embedding"][3] = "many"
            return web.json_response(found)

        async with embedding_at(embed) as url, calling(tmp_path, url, store=False) as client:
            (first,) = await client.embed(["one"])
            assert (await client.embed(["one", "two"]))[0] == first
            assert calls == 3

    run(work())
