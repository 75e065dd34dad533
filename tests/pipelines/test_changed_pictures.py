"""A picture file whose bytes change under the same size and time, as `rsync -t` of a mended copy leaves it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipelines.changed import changed_files, changed_regions, forget_read, mark_read, note_changed
from tests.support import Published, encoded, noise, refusal, slvr_data, write_jsonl, write_pictures

WHOLE = encoded(noise(120, 90, seed=1), compress_level=0)
HALF = WHOLE[: len(WHOLE) // 2] + bytes(len(WHOLE) - len(WHOLE) // 2)
"""A copy that was cut off, in a file of the full size."""
BOXES = ([10, 10, 50, 40], [60, 45, 110, 80])


def rewritten(path: Path, data: bytes) -> None:
    """Other bytes, and nothing else that `stat` tells of a file's content."""
    info = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (info.st_size, info.st_mtime_ns)


def test_a_mended_copy_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a root that is told relatively is the same root
    write_pictures(tmp_path / "pictures", {"a.png": encoded(noise(120, 90)), "b.png": HALF})
    lines = [{"image": name, "bbox": BOXES[0], "label": "x"} for name in ("a.png", "b.png")]
    file = write_jsonl(tmp_path / "rows.jsonl", lines)

    def build(out: str, code: int = 0) -> Any:
        return slvr_data(
            "build-attributes", "jsonl", "--images", "pictures", "--annotations", file, "--workers", 1, "--out", out,
            code=code,
        )  # fmt: skip

    build("set")
    assert [row["record"] != "" for row in Published(tmp_path / "set").rejections] == [True], "b.png cannot be read"
    rewritten(tmp_path / "pictures" / "b.png", WHOLE)
    write_jsonl(file, [*lines, {"image": "b.png", "bbox": BOXES[1], "label": "y"}])
    said = refusal(build("set", code=1))
    assert "'b.png' has changed since it was read: run slvr-data build-attributes again, to read it anew" in said
    assert changed_files(tmp_path / "set" / ".work") == [str(tmp_path / "pictures" / "b.png")]
    build("set")
    mended = Published(tmp_path / "set")
    mended.check(rows=3)
    assert mended.accounts["published"] == 3 and changed_files(tmp_path / "set" / ".work") == []
    build("clean")
    assert Published(tmp_path / "clean").bytes() == mended.bytes()


def test_other_commands_name_the_one_that_reads(tmp_path: Path) -> None:
    """`publish` looks into no source; what it meets, the next build knows."""
    write_pictures(tmp_path / "pictures", {"a.png": WHOLE})
    file = write_jsonl(tmp_path / "rows.jsonl", [{"image": "a.png", "bbox": BOXES[0], "label": "x"}])
    options = ("--images", tmp_path / "pictures", "--annotations", file, "--workers", 1, "--out", tmp_path / "set")
    slvr_data("build-attributes", "jsonl", *options)
    rewritten(tmp_path / "pictures" / "a.png", HALF)
    (tmp_path / "set" / "manifest.json").unlink()
    said = refusal(slvr_data("publish", tmp_path / "set", code=1))
    assert "has changed since it was read: run slvr-data build-attributes again" in said
    rewritten(tmp_path / "pictures" / "a.png", WHOLE)
    slvr_data("build-attributes", "jsonl", *options)
    assert Published(tmp_path / "set").accounts["published"] == 1


def test_notes_hold_any_path_until_its_rows_are_kept(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("b\nc.png", "\udce4.png", "a.png", "a.png")]
    for number, path in enumerate(paths):
        note_changed(tmp_path, path, [str(number)])
    assert changed_files(tmp_path) == sorted({str(path) for path in paths})
    assert changed_regions(tmp_path) == {"0", "1", "3"}
    mark_read(tmp_path, [str(paths[0]), str(paths[1]), str(tmp_path / "other.png")])
    assert changed_regions(tmp_path) == {"0", "1", "3"}, "a run that is killed now has kept nothing"
    note_changed(tmp_path, paths[1], ["4"])
    forget_read(tmp_path)
    assert changed_regions(tmp_path) == {"3", "4"}
