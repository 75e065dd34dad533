"""What `--avoid` may name, and what is said of the rest."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from PIL import Image

from slvr_data.avoid.given import counted, names_of, open_given
from slvr_data.avoid.reading import described
from slvr_data.errors import RunError, UsageError
from slvr_data.manifest import FORMAT
from slvr_data.schema import SCHEMA_VERSION
from tests.builds import photograph

PICTURE, OTHER = photograph(1)[0], photograph(2)[0]


def names(told: Path) -> dict[str, str | None]:
    """Every picture that is read, with what is wrong with it."""
    tables = (table for chunk in open_given(str(told)).chunks for table in described(chunk))
    rows = [row for table in tables for row in table.to_pylist()]
    return {row["name"]: row["problem"] for row in rows}


def parquet(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=2)


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of a superuser, who may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that anybody may enter."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for name in ("b/1.JPG", "a.jpeg", ".hidden/2.jpg", ".3.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PICTURE if name != "a.jpeg" else OTHER)
    assert names(tmp_path) == {"a.jpeg": None, "b/1.JPG": None}
    assert names(tmp_path / "a.jpeg") == {"a.jpeg": None}


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "sound.jpg").write_bytes(PICTURE)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "cut.jpg").write_bytes(OTHER[: len(OTHER) // 2])
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    found = names(tmp_path)
    assert found.pop("sound.jpg") is None
    assert "No such file" in str(found.pop("gone.png"))
    reasons = {name: str(problem).split(":")[0] for name, problem in found.items()}
    assert reasons == {
        "empty.jpg": "picture-empty", "photo.heic": "picture-unreadable", "cut.jpg": "picture-truncated"
    }  # fmt: skip


def test_a_file_that_cannot_be_read_now_is_no_hole(open_folder: Path) -> None:
    """It may be tomorrow, or on another machine: what is kept of it would be taken for the truth."""
    (open_folder / "closed.jpg").write_bytes(PICTURE)
    (open_folder / "closed.jpg").chmod(0)
    with nobody(), pytest.raises(RunError, match=r"cannot read .*closed.jpg.*denied.*chmod.*all machines see"):
        names(open_folder)
    (open_folder / "closed.jpg").chmod(0o644)
    parquet(open_folder / "a.parquet", image=[{"bytes": None, "path": "closed.jpg"}, {"bytes": PICTURE, "path": None}])
    (chunk,) = open_given(str(open_folder / "a.parquet")).chunks
    (open_folder / "closed.jpg").chmod(0)
    with nobody(), pytest.raises(RunError, match=r"closed\.jpg"):
        next(described(chunk))
    (open_folder / "a.parquet").unlink()
    with pytest.raises(RunError, match="No such file"):
        next(described(chunk))


def test_a_folder_that_cannot_be_listed_is_refused(open_folder: Path) -> None:
    (open_folder / "a.jpg").write_bytes(PICTURE)
    (open_folder / "closed").mkdir(mode=0)
    with nobody(), pytest.raises(UsageError, match=r"closed.*\(chmod\)"):
        open_given(str(open_folder))


@pytest.mark.parametrize(
    "manifest", ['{"format": "another", "files": []}', "[1, 2]", "{", "\xff", "[" * 100_000, '{"format": 3}']
)
def test_a_manifest_of_others_makes_no_set(tmp_path: Path, manifest: str) -> None:
    """As a benchmark that was downloaded has one: its pictures are those of any folder."""
    (tmp_path / "manifest.json").write_bytes(manifest.encode("latin-1"))
    (tmp_path / "a.jpg").write_bytes(photograph(1)[0])
    (chunk,) = open_given(str(tmp_path)).chunks
    assert chunk.files == ("a.jpg",)


def test_a_set_of_a_later_version_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": FORMAT, "schema_version": SCHEMA_VERSION + 1}))
    (tmp_path / "a.jpg").write_bytes(photograph(1)[0])
    with pytest.raises(UsageError, match=r"manifest\.json"):
        open_given(str(tmp_path))


def test_links_in_a_circle_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "other").mkdir()
    for name in ("set/a.jpg", "set/b/c.jpg", "other/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(PICTURE)
    (tmp_path / "set/b/up").symlink_to(tmp_path / "set")
    (tmp_path / "set/link").symlink_to(tmp_path / "other")
    assert open_given(str(tmp_path / "set")).chunks[0].files == ("a.jpg", "b/c.jpg", "link/d.jpg")


def test_columns_of_pictures(tmp_path: Path) -> None:
    struct = [{"bytes": PICTURE, "path": "a.jpg"}, {"bytes": None, "path": None}, {"bytes": OTHER, "path": None}]
    texts = ["what is it?", None, "and this?"]
    parquet(tmp_path / "struct.parquet", image=struct, question=texts)
    assert names(tmp_path / "struct.parquet") == {"struct.parquet:1": None, "struct.parquet:3": None}
    parquet(tmp_path / "bytes.parquet", question=texts, picture=[None, PICTURE, OTHER])
    assert set(names(tmp_path / "bytes.parquet")) == {"bytes.parquet:2", "bytes.parquet:3"}
    encoded = base64.b64encode(PICTURE).decode()
    parquet(
        tmp_path / "text.parquet", question=texts, shown=["data:image/jpeg;base64," + encoded, "no base64" * 20, None]
    )
    found = names(tmp_path / "text.parquet")
    assert found["text.parquet:1"] is None and "base64" in str(found["text.parquet:2"])
    parquet(tmp_path / "list.parquet", images=[[{"bytes": PICTURE, "path": None}, {"bytes": OTHER, "path": None}]])
    assert set(names(tmp_path / "list.parquet")) == {"list.parquet:1", "list.parquet:1:2"}
    parquet(tmp_path / "path.parquet", image=[{"bytes": None, "path": "in.jpg"}, {"bytes": None, "path": "not.jpg"}])
    lines = base64.encodebytes(OTHER).decode()
    parquet(tmp_path / "lists.parquet", bytes=[[PICTURE, OTHER], []], texts=[[lines], None])
    assert names(tmp_path / "lists.parquet") == {"lists.parquet:1:bytes": None, "lists.parquet:1:bytes:2": None}, "once"
    parquet(tmp_path / "lines.parquet", texts=[[], [lines]])
    assert names(tmp_path / "lines.parquet") == {"lines.parquet:2": None}
    parquet(tmp_path / "first.parquet", picture=[b"damaged", PICTURE])
    assert len(names(tmp_path / "first.parquet")) == 2, "the first value is no sign"
    (tmp_path / "in.jpg").write_bytes(PICTURE)
    found = names(tmp_path / "path.parquet")
    assert found["path.parquet:1"] is None and "not.jpg" in str(found["path.parquet:2"])


def test_a_table_names_files_below_its_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slvr_data.tables.MAX_FILE_BYTES", len(PICTURE))
    folder = tmp_path / "given"
    mine = tmp_path / "mine.jpg"
    mine.write_bytes(PICTURE)
    paths = [str(mine), "../mine.jpg", "in.jpg", "heavy.jpg"]
    parquet(folder / "a.parquet", image=[{"bytes": None, "path": path} for path in paths])
    (folder / "in.jpg").write_bytes(PICTURE)
    (folder / "heavy.jpg").write_bytes(PICTURE + b"x")
    found = names(folder / "a.parquet")
    assert found["a.parquet:3"] is None
    for number, why in ((1, "is absolute"), (2, "climbs out"), (4, f"at most {len(PICTURE)} are read")):
        assert why in str(found[f"a.parquet:{number}"])


def test_pictures_without_a_suffix_are_found(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):
        encode(photograph(3)[0], form, tmp_path / "blobs" / form)
    (tmp_path / "README").write_text("no picture")
    (tmp_path / "empty").touch()
    (tmp_path / "gone").symlink_to("nowhere")
    assert names(tmp_path) == dict.fromkeys(["blobs/GIF", "blobs/JPEG", "blobs/PNG", "blobs/TIFF", "blobs/WEBP"])


def encode(data: bytes, form: str, path: Path) -> None:
    with Image.open(io.BytesIO(data)) as picture:
        picture.save(path, form)


def test_files_that_nobody_looks_into_are_counted(tmp_path: Path) -> None:
    """Their suffix says nothing: pictures may be in them, and whoever gave them should know."""
    for name in ("a.jpg", "b.jpg_large", "c.JPG_LARGE", "d.tar", "labels/e.txt", ".hidden.txt", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PICTURE if "jpg" in name.lower() else b"no picture")
    given = open_given(str(tmp_path))
    assert names(tmp_path) == {"a.jpg": None}
    assert given.passed_over == ((".jpg_large", 2), ("", 1), (".tar", 1), (".txt", 1))
    assert counted(given.passed_over) == "2 .jpg_large, 1 without a suffix, 1 .tar, 1 .txt"
    assert counted([(f".{letter}\x1b", 2) for letter in "abcdefg"]).endswith("2 .e\\x1b, 4 of other kinds")
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(UsageError, match=r"holds no pictures: it has 2 \.jpg_large, 1 without a suffix, 1 \.tar"):
        open_given(str(tmp_path))
    assert open_given(str(tmp_path / "b.jpg_large")).passed_over == (), "what is named is looked into"


def test_tables_without_pictures_are_named(tmp_path: Path) -> None:
    parquet(tmp_path / "questions.parquet", question=["what is it?"])
    parquet(tmp_path / "pictures.parquet", image=[PICTURE])
    assert open_given(str(tmp_path)).without == ("questions.parquet",)


def test_every_row_behind_a_damage_counts(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [PICTURE, OTHER] * 3}), file, row_group_size=2, use_dictionary=False)
    with pq.ParquetFile(file) as parquet_file:
        start = parquet_file.metadata.row_group(1).column(0).data_page_offset
    with file.open("r+b") as stream:
        stream.seek(start)
        stream.write(b"\xff" * 64)
    found = names(file)
    assert [name for name, problem in found.items() if problem] == ["a.parquet:3", "a.parquet:4"]
    assert "damaged" in str(found["a.parquet:3"]) and len(found) == 6


def test_a_saved_dataset(tmp_path: Path) -> None:
    struct = [{"bytes": PICTURE, "path": None}, {"bytes": OTHER, "path": None}]
    Dataset.from_dict({"image": struct, "index": [1, 2]}).save_to_disk(tmp_path / "saved")
    assert len(names(tmp_path / "saved")) == 2


def test_tab_separated_values_with_base64(tmp_path: Path) -> None:
    """As VLMEvalKit writes HR-Bench: a later row may name an earlier one's picture by its index."""
    with (tmp_path / "hr_bench_4k.tsv").open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t")
        writer.writerow(["index", "question", "image"])
        for index, image in enumerate([base64.b64encode(PICTURE).decode(), "0", base64.b64encode(OTHER).decode()]):
            writer.writerow([index, 'a "quoted"\nquestion', image])
    assert set(names(tmp_path)) == {"hr_bench_4k.tsv:1", "hr_bench_4k.tsv:3"}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("https://example.org/vstar", "is an address: download it"),
        ("nowhere", "no such folder"),
        ("empty", "holds no pictures"),
        ("table", "table.parquet has no column of pictures"),
        ("damaged", "damaged.parquet cannot be read"),
    ],
)
def test_what_is_refused(tmp_path: Path, told: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    parquet(tmp_path / "table/table.parquet", question=["what is it?"], data=[b"no picture"])
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/damaged.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UsageError, match=words):
        open_given(told if "://" in told else str(tmp_path / told))


def test_a_chunk_changes_with_its_files(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(PICTURE)
    before = open_given(str(tmp_path)).chunks[0].name
    assert open_given(str(tmp_path)).chunks[0].name == before
    os.utime(file, ns=(1, 1))
    before, again = open_given(str(tmp_path)).chunks[0].name, before
    assert before != again
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert open_given(str(tmp_path / "copy")).chunks[0].name != before, "of equal names, sizes and times"


def test_a_path_is_one_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/a.jpg").write_bytes(PICTURE)
    assert open_given(f"{tmp_path}/bench/../bench/").path == str(tmp_path / "bench")


def test_names_are_as_short_as_they_may_be() -> None:
    assert names_of(["/data/vstar/images", "/data/hr/images", "/data/mmvp"]) == {
        "/data/vstar/images": "vstar/images", "/data/hr/images": "hr/images", "/data/mmvp": "mmvp",
    }  # fmt: skip
