"""`slvr-stage1`: what the SLVR paper's first stage is trained on, one JSON object per line.

`emb`, the embedding of the region's profile, is neither written nor carried over.
"""

from __future__ import annotations

from typing import Any

from slvr_data.forms.base import Asked, RecordError, Told, boxes_of, conversation, name_of, one_picture, turns_of


class Stage1:
    """See `docs/formats.md`. Placeholders are written by their older names, which all readers know."""

    name = "slvr-stage1"
    lines = True
    pairs = False

    def record(self, asked: Asked) -> dict[str, Any]:
        """A question with its box."""
        reply = f"<lvr>\n<lvr_text>\n<answer> {asked.answer} </answer>"
        return {
            "id": asked.id,
            "image": asked.image,
            "conversations": conversation(asked.question, reply),
            "bboxes": [asked.box],
        }

    def told(self, record: dict[str, Any]) -> Told:
        """A record with at least one box."""
        boxes = boxes_of(record)
        if not boxes:
            raise RecordError("bboxes-absent", "the record has no bboxes: give [[x1, y1, x2, y2]] within 0 and 1")
        return Told(name_of(record, "id"), one_picture(record, "image"), boxes, turns_of(record, len(boxes)))
