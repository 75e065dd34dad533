"""What belongs to a request's key, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slvr_data.requests.config import ServedConfig
from slvr_data.requests.keys import request_key
from slvr_data.requests.messages import Message, Request, Sampling, SentPicture

PICTURE = SentPicture("image 1f0c jpeg-1 56x28", b"some bytes", 56, 28)
CONFIG = ServedConfig(model="some/model", model_revision="abc")
REQUEST: Request[str] = Request(
    purpose="profile",
    group="1f0c",
    messages=(Message("system", ("Be exact.",)), Message("user", (PICTURE, "Describe [1, 2, 3, 4], größer."))),
    sampling=Sampling(0.2, 0.95, 1024, 7),
    prompt_version="profile-1:0123abcd",
    context={"image_id": "1f0c", "box": [1, 2, 3, 4]},
    accept=str,
    schema_name="region_profile",
    schema={"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
)


def with_user(*parts: str | SentPicture) -> Request[str]:
    return replace(REQUEST, messages=(REQUEST.messages[0], Message("user", parts)))


def test_keys_are_those_of_earlier_versions() -> None:
    """A change here makes every stored reply worthless: it must be meant."""
    assert request_key(REQUEST, CONFIG, None) == "38cc16ab1c385aee55fb346301674bc70e5fecf672ed6e5cff1ded159bf19417"
    assert request_key(REQUEST, CONFIG, 2) == "60cc41999e1ced03aed8f38ab08f9acc01517b85a217795e9a3cbd9f8a5ca9e4"


TEXT = "Describe [1, 2, 3, 4], größer."
OTHERS: dict[str, Request[Any]] = {
    "context": replace(REQUEST, context={"image_id": "1f0c", "box": [1, 2, 3, 5]}),
    "text": with_user(PICTURE, TEXT + " "),
    "text before the picture": with_user(TEXT, PICTURE),
    "another picture": with_user(replace(PICTURE, reference="image 2f0c jpeg-1 56x28"), TEXT),
    "no picture": with_user(TEXT),
    "a text that looks like a picture": with_user('{"picture":"image 1f0c jpeg-1 56x28"}', TEXT),
    "a reference as text": with_user(PICTURE.reference, TEXT),
    "two parts": with_user(PICTURE, TEXT[:4], TEXT[4:]),
    "role": replace(REQUEST, messages=(REQUEST.messages[0], Message("assistant", (PICTURE, TEXT)))),
    "temperature": replace(REQUEST, sampling=Sampling(0.3, 0.95, 1024, 7)),
    "top_p": replace(REQUEST, sampling=Sampling(0.2, 0.9, 1024, 7)),
    "max_tokens": replace(REQUEST, sampling=Sampling(0.2, 0.95, 1023, 7)),
    "seed": replace(REQUEST, sampling=Sampling(0.2, 0.95, 1024, 8)),
    "schema": replace(REQUEST, schema={"type": "object"}),
    "schema name": replace(REQUEST, schema_name="second_look"),
    "no schema": replace(REQUEST, schema=None, schema_name=None),
    "prompt version": replace(REQUEST, prompt_version="profile-2:0123abcd"),
}


def test_all_that_decides_a_reply_makes_another_key() -> None:
    keys = {name: request_key(other, CONFIG, None) for name, other in OTHERS.items()}
    keys["as it is"] = request_key(REQUEST, CONFIG, None)
    for change in ({"model": "other/model"}, {"model_revision": None}):
        keys[str(change)] = request_key(REQUEST, CONFIG.model_copy(update=change), None)
    keys |= {f"attempt {n}": request_key(REQUEST, CONFIG, n) for n in range(3)}
    same = {name for name in keys if list(keys.values()).count(keys[name]) > 1}
    assert not same


def test_what_decides_no_reply_leaves_the_key() -> None:
    wanted = request_key(REQUEST, CONFIG, 1)
    config = ServedConfig(
        model="some/model", model_revision="abc", base_urls=["http://b/v1"], timeout=1, api_key_env="OTHER",
        prompts=Path("elsewhere"), scratch=Path("/scratch"), affinity=False, attempts=9, budget_tokens=3,
    )  # fmt: skip
    assert request_key(REQUEST, config, 1) == wanted
    for other in (
        replace(REQUEST, purpose="second look"),
        replace(REQUEST, group="elsewhere"),
        replace(REQUEST, accept=int),
        with_user(replace(PICTURE, data=b"other bytes"), TEXT),
        replace(REQUEST, context=dict(reversed(list(REQUEST.context.items())))),
        replace(REQUEST, context={"image_id": "1f0c", "box": (1, 2, 3, 4)}),
    ):
        assert request_key(other, CONFIG, 1) == wanted


def test_numbers_of_the_sampling_may_be_whole() -> None:
    one, other = (replace(REQUEST, sampling=Sampling(t, 1, 10, 0)) for t in (0, 0.0))
    assert request_key(one, CONFIG, None) == request_key(other, CONFIG, None)


@pytest.mark.parametrize("value", [float("nan"), b"bytes", object()])
def test_a_context_that_is_not_json_is_an_error(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        request_key(replace(REQUEST, context={"it": value}), CONFIG, None)


def test_half_a_surrogate_pair_in_a_text_has_a_key() -> None:
    assert request_key(with_user("\ud800"), CONFIG, None) != request_key(with_user("\ud801"), CONFIG, None)
