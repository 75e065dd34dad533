"""Files of others through `slvr-data convert --from`: what a record tells, and what a bad one costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.convert import convert
from tests.conversions import BOX, HEIGHT, SHARES, WIDTH, balanced, lay_out, records, rejections, talk
from tests.support import write_jsonl


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures."""
    return lay_out(tmp_path_factory.mktemp("convert"))


def stage1(**columns: Any) -> dict[str, Any]:
    reply = "<lvr>\n<lvr_text>\n<answer> a cat </answer>"
    tree = {"image": "a.png", "conversations": talk("<image>\nWhat is it?", reply), "bboxes": [SHARES]}
    return tree | {"emb": [0.5, 0.25]} | columns


GOOD_STAGE1 = {
    "older placeholders": stage1(),
    "newer placeholders": stage1(
        conversations=talk("What is it?\n<image>", "<slvr>\n<sem_placeholder>\n<answer>a cat</answer>")
    ),
    "a list of one picture": stage1(image=["a.png"]),
    "no tags": stage1(conversations=talk("What is it?", "<lvr><lvr_text>a cat")),
    "LVR's instruction": stage1(
        conversations=talk("<image>\nWhat is it?\nProvide a short and direct response.", "a cat")
    ),
}


@pytest.mark.parametrize("name", GOOD_STAGE1)
def test_a_record_of_stage_1_is_a_row(root: Path, tmp_path: Path, name: str) -> None:
    file, out = write_jsonl(tmp_path / "in.jsonl", [GOOD_STAGE1[name]]), tmp_path / "out.jsonl"
    balanced(convert(file, "slvr-stage1", out, root / "pictures", False), out, read=1)
    question = {"question": "What is it?", "answer": "a cat"}
    row = {"image": "a.png", "bbox": BOX, "width": WIDTH, "height": HEIGHT, "original_questions": [question]}
    assert records(out) == [row]


BAD_STAGE1: list[tuple[dict[str, Any] | bytes, str]] = [
    (b'{"image": "a.png", ', "not-json"),
    (b'{"image": "caf\xe9"}', "not-utf8"),
    (b"[1, 2]", "not-an-object"),
    (stage1(image=None), "image-absent"),
    (stage1(image=["a.png", "b.png"]), "images-several"),
    (stage1(image="gone.png"), "picture-missing"),
    (stage1(image="../rows.jsonl"), "path-climbs"),
    (stage1(image="text.png"), "picture-unreadable"),
    (stage1(image="turned.jpg"), "orientation-ambiguous"),
    (stage1(bboxes=None), "bboxes-absent"),
    (stage1(bboxes=[]), "bboxes-absent"),
    (stage1(bboxes="all"), "bboxes-invalid"),
    (stage1(bboxes=[[0.1, 0.2, 0.3]]), "bbox-invalid"),
    (stage1(bboxes=[BOX]), "bbox-not-normalized"),
    (json.dumps(stage1(bboxes="B")).replace('"B"', "[[NaN, 0, 1, 1]]").encode(), "bbox-not-normalized"),
    (stage1(bboxes=[[0.5, 0.5, 0.2, 0.8]]), "bbox-inverted"),
    (stage1(bboxes=[SHARES, SHARES]), "placeholders-differ"),
    (stage1(conversations=None), "conversations-invalid"),
    (stage1(conversations=talk("What is it?")), "conversations-invalid"),
    (stage1(conversations=talk("What is it?", "a cat")[::-1]), "conversations-invalid"),
    (stage1(conversations=talk("<image>", "a cat")), "question-empty"),
    (stage1(conversations=talk("What is it?", "<lvr><answer> </answer>")), "answer-empty"),
    (stage1(conversations=talk("What is it?", "half \ud83d")), "text-invalid"),
    (stage1(id=5), ""),
    (stage1(id="5"), "id-duplicate"),
]


def test_each_bad_record_costs_itself(root: Path, tmp_path: Path) -> None:
    file, out = write_jsonl(tmp_path / "in.jsonl", [line for line, _ in BAD_STAGE1]), tmp_path / "out.jsonl"
    account = balanced(convert(file, "slvr-stage1", out, root / "pictures", False), out, read=len(BAD_STAGE1))
    assert rejections(out) == [(n, reason) for n, (_, reason) in enumerate(BAD_STAGE1, 1) if reason]
    assert account.kept == 1


def test_several_boxes_are_several_rows(root: Path, tmp_path: Path) -> None:
    boxes = [SHARES, [0.0, 0.0, 1.0, 1.0]]
    tree = stage1(id="x", bboxes=boxes, conversations=talk("What?", "<lvr><lvr><lvr_text><answer>it</answer>"))
    file, out = write_jsonl(tmp_path / "in.jsonl", [tree]), tmp_path / "out.jsonl"
    account = balanced(convert(file, "slvr-stage1", out, root / "pictures", False), out, read=1)
    assert (account.kept, account.written) == (1, 2)
    assert [(row["id"], row["bbox"]) for row in records(out)] == [("x#1", BOX), ("x#2", [0, 0, WIDTH, HEIGHT])]


def test_lvr_names_questions_within_their_data_sets(root: Path, tmp_path: Path) -> None:
    rows = [stage1(question_id=7, dataset=name, split="val", image=["a.png"]) for name in ("gqa", "cub", "gqa")]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    out = tmp_path / "out.jsonl"
    balanced(convert(tmp_path / "in.json", "lvr", out, root / "pictures", False), out, read=3)
    assert [(row["id"], row["split"]) for row in records(out)] == [("gqa/7", "val"), ("cub/7", "val")]
    assert rejections(out) == [(3, "id-duplicate")]


def test_a_conversation_of_llava_is_about_the_whole_picture(root: Path, tmp_path: Path) -> None:
    rows = [{"id": "1", "image": "a.png", "conversations": talk("<image>\nWho?", "a", "Where?", "b")}, {"id": "2"}]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    out = tmp_path / "out.jsonl"
    balanced(convert(tmp_path / "in.json", "llava", out, root / "pictures", False), out, read=2)
    (row,) = records(out)
    assert row["bbox"] == [0, 0, WIDTH, HEIGHT]
    assert [q["question"] for q in row["original_questions"]] == ["Who?", "Where?"]
    assert rejections(out) == [(2, "image-absent")]


def half(name: str, image: str = "a.png", **columns: Any) -> dict[str, Any]:
    return {"id": name, "images": [image], "conversations": talk(f"<image>\n{name}?", "<answer> x </answer>")} | columns


def no_id(name: str) -> dict[str, Any]:
    return {key: value for key, value in half(name).items() if key != "id"}


PAIR_FILES: dict[str, tuple[list[Any], list[str], list[tuple[int, str]]]] = {
    "even": ([half("x-1"), half("x-2"), half("y-1"), half("y-2")], ["x", "y"], []),
    "odd": ([half("x-1"), half("x-2"), half("y-1")], ["x"], [(3, "pair-incomplete")]),
    "one in the middle is lost": (
        [half("x-1"), half("y-1"), half("y-2"), half("z-2"), half("u-1"), half("u-2")],
        ["y", "u"],
        [(1, "pair-incomplete"), (4, "pair-incomplete")],
    ),
    "other pictures": (
        [half("x-1"), half("x-2", "b.png"), half("y-1"), half("y-2")],
        ["y"],
        [(1, "pair-images-differ"), (2, "pair-images-differ")],
    ),
    "other boxes": (
        [half("x-1", bboxes=[SHARES]), half("x-2", bboxes=[[0, 0, 1, 1]])],
        [],
        [(1, "pair-boxes-differ"), (2, "pair-boxes-differ")],
    ),
    "one is bad": (
        [half("x-1"), half("x-2", conversations=[]), half("y-1"), half("y-2")],
        ["y"],
        [(1, "pair-incomplete"), (2, "conversations-invalid")],
    ),
    "one is no object": (
        [half("x-1"), half("x-2"), 5, half("y-1"), half("y-2")],
        ["x", "y"],
        [(3, "not-an-object")],
    ),
    "no ids": ([no_id("x"), no_id("y"), no_id("z")], [""], [(3, "pair-incomplete")]),
    "a pair again": (
        [half("x-1"), half("x-2"), half("x-1"), half("x-2")],
        ["x"],
        [(3, "id-duplicate"), (4, "id-duplicate")],
    ),
    "none": ([], [], []),
}


@pytest.mark.parametrize("name", PAIR_FILES)
def test_pair_files(root: Path, tmp_path: Path, name: str) -> None:
    """A record that has no partner costs itself, never the run, and never the pairs behind it."""
    rows, kept, refused = PAIR_FILES[name]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    out = tmp_path / "out.jsonl"
    balanced(convert(tmp_path / "in.json", "slvr-stage2", out, root / "pictures", False), out, read=len(rows))
    assert [row.get("id", "") for row in records(out)] == kept
    assert sorted(rejections(out)) == refused
