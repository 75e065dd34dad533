"""The bodies of vLLM's replies (names as in vLLM 0.32)."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from typing import Any

import numpy as np

from tests.servers.asked import CHARACTERS, Asked, PrefixCache
from tests.servers.slots import Slots
from tests.servers.tally import Tally

_UNUSED = {
    "completion": ("service_tier", "system_fingerprint", "prompt_logprobs", "prompt_token_ids", "prompt_text",
                   "kv_transfer_params", "ec_transfer_params", "metrics"),
    "choice": ("logprobs", "stop_reason", "token_ids", "routed_experts"),
    "message": ("refusal", "annotations", "audio", "function_call", "reasoning"),
}  # fmt: skip
"""Fields that are null in the replies of a model that neither thinks nor calls tools."""


def models(name: str, length: int) -> dict[str, Any]:
    """Of /v1/models."""
    rights = ("sampling", "logprobs", "search_indices", "view", "fine_tuning")
    permission = {"id": "modelperm-0", "object": "model_permission", "created": 0, "organization": "*", "group": None,
                  "is_blocking": False, "allow_create_engine": False}  # fmt: skip
    permission |= {f"allow_{right}": True for right in rights}
    card = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "vllm", "root": name,
            "parent": None, "max_model_len": length, "permission": [permission]}  # fmt: skip
    return {"object": "list", "data": [card]}


def completion(model: str, asked: Asked, texts: list[str], cached: int) -> dict[str, Any]:
    """Of /v1/chat/completions; a text longer than the cap on tokens is cut, as it is by a real server."""
    choices, tokens = [], 0
    for index, text in enumerate(texts):
        length = -(-len(text) // CHARACTERS)
        reason = "stop"
        if asked.max_tokens is not None and length > asked.max_tokens:
            text, length, reason = text[: asked.max_tokens * CHARACTERS], asked.max_tokens, "length"
        tokens += length
        message: dict[str, Any] = {"role": "assistant", "content": text} | dict.fromkeys(_UNUSED["message"])
        choices.append({"index": index, "message": message, "finish_reason": reason} | dict.fromkeys(_UNUSED["choice"]))
    prompt = asked.prompt_tokens
    usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens,
             "completion_tokens_details": None, "prompt_tokens_details": {
                 "cached_tokens": cached, "created_cache_tokens": 0,
                 "multimodal_tokens": {"image": sum(picture.tokens for picture in asked.pictures)}}}  # fmt: skip
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion", "created": int(time.time()),
            "model": model, "choices": choices, "usage": usage} | dict.fromkeys(_UNUSED["completion"])  # fmt: skip


def embedding(model: str, texts: list[str], dim: int, encoding: str) -> dict[str, Any]:
    """Of /v1/embeddings: a unit vector that depends on the text alone."""
    rows = []
    for index, text in enumerate(texts):
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
        vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
        vector /= np.linalg.norm(vector)
        told: Any = vector.tolist()
        if encoding == "base64":
            told = base64.b64encode(vector.tobytes()).decode()
        rows.append({"object": "embedding", "index": index, "embedding": told})
    tokens = sum(-(-len(text) // CHARACTERS) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
    return {"object": "list", "model": model, "data": rows, "usage": usage}


def metrics(model: str, slots: Slots, cache: PrefixCache, tally: Tally) -> str:
    """Of /metrics, in Prometheus' text form."""
    finished = tally.statuses["200"]
    found = [
        ("num_requests_running", "gauge", slots.running.value),
        ("num_requests_waiting", "gauge", slots.waiting.value),
        ("kv_cache_usage_perc", "gauge", cache.usage(slots.tokens)),
        ("prefix_cache_queries", "counter", cache.queries),
        ("prefix_cache_hits", "counter", cache.hits),
        ("prompt_tokens", "counter", tally.usage["prompt_tokens"]),
        ("generation_tokens", "counter", tally.usage["completion_tokens"]),
        ("request_success", "counter", finished),
    ]
    lines = []
    for name, kind, value in found:
        sample = name + ("_total" if kind == "counter" else "")
        labels = f'engine="0",model_name="{model}"'
        if name == "request_success":
            labels = f'engine="0",finished_reason="stop",model_name="{model}"'
        lines += [f"# HELP vllm:{sample} {name}", f"# TYPE vllm:{sample} {kind}",
                  f"vllm:{sample}{{{labels}}} {float(value)}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def text_of_error(problem: Exception) -> str:
    """What is wrong with a call, in words."""
    return str(problem) if str(problem) else type(problem).__name__
