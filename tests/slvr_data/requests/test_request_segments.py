"""Segments: what they hold, what another node makes of them, and what becomes of damaged ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from slvr_data.errors import RunError
from slvr_data.requests.database import row_of
from slvr_data.requests.replies import COLUMNS
from slvr_data.requests.segments import DamagedSegmentError, Segment, SegmentFolder
from slvr_data.requests.store import RequestStore
from tests.slvr_data.requests.putting import reply
from tests.slvr_data.requests.stored import missing, rows, segments


def filled(tmp_path: Path, count: int, scratch: str = "here") -> list[Path]:
    """A store with so many replies more, written and closed; its segments."""
    folder = tmp_path / "set"
    with RequestStore(folder, tmp_path / scratch) as store:
        first = sum(pq.read_metadata(path).num_rows for path in (folder / "segments").glob("*-replies-*.parquet"))
        for number in range(first, first + count):
            store.put(reply(number))
    return segments(folder)


def test_a_segment_is_plain_parquet_with_the_columns_of_a_reply(tmp_path: Path) -> None:
    (path,) = filled(tmp_path, 10)
    table = pq.read_table(path)
    assert tuple(table.column_names) == COLUMNS
    assert [tuple(row.values()) for row in table.to_pylist()] == [row_of(reply(number)) for number in range(10)]
    assert path.name.startswith("00000001-replies-")


def test_another_node_has_all_replies(tmp_path: Path) -> None:
    filled(tmp_path, 2500)
    said: list[str] = []
    assert missing(tmp_path / "set", tmp_path / "there", 2500, said.append) == []
    assert said == []


def test_nothing_is_written_twice(tmp_path: Path) -> None:
    """Three runs here, one there, one here again: each reply stands in one segment."""
    for scratch, count in (("here", 1500), ("here", 700), ("here", 0), ("there", 30), ("here", 1)):
        filled(tmp_path, count, scratch)
    written = rows(tmp_path / "set")
    assert sorted(written) == sorted(reply(number).key for number in range(2231))
    numbers = [int(path.name[:8]) for path in segments(tmp_path / "set")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_segment_holds_a_thousand_replies_at_most(tmp_path: Path) -> None:
    sizes = [pq.read_metadata(path).num_rows for path in filled(tmp_path, 3210)]
    assert max(sizes) == 1000
    assert sum(sizes) == 3210


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_segment_is_put_aside_and_its_calls_are_asked_again(tmp_path: Path, damage: str) -> None:
    for _ in range(3):
        filled(tmp_path, 100)
    folder, path = tmp_path / "set", segments(tmp_path / "set")[1]
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            "flip": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "cut": data[:-1],
            "empty": b"",
            "other": segments(folder)[0].read_bytes(),
        }[damage]
    )
    said: list[str] = []
    assert missing(folder, tmp_path / "there", 300, said.append) == list(range(100, 200))
    (line,) = said
    assert line.startswith(f"segment {path.name} of the request store is damaged (")
    assert line.endswith(f"it is now {path.name}.damaged, and what it held alone is asked for again")
    assert (folder / "segments" / f"{path.name}.damaged").exists()
    said.clear()
    with RequestStore(folder, tmp_path / "there", said.append) as store:
        for number in range(100, 200):
            store.put(reply(number))
    assert missing(folder, tmp_path / "a third", 300, said.append) == []
    assert said == []


def test_the_node_that_has_the_replies_mends_a_segment_that_was_cut(tmp_path: Path) -> None:
    for _ in range(3):
        filled(tmp_path, 100)
    folder = tmp_path / "set"
    segments(folder)[0].write_bytes(segments(folder)[0].read_bytes()[:-100])
    segments(folder)[1].unlink()
    said: list[str] = []
    assert missing(folder, tmp_path / "here", 300, said.append) == []
    assert len(said) == 1
    assert sorted(rows(folder)) == sorted(reply(number).key for number in range(300))
    assert missing(folder, tmp_path / "there", 300) == []


@pytest.mark.parametrize("count", [999, 1000, 1001, 3000, 3500])
def test_all_that_is_in_no_segment_is_written_out_when_it_opens(tmp_path: Path, count: int) -> None:
    for path in filled(tmp_path, count):
        path.unlink()
    with RequestStore(tmp_path / "set", tmp_path / "here") as store:
        store.flush()
        assert sorted(rows(tmp_path / "set")) == sorted(reply(number).key for number in range(count))
    assert len(rows(tmp_path / "set")) == count


def test_files_of_others_and_leftovers_do_not_matter(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    folder = tmp_path / "set" / "segments"
    (folder / "notes.txt").write_text("mine")
    (folder / "other.parquet").write_bytes(b"")
    (folder / ".00000002-replies-0123456789abcdef.parquet.123.tmp").write_bytes(b"half")
    said: list[str] = []
    assert missing(tmp_path / "set", tmp_path / "there", 10, said.append) == []
    assert said == []
    assert sorted(path.name for path in folder.iterdir())[1:] == ["notes.txt", "other.parquet"]


def test_a_set_that_was_moved_keeps_its_replies(tmp_path: Path) -> None:
    filled(tmp_path, 20)
    (tmp_path / "set").rename(tmp_path / "moved")
    assert missing(tmp_path / "moved", tmp_path / "here", 20) == []


def test_a_set_that_was_removed_takes_its_replies_along(tmp_path: Path) -> None:
    filled(tmp_path, 20)
    shutil.rmtree(tmp_path / "set")
    said: list[str] = []
    assert missing(tmp_path / "set", tmp_path / "here", 20, said.append) == list(range(20))
    (line,) = said
    assert "it belongs to a set that lay at the same place before" in line


def test_what_was_put_last_holds_on_every_node(tmp_path: Path) -> None:
    folder, other = tmp_path / "set", reply(3, "another text")
    filled(tmp_path, 10)
    with RequestStore(folder, tmp_path / "here") as store:
        store.put(other)
        assert store.get(other.key) == other
    for scratch in ("here", "there"):
        with RequestStore(folder, tmp_path / scratch) as store:
            assert store.get(other.key) == other
            assert store.get(reply(4).key) == reply(4)


def test_granted_attempts_reach_another_node(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with RequestStore(folder, tmp_path / "here") as store:
        assert store.extra_attempts("a") == 0
        store.allow_more("a", 2)
        store.allow_more("b", 1)
        store.flush()
        store.allow_more("a", 3)
        assert store.extra_attempts("a") == 5
    for scratch in ("here", "there"):
        with RequestStore(folder, tmp_path / scratch) as store:
            assert [store.extra_attempts(key) for key in "abc"] == [5, 1, 0]
    with RequestStore(folder, tmp_path / "there") as store:
        store.allow_more("b", 4)
    with RequestStore(folder, tmp_path / "here") as store:
        assert [store.extra_attempts(key) for key in "abc"] == [5, 5, 0]
    assert len(segments(folder)) == 3


def test_a_segment_of_other_columns_is_damaged(tmp_path: Path) -> None:
    folder = SegmentFolder(tmp_path)
    written = folder.write("grants", [("a", 1)])
    path = tmp_path / written.name
    renamed = path.rename(tmp_path / path.name.replace("grants", "replies"))
    with pytest.raises(DamagedSegmentError):
        folder.read(Segment(renamed.name, written.bytes))


def test_a_segment_that_cannot_be_read_is_no_damage(tmp_path: Path) -> None:
    """A file system that does not answer must not cost replies."""
    (path,) = filled(tmp_path, 10)
    path.unlink()
    path.mkdir()
    with pytest.raises(RunError, match=f"reading {path} failed"):
        RequestStore(tmp_path / "set", tmp_path / "there")
    assert path.exists()


@pytest.mark.parametrize("backwards", [False, True])
def test_segments_of_equal_numbers_have_one_order(tmp_path: Path, backwards: bool) -> None:
    """Parts that were merged count from 1 each; a folder lists its files in any order."""
    part = {}
    for number in range(12):
        written = SegmentFolder(tmp_path / str(number)).write("replies", [row_of(reply(3, f"text {number}"))])
        part[written.name] = tmp_path / str(number) / written.name
    merged = SegmentFolder(tmp_path / "merged")
    for name in sorted(part, reverse=backwards):
        shutil.copy(part[name], merged.folder)
    assert [segment.name for segment in merged.segments()] == sorted(part)


def test_it_does_not_matter_when_a_segment_was_merged(tmp_path: Path) -> None:
    """Here the store has the one of the larger number when the other comes; there both are new."""
    folder, later = tmp_path / "set", reply(3, "later")
    filled(tmp_path, 10)
    with RequestStore(folder, tmp_path / "here") as store:
        store.put(later)
    name = SegmentFolder(tmp_path / "part").write("replies", [row_of(reply(3, "earlier")), row_of(reply(77))]).name
    assert name.startswith("00000001-") and len(segments(folder)) == 2
    shutil.copy(tmp_path / "part" / name, folder / "segments")
    for scratch in ("here", "there"):
        with RequestStore(folder, tmp_path / scratch) as store:
            assert store.get(later.key) == later
            assert store.get(reply(77).key) == reply(77), "which is nowhere else"
