"""The words that a model is sent: a protocol has a name with a version, and its text never changes under that name.

A query is put as its question; its choices stand below, each on a line of its own behind its letter. That is the form
in which SLVR models are trained, and protocol "bare-1" adds nothing to it. Protocols differ in what stands behind:
published harnesses gave 10 to 20 points of difference by such lines alone, so runs of two protocols are never compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from string import ascii_uppercase

from slvr_data.errors import UsageError

LETTERS = ascii_uppercase
"""Of the choices, in order."""


@dataclass(frozen=True)
class Protocol:
    """What is said beside the question."""

    name: str
    """With its version, e.g. "letter-1"."""
    choice: str = "\n{letter}. {choice}"
    """A choice, behind the question."""
    lettered: str = ""
    """What stands behind choices."""
    open: str = ""
    """What stands behind a question without choices."""
    unseen: str = ""
    """What stands behind a question without choices in the evidence family, where "cannot be seen" may be said."""

    @property
    def sha256(self) -> str:
        """Of all its texts."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def version(self) -> str:
        """Its name and the beginning of its hash."""
        return f"{self.name}:{self.sha256[:8]}"

    def prompt(self, question: str, choices: Sequence[str], may_be_unseen: bool = False) -> str:
        """The whole text of an ask.

        Args:
            question: as it is asked.
            choices: in the order shown; empty for an open question.
            may_be_unseen: an open question to which "cannot be seen" may be the answer.

        Raises:
            UsageError: there are more choices than letters.
        """
        if len(choices) > len(LETTERS):
            raise UsageError(f"{len(choices)} choices, but letters for {len(LETTERS)}: leave some out")
        if not choices:
            return question + (self.unseen if may_be_unseen else self.open)
        lines = (
            self.choice.format(letter=letter, choice=choice) for letter, choice in zip(LETTERS, choices, strict=False)
        )
        return question + "".join(lines) + self.lettered


_SHORT = "\nReply with one word or a short phrase."
_REASONED = "\nThink step by step, then end with a line that says: Answer: followed by "
_UNSEEN = "\nIf the picture does not show it, say: cannot be seen."

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("bare-1", unseen=_UNSEEN),
        Protocol(
            "letter-1",
            lettered="\nReply with the letter of the right choice, and nothing else.",
            open=_SHORT,
            unseen=_SHORT + _UNSEEN,
        ),
        Protocol(
            "reason-1",
            lettered=_REASONED + "the letter of the right choice.",
            open=_REASONED + "one word or a short phrase.",
            unseen=_REASONED + "one word or a short phrase." + _UNSEEN,
        ),
    )
}
"""Name -> protocol."""
DEFAULT_PROTOCOL = "bare-1"


def protocol_of(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"--protocol {name}: no such protocol; these are known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
