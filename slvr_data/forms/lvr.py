"""`lvr`: what LVR is trained on (its supervised stage), one JSON array."""

from __future__ import annotations

from typing import Any

from slvr_data.forms.base import (
    Asked,
    RecordError,
    Told,
    boxes_of,
    conversation,
    name_of,
    one_picture,
    split_of,
    turns_of,
)


class Lvr:
    """See `docs/formats.md`."""

    name = "lvr"
    lines = False
    pairs = False

    def record(self, asked: Asked) -> dict[str, Any]:
        """A question with its box."""
        return {
            "dataset": asked.source,
            "split": asked.split,
            "question_id": asked.id,
            "image": [asked.image],
            "conversations": conversation(asked.question, f"<lvr>\n<answer> {asked.answer} </answer>"),
            "bboxes": [asked.box],
        }

    def told(self, record: dict[str, Any]) -> Told:
        """A record with at least one box; its id is that of the question within its data set."""
        boxes = boxes_of(record)
        if not boxes:
            raise RecordError("bboxes-absent", "the record has no bboxes: give [[x1, y1, x2, y2]] within 0 and 1")
        own, dataset = name_of(record, "question_id", "id"), name_of(record, "dataset")
        name = f"{dataset}/{own}" if own is not None and dataset is not None else own
        questions = turns_of(record, len(boxes))
        return Told(name, one_picture(record, "image"), boxes, questions, split_of(record))
