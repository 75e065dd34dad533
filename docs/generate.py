"""Writes the reference pages that are derived from code: `python docs/generate.py`.

A test fails where a page is not what this would write.
"""

from __future__ import annotations

import typing
from pathlib import Path
from types import NoneType
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipelines.config import BuildConfig
from slvr_data import schema
from slvr_data.sources.base import SourceConfig
from slvr_data.sources.jsonl import JsonlRow
from slvr_data.sources.refcoco import RefcocoRow
from slvr_data.sources.visual_cot import VisualCotRow

HERE = Path(__file__).parent
_NOTE = "<!-- Written by docs/generate.py from the code: do not edit. -->\n"


def pages() -> dict[str, str]:
    """File name -> text of every derived page."""
    return {"data-format.md": data_format(), "configuration.md": configuration()}


def data_format() -> str:
    """The records of a published set."""
    tops = (
        schema.ImageRow,
        schema.AttributeRow,
        schema.QueryGroup,
        schema.Query,
        schema.EmbeddingRow,
        schema.CropRow,
        schema.Rejection,
    )
    inner = (
        schema.AttributeProfile, schema.Appearance, schema.Spatial, schema.Peers, schema.Link, schema.Mask,
        schema.SourceRef, schema.QuestionAnswer, schema.Provenance, schema.Verdict, schema.Picture,
    )  # fmt: skip
    intro = (schema.__doc__ or "").split("\n\n", 2)[2].strip()
    parts = [f"{_NOTE}\n# Data format, schema version {schema.SCHEMA_VERSION}\n\n{intro}\n"]
    parts.append(
        "\nFiles: `data/CONFIG/SPLIT-NNNNN-HASH.parquet` (the hash is that of the file), `data/rejections/`, the card "
        "`README.md`, `manifest.json` (sha256 of every file, accounts, configuration, versions), and `run.json` "
        "(everything that differs between two equal runs: times, host, workers). Rows of all configs lie in the "
        "order of `image_id`, regions of a picture in that of `region_id`.\n\n"
        f"Facets of questions: {', '.join(schema.FACETS)}.\n\n"
        "Embeddings are fixed-size lists of float16. `datasets` gives them as lists of Python numbers, and as float32 "
        'with `with_format("numpy")`; pandas as float16 arrays; polars as `Array(Float16, N)`; DuckDB as `FLOAT[]`. '
        "Regions without one have no row; the accounts in `manifest.json` tell how many.\n"
    )
    parts += [_record(record) for record in (*tops, *inner)]
    parts.append("\n# Rows of sources: `jsonl` and `parquet`, `visual-cot`, `refcoco`\n")
    parts += [_record(record) for record in (JsonlRow, VisualCotRow, RefcocoRow)]
    return "".join(parts)


def configuration() -> str:
    """Every setting of `slvr-data build-attributes`."""
    parts = [
        f"{_NOTE}\n# Configuration of `slvr-data build-attributes`\n\n"
        "Settings come from a YAML file (`--config`), then from options, then from `--set key=value`; nested ones are "
        "written with dots. An unknown key is an error that names the nearest known one. Paths in a file are relative "
        "to the file. Settings under `regions`, `crop`, `picture`, `splits`, `measured`, and `annotator`, `seed` and "
        "those of a source decide data: a set keeps them while it grows (`regions.limit` alone may be raised).\n"
    ]
    parts.append(_settings(BuildConfig, ""))
    return "".join(parts)


def _record(record: type[BaseModel]) -> str:
    doc = " ".join((record.__doc__ or "").split())
    lines = [f"\n## {record.__name__}\n\n{doc}\n\n| field | type | meaning |\n| --- | --- | --- |\n"]
    for name, info in record.model_fields.items():
        lines.append(f"| `{name}` | {_type(info.annotation)} | {_text(info.description)} |\n")
    return "".join(lines)


def _settings(model: type[BaseModel], prefix: str) -> str:
    doc = " ".join((model.__doc__ or "").split())
    title = prefix.rstrip(".") or "Top level"
    lines = [f"\n## {title}\n\n{doc}\n\n| setting | type | default | meaning |\n| --- | --- | --- | --- |\n"]
    below = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        arguments = typing.get_args(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            below.append(_settings(kind, f"{prefix}{name}."))
            continue
        if arguments and isinstance(arguments[0], type) and issubclass(arguments[0], BaseModel):
            below.append(_settings(arguments[0], f"{prefix}{name}[]."))
        default = "required" if info.default is PydanticUndefined and info.default_factory is None else info.default
        default = "" if default is PydanticUndefined else default
        lines.append(f"| `{prefix}{name}` | {_type(kind)} | {_text(str(default))} | {_text(info.description)} |\n")
    return "".join(lines + below)


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if annotation is SourceConfig:
        return "settings, see below"
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "object"
    if NoneType in arguments:
        return " or ".join(_type(a) for a in arguments if a is not NoneType) + ", or null"
    if arguments:
        return " or ".join(_type(a) for a in arguments)
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", bytes: "bytes", Path: "path"}
    names[Any] = "any"
    return names.get(annotation, f"[{annotation.__name__}](#{annotation.__name__.lower()})")


def _text(value: str | None) -> str:
    return " ".join((value or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
        print(HERE / name)
