"""`slvr-stage2`: what the SLVR paper's second stage is trained on, one JSON array of pairs."""

from __future__ import annotations

import re
from typing import Any

from slvr_data.forms.base import Asked, Told, boxes_of, conversation, name_of, one_picture, turns_of

_PLACE = re.compile(r"(.+)-([12])", re.DOTALL)


class Stage2:
    """See `docs/formats.md`. The paper's files hold no boxes: `bboxes` is ours, and its reader passes over it."""

    name = "slvr-stage2"
    lines = False
    pairs = True

    def record(self, asked: Asked) -> dict[str, Any]:
        """A question; the id of the first of a pair ends in -1, that of the second in -2."""
        return {
            "id": asked.id,
            "images": [asked.image],
            "conversations": conversation(asked.question, f"<answer> {asked.answer} </answer>"),
            "bboxes": [asked.box],
        }

    def told(self, record: dict[str, Any]) -> Told:
        """One of a pair; of the whole picture where no box is given."""
        return Told(name_of(record, "id"), one_picture(record, "images"), boxes_of(record), turns_of(record))


def are_pair(first: str | None, second: str | None) -> bool:
    """Whether two records that follow each other can be a pair, by their ids (None for one without)."""
    one, two = _place(first), _place(second)
    if one is not None and one[1] != "1":
        return False
    if two is not None and two[1] != "2":
        return False
    return one is None or two is None or one[0] == two[0]


def stem(name: str | None) -> str | None:
    """The id of a pair, from that of its first record."""
    place = _place(name)
    return place[0] if place else name


def _place(name: str | None) -> tuple[str, str] | None:
    found = _PLACE.fullmatch(name) if name is not None else None
    return (found[1], found[2]) if found else None
