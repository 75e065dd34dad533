"""`jsonl` lines that cannot be used: each costs itself, is listed with its place and reason, and never the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support import Published, build, encoded, picture, slvr_data, write_jsonl, write_pictures

WIDTH, HEIGHT = 100, 80
SCRIPT = "<script>alert('label')</script>"


@dataclass(frozen=True)
class Bad:
    """A line, and how it must be listed; `says` stands in the evidence."""

    name: str
    line: dict[str, Any] | bytes
    reason: str
    says: str
    stage: str = "read"
    check: str = "row"


def row(**columns: Any) -> dict[str, Any]:
    return {"image": "a.png", "bbox": [10, 10, 50, 40], "label": "thing"} | columns


def text(bbox: str, **columns: Any) -> bytes:
    """A line with a box as it would not come out of a JSON encoder."""
    return json.dumps(row(bbox="BOX", **columns)).replace('"BOX"', bbox).encode()


def box(name: str, bbox: list[Any], reason: str, says: str) -> Bad:
    """A box that makes a region which cannot be used."""
    return Bad(name, row(bbox=bbox, label=name), reason, says, "crop", "box")


def without(column: str) -> dict[str, Any]:
    return {key: value for key, value in row().items() if key != column}


MALFORMED = [
    Bad("broken JSON", b'{"image": "a.png", "bbox": [1, 2,', "not-json", "the line is not JSON"),
    Bad("not UTF-8", b'{"image": "a.png", "label": "caf\xe9", "bbox": [1, 2, 30, 40]}', "not-utf8", "byte 33"),
    Bad("UTF-16", json.dumps(row()).encode("utf-16"), "not-utf8", "save the file as UTF-8"),
    Bad("array", b'["a.png", 1, 2, 30, 40]', "not-an-object", "list"),
    Bad("word", b'"a.png"', "not-an-object", "str"),
    Bad("nested deeply", b"[" * 200_000, "not-json", "recursion"),
    Bad("number of 5,000 digits", text("[1, 2, 30, " + "4" * 5000 + "]"), "not-json", "4300"),
    Bad("unknown column", row(colour="red"), "column-unknown", "'colour' is unknown; known are image, bbox"),
    Bad("no image", without("image"), "image-absent", '"image" is None'),
    Bad("image is a number", row(image=7), "image-absent", '"image" is 7'),
    Bad("no bbox", without("bbox"), "bbox-absent", "four numbers"),
    Bad("bbox is null", row(bbox=None), "bbox-invalid", "bbox = None"),
    Bad("bbox of words", row(bbox=["a", "b", "c", "d"]), "bbox-invalid", "bbox.0 = 'a'"),
    Bad("bbox of numbers as text", row(bbox=["1", "2", "30", "40"]), "bbox-invalid", "bbox.0 = '1'"),
    Bad("bbox of a truth value", row(bbox=[True, 2, 30, 40]), "bbox-invalid", "bbox.0 = True"),
    Bad("bbox of 3 numbers", row(bbox=[1, 2, 30]), "bbox-invalid", "[1, 2, 30]"),
    Bad("bbox of 5 numbers", row(bbox=[1, 2, 30, 40, 0.9]), "bbox-invalid", "0.9"),
    Bad("NaN", text("[NaN, 2, 30, 40]"), "bbox-not-finite", "nan"),
    Bad("Infinity", text("[1, 2, 30, Infinity]"), "bbox-not-finite", "inf"),
    Bad("1e400", text("[1, 2, 1e400, 40]"), "bbox-not-finite", "inf"),
    Bad("1e308", text("[1, 2, 1e308, 40]"), "bbox-not-finite", "1e+308"),
    Bad("inverted", row(bbox=[90, 70, 40, 30]), "bbox-inverted", "x1 < x2"),
    Bad("xywh", row(bbox=[60, 50, 30, 20]), "bbox-xywh", "set the source's bbox_format to xywh"),
    Bad("no width", row(bbox=[20, 20, 20, 60]), "bbox-empty", "covers no area"),
    Bad("all zero", row(bbox=[0, 0, 0, 0]), "bbox-empty", "covers no area"),
    Bad("normalised", row(bbox=[0.1, 0.2, 0.5, 0.6]), "bbox-normalized", "bbox_format to normalized"),
    Bad("lone surrogate in the label", row(label="half \ud83d"), "text-invalid", "half a character"),
    Bad("lone surrogate in the path", row(image="\ud83d.png"), "path-invalid", "not a file name"),
    Bad("label is a number", row(label=5), "label-invalid", "label = 5"),
    Bad("mask of another size", row(mask={"size": [40, 50], "counts": [2000]}), "mask-invalid", "[80, 100]"),
    Bad("mask size is a number", row(mask={"size": 8000, "counts": [8000]}), "mask-invalid", "mask size 8000"),
    Bad("mask counts are garbage", row(mask={"size": [80, 100], "counts": "hello\x7f"}), "mask-invalid", "character"),
    Bad("mask counts do not add up", row(mask={"size": [80, 100], "counts": [10, 20]}), "mask-invalid", "add up to 30"),
    Bad("mask without counts", row(mask={"size": [80, 100]}), "mask-invalid", "counts"),
    Bad("mask is a word", row(mask="yes"), "mask-invalid", "run lengths {size, counts} or polygons"),
    Bad("polygon of odd length", row(mask=[[1, 2, 30, 2, 30, 40, 5]]), "mask-invalid", "even number"),
    Bad("polygon of 2 points", row(mask=[[1, 2, 30, 2]]), "mask-invalid", "at least 6"),
    Bad("polygon with a NaN", text("[10, 10, 50, 40]", mask=[[1, 2, 30, 2, 30, float("nan")]]), "mask-invalid", "NaN"),
    Bad("polygon far away", row(mask=[[1, 2, 900_000, 2, 30, 40]]), "mask-invalid", "100x80"),
    Bad("negative width", row(width=-100, height=80), "width-invalid", "-100"),
    Bad("width 0", row(width=0, height=80), "width-invalid", "width = 0"),
    Bad("unknown split", row(split="holdout"), "split-unknown", "train, validation, val, dev, test"),
    Bad("question without answer", row(original_questions=[{"question": "?"}]), "original-questions-invalid", "answer"),
]
REJECTED = [
    box("outside", [200, 20, 260, 60], "bbox-outside", "outside the picture of 100x80"),
    box("far beyond", [50, 50, 300, 70], "bbox-beyond", "stands out of the picture of 100x80"),
    box("too small", [10, 10, 14, 40], "region-too-small", "4x30 px, at least 8 px"),
    Bad("other size", row(width=640, height=480, label="e"), "size-mismatch", "declared 640x480", "crop", "box"),
    Bad("other width", row(width=640, label="f"), "size-mismatch", "declared width 640", "crop", "box"),
    Bad(
        "empty mask", row(mask={"size": [80, 100], "counts": [8000]}, label="g"), "mask-empty",
        "no pixel inside its box", "attributes", "measured",
    ),
    Bad(
        "mask of another thing", row(mask=[[20, 20, 90, 20, 90, 70]], label="h"), "mask-outside-box",
        "out of the box", "check", "bounds",
    ),
]  # fmt: skip
BAD = MALFORMED + REJECTED
GOOD = {
    "plain": row(label="plain"),
    "slightly out": row(bbox=[-1.5, 10, 30, 81], label="clipped"),
    "no label": row(label="", bbox=[60, 50, 95, 78]),
    "blank label": row(label="  ", bbox=[20, 20, 60, 70]),
    "long label": row(label="x" * 10_000),
    "script": row(label=SCRIPT),
    "whole numbers as floats": row(label="floats", bbox=[10.0, 10.0, 50.0, 40.0], width=100, height=80),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Good lines, bad lines, duplicate lines and an empty one, in one file."""
    folder = tmp_path_factory.mktemp("rows")
    write_pictures(folder / "pictures", {"a.png": encoded(picture(WIDTH, HEIGHT))})
    lines = [*GOOD.values(), *(bad.line for bad in BAD)]
    duplicates = [row(id="twin", label="first"), row(id="twin", label="second"), row(label="plain"), b""]
    file = write_jsonl(folder / "rows.jsonl", [*lines, *duplicates, row(label="last")])
    found = build("jsonl", folder / "set", "--images", folder / "pictures", "--annotations", file)
    return Published(folder / "set", found.stderr)


def line_of(index: int) -> int:
    """The line on which the bad row of that index stands."""
    return len(GOOD) + index + 1


@pytest.mark.parametrize(("index", "bad"), list(enumerate(BAD)), ids=[bad.name for bad in BAD])
def test_bad_line_is_listed(published: Published, index: int, bad: Bad) -> None:
    found = published.rejected(line_of(index))
    assert found is not None
    assert (found["stage"], found["check"], found["reason"]) == (bad.stage, bad.check, bad.reason), found["evidence"]
    assert bad.says in found["evidence"]
    assert found["file"] == "rows.jsonl" and found["source"] == "jsonl"
    assert found["kind"] == ("malformed" if bad.stage == "read" else "rejected")
    assert len(found["evidence"]) < 1000
    assert published.region(line_of(index)) is None


@pytest.mark.parametrize("index", range(len(MALFORMED)), ids=[bad.name for bad in MALFORMED])
def test_malformed_line_is_kept_as_it_stood(published: Published, index: int) -> None:
    found, line = published.rejected(line_of(index)), MALFORMED[index].line
    assert found is not None
    written = line if isinstance(line, bytes) else json.dumps(line).encode()
    assert found["record"] == written.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("name", GOOD)
def test_good_line_is_published(published: Published, name: str) -> None:
    region = published.region(list(GOOD).index(name) + 1)
    assert region is not None
    assert region["label"] == (GOOD[name]["label"].strip() or None)


def test_a_box_that_stands_out_a_little_is_clipped(published: Published) -> None:
    region = published.region(list(GOOD).index("slightly out") + 1)
    assert region is not None and region["bbox"] == [0, 10, 30, 80]


def test_duplicates(published: Published) -> None:
    """A repeated id is refused; a repeated region is one region, with both lines."""
    twin = line_of(len(BAD))
    second = published.rejected(twin + 1)
    assert published.region(twin) is not None
    assert second is not None and second["reason"] == "id-duplicate" and f"line {twin}" in second["evidence"]
    merged = published.region(twin + 2)
    assert merged is not None and [ref["line"] for ref in merged["source_refs"]] == [1, twin + 2]


def test_the_accounts_balance(published: Published) -> None:
    published.check(rows=len(GOOD) + len(BAD) + 4)
    assert published.accounts["malformed"] == len(MALFORMED) + 1
    assert published.accounts["merged"] == 1
    assert published.accounts["rejected"] == len(REJECTED)
    assert published.region(line_of(len(BAD)) + 4) is not None  # the last line, behind an empty one


def test_a_label_cannot_run_in_the_preview(published: Published) -> None:
    page = published.folder.parent / "page.html"
    slvr_data("preview", published.folder, "--html", page)
    html = page.read_text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html


def test_rejections_as_a_table_name_file_line_and_reason(published: Published) -> None:
    shown = slvr_data("rejections", published.folder, "--reason", "bbox-xywh").stdout.splitlines()
    assert len(shown) == 1
    xywh = next(i for i, bad in enumerate(BAD) if bad.reason == "bbox-xywh")
    assert shown[0].startswith(f"rows.jsonl:{line_of(xywh)}  read/row/bbox-xywh  ")
