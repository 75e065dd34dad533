"""`refcoco`: expressions as references of the region that they single out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slvr_data.sources.base import Malformed, ParsedRow, SourceConfig
from slvr_data.sources.refcoco import Refcoco
from tests.support import write_jsonl


def row(**columns: Any) -> dict[str, Any]:
    tree = {"img_path": "a.png", "expression": "the left cat", "bbox": [1, 2.5, 30, 40], "height": 80, "width": 100}
    return tree | {"dataset_name": "refcocog", "image_id": 5, "sent_id": 61, "split": "testA"} | columns


def parsed(tmp_path: Path, *rows: dict[str, Any] | bytes) -> list[ParsedRow | Malformed]:
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    tree = {"kind": "refcoco", "name": "here", "annotations": [file], "images": tmp_path}
    source = Refcoco(SourceConfig.model_validate(tree), follow_links=False)
    return [result for unit in source.units(None) for _, result in source.parse(unit)]


def test_a_row(tmp_path: Path) -> None:
    (found,) = parsed(tmp_path, row())
    assert isinstance(found, ParsedRow)
    assert (found.box, found.label, found.references) == ([1.0, 2.5, 30.0, 40.0], None, ["the left cat"])
    assert (found.width, found.height, found.split, found.id) == (100, 80, "testA", "61")


def test_three_columns_are_enough(tmp_path: Path) -> None:
    (found,) = parsed(tmp_path, {"img_path": "a.png", "expression": "it", "bbox": [1, 2, 3, 4]})
    assert isinstance(found, ParsedRow)
    assert (found.width, found.height, found.split, found.id) == (None, None, None, None)


@pytest.mark.parametrize(
    ("columns", "reason", "says"),
    [
        ({"img_path": None}, "img-path-absent", '"img_path" is None'),
        ({"img_path": ""}, "img-path-absent", "give the picture's path"),
        ({"expression": "  "}, "expression-empty", "expression is empty"),
        ({"expression": None}, "expression-invalid", "expression = None"),
        ({"bbox": [1, 2, 3]}, "bbox-invalid", "give four numbers"),
        ({"bbox": [[1, 2, 3, 4]]}, "bbox-invalid", "give four numbers"),
        ({"bbox": "x" * 10_000}, "bbox-invalid", "give four numbers"),
        ({"height": -1}, "height-invalid", "height = -1"),
        ({"sent_id": [1]}, "sent-id-invalid", "[1]"),
        ({"split": 1}, "split-invalid", "split = 1"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, columns: dict[str, Any], reason: str, says: str) -> None:
    (found,) = parsed(tmp_path, row(**columns))
    assert isinstance(found, Malformed)
    assert found.reason == reason and says in found.evidence and len(found.evidence) < 400


@pytest.mark.parametrize("name", ["img_path", "expression", "bbox"])
def test_a_column_that_is_needed_is_named_where_it_is_absent(tmp_path: Path, name: str) -> None:
    tree = row()
    del tree[name]
    (found,) = parsed(tmp_path, tree)
    assert isinstance(found, Malformed)
    assert found.reason == f"{name.replace('_', '-')}-absent" and name in found.evidence
