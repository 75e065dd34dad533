"""One multiple-choice question as it is asked of a model: the order of its choices, the reply, and what was chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slvr_data.annotators.served.schemas import an_object, read_json
from slvr_data.prompts import LETTERS
from slvr_data.requests.failures import BadReplyError

SCHEMA_NAME = "answer"


def rotated(choices: Sequence[str], sample: int) -> list[str]:
    """The choices in the order of one sample: over as many samples as there are choices, each stands in each place."""
    turn = sample % len(choices)
    return [*choices[turn:], *choices[:turn]]


def whole_turns(samples: int, choices: int) -> int:
    """The number of samples, rounded up so that every order comes equally often."""
    return -(-samples // choices) * choices


def answer_schema(number: int, undecided: bool) -> dict[str, Any]:
    """The JSON schema of the reply: a letter for one of `number` choices, or null where that may be said."""
    letters: dict[str, Any] = {"type": "string", "enum": list(LETTERS[:number])}
    choice = {"anyOf": [letters, {"type": "null"}]} if undecided else letters
    return an_object({"choice": choice})


def reader_of(offered: Sequence[str], undecided: bool) -> Callable[[str], str | None]:
    """A function from the reply's text to the choice that it names; None for undecided."""
    meant = dict(zip(LETTERS, offered, strict=False))

    def read(text: str) -> str | None:
        tree = read_json(text)
        if not isinstance(tree, dict) or "choice" not in tree:
            raise BadReplyError("schema", f"{text[:200]!r} is no object with the field 'choice'")
        letter = tree["choice"]
        if letter is None and undecided:
            return None
        if not isinstance(letter, str) or letter not in meant:
            raise BadReplyError("schema", f"choice {str(letter)[:80]!r} is none of {', '.join(list(meant))}")
        return meant[letter]

    return read
