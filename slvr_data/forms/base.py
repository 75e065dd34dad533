"""What the forms of others have in common: conversations about a picture, boxes as shares of its sides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from slvr_data.schema import QuestionAnswer
from slvr_data.sources.rows import shown

IMAGE = "<image>"
LATENTS = ("<slvr>", "<lvr>")
"""Stands where a model thinks in visual latents, one for each box; the second name is the older one."""
SEMANTICS = ("<sem_placeholder>", "<lvr_text>")
"""Stands where a model thinks in the semantic latent; the second name is the older one."""
INSTRUCTION = "Provide a short and direct response."
"""Follows the question in LVR's data, and belongs to the prompt."""
RESERVED = (IMAGE, *LATENTS, *SEMANTICS, "<answer>", "</answer>", "<|")
"""Texts that mean something to a reader of these forms and must not stand in a question or an answer."""

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_PLACEHOLDERS = re.compile("|".join((*LATENTS, *SEMANTICS)))
_DIGITS = 8
"""Of a share: finer than 0.01 px of any picture."""


class RecordError(Exception):
    """A record that cannot be carried over; `reason` is a stable code."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason = reason
        self.evidence = evidence


@dataclass(frozen=True)
class Asked:
    """A question about a region, on its way into a form. `box` is [x1, y1, x2, y2] as shares of the sides."""

    id: str
    image: str
    box: list[float]
    question: str
    answer: str
    source: str
    split: str


@dataclass(frozen=True)
class Told:
    """What a record of a form tells. Without `boxes` it speaks of the whole picture."""

    id: str | None
    image: str
    boxes: list[list[float]]
    questions: list[QuestionAnswer]
    split: str | None = None


class Form(Protocol):
    """One form, read and written."""

    name: str
    lines: bool
    """Written as JSON lines, not as one array; either is read."""
    pairs: bool
    """Two records that follow each other belong together."""

    def record(self, asked: Asked) -> dict[str, Any]:
        """The record that holds a question."""
        ...

    def told(self, record: dict[str, Any]) -> Told:
        """What a record tells.

        Raises:
            RecordError: it is not of this form.
        """
        ...


def shares(box: list[float], width: int, height: int) -> list[float]:
    """A box in pixels as shares of the picture's sides."""
    return [round(c / side, _DIGITS) for c, side in zip(box, (width, height, width, height), strict=True)]


def conversation(question: str, reply: str) -> list[dict[str, str]]:
    """One turn each of a human, who shows the picture, and of the model."""
    return [{"from": "human", "value": f"{IMAGE}\n{question}"}, {"from": "gpt", "value": reply}]


def one_picture(record: dict[str, Any], key: str) -> str:
    """The path of the record's only picture, a string or a list of one."""
    value = record.get(key)
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise RecordError("image-absent", f'"{key}" is {shown(value)}: give the picture\'s path')
    if len(paths) > 1:
        raise RecordError("images-several", f'"{key}" names {len(paths)} pictures: a region belongs to one')
    found: str = paths[0]
    return found


def boxes_of(record: dict[str, Any]) -> list[list[float]]:
    """The record's boxes, shares of the sides; none where it has no `bboxes`."""
    value = record.get("bboxes")
    if value is None:
        return []
    if not isinstance(value, list):
        raise RecordError("bboxes-invalid", f"bboxes = {shown(value)}: give a list of boxes")
    return [_box(box) for box in value]


def _box(box: Any) -> list[float]:
    sound = isinstance(box, list) and len(box) == 4
    if not sound or not all(isinstance(c, int | float) and not isinstance(c, bool) for c in box):
        raise RecordError("bbox-invalid", f"bbox = {shown(box)}: give four numbers, [x1, y1, x2, y2]")
    if not all(-0.01 <= c <= 1.01 for c in box):  # false for NaN too
        raise RecordError("bbox-not-normalized", f"bbox {shown(box)} is not within 0 and 1: divide by width and height")
    x1, y1, x2, y2 = (min(max(float(c), 0.0), 1.0) for c in box)
    if x1 >= x2 or y1 >= y2:
        raise RecordError("bbox-inverted", f"bbox {box} is not [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    return [x1, y1, x2, y2]


def turns_of(record: dict[str, Any], boxes: int | None = None) -> list[QuestionAnswer]:
    """The questions and answers of the record's conversation, placeholders and tags taken off.

    With `boxes` given, placeholders of visual latents must be as many, where there are any.
    """
    turns = record.get("conversations")
    if not isinstance(turns, list) or not turns or len(turns) % 2:
        raise RecordError(
            "conversations-invalid",
            f"conversations = {shown(turns)}: give a list of turns, a question and an answer in turn",
        )
    found = []
    latents = 0
    for number, (one, other) in enumerate(zip(turns[::2], turns[1::2], strict=True)):
        question, reply = _value(one, "human", 2 * number), _value(other, "gpt", 2 * number + 1)
        latents += sum(reply.count(mark) for mark in LATENTS)
        found.append(_question(question, reply))
    if boxes is not None and latents not in (0, boxes):
        raise RecordError("placeholders-differ", f"{latents} placeholders of latents stand for {boxes} boxes")
    return found


def _value(turn: Any, speaker: str, number: int) -> str:
    text = turn.get("value") if isinstance(turn, dict) and turn.get("from") == speaker else None
    if not isinstance(text, str):
        wanted = f'{{"from": "{speaker}", "value": text}}'
        raise RecordError("conversations-invalid", f"turn {number} is {shown(turn)}: give {wanted}")
    return text


def _question(asked: str, reply: str) -> QuestionAnswer:
    question = asked.replace(IMAGE, "").strip().removesuffix(INSTRUCTION).strip()
    inner = _ANSWER.search(reply)
    answer = (inner[1] if inner else _PLACEHOLDERS.sub("", reply)).strip()
    for name, text in (("question", question), ("answer", answer)):
        if not text:
            raise RecordError(f"{name}-empty", f"the {name} is empty: fill it in or leave the record out")
        if not _is_text(text):
            raise RecordError("text-invalid", f"{shown(text)} holds half a character (a lone surrogate)")
    return QuestionAnswer(question=question, answer=answer)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def name_of(record: dict[str, Any], *keys: str) -> str | None:
    """The record's own identifier, under the first of `keys` that holds one."""
    for key in keys:
        value = record.get(key)
        if isinstance(value, int | str) and not isinstance(value, bool) and _is_text(str(value)):
            return str(value)
    return None


def split_of(record: dict[str, Any]) -> str | None:
    """The record's split, where it names one."""
    value = record.get("split")
    return value if isinstance(value, str) and value else None
