"""What a vLLM server says of itself at /metrics, in Prometheus' text form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite

_LINE = re.compile(
    r"^vllm:(num_requests_running|num_requests_waiting|(?:kv|gpu)_cache_usage_perc"
    r"|(?:gpu_)?prefix_cache_(?:hits|queries)(?:_total)?)(?:\{[^\n]*\})?[ \t]+(\S+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Load:
    """The state of a server at one moment, summed over its engines, whoever its clients are."""

    running: float
    """Requests being worked on."""
    waiting: float
    """Requests that wait for their turn."""
    cache: float | None = None
    """Share of the key-value cache in use (0-1), of the fullest engine."""
    prefix_hits: float | None = None
    """Tokens of prompts that were found in the prefix cache, since the server started."""
    prefix_queries: float | None = None
    """Tokens of prompts that were looked up there."""


def parse_load(text: str) -> Load | None:
    """The load that `text` tells, or None where it has no queue of vLLM (another kind of server)."""
    found: dict[str, list[float]] = {}
    for name, value in _LINE.findall(text):
        try:
            number = float(value)
        except ValueError:
            continue  # not a number: not a sample
        if isfinite(number):
            found.setdefault(name, []).append(number)
    if "num_requests_running" not in found or "num_requests_waiting" not in found:
        return None
    cache = found.get("kv_cache_usage_perc") or found.get("gpu_cache_usage_perc")
    return Load(
        running=sum(found["num_requests_running"]),
        waiting=sum(found["num_requests_waiting"]),
        cache=max(cache) if cache else None,
        prefix_hits=_count(found, "prefix_cache_hits"),
        prefix_queries=_count(found, "prefix_cache_queries"),
    )


def _count(found: dict[str, list[float]], name: str) -> float | None:
    """A counter by its name of today, or one of those it had before."""
    for known in (f"{name}_total", name, f"gpu_{name}_total", f"gpu_{name}"):
        if known in found:
            return sum(found[known])
    return None
