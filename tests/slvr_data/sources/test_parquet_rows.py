"""`parquet`: what the columns of `jsonl` say in Parquet files of any writer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slvr_data.errors import UsageError
from slvr_data.sources.base import Malformed, ParsedRow, SourceConfig
from slvr_data.sources.jsonl import Jsonl
from slvr_data.sources.parquet_rows import ParquetRows
from tests.support import write_jsonl

ROWS: list[dict[str, Any]] = [
    {"image": "a.png", "bbox": [1, 2, 30, 40], "label": "cat", "id": 1, "width": 100, "height": 80},
    {"image": "b.png", "bbox": [1.5, 2, 30, 40], "mask": {"size": [80, 100], "counts": "abc"}, "iscrowd": True},
    {"image": "a.png", "bbox": [1, 2, 3], "references": ["left", "top"], "id": 3},
    {"image": "a.png", "bbox": [1, 2, math.nan, 40], "original_questions": [{"question": "?", "answer": "!"}]},
    {"image": "", "bbox": [1, 2, 3, 4], "license": "CC0", "split": "val"},
    {"image": "a.png", "bbox": [1, 2, 3, 4], "id": 1},
    {"image": "a.png", "bbox": None},
]


def source(file: Path, **config: Any) -> ParquetRows:
    tree = {"kind": "parquet", "name": "here", "annotations": [file], "images": file.parent}
    return ParquetRows(SourceConfig.model_validate(tree | config), follow_links=False)


def parsed(file: Path, **config: Any) -> list[tuple[int, ParsedRow | Malformed]]:
    found = source(file, **config)
    return [(raw.line, result) for unit in found.units(None) for raw, result in found.parse(unit)]


def written(tmp_path: Path, columns: dict[str, Any] | pa.Table) -> Path:
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_a_table_says_what_lines_say(tmp_path: Path) -> None:
    """Missing columns, nulls, structs and lists; what is malformed is so for the same reason."""
    file = written(tmp_path, pa.Table.from_pylist(ROWS, schema=schema()))
    given = [{name: value for name, value in row.items() if value is not None} for row in ROWS]
    lines = write_jsonl(tmp_path / "rows.jsonl", given)
    tree = {"kind": "jsonl", "name": "here", "annotations": [lines], "images": tmp_path}
    other = Jsonl(SourceConfig.model_validate(tree), follow_links=False)
    expected = [(raw.line, result) for unit in other.units(None) for raw, result in other.parse(unit)]
    found = parsed(file)
    assert len(found) == len(ROWS)
    assert [(line, getattr(result, "reason", None)) for line, result in found] == [
        (line, getattr(result, "reason", None)) for line, result in expected
    ]
    assert repr([r for _, r in found if isinstance(r, ParsedRow)]) == repr(
        [r for _, r in expected if isinstance(r, ParsedRow)]
    )


def schema() -> pa.Schema:
    qa = pa.struct([("question", pa.string()), ("answer", pa.string())])
    return pa.schema(
        [
            ("image", pa.string()),
            ("bbox", pa.list_(pa.float64())),
            ("label", pa.dictionary(pa.int8(), pa.string())),
            ("mask", pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])),
            ("iscrowd", pa.bool_()),
            ("width", pa.int16()),
            ("height", pa.int16()),
            ("license", pa.large_string()),
            ("id", pa.int64()),
            ("split", pa.string()),
            ("references", pa.list_(pa.string())),
            ("original_questions", pa.list_(qa)),
        ]
    )


def test_as_pandas_writes_it(tmp_path: Path) -> None:
    """Whole numbers that became floats beside missing ones, and an index, are what they were."""
    frame = pd.DataFrame(
        {"image": ["a.png", "b.png"], "bbox": [[1, 2, 30, 40], [1, 2, 30, 40]], "width": [100, None], "id": [5, None]},
        index=[10, 20],
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    (_, one), (_, other) = parsed(tmp_path / "rows.parquet")
    assert isinstance(one, ParsedRow) and isinstance(other, ParsedRow)
    assert (one.width, one.id, other.width, other.id) == (100, "5", None, None)


def test_run_lengths_may_be_bytes_and_boxes_of_fixed_size(tmp_path: Path) -> None:
    mask = pa.array([{"size": [80, 100], "counts": b"abc"}])
    box = pa.array([[1, 2, 30, 40]], pa.list_(pa.float32(), 4))
    ((_, found),) = parsed(written(tmp_path, {"image": ["a.png"], "bbox": box, "mask": mask}))
    assert isinstance(found, ParsedRow) and found.segmentation == {"size": [80, 100], "counts": "abc"}


def test_the_form_of_boxes_is_configured(tmp_path: Path) -> None:
    file = written(tmp_path, {"image": ["a.png"], "bbox": [[1, 2, 30, 40]]})
    ((_, found),) = parsed(file, bbox_format="xywh")
    assert isinstance(found, ParsedRow) and found.box == [1, 2, 31, 42]
    assert source(file, bbox_format="normalized").normalized


def test_rows_are_numbered_through_row_groups(tmp_path: Path) -> None:
    table = pa.table({"image": [f"{n}.png" for n in range(2500)], "bbox": [[1, 2, 3, 4]] * 2500})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=700)
    units = list(source(tmp_path / "rows.parquet").units(None))
    assert [(unit.path, unit.rows[0].line) for unit in units] == [(f"{n}.png", n + 1) for n in range(2500)]
    assert json.loads(units[7].rows[0].payload) == {"image": "7.png", "bbox": [1, 2, 3, 4]}


def test_text_that_is_not_utf8_costs_its_row(tmp_path: Path) -> None:
    names = pa.array([b"one", b"caf\xe9", b"three"]).cast(pa.binary()).view(pa.string())
    file = written(tmp_path, {"image": ["a.png"] * 3, "bbox": [[1, 2, 30, 40]] * 3, "label": names})
    found = dict(parsed(file))
    assert isinstance(found[1], ParsedRow) and isinstance(found[3], ParsedRow)
    assert isinstance(found[2], Malformed) and found[2].reason == "not-utf8"


BOX = pa.array([[1.0, 2.0, 30.0, 40.0]])


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"image": ["a"], "bbox": BOX, "lable": ["x"]}, "column 'lable' is unknown: did you mean 'label'?"),
        ({"image": ["a"], "bbox": BOX, "qqqq": ["x"]}, "column 'qqqq' is unknown: known are image, bbox"),
        ({"bbox": BOX}, "there is no column 'image'"),
        ({"image": ["a"]}, "there is no column 'bbox'"),
        ({"image": [{"bytes": b"", "path": "a"}], "bbox": BOX}, "must be text: paths of pictures below --images"),
    ],
)
def test_columns_that_do_not_fit_end_the_run_in_one_line(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as found:
        parsed(written(tmp_path, columns))
    assert says in str(found.value) and "rows.parquet" in str(found.value)


@pytest.mark.parametrize("content", [b"", b"PAR1", b'{"image": "a.png"}\n', b"PAR1" + b"x" * 100 + b"PAR1"])
def test_what_is_not_parquet_ends_the_run_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "rows.parquet"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="not a Parquet file that can be read"):
        parsed(file)


def test_a_damaged_page_ends_the_run_in_one_line(tmp_path: Path) -> None:
    table = pa.table({"image": [f"{n}.png" for n in range(5000)], "bbox": [[1, 2, 3, n] for n in range(5000)]})
    pq.write_table(table, tmp_path / "rows.parquet", compression="zstd")
    data = bytearray((tmp_path / "rows.parquet").read_bytes())
    data[200:2200] = b"\xff" * 2000
    (tmp_path / "rows.parquet").write_bytes(data)
    with pytest.raises(UsageError, match="not a Parquet file that can be read"):
        parsed(tmp_path / "rows.parquet")
