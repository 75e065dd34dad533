"""A folder at an address: objects read, written, listed and removed by name, through fsspec."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from slvr_data.errors import SlvrError, UsageError
from slvr_data.remote.addresses import address_of, redacted
from slvr_data.remote.steady import RefusedError, Stop, at_once, steady

T = TypeVar("T")

_EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Which extra of ours brings the package of a protocol."""
_LARGE = 32 << 20
"""Bytes; a larger file is written alone, since its parts are held in memory and go side by side already."""
_CHANGING = ("ETag", "etag", "md5Hash", "content_settings", "mtime", "LastModified", "last_modified", "created")
"""What listings of different stores have that changes with an object's content, the best first."""
_NO_BUCKET = "there is no such bucket: make it, or correct the address"


class Place:
    """Objects below an address, by their names relative to it ("/" between parts). Any thread may call it.

    Every method makes failing calls again (`steady`), and raises its errors: FileNotFoundError where a method says so,
    RefusedError and StoreError.
    """

    def __init__(self, address: str, stop: Stop | None = None) -> None:
        """`address` as `address_of` gives it; `stop` ends repetitions. Raises UsageError where no package opens it."""
        self.address, self._stop = address, stop
        self.shown = redacted(address)
        """For messages."""
        self._opened: tuple[int, Any, str] | None = None
        self._file_system()

    def __reduce__(self) -> tuple[Any, ...]:
        return Place, (self.address,)

    def until(self, stop: Stop) -> Place:
        """The same place, where failing calls are made again only until `stop` is set."""
        return Place(self.address, stop)

    def _steady(self, name: str, doing: str, call: Callable[[], T], seconds: float | None = None) -> T:
        return steady(self.at(name), doing, call, seconds, self._stop)

    def _file_system(self) -> tuple[Any, str]:
        """The file system of fsspec, and the folder's path in it; opened anew in a process that was forked off."""
        if self._opened is None or self._opened[0] != os.getpid():
            file_system, root = _opened(self.address)
            self._opened = os.getpid(), file_system, root.rstrip("/")
        return self._opened[1], self._opened[2]

    def at(self, name: str) -> str:
        """The address of an object, for messages."""
        return f"{self.shown}/{name}" if name else self.shown

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """An object's bytes, or those from `start` to before `end`. Raises FileNotFoundError."""
        fs, root = self._file_system()
        try:
            call = partial(fs.cat_file, f"{root}/{name}", start=start, end=end)
            found: bytes = self._steady(name, "reading", call)
        except FileNotFoundError as error:
            if "bucket does not exist" in str(error):
                raise RefusedError(f"reading {self.at(name)} is refused: {_NO_BUCKET}") from None
            raise
        return found

    def size(self, name: str) -> int:
        """Of an object, in bytes. Raises FileNotFoundError."""
        fs, root = self._file_system()

        def ask() -> int:
            fs.invalidate_cache()
            return int(fs.info(f"{root}/{name}")["size"])

        return self._steady(name, "looking at", ask)

    def exists(self, name: str) -> bool:
        """Whether there is such an object; asked for by its name, not by a listing."""
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, data: bytes, seconds: float | None = None) -> None:
        """Put an object there, whole or not at all, in place of one of that name. `seconds`: patience."""
        fs, root = self._file_system()
        self._written(name, lambda: fs.pipe_file(self._parent(fs, f"{root}/{name}"), data), seconds)

    def put(self, file: Path, name: str) -> None:
        """Put a local file there, whole or not at all; parts of one that failed are given up."""
        fs, root = self._file_system()
        self._written(name, lambda: fs.put_file(str(file), self._parent(fs, f"{root}/{name}")), None)

    def _written(self, name: str, call: Any, seconds: float | None) -> None:
        try:
            self._steady(name, "writing", call, seconds)
        except FileNotFoundError as error:
            if getattr(error, "filename", None) is not None:  # the local file is gone
                raise
            raise RefusedError(f"writing {self.at(name)} is refused: {_NO_BUCKET}") from None

    @staticmethod
    def _parent(fs: Any, path: str) -> str:
        """Make the folder of a path, where the store has folders; the path."""
        if "s3" not in fs.protocol and "gs" not in fs.protocol:
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        return path

    def get(self, name: str, file: Path) -> None:
        """Fetch an object into a local file. Raises FileNotFoundError."""
        fs, root = self._file_system()
        self._steady(name, "reading", lambda: fs.get_file(f"{root}/{name}", str(file)))

    def names(self, below: str = "") -> dict[str, int]:
        """Name -> bytes of all objects below a folder, however many; an empty one where there is none.

        A store may list late: what is not listed need not be gone (`exists` asks for it by name).
        """
        return {name: int(info["size"] or 0) for name, info in self._listed(below).items()}

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Name -> (bytes, a number that changes with the content, as far as the store tells), as `names`."""
        found = {}
        for name, info in self._listed("").items():
            told = next((str(info[key]) for key in _CHANGING if info.get(key)), "")
            digest = hashlib.sha256(told.encode()).digest()
            found[name] = int(info["size"] or 0), int.from_bytes(digest[:7], "big")
        return found

    def _listed(self, below: str) -> dict[str, dict[str, Any]]:
        fs, root = self._file_system()
        start = f"{root}/{below}".rstrip("/")

        def ask() -> dict[str, Any]:
            fs.invalidate_cache()
            try:
                found: dict[str, Any] = fs.find(start, detail=True)
            except FileNotFoundError:
                return {}
            return found

        listed = self._steady(below, "listing", ask)
        prefix = f"{fs._strip_protocol(root)}/"
        names = {fs._strip_protocol(path): info for path, info in listed.items()}
        return {path[len(prefix) :]: info for path, info in names.items() if path.startswith(prefix)}

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are passed over.

        Each is one call: what a store says of many at once names those that it refused, and fsspec does not read it.
        """
        fs, root = self._file_system()
        stop = Stop(self._stop)

        def remove(name: str) -> None:
            with suppress(FileNotFoundError):
                steady(self.at(name), "removing", lambda: fs.rm_file(f"{root}/{name}"), stop=stop)

        at_once(remove, names, stop)

    def put_all(self, files: Iterable[tuple[Path, str]]) -> None:
        """Put local files there, several at a time; after the first error, which is raised, no more are begun."""
        told = list(files)
        large = {name for file, name in told if file.stat().st_size > _LARGE}
        stop = Stop(self._stop)
        some = self.until(stop)
        at_once(lambda one: some.put(*one), [one for one in told if one[1] not in large], stop)
        for file, name in told:
            if name in large:
                self.put(file, name)

    def give_up_uploads(self) -> int:
        """Free the parts of uploads below here that a killed writer never ended; how many there were.

        Stores without such parts have none. A store that does not say leaves them to its own rules.
        """
        fs, root = self._file_system()
        if not hasattr(fs, "list_multipart_uploads"):
            return 0
        bucket, _, prefix = root.partition("/")
        given_up = 0
        with suppress(SlvrError, OSError, KeyError, TypeError):  # they cost money, no work: the next run tries again
            for told in self._uploads(fs, bucket, f"{prefix}/"):
                call = partial(fs.call_s3, "abort_multipart_upload", Bucket=bucket, **told)
                self._steady("", "giving up uploads to", call, seconds=0)
                given_up += 1
        return given_up

    def _uploads(self, fs: Any, bucket: str, prefix: str) -> Iterator[dict[str, str]]:
        """Key and id of each upload that has begun, page after page."""
        after: dict[str, str] = {}
        while True:
            call = partial(fs.call_s3, "list_multipart_uploads", Bucket=bucket, Prefix=prefix, **after)
            page = self._steady("", "listing uploads to", call, seconds=0)
            uploads = page.get("Uploads") or []
            yield from ({"Key": one["Key"], "UploadId": one["UploadId"]} for one in uploads)
            if not page.get("IsTruncated"):
                return
            after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _opened(address: str) -> tuple[Any, str]:
    import fsspec

    protocol = address.partition("://")[0]
    try:
        options = {} if protocol == "memory" else {"use_listings_cache": False}
        file_system, root = fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        cure = f"pip install '.[{extra}]' in a clone" if extra else f"pip install the package that it names ({error})"
        raise UsageError(f"{redacted(address)}: the package for {protocol}:// is not installed: {cure}") from None
    except ValueError as error:
        raise UsageError(f"{redacted(address)} cannot be opened: {redacted(str(error))}") from None
    return file_system, str(root)


def place_of(path: str | Path) -> Place | None:
    """The place that a location names; None for a path on this machine. Raises UsageError."""
    address = address_of(path)
    return None if address is None else Place(address)
