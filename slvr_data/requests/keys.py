"""The address of a request: a hash of all that decides its reply, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from slvr_data.requests.config import ServedConfig
from slvr_data.requests.messages import Message, Request, SentPicture

FORM = 1
"""Of the hashed document; another form gives other keys."""


def request_key(request: Request[Any], config: ServedConfig, attempt: int | None) -> str:
    """sha256, in hexadecimal digits, of the request's canonical JSON; pictures count by reference, not by bytes.

    `attempt` None gives the key that provenance holds: the same, whichever attempt succeeded. Servers, timeouts
    and other settings that decide no data have no part in it. A `context` that is not JSON is a TypeError or
    ValueError; note that 1 and 1.0 are different JSON.
    """
    document = {
        "form": FORM,
        "context": dict(request.context),
        "messages": [_turn(message) for message in request.messages],
        "model": config.model,
        "revision": config.model_revision,
        "sampling": {
            "temperature": float(request.sampling.temperature),
            "top_p": float(request.sampling.top_p),
            "max_tokens": request.sampling.max_tokens,
            "seed": request.sampling.seed,
        },
        "schema": None if request.schema is None else [request.schema_name, dict(request.schema)],
        "prompt": request.prompt_version,
    }
    if attempt is not None:
        document["attempt"] = attempt
    return hashlib.sha256(canonical_json(document)).hexdigest()


def no_reply_key(base_key: str, run: int) -> str:
    """What stands in the store for the run, counted from 0, in which no call of a request was answered."""
    return hashlib.sha256(f"no reply {run} {base_key}".encode()).hexdigest()


def _turn(message: Message) -> list[Any]:
    """A turn with its pictures by reference."""
    parts = [{"picture": part.reference} if isinstance(part, SentPicture) else part for part in message.parts]
    return [message.role, parts]


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted names, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
