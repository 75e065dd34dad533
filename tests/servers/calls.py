"""Calls that tests make by hand: no client of ours between them and the server."""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request
from typing import Any

from PIL import Image

from tests.servers.running import RunningStub

MODEL = "Qwen2.5-VL-stub"


def post(url: str, body: Any, key: str | None = None, timeout: float = 30) -> tuple[int, Any, dict[str, str]]:
    """Status, parsed JSON (or text) and headers."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=timeout) as reply:
            found, raw = reply, reply.read()
    except urllib.error.HTTPError as error:
        found, raw = error, error.read()
    try:
        return found.status, json.loads(raw), dict(found.headers)
    except ValueError:
        return found.status, raw.decode(), dict(found.headers)


def ask(stub: RunningStub, *parts: str | bytes, schema: Any = None, name: str = "any", **more: Any) -> Any:
    """The content of the reply, parsed where a schema was asked for."""
    status, tree, _ = post(f"{stub.base_url}/chat/completions", body(*parts, schema=schema, name=name, **more))
    assert status == 200, tree
    text = tree["choices"][0]["message"]["content"]
    return text if schema is None else json.loads(text)


def body(*parts: str | bytes, schema: Any = None, name: str = "any", **more: Any) -> dict[str, Any]:
    """Of a chat call: texts, and pictures as bytes."""
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        else:
            url = "data:image/jpeg;base64," + base64.b64encode(part).decode()
            content.append({"type": "image_url", "image_url": {"url": url}})
    tree: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": content}], "seed": 0}
    if schema is not None:
        tree["response_format"] = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
    return tree | more


def plain(color: str, size: tuple[int, int] = (64, 64)) -> bytes:
    """A JPEG of one colour."""
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "JPEG")
    return out.getvalue()
