"""Files of a published set wherever it lies: opened where they are, read in the pieces that are asked for."""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from slvr_data.errors import RunError
from slvr_data.files import sha256_of
from slvr_data.remote.addresses import address_of, local_path
from slvr_data.remote.place import Place

FOOTERS_BYTES = 16 << 20
"""Footers that are kept while `each_footer_once` holds; beyond it, those that were not used for the longest go."""


class _Known:
    """What has been asked of objects: their sizes and footers, by address."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self._footers: OrderedDict[str, Any] = OrderedDict()
        self._held = 0

    def footer(self, address: str) -> Any:
        """A `pyarrow.parquet.FileMetaData`, or None."""
        if address in self._footers:
            self._footers.move_to_end(address)
        return self._footers.get(address)

    def keep(self, address: str, footer: Any) -> None:
        """Remember it, if it is new."""
        if address not in self._footers:
            self._footers[address] = footer
            self._held += footer.serialized_size
            while self._held > FOOTERS_BYTES and len(self._footers) > 1:
                self._held -= self._footers.popitem(last=False)[1].serialized_size


_KNOWN: ContextVar[_Known | None] = ContextVar("known", default=None)


@contextmanager
def each_footer_once() -> Iterator[None]:
    """Meanwhile an object is asked for its size, and a Parquet one for its footer, once, however often it is opened.

    For published data files, whose names change with their content; of a local file nothing is remembered.
    """
    before = _KNOWN.set(_Known())
    try:
        yield
    finally:
        _KNOWN.reset(before)


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
    try:
        return _size(*there)
    except FileNotFoundError:
        return None


def _size(place: Place, name: str) -> int:
    """Of an object in bytes. Raises FileNotFoundError."""
    known = _KNOWN.get()
    if known is None:
        return place.size(name)
    address = f"{place.address}/{name}"
    if address not in known.sizes:
        known.sizes[address] = place.size(name)
    return known.sizes[address]


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
    known, address = _KNOWN.get(), f"{there[0].address}/{there[1]}"
    footer = None if known is None else known.footer(address)
    parquet = pq.ParquetFile(_Object(*there), metadata=footer, pre_buffer=True)
    if known is not None:
        known.keep(address, parquet.metadata)
    return parquet


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
            self._size = _size(place, name)

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
