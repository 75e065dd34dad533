"""Files of a published set wherever it lies: opened where they are, read in the pieces that are asked for."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from slvr_data.errors import RunError
from slvr_data.files import sha256_of
from slvr_data.remote.addresses import address_of, local_path
from slvr_data.remote.place import Place


@lru_cache(maxsize=8)
def _place(address: str) -> Place:
    return Place(address)


def _there(path: Path) -> tuple[Place, str] | None:
    """The folder at an address and the name in it that a location is; None for a path on this machine."""
    address = address_of(path)
    if address is None:
        return None
    folder, _, name = address.rpartition("/")
    return _place(folder), name


def read_bytes(path: Path) -> bytes:
    """A whole file. Raises FileNotFoundError, and OSError as `Path.read_bytes`."""
    there = _there(path)
    if there is None:
        return local_path(path).read_bytes()
    place, name = there
    return place.read(name)


def digest_of(path: Path) -> str:
    """The sha256 of a file. Raises FileNotFoundError."""
    there = _there(path)
    if there is None:
        return sha256_of(local_path(path))
    place, name = there
    return hashlib.sha256(place.read(name)).hexdigest()


def size_of(path: Path) -> int | None:
    """The bytes of a file; None where there is none."""
    there = _there(path)
    if there is None:
        here = local_path(path)
        return here.stat().st_size if here.is_file() else None
    place, name = there
    try:
        return place.size(name)
    except FileNotFoundError:
        return None


def is_there(path: Path) -> bool:
    """Whether there is such a file."""
    return size_of(path) is not None


def open_parquet(path: Path) -> Any:
    """A `pyarrow.parquet.ParquetFile`; at an address the columns of a row group are fetched together.

    Each piece of an object is read until that succeeds.

    Raises:
        RunError: an object at an address is not there (any more).
    """
    import pyarrow.parquet as pq

    there = _there(path)
    if there is None:
        return pq.ParquetFile(local_path(path))
    return pq.ParquetFile(_Object(*there), pre_buffer=True)


@contextmanager
def _gone(place: Place, name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise RunError(
            f"{place.at(name)} is not there (any more): if the set was published anew meanwhile, start again, "
            "otherwise publish it again"
        ) from None


class _Object(io.RawIOBase):
    """An object as a file to be read: each read is one ranged request. Raises RunError where it is not there."""

    def __init__(self, place: Place, name: str) -> None:
        self._at, self._place, self._name = 0, place, name
        with _gone(place, name):
            self._size = place.size(name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        with _gone(self._place, self._name):
            data = self._place.read(self._name, self._at, self._at + wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
