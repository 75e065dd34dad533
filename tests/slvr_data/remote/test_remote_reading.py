"""Files of a set wherever it lies, read piece by piece."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slvr_data.errors import RunError
from slvr_data.remote.place import Place
from slvr_data.remote.reading import digest_of, is_there, open_parquet, read_bytes


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
