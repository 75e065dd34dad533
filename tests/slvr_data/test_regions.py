"""From a row and its picture's header to a region: boxes that fit, are clipped, turned, scaled, or refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slvr_data.ids import image_id, region_id
from slvr_data.regions import OVERSHOOT_PX, PictureFile, PlanRow, inspect, read_unit
from slvr_data.sources.base import Malformed, ParsedRow, PictureMissingError, RawRow, SourceConfig, Unit
from tests.support import encoded, picture

DATA = encoded(picture(100, 80))
ID = image_id(DATA)


class OneRow:
    """A source of one row over one picture."""

    def __init__(self, parsed: ParsedRow | Malformed, kind: str = "coco", **config: Any) -> None:
        self.config = SourceConfig.model_validate({"kind": kind, "name": "here"} | config)
        self.normalized = self.config.bbox_format == "normalized"
        self.exhaustive = True
        self._parsed = parsed

    def units(self, limit: int | None) -> Iterator[Unit]:
        yield Unit("a.png", "file.json", [RawRow(7, {"row": "as it stood"})])

    def parse(self, unit: Unit) -> Iterator[tuple[RawRow, ParsedRow | Malformed]]:
        yield unit.rows[0], self._parsed

    def read_picture(self, path: str) -> bytes:
        if path != "a.png":
            raise PictureMissingError("picture-missing", f"no {path}")
        return DATA


def read(box: list[float], header: PictureFile | None = None, kind: str = "coco", **given: Any) -> PlanRow:
    """The row of a box; settings of the source are told apart from columns by their names."""
    config = {k: given.pop(k) for k in ("coordinates", "bbox_format", "license", "split_of_source") if k in given}
    if "split_of_source" in config:
        config["split"] = config.pop("split_of_source")
    parsed = ParsedRow(line=7, id="x", box=box, label=given.pop("label", "cat"), **given)
    source = OneRow(parsed, kind, **config)
    (row,), _ = read_unit(source, next(source.units(None)), header)
    return row


def turned(orientation: int, size: tuple[int, int] = (100, 80)) -> PictureFile:
    return PictureFile(ID, size, orientation, None)


def fault(row: PlanRow) -> str | None:
    found = row.malformed or row.rejected
    return found.reason if found else None


def test_a_plain_row_becomes_a_region() -> None:
    row = read([10, 20.004, 30, 60], references=[" the cat ", ""], license="CC0")
    assert (row.malformed, row.rejected, row.record) == (None, None, None)
    assert (row.source, row.file, row.line, row.path, row.id) == ("here", "file.json", 7, "a.png", "x")
    assert row.box == [10, 20, 30, 60] and row.exhaustive
    assert row.region_id == region_id(ID, [10, 20, 30, 60], "cat")
    assert row.references == ["the cat"] and row.license == "CC0"


def test_the_record_of_a_malformed_row_is_kept() -> None:
    row = read([10, 20, 10, 60])
    assert row.malformed is not None and row.region_id is None
    assert row.record == '{"row": "as it stood"}' and row.image_id == ID


def test_a_picture_that_is_missing_costs_its_rows() -> None:
    source = OneRow(ParsedRow(1, None, [1, 2, 30, 40], None))
    rows, found = read_unit(source, Unit("b.png", "file.json", [RawRow(7, "text")]))
    assert found is None and fault(rows[0]) == "picture-missing" and rows[0].record == '"text"'


def test_a_picture_that_cannot_be_read_costs_its_regions() -> None:
    row = read([10, 20, 30, 60], inspect(b"no picture"))
    assert fault(row) == "picture-unreadable"
    assert row.malformed is None and row.region_id == region_id(image_id(b"no picture"), [10, 20, 30, 60], "cat")


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([-OVERSHOOT_PX, -OVERSHOOT_PX, 102, 82], [0, 0, 100, 80]),
        ([-0.001, 0, 50.005, 40], [0, 0, 50.01, 40]),
        ([99.5, 79.5, 101, 81], [99.5, 79.5, 100, 80]),
        ([0, 0, 100, 80], [0, 0, 100, 80]),
    ],
)
def test_boxes_are_clipped_and_rounded(box: list[float], expected: list[float]) -> None:
    row = read(box)
    assert fault(row) is None
    assert row.box is not None and row.box == pytest.approx(expected, abs=0.011)
    assert str(row.box[0]) != "-0.0"


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([-OVERSHOOT_PX - 0.1, 0, 50, 50], "bbox-beyond"), ([0, 0, 50, 82.1], "bbox-beyond"),
        ([100, 0, 101, 50], "bbox-outside"), ([0, -50, 50, 0], "bbox-outside"), ([500, 500, 600, 600], "bbox-outside"),
        ([50, 50, 20, 20], "bbox-xywh"), ([90, 70, 20, 20], "bbox-inverted"), ([50, -50, 20, -60], "bbox-inverted"),
        ([10, 10, 10, 50], "bbox-empty"), ([0, 0, 0, 0], "bbox-empty"),
        ([0, 0, 1, 1], "bbox-normalized"), ([0.25, 0.5, 0.75, 1.0], "bbox-normalized"),
        ([float("nan"), 0, 1, 1], "bbox-not-finite"), ([0, 0, float("inf"), 1], "bbox-not-finite"),
        ([0, 0, 1e13, 1], "bbox-not-finite"),
    ],
)  # fmt: skip
def test_boxes_that_do_not_fit(box: list[float], reason: str) -> None:
    assert fault(read(box)) == reason


@given(st.lists(st.floats(width=64) | st.integers(-200, 200).map(float), min_size=4, max_size=4))
def test_any_box_is_a_region_inside_the_picture_or_has_a_reason(box: list[float]) -> None:
    row = read(box)
    assert (row.region_id is None) == (row.malformed is not None)
    if fault(row) is None:
        assert row.box is not None
        assert 0 <= row.box[0] < row.box[2] <= 100 or row.box[2] - row.box[0] < 0.02
        assert 0 <= row.box[1] <= row.box[3] <= 80
        assert row.region_id == region_id(ID, row.box, "cat")


def test_normalised_boxes_are_scaled() -> None:
    row = read([0.1, 0.25, 0.5, 1.0], kind="jsonl", bbox_format="normalized")
    assert fault(row) is None and row.box == [10, 20, 50, 80]
    assert fault(read([10, 20, 50, 80], kind="jsonl", bbox_format="normalized")) == "bbox-not-normalized"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("coordinates", ["stored", "upright"])
def test_configured_coordinates_decide(orientation: int, coordinates: str) -> None:
    """The box of the whole stored (or upright) picture's left half."""
    swapped = orientation >= 5
    width, height = (80, 100) if swapped and coordinates == "upright" else (100, 80)
    row = read([0, 0, width / 2, height], turned(orientation), coordinates=coordinates)
    assert fault(row) is None and row.box is not None
    upright = (80, 100) if swapped else (100, 80)
    area = (row.box[2] - row.box[0]) * (row.box[3] - row.box[1])
    assert area == 100 * 80 / 2 and row.box[2] <= upright[0] and row.box[3] <= upright[1]
    if coordinates == "upright":
        assert row.box == [0, 0, width / 2, height]


@pytest.mark.parametrize(
    ("orientation", "declared", "kind", "expected"),
    [
        (1, (100, 80), "coco", [0, 0, 40, 20]),
        (6, (100, 80), "coco", [60, 0, 80, 40]),
        (8, (100, 80), "coco", [0, 60, 20, 100]),
        (6, (80, 100), "coco", [0, 0, 40, 20]),
        (6, (100, 80), "jsonl", [60, 0, 80, 40]),
        (6, None, "jsonl", [0, 0, 40, 20]),
        (3, (100, 80), "jsonl", [0, 0, 40, 20]),
        (6, None, "coco", "orientation-ambiguous"),
        (3, (100, 80), "coco", "orientation-ambiguous"),
        (1, (80, 100), "coco", "size-mismatch"),
        (6, (81, 100), "coco", "size-mismatch"),
        (6, (81, 100), "jsonl", "size-mismatch"),
    ],
)
def test_the_declared_size_tells(
    orientation: int, declared: tuple[int, int] | None, kind: str, expected: list[float] | str
) -> None:
    width, height = declared or (None, None)
    row = read([0, 0, 40, 20], turned(orientation), kind, width=width, height=height)
    assert (fault(row) or row.box) == expected


def test_a_square_picture_that_is_turned_is_ambiguous() -> None:
    row = read([0, 0, 40, 20], turned(6, (90, 90)), width=90, height=90)
    assert fault(row) == "orientation-ambiguous"


@pytest.mark.parametrize("side", [{"width": 99}, {"height": 79}])
def test_one_declared_side_must_be_right_too(side: dict[str, int]) -> None:
    assert fault(read([0, 0, 40, 20], **side)) == "size-mismatch"
    assert fault(read([0, 0, 40, 20], width=100)) is None


@pytest.mark.parametrize(
    ("name", "split"),
    [("val", "validation"), ("dev", "validation"), ("testB", "test"), ("train", "train"), (None, None)],
)
def test_splits_by_their_common_names(name: str | None, split: str | None) -> None:
    assert read([0, 0, 40, 20], split=name).split == split


def test_a_row_goes_before_its_source() -> None:
    row = read([0, 0, 40, 20], split="test", split_of_source="train", license="theirs")
    assert row.split == "test" and row.license == "theirs"
    assert read([0, 0, 40, 20], split_of_source="val").split == "validation"
    assert fault(read([0, 0, 40, 20], split="Train")) == "split-unknown"


@pytest.mark.parametrize("column", ["label", "license"])
def test_half_a_character_is_refused(column: str) -> None:
    row = read([0, 0, 40, 20], **{column: "\ud83d"}) if column == "label" else None
    source = OneRow(ParsedRow(7, None, [0, 0, 40, 20], None, license="\ud83d"))
    row = row or read_unit(source, next(source.units(None)))[0][0]
    assert fault(row) == "text-invalid"


def test_labels_are_stripped_and_empty_ones_are_none() -> None:
    assert read([0, 0, 40, 20], label=" cat ").label == "cat"
    assert read([0, 0, 40, 20], label="  ").label is None
    assert read([0, 0, 40, 20], label=None).region_id == read([0, 0, 40, 20], label="").region_id
