"""Files of a set wherever it lies, read piece by piece."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slvr_data.errors import RunError
from slvr_data.remote import reading
from slvr_data.remote.place import Place
from slvr_data.remote.reading import digest_of, each_footer_once, is_there, open_parquet, read_bytes, size_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"number": range(10_000), "text": ["words " * 20] * 10_000}), path, row_group_size=1000)
    return path


@pytest.fixture
def there(file: Path) -> Path:
    place = Place(f"memory://{uuid.uuid4().hex}/set")
    place.put(file, "data/table.parquet")
    return Path(place.address) / "data" / "table.parquet"


def test_it_is_the_same_here_and_there(file: Path, there: Path) -> None:
    assert read_bytes(there) == read_bytes(file) == read_bytes(Path(file.as_uri()))
    assert digest_of(there) == digest_of(file)
    assert is_there(there) and is_there(file)
    assert not is_there(there.with_name("other")) and not is_there(file.with_name("other"))
    with open_parquet(there) as one, open_parquet(file) as two:
        assert one.read().equals(two.read())


def test_one_row_group_is_fetched_and_not_the_file(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    read = Place.read

    def counted(self: Place, name: str, start: int | None = None, end: int | None = None) -> bytes:
        data = read(self, name, start, end)
        sizes.append(len(data))
        return data

    whole = len(read_bytes(there))
    monkeypatch.setattr(Place, "read", counted)
    with open_parquet(there) as parquet:
        footer = sum(sizes)
        assert parquet.read_row_group(7, columns=["number"])["number"].to_pylist() == list(range(7000, 8000))
    assert sum(sizes) - footer < whole / 2
    assert len(sizes) <= 4


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each call for a size or for bytes, by its kind."""
    found: list[str] = []
    size, read = Place.size, Place.read

    def sized(self: Place, name: str) -> int:
        found.append("size")
        return size(self, name)

    def counted(self: Place, name: str, start: int | None = None, end: int | None = None) -> bytes:
        found.append("bytes")
        return read(self, name, start, end)

    monkeypatch.setattr(Place, "size", sized)
    monkeypatch.setattr(Place, "read", counted)
    return found


def opened_twice(*paths: Path) -> None:
    for path in paths * 2:
        size_of(path)
        with open_parquet(path) as parquet:
            assert parquet.metadata.num_row_groups == 10


def test_a_footer_is_fetched_once_where_that_is_asked_for(there: Path, file: Path, asked: list[str]) -> None:
    opened_twice(there)
    assert asked.count("size") == 4 and asked.count("bytes") >= 2
    each = asked.count("bytes") // 2
    asked.clear()
    with each_footer_once():
        opened_twice(there, file)
        assert asked == ["size"] + each * ["bytes"]
        with open_parquet(there) as one, open_parquet(file) as two:
            assert one.read().equals(two.read())
        with pytest.raises(RunError, match=r"is not there \(any more\)"):
            open_parquet(there.with_name("other.parquet"))
        Place(str(there.parent).replace(":/", "://")).put(file, "other.parquet")
        open_parquet(there.with_name("other.parquet")).close()  # that it was missing is not remembered
    asked.clear()
    opened_twice(there)
    assert asked.count("size") == 4


def test_footers_that_are_kept_have_a_bound(
    there: Path, file: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_parquet(file) as parquet:
        monkeypatch.setattr(reading, "FOOTERS_BYTES", parquet.metadata.serialized_size)
    place = Place(str(there.parent).replace(":/", "://"))
    place.put(file, "other.parquet")
    opened_twice(there)
    each = asked.count("bytes") // 2
    asked.clear()
    with each_footer_once():
        opened_twice(there, there.with_name("other.parquet"))
    assert asked.count("size") == 2
    assert asked.count("bytes") == 4 * each


def test_a_file_that_is_taken_away_meanwhile_is_named(there: Path) -> None:
    place = Place(str(there).removesuffix("/data/table.parquet").replace(":/", "://"))
    with open_parquet(there) as parquet:
        place.remove(["data/table.parquet"])
        with pytest.raises(RunError, match=r"data/table.parquet is not there \(any more\): if the set was published"):
            parquet.read_row_group(9)
    with pytest.raises(RunError, match=r"is not there \(any more\)"):
        open_parquet(there)
    with pytest.raises(FileNotFoundError):
        read_bytes(there)
