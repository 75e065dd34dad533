"""Parts of a run, for several processes or machines: which items a part has follows from a hash of their ids."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from slvr_data.errors import UsageError

_GIVEN = re.compile(r"(\d+)/(\d+)")
_NAMED = re.compile(r"shard-(\d+)-of-(\d+)")


@dataclass(frozen=True)
class Shard:
    """One of `of` parts, from 0."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def folder(self) -> str:
        """The name of its folder, in that of the run."""
        return f"shard-{self.number}-of-{self.of}"

    def has(self, item_id: str) -> bool:
        """Whether an item is of this part: each is of exactly one, with all that is asked about it."""
        digest = hashlib.sha256(f"shard {item_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number


def shard_of(text: str) -> Shard:
    """The shard that "i/n" names.

    Raises:
        UsageError: it names none.
    """
    found = _GIVEN.fullmatch(text)
    if found is None or not int(found[1]) < int(found[2]):
        raise UsageError(f"--shard {text}: give i/n with i from 0 to n - 1, as in 0/8 to 7/8")
    return Shard(int(found[1]), int(found[2]))


def shards_in(run: Path) -> dict[Shard, Path]:
    """The folders of shards in that of a run, by number."""
    if not run.is_dir():
        return {}
    found = {(match, path) for path in run.iterdir() if (match := _NAMED.fullmatch(path.name)) and path.is_dir()}
    made = {Shard(int(match[1]), int(match[2])): path for match, path in found}
    return dict(sorted(made.items(), key=lambda one: (one[0].of, one[0].number)))
