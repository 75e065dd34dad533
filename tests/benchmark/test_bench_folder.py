"""Benchmark folders: whole, hashed, and honest about damage."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmark.folder import Bench, open_bench, write_bench
from benchmark.records import Item
from slvr_data.errors import RunError, UsageError
from tests.benchmark.bench_logs import items

NUMBER, PICTURES = 40, 20
KNOWN = '{"format": "slvr-bench", "version": 1, "name": "a", "revision": "b", '


def picture(image_id: str) -> bytes:
    """Bytes that follow from the id: 900 kB each, so that there are several row groups."""
    return (image_id * (900_000 // len(image_id))).encode()


def write(out: Path, own: list[Item] | None = None, **more: object) -> Bench:
    return write_bench(
        out, "mine", items(NUMBER, PICTURES) if own is None else own, picture, {"made": {"by": "hand"}}, **more
    )  # type: ignore[arg-type]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    bench = write(tmp_path / "bench", training=b"{}")
    again = open_bench(tmp_path / "bench")
    assert again.revision == bench.revision and again.name == "mine" and again.about["made"] == {"by": "hand"}
    assert sorted(again.items, key=str) == sorted(items(NUMBER, PICTURES), key=str)
    assert [item.image_id for item in again.items] == sorted(item.image_id for item in again.items)
    assert again.training is not None and again.training.read_bytes() == b"{}"
    for item in again.items:
        assert again.picture(item.image_id) == picture(item.image_id)
    with pytest.raises(KeyError):
        again.picture("image999")
    with pytest.raises(KeyError):
        again.picture("")


def test_threads_may_read(tmp_path: Path) -> None:
    bench = write(tmp_path / "bench")
    asked = [item.image_id for item in bench.items] * 5
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(bench.picture, asked)) == [picture(image_id) for image_id in asked]


def test_the_revision_is_of_items_and_pictures(tmp_path: Path) -> None:
    own = items(NUMBER, PICTURES)
    first = write(tmp_path / "a", own)
    assert write(tmp_path / "b", own[::-1]).revision == first.revision
    assert write(tmp_path / "c", own, training=b"{}").revision == first.revision
    assert write(tmp_path / "d", own[1:]).revision != first.revision
    other = own[0].model_copy(update={"label": "mug"})
    assert write(tmp_path / "e", [other, *own[1:]]).revision != first.revision
    changed = write_bench(tmp_path / "f", "mine", own, lambda image_id: picture(image_id) + b"!", {})
    assert changed.revision != first.revision


def test_written_twice(tmp_path: Path) -> None:
    write(tmp_path / "bench")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "bench").iterdir()}
    write(tmp_path / "bench")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "bench").iterdir()} == before
    with pytest.raises(UsageError, match="holds another benchmark"):
        write(tmp_path / "bench", items(NUMBER - 1, PICTURES))
    assert len(open_bench(tmp_path / "bench").items) == NUMBER
    assert [path.name for path in tmp_path.iterdir()] == ["bench"]


def test_an_empty_folder_is_taken_and_a_full_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert len(write(tmp_path / "empty").items) == NUMBER
    (tmp_path / "notes.txt").touch()
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UsageError, match="holds something else"):
            write(place)


def test_a_picture_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing(image_id: str) -> bytes:
        raise UsageError("no such picture")

    with pytest.raises(UsageError, match="no such picture"):
        write_bench(tmp_path / "bench", "mine", items(4, 2), failing, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["items.jsonl", "training.json"])
def test_a_changed_file_is_told(tmp_path: Path, name: str) -> None:
    write(tmp_path / "bench", training=b"{}")
    path = tmp_path / "bench" / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(UsageError, match=f"{name} was changed"):
        open_bench(tmp_path / "bench")
    path.unlink()
    with pytest.raises(UsageError, match=f"{name} was changed"):
        open_bench(tmp_path / "bench")


def test_pictures_of_another_folder_are_told(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write_bench(tmp_path / "b", "mine", items(NUMBER, PICTURES), lambda image_id: b"x" + picture(image_id), {})
    shutil.copy(tmp_path / "b" / "pictures.parquet", tmp_path / "a" / "pictures.parquet")
    with pytest.raises(UsageError, match="was changed since it was made"):
        open_bench(tmp_path / "a")
    (tmp_path / "a" / "pictures.parquet").unlink()
    with pytest.raises(UsageError, match="is damaged"):
        open_bench(tmp_path / "a")


def test_a_damaged_picture_is_told_when_it_is_read(tmp_path: Path) -> None:
    bench = write(tmp_path / "bench")
    path = tmp_path / "bench" / "pictures.parquet"
    data = bytearray(path.read_bytes())
    place = data.index(picture("image3")[:64], 10) + 500_000
    data[place] ^= 1
    path.write_bytes(bytes(data))
    again = open_bench(tmp_path / "bench")
    with pytest.raises(RunError, match="image3 is damaged"):
        again.picture("image3")
    assert again.picture("image4") == bench.picture("image4")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is no benchmark folder"),
        ("{", "cannot be read"),
        ("[]", "does not describe"),
        ('{"format": "slv-set"}', "does not describe"),
        ('{"format": "slvr-bench", "version": 99}', "upgrade slvr"),
        ('{"format": "slvr-bench", "version": 1}', "it has no name"),
        (KNOWN + '"files": {"../x": "c"}}', "names the file"),
        (KNOWN + '"files": {}}', "is damaged"),
    ],
)  # fmt: skip
def test_what_is_no_benchmark(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "bench.json").write_text(text)
    with pytest.raises(UsageError, match=words):
        open_bench(tmp_path)


def test_items_that_cannot_be_scored(tmp_path: Path) -> None:
    one, two = items(2, 1)
    query = one.queries[0]

    def refused(own: list[Item], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            write(tmp_path / "bench", own)

    refused([], "no items")
    refused([one, two, one], "is there twice")
    refused([one.model_copy(update={"queries": ()})], "has 0 queries")
    refused([one.model_copy(update={"queries": (query, query)})], "has a query twice")
    for index in (None, 99, (query.answer_index or 0) + 1):
        bad = query.model_copy(update={"answer_index": index})
        refused([one.model_copy(update={"queries": (bad, one.queries[1])})], "its answer is no choice")
    assert not (tmp_path / "bench").exists()


def test_the_description_tells_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "bench")
    about = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert (about["items"], about["pictures"]) == (NUMBER, PICTURES)
    assert set(about["files"]) == {"items.jsonl", "pictures.parquet"}
