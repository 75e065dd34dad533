"""Prompts: a protocol's words never change under its name, and its plain form is the one that SLVR models learn."""

from __future__ import annotations

import pytest

from benchmark.prompts import DEFAULT_PROTOCOL, LETTERS, PROTOCOLS, protocol_of
from slvr_data.errors import UsageError
from slvr_model.prompts import question_text

PUBLISHED = {
    "bare-1": "3ceddb5972ea91be040d514e179bcd1b874df6c61c07ba505834fe8ad93176c0",
    "letter-1": "4382296bf6a3e595529b04f32f6af82a19f17c8e4d568e6f1f85bc80a8b58542",
    "reason-1": "015a94bb40d88021d4ec4b3c329432de2f983d74b5a1d41dd23d1c379aee6630",
}
"""Name -> sha256 of its texts, as first published. A change needs another name."""


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_published_protocol_stays_what_it_is(name: str) -> None:
    assert protocol_of(name).sha256 == PUBLISHED[name]
    assert protocol_of(name).version == f"{name}:{PUBLISHED[name][:8]}"


def test_every_protocol_is_guarded() -> None:
    assert set(PROTOCOLS) == set(PUBLISHED) and DEFAULT_PROTOCOL in PROTOCOLS
    assert len({protocol.sha256 for protocol in PROTOCOLS.values()}) == len(PROTOCOLS)


@pytest.mark.parametrize("choices", [(), ("red", "blue"), tuple("stuvwxyz")])
def test_the_plain_form_is_the_one_that_models_are_trained_with(choices: tuple[str, ...]) -> None:
    asked = protocol_of("bare-1").prompt("Which colour is it?", choices)
    assert asked == question_text("Which colour is it?", choices)


def test_what_stands_behind_the_choices() -> None:
    asked = protocol_of("letter-1").prompt("Which?", ("red", "blue"))
    assert asked == "Which?\nA. red\nB. blue\nReply with the letter of the right choice, and nothing else."
    assert protocol_of("letter-1").prompt("Which?", ()).endswith("Reply with one word or a short phrase.")


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_an_open_question_may_be_told_that_nothing_may_be_seen(name: str) -> None:
    protocol = protocol_of(name)
    assert "cannot be seen" in protocol.prompt("Which?", (), may_be_unseen=True)
    assert "cannot be seen" not in protocol.prompt("Which?", ())
    lettered = protocol.prompt("Which?", ("red", "cannot be seen"), may_be_unseen=True)
    assert lettered.count("cannot be seen") == 1


def test_choices_with_braces_are_put_as_they_are() -> None:
    assert "A. {letter}\n" in protocol_of("letter-1").prompt("{choice}?", ("{letter}", "{}"))


def test_more_choices_than_letters() -> None:
    many = [str(n) for n in range(len(LETTERS) + 1)]
    with pytest.raises(UsageError, match=r"27 choices, but letters for 26"):
        protocol_of("bare-1").prompt("Which?", many)


def test_an_unknown_protocol() -> None:
    with pytest.raises(UsageError, match=r"--protocol lmms: no such protocol.*bare-1"):
        protocol_of("lmms")
