"""Bad input that is mended: the same command takes it in; what is published already stays as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.stages.crop import DROPPED
from tests.support import Published, build, encoded, picture, refusal, write_jsonl, write_pictures

BOX = [10, 10, 50, 40]
JPEG = encoded(picture(400, 300, seed=1, block=(10, 10, 390, 290)), "JPEG", quality=95)
SOUND = {"image": "a.png", "bbox": [5, 5, 60, 70], "label": "sound"}


def row(**columns: Any) -> dict[str, Any]:
    return {"image": "a.png", "bbox": BOX, "label": "mended"} | columns


MENDED = {
    "broken line": (b"{", row(), "not-json"),
    "declared size": (row(width=640, height=480), row(width=100, height=80), "size-mismatch"),
    "box": (row(bbox=[10, 10, 500, 40]), row(), "bbox-beyond"),
    "small box": (row(bbox=[10, 10, 14, 14]), row(), "region-too-small"),
    "empty mask": (row(mask={"size": [80, 100], "counts": [8000]}), row(), "mask-empty"),
    "mask": (row(mask=[[20, 20, 90, 20, 90, 70]]), row(mask=[[10, 10, 50, 10, 50, 40]]), "mask-outside-box"),
    "box to a mask": (
        row(mask=[[20, 20, 90, 20, 90, 70]]),
        row(mask=[[20, 20, 90, 20, 90, 70]], bbox=[20, 20, 90, 70]),
        "mask-outside-box",
    ),
}


def test_rows_that_were_mended_are_taken_in(tmp_path: Path) -> None:
    """What comes out are the bytes of a set built from good rows at once."""
    root = write_pictures(tmp_path / "pictures", {f"{n}.png": encoded(picture(seed=n)) for n in range(len(MENDED))})
    before, after = (
        [r if isinstance(r, bytes) else r | {"image": f"{n}.png"} for n, r in enumerate(rows)]
        for rows in list(zip(*MENDED.values(), strict=True))[:2]
    )
    file = write_jsonl(tmp_path / "rows.jsonl", before)
    options = ("--images", root, "--annotations", file)
    build("jsonl", tmp_path / "set", *options)
    bad = Published(tmp_path / "set")
    assert {r["line"]: r["reason"] for r in bad.rejections} == {n: m[2] for n, m in enumerate(MENDED.values(), 1)}
    write_jsonl(file, after)
    build("jsonl", tmp_path / "set", *options)
    mended = Published(tmp_path / "set")
    mended.check(rows=len(MENDED))
    assert not mended.rejections
    build("jsonl", tmp_path / "clean", *options)
    assert Published(tmp_path / "clean").bytes() == mended.bytes()


def test_a_picture_that_was_mended_is_taken_in(tmp_path: Path) -> None:
    """The evidence says to get the file again; then the same command must go on."""
    root = write_pictures(tmp_path / "pictures", {"a.jpg": JPEG[:-100], "b.png": encoded(picture(seed=5))})
    file = write_jsonl(tmp_path / "rows.jsonl", [{"image": n, "bbox": BOX} for n in ("a.jpg", "b.png", "c.png")])
    options = ("--images", root, "--annotations", file)
    build("jsonl", tmp_path / "set", *options)
    assert {r["reason"] for r in Published(tmp_path / "set").rejections} == {"picture-truncated", "picture-missing"}
    write_pictures(root, {"a.jpg": JPEG, "c.png": encoded(picture(seed=6))})
    build("jsonl", tmp_path / "set", *options)
    mended = Published(tmp_path / "set")
    mended.check(rows=3)
    assert mended.accounts["published"] == 3 and not mended.rejections
    build("jsonl", tmp_path / "clean", *options)
    assert Published(tmp_path / "clean").bytes() == mended.bytes()


LOST = {
    "another picture": (picture(seed=2), [SOUND, row()]),
    "no row": (picture(), [SOUND]),
    "another box": (picture(), [SOUND, row(bbox=[10, 10, 50, 41])]),
    "a size that does not fit": (picture(), [SOUND, row(width=640, height=480)]),
}


def test_what_is_published_cannot_be_lost(tmp_path: Path) -> None:
    """A change that would take a published region away ends the run before anything changes."""
    root = write_pictures(tmp_path / "pictures", {"a.png": encoded(picture())})
    file = write_jsonl(tmp_path / "rows.jsonl", [SOUND, row()])
    options = ("--images", root, "--annotations", file)
    build("jsonl", tmp_path / "set", *options)
    before = Published(tmp_path / "set").bytes()
    for name, (image, rows) in LOST.items():
        write_pictures(root, {"a.png": encoded(image)})
        write_jsonl(file, rows)
        assert "a set only grows" in refusal(build("jsonl", tmp_path / "set", *options, code=2)), name
        assert Published(tmp_path / "set").bytes() == before, name


def test_a_picture_that_could_not_be_read_once_is_read_with_a_new_region(tmp_path: Path) -> None:
    """Earlier versions took a lack of memory for a bad picture: its regions stay rejected, new ones are whole."""
    root = write_pictures(tmp_path / "pictures", {"a.png": encoded(picture(seed=1))})
    file = write_jsonl(tmp_path / "rows.jsonl", [row()])
    options = ("--images", root, "--annotations")
    build("jsonl", tmp_path / "set", *options, file)
    for path in (tmp_path / "set" / ".work" / "crop").glob("*/*.parquet"):
        table = pq.read_table(path)
        if path.stem == "images":
            rows = [{"image_id": r["image_id"]} for r in table.to_pylist()]
            pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
        elif path.stem == "crops":
            ids = table.select(["region_id", "image_id"]).to_pylist()
            pq.write_table(table.slice(0, 0), path)
    fault = {"check": "picture", "reason": "picture-truncated", "evidence": "no memory"}
    dropped = pa.Table.from_pylist([r | fault for r in ids], schema=DROPPED)
    pq.write_table(dropped, next((tmp_path / "set" / ".work" / "crop").glob("*/dropped.parquet")))
    for stage in ("attributes", "check"):
        shutil.rmtree(tmp_path / "set" / ".work" / stage)
    (tmp_path / "set" / "manifest.json").unlink()
    more = write_jsonl(tmp_path / "more.jsonl", [row(bbox=[55, 45, 90, 70], label="more")])
    build("jsonl", tmp_path / "set", *options, file, "--annotations", more)
    grown = Published(tmp_path / "set")
    assert [r["label"] for r in grown.rows("attributes")] == ["more"]
    (image,) = grown.rows("images")
    assert (image["width"], image["height"], len(image["phash"])) == (100, 80, 16)
