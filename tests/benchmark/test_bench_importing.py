"""Files of others: the paper's list, JSON lines and CSV; each fault is counted and named."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmark.folder import open_bench
from benchmark.imported_rows import read_rows
from benchmark.importing import import_file
from slvr_data.errors import UsageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, color in (("a.png", "red"), ("b.png", "blue"), ("c.png", "green")):
        Image.new("RGB", (40, 30), color).save(tmp_path / name)
    return tmp_path


def pair(number: int, image: str = "a.png", **more: Any) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": f"<image>\nWhat color is thing {number}?\nA. red\nB. blue"},
        {"from": "gpt", "value": "<answer> A </answer>"},
        {"from": "human", "value": "Where is it?\n(A) left\n(B) right\n(C) center"},
        {"from": "gpt", "value": "right"},
    ]
    return {"id": f"v-{number}", "images": [image], "conversations": turns} | more


def save(root: Path, tree: Any, name: str = "in.json") -> Path:
    path = root / name
    path.write_text(json.dumps(tree))
    return path


def test_the_papers_list(root: Path) -> None:
    report = import_file(save(root, [pair(1), pair(2, "b.png")]), root / "out")
    bench = open_bench(root / "out")
    assert report.rows == report.items == len(bench.items) == 2 and not report.faults
    color, place = bench.items[0].queries
    assert (color.answer, color.choices, color.answer_index, color.chance) == ("red", ("red", "blue"), 0, 0.5)
    assert place.question == "Where is it?" and place.choices == ("left", "right", "center") and place.answer == "right"
    assert color.facet == "color" and color.question.startswith("What color is thing") and bench.name == "in"
    assert bench.items[0].bbox is None and (bench.items[0].width, bench.items[0].height) == (40, 30)
    assert bench.picture(bench.items[0].image_id).startswith(b"\x89PNG") and bench.training is None


def test_questions_numbered_by_their_ids_are_one_item(root: Path) -> None:
    rows = [
        {"id": f"flickr-85-{n}", "images": ["a.png"], "conversations": [f"What is {n}?", f"answer {n}"]} for n in (1, 2)
    ] + [{"id": "flickr-86-1", "images": ["a.png"], "conversations": ["Alone?", "yes"]}]  # fmt: skip
    report = import_file(save(root, rows), root / "out")
    item, alone = sorted(open_bench(root / "out").items, key=lambda item: item.item_id)
    assert item.item_id == "flickr-85" and [query.answer for query in item.queries] == ["answer 1", "answer 2"]
    assert item.queries[0].choices == () and item.queries[0].chance is None and item.queries[0].answer_index is None
    assert alone.item_id == "flickr-86" and len(alone.queries) == 1 and not report.faults
    assert "1 items have one query: accuracy is over all; both, all right and lift are over the other 1" in (
        "\n".join(report.lines())
    )


def test_json_lines(root: Path) -> None:
    queries = [
        {"question": "What color is the cup?", "answer": "red", "choices": ["red", "blue"], "facet": "color",
         "paraphrases": ["Which color has it?"]},
        {"question": "How many?", "answer": 2, "choices": ["1", "2"]},
    ]  # fmt: skip
    rows = [{"id": 7, "image": "a.png", "bbox": [1, 2, 30, 20], "label": "cup", "queries": queries}]
    rows += [{"id": "x", "image": "b.png", **query} for query in queries]
    path = root / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_file(path, root / "out")
    items = {item.item_id: item for item in open_bench(root / "out").items}
    assert set(items) == {"7", "x"}
    assert items["7"].bbox == (1, 2, 30, 20) and items["7"].queries[0].template == "what color is {}?"
    assert items["7"].queries[0].paraphrases == ("Which color has it?",)
    assert [q.facet for q in items["x"].queries] == ["color", "count"] and items["x"].queries[1].answer == "2"


def test_csv(root: Path) -> None:
    path = root / "in.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "image", "question", "answer", "choices", "bbox", "facet"])
        writer.writerow(["one-1", "a.png", "What color,\nthen?", "B", "red|blue", "[1, 2, 3, 4]", "color"])
        writer.writerow(["one-1", "a.png", "Where?", "left", '["left", "right"]', "", ""])
        writer.writerow(["one-2", "a.png", "Open?", "it is", "", "", "other"])
        writer.writerow(["one-2", "a.png", "Where?", "left", "left|right", "", ""])
    report = import_file(path, root / "out")
    assert not report.faults
    first, second = sorted(open_bench(root / "out").items, key=lambda item: item.item_id)
    assert first.item_id == "one-1" and first.bbox == (1, 2, 3, 4) and first.queries[0].answer == "blue"
    assert second.queries[0].choices == () and second.queries[0].facet == "other"


def bad(**more: Any) -> dict[str, Any]:
    queries = [
        {"question": "What color?", "answer": "red", "choices": ["red", "blue"]},
        {"question": "Where?", "answer": "left", "choices": ["left", "right"]},
    ]
    return {"id": "bad", "image": "a.png", "queries": queries} | more


QUERY = {"question": "Which?", "answer": "a", "choices": ["a", "b"]}


@pytest.mark.parametrize(
    ("row", "reason", "words"),
    [
        (bad(image="gone.png"), "picture-missing", "not below the picture root"),
        (bad(image="../a.png"), "path-climbs", "climbs out"),
        (bad(image="/etc/passwd"), "path-absolute", "absolute"),
        (bad(image="in.json"), "picture-unreadable", ""),
        (bad(queries=[]), "queries-number", "has 0 queries: give 1 to 4"),
        (bad(queries=[QUERY | {"question": f"{n}?"} for n in range(5)]), "queries-number", "has 5 queries"),
        (bad(queries=[QUERY, QUERY]), "duplicate-query", "asks the same twice"),
        (bad(queries=[QUERY, QUERY | {"question": "?", "answer": "c"}]), "answer-not-in-choices", "'c' is none of"),
        (bad(queries=[QUERY, QUERY | {"question": "?", "answer": "F"}]), "answer-not-in-choices", "'F' is none of"),
        (bad(queries=[QUERY, QUERY | {"question": "?", "choices": ["a", "A"]}]), "choices-invalid", "all different"),
        (bad(queries=[QUERY, QUERY | {"question": "?", "choices": ["a"]}]), "choices-invalid", "2 to 26"),
        (bad(queries=[QUERY, QUERY | {"question": "?", "facet": "taste"}]), "facet-unknown", "known are entity"),
        (bad(queries=[QUERY, QUERY | {"question": ""}]), "row-invalid", "queries.1.question"),
        (bad(queries=[QUERY, {"question": "?"}]), "row-invalid", "queries.1.answer"),
        (bad(bbox=[5, 5, 400, 9]), "bbox-outside", "40 x 30"),
        (bad(bbox=[9, 9, 5, 5]), "bbox-outside", "40 x 30"),
        (bad(id=None), "row-invalid", "id"),
        (bad(strange=1), "row-invalid", "strange"),
        (bad(id="good"), "duplicate-id", "there already"),
        (bad(id="good", image="b.png"), "duplicate-id", "another picture"),
        (pair(1, images=["a.png", "b.png"]), "pictures-number", "one picture"),
        (pair(1, conversations=["only"]), "conversation-invalid", "by turns"),
        (pair(1, conversations=[{"from": "human"}, "x"]), "conversation-invalid", "by turns"),
        ("text", "not-an-object", "no object"),
    ],
)  # fmt: skip
def test_faults_are_counted_and_named(root: Path, row: Any, reason: str, words: str) -> None:
    report = import_file(save(root, [bad(id="good"), row]), root / "out")
    [(line, found, said)] = report.faults
    assert (line, found) == (2, reason) and words in said
    assert [item.item_id for item in open_bench(root / "out").items] == ["good"]
    assert any(reason in text for text in report.lines())
    assert json.loads((root / "out" / "bench.json").read_text())["dropped"] == {reason: 1}


BAD = [
    bad(image="gone.png"),
    bad(queries=[QUERY, QUERY]),
    bad(id="good", image="b.png"),
    bad(id="box", bbox=[5, 5, 400, 9]),
    "text",
    pair(1, images=["a.png", "b.png"]),
    *({"id": "rows", "image": "a.png", **QUERY, "question": f"{n}?", "answer": "ab?abab"[n]} for n in range(7)),
    *({"id": "none", "image": "gone.png", **QUERY, "question": f"{n}?"} for n in range(3)),
    {"id": "one", "image": "a.png", **QUERY, "answer": "c"},
    {"id": "one", "image": "a.png", **QUERY},
    *({"id": "p-1", "images": ["a.png"], "conversations": ["What animal? (A) cat (B) dog", answer]} for answer in "AB"),
]  # fmt: skip


def test_kept_and_left_out_are_all_rows(root: Path) -> None:
    rows = [bad(id="good"), *BAD, bad(id="last")]
    report = import_file(save(root, rows), root / "out")
    about = json.loads((root / "out" / "bench.json").read_text())
    left = [json.loads(line) for line in (root / "out" / "left-out.jsonl").read_text().splitlines()]
    assert report.rows == len(rows) == report.kept + len(report.faults) and len(left) == len(report.faults)
    assert about["accounts"] == {"rows": len(rows), "kept": report.kept, "left_out": len(left), "items": report.items}
    assert sum(about["dropped"].values()) == len(left)
    numbers = [one["element"] for one in left]
    assert numbers == sorted(set(numbers)) and numbers[:6] == [2, 3, 4, 5, 6, 7]
    items = {item.item_id: item for item in open_bench(root / "out").items}
    assert {name: len(item.queries) for name, item in items.items()} == {
        "good": 2, "last": 2, "rows": 3, "one": 1, "p": 1,
    }  # fmt: skip
    assert [q.question for q in items["rows"].queries] == ["0?", "1?", "3?"]
    assert {one["element"]: one["reason"] for one in left if one["element"] in range(8, 15)} == {
        10: "answer-not-in-choices", 12: "queries-number", 13: "queries-number", 14: "queries-number",
    }  # fmt: skip
    printed = list(report.lines())
    assert (
        "  element 2: picture-missing" in "\n".join(printed) and f"of {report.kept} of {len(rows)} rows" in printed[0]
    )


def test_only_the_first_faults_are_printed(root: Path) -> None:
    path = root / "in.jsonl"
    path.write_text(json.dumps(bad(id="good")) + "\n\n" + "[1]\n" * 25)
    report = import_file(path, root / "out")
    printed = list(report.lines())
    assert sum("not-an-object: " in line for line in printed) == 20 and "  line 3: not-an-object" in printed[2]
    assert printed[-1] == f"  and 5 more, all in {root / 'out' / 'left-out.jsonl'}"
    assert len((root / "out" / "left-out.jsonl").read_text().splitlines()) == 25


def test_further_rows_that_name_another_box_or_label(root: Path) -> None:
    one: dict[str, Any] = {"id": "x", "image": "a.png", **QUERY}
    named: list[dict[str, Any]] = [
        {"bbox": [1, 2, 3, 4]}, {"label": "cup"}, {"bbox": [1, 2, 3, 5]}, {"label": "jug", "bbox": [1, 2, 3, 4]},
    ]  # fmt: skip
    rows = [one | {"question": f"{n}?"} | more for n, more in enumerate(named)]
    report = import_file(save(root, rows), root / "out")
    [item] = open_bench(root / "out").items
    assert (item.bbox, item.label, len(item.queries)) == ((1, 2, 3, 4), "cup", 2)
    assert [(row, reason) for row, reason, _ in report.faults] == [(3, "bbox-differs"), (4, "label-differs")]
    box, label = (words for _, _, words in report.faults)
    assert "[1.0, 2.0, 3.0, 5.0] here and [1.0, 2.0, 3.0, 4.0] in element 1" in box
    assert "'jug' here and 'cup' in" in label


def test_rows_of_a_table_have_the_line_that_they_begin_on(root: Path) -> None:
    path = root / "in.csv"
    path.write_text('id,image,question,answer\nx,a.png,"What,\nthen?",it\n\ny,b.png,"Which,\none?",B\nx,a.png,Who?,he,1\n'
                    "x,a.png,Where?,here\n")  # fmt: skip
    report = import_file(path, root / "out")
    assert [(row, reason) for row, reason, _ in report.faults] == [(5, "letter-without-choices"), (7, "columns-number")]
    assert (report.rows, report.kept, report.unit) == (4, 2, "line")


def test_what_stands_behind_choices_is_asked_and_tells_no_facet(root: Path) -> None:
    told = "What color is it?\n(A) red\n\n(B) blue\nAnswer with the letter."
    row = {"id": "x", "images": ["a.png"], "conversations": [told, "B", "Where? (A) left (B) right", "(A) left"]}
    import_file(save(root, [row]), root / "out")
    [item] = open_bench(root / "out").items
    color, place = item.queries
    assert color.question == "What color is it?\nAnswer with the letter." and color.answer == "blue"
    assert color.facet == "color" and "letter" not in color.template and place.answer == "left"


def test_a_line_that_is_cut_costs_that_line(root: Path) -> None:
    path = root / "in.jsonl"
    path.write_text(json.dumps(bad(id="good")) + "\n" + json.dumps(bad())[:40] + "\n")
    report = import_file(path, root / "out")
    assert report.items == 1 and [(line, reason) for line, reason, _ in report.faults] == [(2, "not-json")]


def test_no_item_left(root: Path) -> None:
    with pytest.raises(UsageError, match=r"gives no item.*queries-number"):
        import_file(save(root, [bad(queries=[])]), root / "out")
    with pytest.raises(UsageError, match=r"gives no item.*empty"):
        import_file(save(root, []), root / "out")
    assert not (root / "out").exists()


def test_files_that_cannot_be_read(root: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        import_file(root / "gone.json", root / "out")
    with pytest.raises(UsageError, match="is not a folder"):
        import_file(save(root, []), root / "out", images=root / "gone")
    broken = root / "in.json"
    broken.write_text('[{"id": 1}, ')
    with pytest.raises(UsageError, match="not a JSON array"):
        import_file(broken, root / "out")
    table = root / "in.csv"
    table.write_bytes(b"id,image\n\xff,a.png\n")
    with pytest.raises(UsageError, match="as CSV in UTF-8"):
        import_file(table, root / "out")


def test_a_megabyte_of_nonsense(root: Path) -> None:
    rows = list(read_rows(save(root, [bad(id="x" * 1_000_000), {"a": [[[[]]]] * 10_000}])))
    assert len(rows) == 2
