"""The Arrow schema of every record, and what `datasets` reads from it."""

from __future__ import annotations

import inspect
import json
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from slvr_data import arrow, schema
from slvr_data.schema import EmbeddedAttributeRow, ImageRow, Picture, Record, Region

CLASSES = [record for _, record in inspect.getmembers(schema, inspect.isclass)]
RECORDS = [record for record in CLASSES if issubclass(record, Record) and record is not Record]


def nullable(field: pa.Field) -> pa.Field:
    """The field without what it says of nulls, all the way down: `datasets` knows nothing of them."""
    return pa.field(field.name, _nullable(field.type))


def _nullable(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([nullable(kind.field(i)) for i in range(kind.num_fields)])
    if pa.types.is_list(kind):
        return pa.list_(_nullable(kind.value_type))
    return kind


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_schema_and_features_agree(record: type[BaseModel]) -> None:
    ours = arrow.arrow_schema(record)
    assert ours.names == list(record.model_fields)
    told = datasets.Features.from_dict(json.loads(json.dumps(arrow.features(record))))
    assert pa.schema([nullable(field) for field in ours]).equals(told.arrow_schema)
    assert datasets.Features.from_arrow_schema(ours) == told
    pictures = [name for name, info in record.model_fields.items() if info.annotation in (Picture, Picture | None)]
    assert [name for name, feature in told.items() if isinstance(feature, datasets.Image)] == pictures


def test_the_records_are_all_there() -> None:
    names = {record.__name__ for record in RECORDS}
    assert names >= {"ImageRow", "AttributeRow", "EmbeddedAttributeRow", "CropRow", "Rejection", "AttributeProfile"}


@pytest.mark.parametrize("record", [ImageRow, EmbeddedAttributeRow])
def test_a_picture_stays_one_through_parquet(record: type[BaseModel], tmp_path: Any) -> None:
    """Also in a column that is never null."""
    pq.write_table(arrow.arrow_schema(record).empty_table(), tmp_path / "a.parquet")
    read = datasets.Features.from_arrow_schema(pq.read_schema(tmp_path / "a.parquet"))
    assert read["image"] == datasets.Image()


def test_what_is_never_unknown_cannot_be_null() -> None:
    fields = arrow.arrow_schema(Region)
    assert not fields.field("region_id").nullable
    assert not fields.field("bbox").nullable
    assert fields.field("label").nullable
    assert fields.field("mask").nullable
    row = Region(region_id="r", image_id="i", bbox=[0, 0, 1, 1]).model_dump()
    assert arrow.table(Region, [row]).to_pylist() == [row]


def test_a_field_without_an_arrow_form_is_refused() -> None:
    class Odd(Record):
        value: int | str

    with pytest.raises(TypeError, match="no Arrow form"):
        arrow.arrow_schema(Odd)
