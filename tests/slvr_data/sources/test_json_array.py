"""Rows of one large JSON array: read in pieces of any size, each row's text as it stood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slvr_data.errors import UsageError
from slvr_data.sources import json_array
from slvr_data.sources.json_array import is_array, json_rows

ELEMENTS: list[Any] = [
    {"text": 'quotes " and ] and } and , in a text', "nested": [[1, {"a": []}], {}]},
    -12.5e3,
    1234567890,
    "emoji 😀 and \u05e9\u05dc\u05d5\u05dd",
    None,
    True,
    [],
    {"after": "all"},
]


def read(file: Path) -> list[tuple[int, str]]:
    return [(row.line, row.payload.decode()) for row in json_rows(file)]


def written(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "rows.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 4])
def test_elements_are_found_whatever_the_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, indent: int | None
) -> None:
    monkeypatch.setattr(json_array, "_PIECE", piece)
    file = written(tmp_path, "\ufeff" + json.dumps(ELEMENTS, indent=indent, ensure_ascii=False) + "\n\n")
    found = read(file)
    assert [line for line, _ in found] == list(range(1, len(ELEMENTS) + 1))
    assert [json.loads(text) for _, text in found] == ELEMENTS


def test_a_row_is_kept_as_it_stood(tmp_path: Path) -> None:
    assert read(written(tmp_path, '[ {"a":1.00,  "a":2}\n, "half \\ud83d" ]')) == [
        (1, '{"a":1.00,  "a":2}'),
        (2, '"half \\ud83d"'),
    ]


def test_an_empty_array_has_no_rows(tmp_path: Path) -> None:
    assert read(written(tmp_path, " [ \n ] ")) == []


def test_a_number_too_long_costs_its_row_alone(tmp_path: Path) -> None:
    long = "4" * 5000
    assert read(written(tmp_path, f'[{{"n": {long}}}, 1]')) == [(1, f'{{"n": {long}}}'), (2, "1")]


@pytest.mark.parametrize(
    ("text", "array"),
    [
        ('[{"a": 1},\n{"a": 2}]', True),
        ("[", True),
        ('[{"a": 1}, {"a": 2}]\n', True),
        ('{"a": 1}\n{"a": 2}', False),
        ('["a bad line"]\n{"a": 2}', False),
        ("", False),
    ],
)
def test_an_array_is_told_from_lines(tmp_path: Path, text: str, array: bool) -> None:
    assert is_array(written(tmp_path, text)) is array


@pytest.mark.parametrize("piece", [5, 1 << 20])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'[\n{"a": 1},\n{"a": }\n]', "line 3, column 7"),
        (b'[\n{"a": 1}\n{"a": 2}\n]', "line 3, column 1: ',' or ']' is missing"),
        (b'[\n{"a": 1},\n', "the array does not end"),
        (b'[\n{"a": 1}', "line 2, column 9: the array does not end"),
        (b'[\n{"a": 1},\n]', "line 3, column 1: Expecting value"),
        (b'[\n{"a": 1}\n] {}', "line 3, column 3: something stands behind the end"),
        (b'[\n{"a": "caf\xe9"}]', "byte 13 is not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_a_broken_array_is_one_error_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, says: str, piece: int
) -> None:
    if len(text) < 1000:
        monkeypatch.setattr(json_array, "_PIECE", piece)
    with pytest.raises(UsageError) as found:
        read(written(tmp_path, text))
    assert says in str(found.value), str(found.value)
