"""`llava`: conversations about pictures as LLaVA is trained on, one JSON array."""

from __future__ import annotations

from typing import Any

from slvr_data.forms.base import Asked, Told, boxes_of, conversation, name_of, one_picture, turns_of


class Llava:
    """See `docs/formats.md`. LLaVA knows no boxes: `bboxes` is ours, and other readers pass over it."""

    name = "llava"
    lines = False
    pairs = False

    def record(self, asked: Asked) -> dict[str, Any]:
        """A question, with its box beside it."""
        return {
            "id": asked.id,
            "image": asked.image,
            "conversations": conversation(asked.question, asked.answer),
            "bboxes": [asked.box],
        }

    def told(self, record: dict[str, Any]) -> Told:
        """A conversation of any length about one picture; of the whole picture where no box is given."""
        return Told(name_of(record, "id"), one_picture(record, "image"), boxes_of(record), turns_of(record))
