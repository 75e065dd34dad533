"""Arrow schemas and Hugging Face features, derived from the records of `slvr_data.schema`."""

from __future__ import annotations

import json
import types
import typing
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

from slvr_data.schema import EmbeddingRow, Picture

_SCALARS = {
    str: (pa.string(), "string"),
    bytes: (pa.binary(), "binary"),
    int: (pa.int64(), "int64"),
    float: (pa.float64(), "float64"),
    bool: (pa.bool_(), "bool"),
}


@cache
def arrow_schema(record: type[BaseModel]) -> pa.Schema:
    """The Arrow schema of a record, with the features that `datasets` reads as its metadata."""
    fields = [_field(name, info.annotation) for name, info in record.model_fields.items()]
    metadata = {"huggingface": json.dumps({"info": {"features": features(record)}})}
    return pa.schema(fields, metadata=metadata)


@cache
def embedding_schema(dimension: int) -> pa.Schema:
    """That of the config `embeddings`: lists of `dimension` float16 numbers, which no annotation of Python names."""
    schema = arrow_schema(EmbeddingRow)
    place = schema.get_field_index("embedding")
    vector = {"feature": {"dtype": "float16", "_type": "Value"}, "length": dimension, "_type": "List"}
    metadata = {"huggingface": json.dumps({"info": {"features": features(EmbeddingRow) | {"embedding": vector}}})}
    field = pa.field("embedding", pa.list_(pa.float16(), dimension), nullable=False)
    return schema.set(place, field).with_metadata(metadata)


def features(record: type[BaseModel]) -> dict[str, Any]:
    """The record's columns in the JSON form of `datasets.Features`."""
    return {name: _feature(info.annotation) for name, info in record.model_fields.items()}


def table(record: type[BaseModel], rows: list[dict[str, Any]]) -> pa.Table:
    """Rows (as `model_dump()` gives them) as a table of the record's schema."""
    return pa.Table.from_pylist(rows, schema=arrow_schema(record))


def _field(name: str, annotation: Any) -> pa.Field:
    inner, nullable = _unwrap(annotation)
    # `datasets` takes a picture for one only where its field may be null.
    return pa.field(name, _type(inner), nullable=nullable or inner is Picture)


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """The annotation without `| None`, and whether it had it."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        if len(inner) != 1:
            raise TypeError(f"a record field of type {annotation} has no Arrow form")
        return inner[0], True
    return annotation, False


def _type(annotation: Any) -> pa.DataType:
    annotation, _ = _unwrap(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return pa.string()
    if origin is list:
        return pa.list_(_type(get_args(annotation)[0]))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        hints = typing.get_type_hints(annotation)
        return pa.struct([_field(name, hints[name]) for name in annotation.model_fields])
    if annotation in _SCALARS:
        return _SCALARS[annotation][0]
    raise TypeError(f"a record field of type {annotation} has no Arrow form")


def _feature(annotation: Any) -> Any:
    annotation, _ = _unwrap(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return {"dtype": "string", "_type": "Value"}
    if origin is list:
        return {"feature": _feature(get_args(annotation)[0]), "_type": "List"}
    if annotation is Picture:
        return {"_type": "Image"}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        hints = typing.get_type_hints(annotation)
        return {name: _feature(hints[name]) for name in annotation.model_fields}
    return {"dtype": _SCALARS[annotation][1], "_type": "Value"}
