"""`jsonl`: how lines become units and rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slvr_data.sources import jsonl
from slvr_data.sources import rows as lines
from slvr_data.sources.base import MAX_RECORD, Malformed, ParsedRow, SourceConfig, cut_record, record_text
from slvr_data.sources.jsonl import Jsonl
from tests.support import write_jsonl


def row(**columns: Any) -> dict[str, Any]:
    return {"image": "a.png", "bbox": [1, 2, 30, 40]} | columns


def source(*files: Path, **config: Any) -> Jsonl:
    tree = {"kind": "jsonl", "name": "here", "annotations": files, "images": files[0].parent}
    return Jsonl(SourceConfig.model_validate(tree | config), follow_links=False)


def parsed(tmp_path: Path, line: dict[str, Any] | bytes, **config: Any) -> ParsedRow | Malformed:
    found = source(write_jsonl(tmp_path / "rows.jsonl", [line]), **config)
    (unit,) = found.units(None)
    ((_, result),) = found.parse(unit)
    return result


def listed(found: Jsonl, limit: int | None = None) -> list[tuple[str | None, str, list[int]]]:
    return [(unit.path, unit.file, [raw.line for raw in unit.rows]) for unit in found.units(limit)]


def test_rows_of_one_picture_are_one_unit(tmp_path: Path) -> None:
    rows = [row(), row(image="b.png"), b"{", b"", row(), b"  ", row(image="b.png"), b"[]"]
    found = source(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert listed(found) == [
        ("a.png", "rows.jsonl", [1, 5]),
        ("b.png", "rows.jsonl", [2, 7]),
        (None, "rows.jsonl", [3, 8]),
    ]


def test_a_limit_takes_the_first_pictures_and_what_stands_before_the_next(tmp_path: Path) -> None:
    """A larger limit adds to a smaller one: nothing that was listed goes."""
    rows = [row(), b"{", row(image="b.png"), b"[", row(image="c.png"), b"(", row(image="b.png"), row()]
    found = source(write_jsonl(tmp_path / "rows.jsonl", rows))
    lines = [{line for _, _, unit in listed(found, limit) for line in unit} for limit in (1, 2, 3, None)]
    assert lines == [{1, 2, 8}, {1, 2, 3, 4, 7, 8}, set(range(1, 9)), set(range(1, 9))]


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Whatever the order in which they are given; the limit counts a picture of both once."""
    second = write_jsonl(tmp_path / "b.jsonl", [row(), row(image="b.png")])
    first = write_jsonl(tmp_path / "a.jsonl", [row(image="c.png"), row()])
    expected = [("c.png", "a.jsonl", [1]), ("a.png", "a.jsonl", [2]), ("a.png", "b.jsonl", [1])]
    assert listed(source(second, first), 2) == listed(source(first, second), 2) == expected


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    assert isinstance(parsed(tmp_path, b"\xef\xbb\xbf" + json.dumps(row()).encode()), ParsedRow)


def test_windows_line_ends_are_passed_over(tmp_path: Path) -> None:
    assert isinstance(parsed(tmp_path, json.dumps(row()).encode() + b"\r"), ParsedRow)


def test_every_column_is_carried(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "label": "cat", "mask": [[1, 2, 30, 2, 30, 40]], "iscrowd": True, "width": 100, "height": 80,
        "license": "CC0", "id": 7, "split": "val", "references": ["the cat"],
        "original_questions": [{"question": "Who?", "answer": "A cat"}],
    }  # fmt: skip
    found = parsed(tmp_path, row(**columns))
    assert isinstance(found, ParsedRow)
    assert (found.line, found.box, found.label, found.segmentation) == (1, [1, 2, 30, 40], "cat", columns["mask"])
    assert (found.iscrowd, found.width, found.height, found.license) == (True, 100, 80, "CC0")
    assert (found.id, found.split, found.references) == ("7", "val", ["the cat"])
    assert [q.model_dump() for q in found.questions] == columns["original_questions"]


def test_xywh_becomes_corners(tmp_path: Path) -> None:
    found = parsed(tmp_path, row(bbox=[10, 20, 30, 40]), bbox_format="xywh")
    assert isinstance(found, ParsedRow) and found.box == [10, 20, 40, 60]
    negative = parsed(tmp_path, row(bbox=[50, 20, -30, 40]), bbox_format="xywh")
    assert isinstance(negative, Malformed) and negative.reason == "bbox-inverted"
    assert "width and height above 0" in negative.evidence


@pytest.mark.parametrize(
    ("columns", "reason", "says"),
    [
        ({"mask": "yes"}, "mask-invalid", "mask = 'yes': give COCO run lengths {size, counts} or polygons"),
        ({"mask": [[1, "2"]]}, "mask-invalid", "give COCO run lengths"),
        ({"iscrowd": 1}, "iscrowd-invalid", "iscrowd = 1"),
        ({"width": "100"}, "width-invalid", "width = '100'"),
        ({"width": 99.5}, "width-invalid", "width = 99.5"),
        ({"height": 0}, "height-invalid", "greater than 0"),
        ({"references": "the cat"}, "references-invalid", "references = 'the cat'"),
        ({"references": [3]}, "references-invalid", "references.0 = 3"),
        ({"boxes": []}, "column-unknown", "column 'boxes' is unknown; known are image, bbox, label, mask"),
        ({"bbox": "x" * 100_000}, "bbox-invalid", "give four numbers, [x1, y1, x2, y2] in pixels"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, columns: dict[str, Any], reason: str, says: str) -> None:
    found = parsed(tmp_path, row(**columns))
    assert isinstance(found, Malformed)
    assert found.reason == reason
    assert says in found.evidence and len(found.evidence) < 400


def test_lines_without_end_are_not_read_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 50)
    found = parsed(tmp_path, row(label="x" * 50))
    assert isinstance(found, Malformed) and found.reason == "line-too-long"


def test_of_a_line_without_end_the_beginning_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another form may be one line of gigabytes: neither memory nor the plan may hold it."""
    monkeypatch.setattr(lines, "MAX_ROW_BYTES", 5000)
    monkeypatch.setattr(lines, "MAX_RECORD", 100)
    whole = json.dumps({"annotations": ["x" * 50] * 1000})
    path = tmp_path / "instances.json"
    path.write_text(f"{whole}\n{json.dumps(row())}\n{'y' * 5001}")
    found = [raw for unit in source(path).units(None) for raw in unit.rows]
    assert sorted(raw.line for raw in found) == [1, 2, 3]
    first, second, third = sorted(found, key=lambda raw: raw.line)
    assert first.problem is not None and first.problem.reason == "line-too-long"
    assert f"has {len(whole)} bytes" in first.problem.evidence and "source is coco" in first.problem.evidence
    assert record_text(first.payload) == f"{whole[:100]}... ({len(whole)} bytes in all)"
    assert second.problem is None
    assert third.problem is not None and "has 5001 bytes" in third.problem.evidence


def test_a_record_is_cut_once() -> None:
    long = "x" * (2 * MAX_RECORD)
    assert cut_record(long) == cut_record(cut_record(long)) == f"{long[:MAX_RECORD]}... ({len(long)} characters in all)"
    assert cut_record(long[:MAX_RECORD]) == long[:MAX_RECORD]


def test_ids_are_told_apart_within_a_file_only(tmp_path: Path) -> None:
    files = [write_jsonl(tmp_path / name, [row(id=1), row(id="1")]) for name in ("a.jsonl", "b.jsonl")]
    problems = [raw.problem for unit in source(*files).units(None) for raw in unit.rows]
    assert [p.evidence if p else None for p in problems] == [None, "id '1' stands already on line 1"] * 2
