"""`visual-cot`: questions about boxes, as Visual-CoT writes them.

Two forms of a row are read, alone or mixed, from JSON lines or from one JSON array: `VisualCotRow`, and the
older conversation, whose picture strings end in `###[x1, y1, x2, y2]`. A row with several boxes tells of
several regions: each (row, box) pair counts as a row of its own, under the line of the row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slvr_data.schema import QuestionAnswer
from slvr_data.sources.base import Malformed, ParsedRow, RawRow, Unit
from slvr_data.sources.json_array import json_rows
from slvr_data.sources.rows import Named, RowSource, decoded, explain, shown

_WANTED = {"bboxs": "give a list of boxes, each [x1, y1, x2, y2] in pixels"}
_BOX = "###"
_REQUEST = "please provide the bounding box coordinate"
_IMAGE_TAG = "<image>"


class VisualCotRow(BaseModel):
    """One row: a question about one or several boxes. Other keys are passed over."""

    model_config = ConfigDict(extra="ignore", strict=True, use_attribute_docstrings=True)

    question: str
    """It becomes an original question of the region."""
    answer: str
    """Its answer."""
    image: str
    """Path of the picture below the picture root."""
    bboxs: list[Any] = Field(min_length=1)
    """Boxes in absolute pixels, [[x1, y1, x2, y2], ...]; each is a region."""
    width: int | None = Field(None, gt=0)
    """Declared width of the picture in pixels; a row whose declared size is not the file's is rejected."""
    height: int | None = Field(None, gt=0)
    """Declared height."""
    split: str | None = None
    """The source's own split."""


class VisualCot(RowSource):
    """See `docs/sources.md`."""

    def named(self, file: Path) -> Iterator[Named]:
        """The rows of a file behind their pictures."""
        for row in json_rows(file):
            record = row.problem or decoded(row.payload)
            picture = record if isinstance(record, Malformed) else _picture(record)
            if isinstance(picture, Malformed):
                row.problem = picture
                yield None, row
            else:
                yield picture, row

    def parse(self, unit: Unit) -> Iterator[tuple[RawRow, ParsedRow | Malformed]]:
        """Each row, once for each of its boxes."""
        for row in unit.rows:
            if row.problem is not None:
                yield row, row.problem
                continue
            found = _parse(row)
            if isinstance(found, Malformed):
                yield row, found
                continue
            parsed, boxes = found
            for number, box in enumerate(boxes):
                yield row, _with_box(parsed, box, "" if len(boxes) == 1 else f"[{number}]")


def _picture(record: dict[str, Any]) -> str | Malformed:
    """The path of the picture that a row names."""
    image = record.get("image")
    if "conversations" not in record:
        if isinstance(image, str) and image:
            return image
        return Malformed("image-absent", f'"image" is {shown(image)}: give the picture\'s path')
    strings = [image] if isinstance(image, str) else image
    if not isinstance(strings, list) or not strings or not all(isinstance(text, str) for text in strings):
        return Malformed("image-absent", f'"image" is {shown(image)}: give the picture\'s path, and path###[box]')
    paths = {text.partition(_BOX)[0] for text in strings}
    if len(paths) > 1:
        return Malformed("image-several", f"the row names several pictures, {shown(sorted(paths))}: give each its own")
    (path,) = paths
    return path or Malformed("image-absent", f'"image" is {shown(image)}: give the picture\'s path before {_BOX}')


def _parse(row: RawRow) -> tuple[ParsedRow, list[Any]] | Malformed:
    """What a row says, without a box yet, and its boxes as they stand."""
    if b'"conversations"' in row.payload and "conversations" in (record := json.loads(row.payload)):
        return _conversation(row, record)
    try:
        found = VisualCotRow.model_validate_json(row.payload)
    except ValidationError as error:
        return explain(error, VisualCotRow, _WANTED)
    question = _question(found.question, found.answer)
    if isinstance(question, Malformed):
        return question
    parsed = ParsedRow(
        line=row.line,
        id=None,
        box=[],
        label=None,
        width=found.width,
        height=found.height,
        split=found.split,
        questions=[question],
    )
    return parsed, found.bboxs


def _conversation(row: RawRow, record: dict[str, Any]) -> tuple[ParsedRow, list[Any]] | Malformed:
    image, split, identifier = record["image"], record.get("split"), record.get("question_id")
    if split is not None and not isinstance(split, str):
        return Malformed("split-invalid", f"split = {shown(split)}: give the split's name")
    texts = [text.partition(_BOX)[2] for text in ([image] if isinstance(image, str) else image) if _BOX in text]
    if not texts:
        return Malformed("bbox-absent", f"no picture string of {shown(image)} ends in {_BOX}[x1, y1, x2, y2]")
    turns = _turns(record.get("conversations"))
    question = turns if isinstance(turns, Malformed) else _question(*turns)
    if isinstance(question, Malformed):
        return question
    parsed = ParsedRow(
        line=row.line,
        id=str(identifier) if isinstance(identifier, int | str) else None,
        box=[],
        label=None,
        split=split,
        questions=[question],
    )
    return parsed, [_numbers(text) for text in texts]


def _turns(conversations: Any) -> tuple[str, str] | Malformed:
    """The question and the answer: the first human turn, and the last turn of the other side."""
    turns = conversations if isinstance(conversations, list) else []
    said: dict[str, list[str]] = {"human": [], "gpt": []}
    for turn in turns:
        text = turn.get("value") if isinstance(turn, dict) else None
        speaker = turn.get("from") if isinstance(turn, dict) else None
        if not isinstance(text, str) or speaker not in ("human", "gpt"):
            return Malformed(
                "conversations-invalid", f'turn {shown(turn)}: give {{"from": "human" or "gpt", "value": text}}'
            )
        said[speaker].append(text)
    if not said["human"]:
        return Malformed("question-absent", f"conversations = {shown(conversations)}: no turn of a human")
    if not said["gpt"] or (len(said["gpt"]) == 1 and isinstance(_numbers(said["gpt"][0]), list)):
        return Malformed("answer-absent", "no turn of gpt but that with the box: give the answer as the last turn")
    return asked(said["human"][0]), said["gpt"][-1]


def asked(text: str) -> str:
    """A human turn without the picture's tag and without the request for a box."""
    text = text.replace(_IMAGE_TAG, "")
    start = text.lower().find(_REQUEST)
    if start >= 0:
        end = text.find(".", start)
        text = text[:start].rstrip() + (" " + text[end + 1 :].lstrip() if end >= 0 else "")
    return text.strip()


def _question(question: str, answer: str) -> QuestionAnswer | Malformed:
    for name, text in (("question", question), ("answer", answer)):
        if not text.strip():
            return Malformed(f"{name}-empty", f"the {name} is empty: fill it in or leave the row out")
    return QuestionAnswer.model_construct(question=question, answer=answer)


def _numbers(text: str) -> Any:
    """The list that a text holds, or the text where it holds none."""
    stripped = text.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")):
        return text
    try:
        return json.loads(stripped)
    except (ValueError, RecursionError):
        return text


def _with_box(parsed: ParsedRow, box: Any, place: str) -> ParsedRow | Malformed:
    good = isinstance(box, list) and len(box) == 4
    if not good or not all(isinstance(c, int | float) and not isinstance(c, bool) for c in box):
        name = "bbox" if not place else f"bboxs{place}"
        return Malformed("bbox-invalid", f"{name} = {shown(box)}: give four numbers, [x1, y1, x2, y2] in pixels")
    try:
        return replace(parsed, box=[float(c) for c in box])
    except OverflowError:
        return replace(parsed, box=[float("inf")] * 4)
