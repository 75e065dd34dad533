"""The rows of files of others, in one form. `benchmark.importing` says which files those are."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.imported_forms import FaultError, in_our_words
from slvr_data.errors import UsageError
from slvr_data.sources.json_array import is_array, json_rows
from slvr_data.tables import wide_fields

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.S)


class RowQuery(BaseModel):
    """A question as a file has it."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    choices: list[str] = []
    facet: str | None = None
    category: str | None = None
    """The file's own class of questions, which stands in the place of a facet."""
    paraphrases: list[str] = []
    query_id: str | None = None


class Row(BaseModel):
    """A row: an item, or some of its questions."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    id: str = Field(min_length=1)
    image: str = Field(min_length=1)
    bbox: tuple[float, float, float, float] | None = None
    label: str | None = None
    queries: list[RowQuery] = []
    turn: bool = Field(False, exclude=True)
    """Whether its id may count the questions of an item, as those of the paper's list do."""


Told = tuple[int, Any]
"""The number of a row, and what stands there: an object, or its fault."""


def read_rows(file: Path) -> Iterator[tuple[int, Row | FaultError]]:
    """Each row of a JSON or CSV file with its number (`unit_of`), or its fault.

    Raises:
        UsageError: the file as a whole cannot be read.
    """
    if not file.is_file():
        raise UsageError(f"{file} is not a file")
    yield from checked_rows(separated_rows(file, ",") if file.suffix.lower() == ".csv" else _json_rows(file))


def checked_rows(told: Iterator[Told]) -> Iterator[tuple[int, Row | FaultError]]:
    """Each row in the one form, or its fault."""
    for number, tree in told:
        try:
            yield number, _row(tree)
        except FaultError as fault:
            yield number, fault


def unit_of(file: Path) -> str:
    """What the number of a row counts: "element" of a JSON list, else "line"."""
    return "element" if file.suffix.lower() != ".csv" and is_array(file) else "line"


def separated_rows(file: Path, delimiter: str) -> Iterator[Told]:
    """The rows of a table in text with a head; a row of several lines has the number of its first.

    Raises:
        UsageError: it is not UTF-8, or its quotes do not close.
    """
    line = 0
    try:
        with wide_fields(), file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            head = next(reader, [])
            before = line = reader.line_num
            for row in reader:
                line, before = before + 1, reader.line_num
                if len(row) > len(head):
                    yield line, FaultError("columns-number", f"the row has {len(row)} columns, the head {len(head)}")
                elif row:
                    yield line, {key: value for key, value in zip(head, row, strict=False) if value}
    except (UnicodeDecodeError, csv.Error) as error:
        kind = "CSV" if delimiter == "," else "TSV"
        raise UsageError(f"{file} cannot be read as {kind} in UTF-8 after line {line}: {error}") from None


def _json_rows(file: Path) -> Iterator[tuple[int, Any]]:
    for row in json_rows(file):
        try:
            yield row.line, json.loads(row.payload or b"")
        except (ValueError, RecursionError) as error:
            yield row.line, FaultError("not-json", f"the row is not JSON: {error}")


def _row(tree: Any) -> Row:
    """A row in the one form.

    Raises:
        FaultError: it has none of the known forms.
    """
    if isinstance(tree, FaultError):
        raise tree
    if not isinstance(tree, dict):
        raise FaultError("not-an-object", "the row is no object")
    if "conversations" in tree:
        tree = _conversation(tree)
    elif "queries" not in tree:
        tree = in_our_words(tree)
        own = {key: tree[key] for key in tree if key in RowQuery.model_fields}
        for key in ("choices", "paraphrases"):
            own[key] = _listed(own[key]) if isinstance(own.get(key), str) else own.get(key) or []
        tree = {key: value for key, value in tree.items() if key not in RowQuery.model_fields} | {"queries": [own]}
        if isinstance(tree.get("bbox"), str):
            tree["bbox"] = _listed(tree["bbox"])
    try:
        return Row.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FaultError("row-invalid", f"{where}: {first['msg']}") from None


def _listed(text: str) -> list[Any]:
    """A list in a cell: JSON, or texts between "|"."""
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, list):
            return found
    return [part.strip() for part in text.split("|")]


def _conversation(tree: dict[str, Any]) -> dict[str, Any]:
    images = tree.get("images", tree.get("image"))
    paths = [images] if isinstance(images, str) else images
    if not isinstance(paths, list) or len(paths) != 1 or not isinstance(paths[0], str):
        raise FaultError("pictures-number", f"images is {str(images)[:80]!r}: an item is about one picture")
    said = [_said(turn) for turn in tree["conversations"]] if isinstance(tree["conversations"], list) else []
    if not said or len(said) % 2 or None in said:
        raise FaultError("conversation-invalid", "conversations must be texts, question and answer by turns")
    queries = []
    for question, answer in zip(said[::2], said[1::2], strict=True):
        found = _ANSWER.findall(answer or "")
        queries.append({
            "question": (question or "").replace("<image>", " ").strip(),
            "answer": (found[-1] if found else answer or "").strip(),
        })  # fmt: skip
    return {"id": tree.get("id"), "image": paths[0], "queries": queries, "turn": len(queries) == 1}


def _said(turn: Any) -> str | None:
    text = turn.get("value", turn.get("content")) if isinstance(turn, dict) else turn
    return text if isinstance(text, str) else None
