"""`coco`: how an instances file becomes units and rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slvr_data.errors import UsageError
from slvr_data.sources.base import ParsedRow, SourceConfig
from slvr_data.sources.coco import Coco
from tests.support import write_coco

IMAGES = [{"id": 10, "file_name": "b.jpg", "width": 100, "height": 80}, {"id": 20, "file_name": "a.jpg"}]


def note(number: int, image: Any = 10, **keys: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": 1, "bbox": [1, 2, 30, 40]} | keys


def source(*files: Path) -> Coco:
    config = SourceConfig(kind="coco", name="here", annotations=list(files), images=files[0].parent)
    return Coco(config, follow_links=False)


def listed(found: Coco, limit: int | None = None) -> list[tuple[str | None, str, list[int]]]:
    return [(unit.path, unit.file, [raw.line for raw in unit.rows]) for unit in found.units(limit)]


def rows(file: Path) -> list[ParsedRow]:
    found = source(file)
    parsed = [row for unit in found.units(None) for _, row in found.parse(unit)]
    assert all(isinstance(row, ParsedRow) for row in parsed), parsed
    return [row for row in parsed if isinstance(row, ParsedRow)]


def test_pictures_in_the_order_of_images_annotations_by_their_position(tmp_path: Path) -> None:
    """`line` counts the annotations from 1, whatever their ids; pictures without any are left out."""
    notes = [note(900, 20), note(5), {"id": 6}, note(7, 20), None]
    images = [*IMAGES, {"id": 30, "file_name": "c.jpg"}]
    found = source(write_coco(tmp_path / "i.json", images, notes))
    assert listed(found) == [("b.jpg", "i.json", [2]), ("a.jpg", "i.json", [1, 4]), (None, "i.json", [3, 5])]


def test_a_limit_counts_pictures_with_annotations(tmp_path: Path) -> None:
    notes = [note(1), note(2, 20), note(3), {"id": 4}]
    images = [{"id": 5, "file_name": "bare.jpg"}, *IMAGES]
    found = source(write_coco(tmp_path / "i.json", images, notes))
    assert listed(found, 1) == [("b.jpg", "i.json", [1, 3]), (None, "i.json", [4])]
    assert listed(found, 2) == listed(found)


def test_several_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Ids of one file mean nothing in another; the limit counts a picture of both once."""
    second = write_coco(tmp_path / "b.json", IMAGES, [note(1), note(2, 20)])
    first = write_coco(tmp_path / "a.json", [{"id": 20, "file_name": "b.jpg"}], [note(1, 20)])
    assert listed(source(second, first), 1) == [("b.jpg", "a.json", [1]), ("b.jpg", "b.json", [1])]


def test_an_annotation_becomes_a_row(tmp_path: Path) -> None:
    notes = [note(77, iscrowd=1, segmentation={"size": [80, 100], "counts": [8000]}), note(78, 20)]
    licenses = [{"id": 4, "name": "CC BY 4.0"}]
    images = [IMAGES[0] | {"license": 4}, IMAGES[1] | {"license": 9}]
    first, second = rows(write_coco(tmp_path / "i.json", images, notes, licenses=licenses))
    assert (first.line, first.id, first.label, first.box) == (1, "77", "cat", [1, 2, 31, 42])
    assert (first.width, first.height, first.license, first.iscrowd) == (100, 80, "CC BY 4.0", True)
    assert first.segmentation == {"size": [80, 100], "counts": [8000]}
    assert (second.width, second.height, second.license, second.iscrowd) == (None, None, None, False)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_train2017.json", "train"), ("instances_val2017.json", "val"), ("test.json", "test"),
        ("my-test-set.json", "test"), ("person_keypoints_VAL.json", "val"), ("trains.json", None),
        ("latest.json", None), ("interval.json", None), ("contest2019.json", None), ("annotations.json", None),
    ],
)  # fmt: skip
def test_the_name_of_the_file_tells_the_split(tmp_path: Path, name: str, split: str | None) -> None:
    assert rows(write_coco(tmp_path / name, IMAGES, [note(1)]))[0].split == split


def test_ids_may_be_text(tmp_path: Path) -> None:
    images = [{"id": "x", "file_name": "a.jpg"}]
    categories = [{"id": "k", "name": "kite"}]
    notes = [note(1, "x", id="n", category_id="k")]
    (row,) = rows(write_coco(tmp_path / "i.json", images, notes, categories=categories))
    assert (row.id, row.label) == ("n", "kite")


def test_an_image_that_is_listed_twice_the_same_is_one(tmp_path: Path) -> None:
    assert len(rows(write_coco(tmp_path / "i.json", [*IMAGES, *IMAGES], [note(1), note(2, 20)]))) == 2


@pytest.mark.parametrize("licenses", [None, 5, "CC0", {}, [None], [{"id": 1}], [{"name": "CC0"}]])
def test_any_list_of_licences_is_survived(tmp_path: Path, licenses: Any) -> None:
    (row,) = rows(write_coco(tmp_path / "i.json", [IMAGES[0] | {"license": 1}], [note(1)], licenses=licenses))
    assert row.license is None


def test_pycocotools_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows(write_coco(tmp_path / "i.json", IMAGES, [note(1)]))
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_gone_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.json cannot be read: No such file"):
        listed(source(tmp_path / "gone.json"))
