"""Rows of one question in the words of others, put into ours: VLMEvalKit's columns, and those of V*'s own list."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Any

PICTURES = ("image", "images", "picture", "image_path")
"""Columns that name or hold the picture, the first one that is there."""
_NAMES = (("index", "id"), ("question_id", "id"), ("options", "choices"))
"""(their word, ours)"""
COLUMNS = frozenset({
    "id", "question", "answer", "choices", "facet", "category", "paraphrases", "bbox", "label",
    "text", "hint", "conversations", *(theirs for theirs, _ in _NAMES), *PICTURES, *ascii_uppercase,
})  # fmt: skip
"""All that a table of others may say; what else it has is left aside."""


class FaultError(Exception):
    """What is wrong with a row or an item: a stable reason, and words."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(reason, words)
        self.reason, self.words = reason, words


def in_our_words(tree: dict[str, Any]) -> dict[str, Any]:
    """The same row with our names of columns.

    * `text` and `label` without `question` and `answer` are question and answer, and ids count within `category`, as in
      the list of V*; `index`, `question_id`, `options` and `image_path` are id, choices and image.
    * Columns A, B, ... are choices, and an answer that is such a letter is that choice.
    * `hint` stands before the question.

    Raises:
        FaultError: columns of choices have a gap.
    """
    row = dict(tree)
    if "question" not in row and "text" in row:
        row["question"] = row.pop("text")
        if "answer" not in row and "label" in row:
            row["answer"] = row.pop("label")
        if "id" not in row and {"question_id", "category"} <= row.keys():
            row["id"] = f"{row['category']}-{row.pop('question_id')}"
    for theirs, ours in (*_NAMES, *((name, "image") for name in PICTURES[1:])):
        if theirs in row and row.get(ours) is None:
            row[ours] = row.pop(theirs)
    _take_letters(row)
    hint = row.pop("hint", None)
    if isinstance(hint, str) and hint.strip() and isinstance(row.get("question"), str):
        row["question"] = f"{hint.strip()}\n{row['question']}"
    return row


def _take_letters(row: dict[str, Any]) -> None:
    """Make a list of columns of choices, or of an object with letters for keys."""
    told = row.get("choices")
    held = told if isinstance(told, dict) else row
    letters = [letter for letter in ascii_uppercase if letter in held]
    found = {letter: value for letter in letters if (value := held[letter]) is not None and str(value).strip()}
    if held is row:
        for letter in letters:
            del row[letter]
        if told:
            return
    if not found:
        return
    if "".join(found) != ascii_uppercase[: len(found)]:
        raise FaultError("choices-invalid", f"choices are {', '.join(found)}: give them from A on without a gap")
    row["choices"] = [str(value) for value in found.values()]
    answer = row.get("answer")
    if isinstance(answer, str) and answer.strip() in found:
        row["answer"] = str(found[answer.strip()])
