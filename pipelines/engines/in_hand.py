"""What this process itself has in hand, noted on disk: where that ends the process, the next run takes it elsewhere.

One worker is the command's own process, and a crash in a decoder ends that without a word. Its note stays, and what it
names is a suspect: the next runs have it done by a process of its own, until that has gone well. Any other sudden end
(a kill, a loss of power) makes suspects too, which costs one such process.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.engines.lost import items_of
from slvr_data.files import disk_errors, write_atomic

_NOTE, _SUSPECTS = ".in-hand.json", ".suspects.json"
"""In the working folder; neither has a meaning on another machine."""


class InHand:
    """The note of the set whose working folder is `work`; the set's lock sees to it that there is one such process."""

    def __init__(self, work: Path) -> None:
        self._note, self._file = work / _NOTE, work / _SUSPECTS
        self._suspects = _names(self._file)
        if found := _names(self._note):  # an earlier run ended with these in hand
            self._keep(self._suspects | found)
            self._note.write_bytes(b"")

    def suspected(self, method: str, arguments: tuple[Any, ...]) -> bool:
        """Whether a call is about anything that was in hand when a run ended so."""
        return bool(self._suspects) and not self._suspects.isdisjoint(_items(method, arguments))

    @contextmanager
    def holding(self, method: str, arguments: tuple[Any, ...]) -> Iterator[None]:
        """Note what a call is about while the block runs."""
        with disk_errors(f"writing {self._note}"):
            self._note.write_text(json.dumps(_items(method, arguments)))
        try:
            yield
        finally:
            self._note.write_bytes(b"")

    def cleared(self, method: str, arguments: tuple[Any, ...], but: Iterable[Any] = ()) -> None:
        """A call has gone well elsewhere, for all but the shards `but`."""
        lost = {name for shard in but for name in _items(method, (shard,))}
        self._keep(self._suspects - (set(_items(method, arguments)) - lost))

    def nothing(self) -> None:
        """This process will hold nothing more."""
        self._note.unlink(missing_ok=True)

    def _keep(self, names: set[str]) -> None:
        if names and names != self._suspects:
            write_atomic(self._file, json.dumps(sorted(names)).encode())
        elif not names:
            self._file.unlink(missing_ok=True)
        self._suspects = names


def _items(method: str, arguments: tuple[Any, ...]) -> list[str]:
    """Apart by method: a picture that is read well may still end who crops it."""
    return [f"{method} {name}" for name in items_of(arguments)]


def _names(path: Path) -> set[str]:
    """A note that a kill has cut off tells nothing: nothing was done yet of what it was going to name."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return set()
    return {name for name in found if isinstance(name, str)} if isinstance(found, list) else set()
