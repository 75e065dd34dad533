"""The pictures that an imported file names, below a root, or holds: those are kept in a folder of scratch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from slvr_data.errors import UsageError
from slvr_data.files import disk_errors
from slvr_data.images import load
from slvr_data.sources.paths import read_below

MOST_PIXELS = 1 << 28
_HELD = "\0"
"""Begins the name of a picture that the file holds: no path has this in it."""


class Look(NamedTuple):
    """What an item says of its picture."""

    image_id: str
    width: int
    """Of the upright picture."""
    height: int


class Pictures:
    """Pictures by the name that a row gives: a path below the root, one that the file holds, or another row's index."""

    def __init__(self, root: Path, follow_links: bool, scratch: Path) -> None:
        self._root, self._follow_links, self._scratch = root, follow_links, scratch
        self._names: dict[str, str] = {}
        self._looks: dict[str, Look] = {}

    def keep(self, data: bytes) -> str:
        """A name for a picture that the file holds; equal ones are kept once."""
        digest = hashlib.sha256(data).hexdigest()
        file = self._scratch / digest
        if not file.exists():
            with disk_errors(f"keeping pictures in {self._scratch}"):
                file.write_bytes(data)
        return _HELD + digest

    def note(self, index: str, name: str) -> None:
        """Let other rows name the picture of the row with this index."""
        self._names.setdefault(index, name)

    def look(self, name: str) -> Look:
        """What is known of a picture, which is decoded for it once.

        Raises:
            PictureMissingError: there is none.
            PictureError: it will not do.
        """
        name = self._told(name)
        if name not in self._looks:
            data = self._read(name)
            upright = load(data, MOST_PIXELS)
            self._looks[name] = Look(hashlib.sha256(data).hexdigest(), upright.width, upright.height)
        return self._looks[name]

    def kept(self, name: str) -> bytes:
        """The picture as it is kept in a benchmark folder: upright, without metadata. Raises as `look` does."""
        return load(self._read(self._told(name)), MOST_PIXELS).data

    def _told(self, name: str) -> str:
        """The name that stands in the row that a row refers to."""
        seen: set[str] = set()
        while name in self._names and name not in seen:
            seen.add(name)
            name = self._names[name]
        return name

    def _read(self, name: str) -> bytes:
        digest = name.removeprefix(_HELD)
        if digest != name and (self._scratch / digest).is_file():
            return (self._scratch / digest).read_bytes()
        return read_below(self._root, name, self._follow_links)


@contextmanager
def opened_pictures(root: Path, follow_links: bool, beside: Path) -> Iterator[Pictures]:
    """Pictures whose scratch lies beside a folder that shall be written, and is gone at the end.

    Raises:
        UsageError: nothing can be written there.
    """
    parent = beside.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        scratch = TemporaryDirectory(prefix=f".{beside.name}.", suffix=".tmp", dir=parent)
    except OSError as error:
        raise UsageError(f"--out {beside}: nothing can be written in {parent} ({error.strerror})") from None
    with scratch as folder:
        yield Pictures(root, follow_links, Path(folder))
