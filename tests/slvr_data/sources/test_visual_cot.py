"""`visual-cot`: both forms of a row, one region for each of its boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slvr_data.sources.base import Malformed, ParsedRow, SourceConfig
from slvr_data.sources.visual_cot import VisualCot, asked
from tests.support import write_jsonl

REQUEST = "Please provide the bounding box coordinate of the region that can help you answer the question better."


def row(**columns: Any) -> dict[str, Any]:
    tree = {"question": "What is it?", "answer": "a cat", "image": "a.png", "width": 100, "height": 80}
    return tree | {"bboxs": [[1, 2, 30, 40]], "dataset": "gqa", "split": "train", "full_answer": "It is."} | columns


def talk(*turns: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(turns)]


def conversation(**columns: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {"dataset": "gqa", "split": "val", "question_id": 7}
    tree["image"] = ["cot/a.png", "cot/a.png###[1, 2, 30, 40]"]
    tree["conversations"] = talk(f"<image>\nWhat is it? {REQUEST}", "[0.1, 0.2, 0.3, 0.4]", "<image>", "a cat")
    return tree | columns


def source(*files: Path) -> VisualCot:
    tree = {"kind": "visual-cot", "name": "here", "annotations": files, "images": files[0].parent}
    return VisualCot(SourceConfig.model_validate(tree), follow_links=False)


def parsed(tmp_path: Path, *rows: dict[str, Any] | bytes) -> list[ParsedRow | Malformed]:
    found = source(write_jsonl(tmp_path / "rows.jsonl", rows))
    return [result for unit in found.units(None) for _, result in found.parse(unit)]


def one(tmp_path: Path, tree: dict[str, Any]) -> ParsedRow:
    (found,) = parsed(tmp_path, tree)
    assert isinstance(found, ParsedRow), found
    return found


def test_a_row(tmp_path: Path) -> None:
    found = one(tmp_path, row(bboxs=[[1.5, 2, 30, 40]]))
    assert (found.box, found.label, found.width, found.height) == ([1.5, 2.0, 30.0, 40.0], None, 100, 80)
    assert (found.split, found.id, found.line) == ("train", None, 1)
    assert [q.model_dump() for q in found.questions] == [{"question": "What is it?", "answer": "a cat"}]


def test_a_conversation(tmp_path: Path) -> None:
    found = one(tmp_path, conversation())
    assert (found.box, found.label, found.width, found.height) == ([1.0, 2.0, 30.0, 40.0], None, None, None)
    assert (found.split, found.id) == ("val", "7")
    assert [q.model_dump() for q in found.questions] == [{"question": "What is it?", "answer": "a cat"}]
    (unit,) = source(tmp_path / "rows.jsonl").units(None)
    assert unit.path == "cot/a.png"


def test_size_and_split_need_not_be_told(tmp_path: Path) -> None:
    tree = row()
    for name in ("width", "height", "split", "dataset"):
        del tree[name]
    found = one(tmp_path, tree)
    assert (found.width, found.height, found.split) == (None, None, None)


def test_each_box_is_a_row(tmp_path: Path) -> None:
    """A box that cannot be read costs itself; what is wrong with the row costs the row once."""
    boxes = [[1, 2, 30, 40], [5, 5, 9], [2, 3, 40, 50]]
    found = parsed(tmp_path, row(bboxs=boxes), row(bboxs=boxes, answer=""))
    assert [type(result) for result in found] == [ParsedRow, Malformed, ParsedRow, Malformed]
    assert isinstance(found[1], Malformed) and "bboxs[1] = [5, 5, 9]" in found[1].evidence
    strings = [f"a.png###{box}" for box in boxes]
    again = parsed(tmp_path, conversation(image=strings))
    assert [type(result) for result in again] == [ParsedRow, Malformed, ParsedRow]


def test_an_array_and_lines_hold_the_same(tmp_path: Path) -> None:
    rows = [row(), conversation(), 5, row(image="b.png"), row()]
    array = tmp_path / "array.json"
    array.write_text(json.dumps(rows, indent=2))
    lines = write_jsonl(tmp_path / "lines.jsonl", [json.dumps(tree).encode() for tree in rows])
    listed = [
        [(unit.path, [(raw.line, json.loads(raw.payload)) for raw in unit.rows]) for unit in source(file).units(None)]
        for file in (array, lines)
    ]
    assert listed[0] == listed[1]
    assert [path for path, _ in listed[0]] == ["a.png", "cot/a.png", "b.png", None]


@pytest.mark.parametrize(
    ("text", "question"),
    [
        (f"<image>\nWhat is it? {REQUEST}", "What is it?"),
        (f"What is it? {REQUEST}\n<image>", "What is it?"),
        ("<image>\nWhat is it?", "What is it?"),
        (f"What is it?\n{REQUEST.lower()} Answer in one word.", "What is it? Answer in one word."),
        ("What is it? Please provide the bounding box coordinates of it", "What is it?"),
        (f"<image>\n{REQUEST}", ""),
    ],
)
def test_the_question_is_the_human_turn_without_tag_and_request(text: str, question: str) -> None:
    assert asked(text) == question


@pytest.mark.parametrize(
    ("tree", "reason", "says"),
    [
        (row(bboxs=[]), "bboxs-invalid", "give a list of boxes"),
        (row(bboxs=[1, 2, 30, 40]), "bbox-invalid", "bboxs[0] = 1"),
        (row(bboxs=[["1", 2, 30, 40]]), "bbox-invalid", "bbox = ['1', 2, 30, 40]"),
        (row(bboxs=[[True, 2, 30, 40]]), "bbox-invalid", "True"),
        (row(bboxs=None), "bboxs-invalid", "bboxs = None"),
        (row(question=7), "question-invalid", "question = 7"),
        (row(answer=" \n"), "answer-empty", "the answer is empty"),
        (row(question=""), "question-empty", "the question is empty"),
        (row(image=["a.png"]), "image-absent", "['a.png']"),
        (row(width=0), "width-invalid", "width = 0"),
        (row(split=3), "split-invalid", "split = 3"),
        (conversation(image=["a.png"]), "bbox-absent", "ends in ###[x1, y1, x2, y2]"),
        (conversation(image=["a.png###217, 343"]), "bbox-invalid", "217, 343"),
        (conversation(image=["a.png###[1, 2, 30]"]), "bbox-invalid", "[1, 2, 30]"),
        (conversation(image=["a.png###[1, 2, 30"]), "bbox-invalid", "[1, 2, 30"),
        (conversation(image=["a.png", "b.png###[1, 2, 30, 40]"]), "image-several", "['a.png', 'b.png']"),
        (conversation(image=["###[1, 2, 30, 40]"]), "image-absent", "before ###"),
        (conversation(image=[]), "image-absent", "[]"),
        (conversation(image=[3]), "image-absent", "[3]"),
        (conversation(image=None), "image-absent", "None"),
        (conversation(conversations=[]), "question-absent", "no turn of a human"),
        (conversation(conversations="hello"), "question-absent", "hello"),
        (conversation(conversations=[{"from": "robot", "value": "x"}]), "conversations-invalid", "robot"),
        (conversation(conversations=[{"from": "human", "value": 3}]), "conversations-invalid", "3"),
        (conversation(conversations=["What?"]), "conversations-invalid", "What?"),
        (conversation(conversations=talk("What is it?")), "answer-absent", "last turn"),
        (conversation(conversations=talk("What is it?", "[0.1, 0.2, 0.3, 0.4]")), "answer-absent", "last turn"),
        (conversation(conversations=talk(f"<image> {REQUEST}", "[0, 0, 1, 1]", "<image>", "x")), "question-empty", ""),
        (conversation(conversations=talk("What?", "[0, 0, 1, 1]", "<image>", "")), "answer-empty", ""),
        (conversation(split=["val"]), "split-invalid", "['val']"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, tree: dict[str, Any], reason: str, says: str) -> None:
    found = parsed(tmp_path, tree)[0]
    assert isinstance(found, Malformed)
    assert found.reason == reason, found
    assert says in found.evidence and len(found.evidence) < 400


@pytest.mark.parametrize("name", ["question", "answer", "image", "bboxs"])
def test_a_column_that_is_needed_is_named_where_it_is_absent(tmp_path: Path, name: str) -> None:
    tree = row()
    del tree[name]
    (found,) = parsed(tmp_path, tree)
    assert isinstance(found, Malformed) and found.reason == f"{name}-absent" and name in found.evidence


def test_a_list_as_the_only_answer_after_the_box_is_an_answer(tmp_path: Path) -> None:
    found = one(tmp_path, conversation(conversations=talk("Which?", "[0, 0, 1, 1]", "<image>", "[1, 2]")))
    assert found.questions[0].answer == "[1, 2]"
