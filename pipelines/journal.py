"""What is known of many things, in a file that is added to and not written anew: killed at any moment, it is sound.

A line is a key, a tab and a value, both JSON in ASCII, so that neither can hold a tab or the end of a line. The last
line of a key counts. What a kill or a loss of power left of a line is passed over, and taken off before more is added.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slvr_data.files import disk_errors, refuse_unreadable, replace_synced
from slvr_data.spilled import IdMap

_SPARE_LINES = 1000
"""Lines that no longer count, beyond as many as do, from which the file is written anew."""


class Journal:
    """The map in the file at `path`; one process at a time, which the set's lock sees to."""

    def __init__(self, path: Path) -> None:
        """A file that is not there tells nothing.

        Raises:
            RunError: it cannot be read now.
        """
        self._path = path
        self._texts = IdMap()
        self._new: list[str] = []
        self._whole = 0
        """Bytes of the file up to the end of its last whole line."""
        lines = self._read()
        if lines > _SPARE_LINES and lines > _SPARE_LINES + 2 * len(self._texts):
            self._write_anew()

    def get(self, key: str) -> Any:
        """The value of a key; None without, or where its line is damaged."""
        text = self._texts.get(json.dumps(key))
        try:
            return None if text is None else json.loads(text)
        except ValueError:
            return None

    def __setitem__(self, key: str, value: Any) -> None:
        name, text = json.dumps(key), json.dumps(value)
        if self._texts.get(name) != text:
            self._texts[name] = text
            self._new.append(f"{name}\t{text}\n")

    def __iter__(self) -> Iterator[str]:
        """All keys, those whose value is None too; nothing is to be set meanwhile."""
        for name in self._texts:
            yield json.loads(name)

    def write(self) -> None:
        """Add what is new to the file; then it is on disk.

        Raises:
            RunError: the disk is full.
        """
        if not self._new:
            return
        data = "".join(self._new).encode("ascii")
        with disk_errors(f"writing {self._path}"), self._path.open("ab", buffering=0) as stream:
            os.ftruncate(stream.fileno(), self._whole)
            try:
                left = data
                while left:
                    left = left[stream.write(left) :]
            except OSError:
                os.ftruncate(stream.fileno(), self._whole)  # no half line stays behind
                raise
            os.fsync(stream.fileno())
        self._whole += len(data)
        self._new = []

    def _read(self) -> int:
        """The number of whole lines."""
        lines = 0
        try:
            with self._path.open("rb") as stream:
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    lines += 1
                    self._whole += len(line)
                    name, tab, text = line[:-1].decode("ascii", "replace").partition("\t")
                    if tab and _is_text(name):
                        self._texts[name] = text
        except FileNotFoundError:
            return 0
        except OSError as error:
            refuse_unreadable(error, self._path)
        return lines

    def _write_anew(self) -> None:
        """Without the lines that no longer count."""
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        with disk_errors(f"writing {self._path}"):
            with temporary.open("w", encoding="ascii", newline="") as stream:
                stream.writelines(f"{name}\t{text}\n" for name, text in self._texts.items() if text != "null")
            self._whole = temporary.stat().st_size
            replace_synced(temporary, self._path)


def _is_text(name: str) -> bool:
    try:
        return isinstance(json.loads(name), str)
    except ValueError:
        return False
