"""What a global check on profiles sees: regions and their links as columns, about 150 bytes per region.

The table is built in any order of regions; every check gives the same verdicts for each of them.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from slvr_data.checks.entity import normalised
from slvr_data.geometry import RELATIONS
from slvr_data.schema import Region

DEPTHS = ("front", "middle", "back", "none")
_CHUNK = 1 << 16

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class GlobalVerdict:
    """A reason against a region."""

    region_id: str
    check: str
    reason: str
    evidence: str


@dataclass(frozen=True, eq=False)
class GlobalTable:
    """Columns of equal length N for regions and L for links; words and labels are indices into `words`, -1 for none.

    Regions are sorted by picture, then by id.
    """

    region_ids: pa.ChunkedArray
    words: list[str]
    image: Ints
    """[N] number of the picture."""
    label: Ints
    entity: Ints
    source: Ints
    """[N] index of the first source's name in `words`."""
    box: NDArray[np.float32]
    """[N, 4] corners in pixels."""
    depth: Ints
    """[N] index into `DEPTHS`, -1 where unknown."""
    weight: Ints
    """[N] how often a source refers to it or asks about it; published regions come before all others."""
    exhaustive: NDArray[np.bool_]
    complete: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    link_row: Ints
    """[L] the region that has the link."""
    link_kind: Ints
    """[L] index into `RELATIONS`, -1 for an interaction."""
    link_word: Ints
    """[L] its target in words."""
    link_target: Ints
    """[L] the region it points at; -1 for none in the table, -2 where it points at none at all."""
    seen: Ints
    """[S, 2] (picture, label) of what is annotated but not in the table."""

    @cached_property
    def starts(self) -> Ints:
        """[P + 1] the first region of each picture, and N."""
        borders = np.flatnonzero(np.diff(self.image, prepend=-1))
        return np.append(borders, len(self.image)).astype(np.int64)

    def region_id(self, row: int) -> str:
        """Of a row."""
        return str(self.region_ids[row].as_py())

    def word(self, index: int) -> str:
        """Of a label or a target."""
        return self.words[index] if index >= 0 else "thing"

    def pairs(self) -> Iterator[tuple[Ints, Ints]]:
        """All pairs (i, j), i < j, of regions of one picture, each once, in pieces of at most N."""
        last = np.repeat(self.starts[1:], np.diff(self.starts))  # one past the picture's last region
        left = np.arange(len(self.image), dtype=np.int64)
        for shift in range(1, len(self.image)):
            left = left[left + shift < last[left]]
            if not len(left):
                return
            yield left, left + shift


GlobalCheck = Callable[[GlobalTable], list[GlobalVerdict]]


def sorted_verdicts(found: Collection[GlobalVerdict]) -> list[GlobalVerdict]:
    """One verdict per region and check, by region id."""
    first: dict[tuple[str, str], GlobalVerdict] = {}
    for verdict in sorted(found, key=lambda v: (v.region_id, v.check, v.reason, v.evidence)):
        first.setdefault((verdict.region_id, verdict.check), verdict)
    return list(first.values())


class TableBuilder:
    """Collects regions and their profiles, in any order. `published` are regions of the publication before."""

    def __init__(self, published: Collection[str] = ()) -> None:
        self._published = published
        self._images: dict[str, int] = {}
        self._words: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        self._ids: list[pa.Array] = []
        self._open: list[str] = []
        self._columns = {name: array("q") for name in ("key", "image", "label", "entity", "source", "depth", "weight")}
        self._flags = {name: bytearray() for name in ("exhaustive", "complete", "crowd")}
        self._boxes = array("f")
        self._links = {name: array("q") for name in ("row", "kind", "word", "target")}
        self._seen = array("q")
        self._built: GlobalTable | None = None

    def add(self, region: Region, exhaustive: bool, profile: str | dict[str, Any], complete: bool = False) -> None:
        """A region with its profile, as JSON or as a dictionary.

        `exhaustive`: its source annotates every instance of each of its labels; `complete`: all that the
        picture shows is added.
        """
        tree: dict[str, Any] = json.loads(profile) if isinstance(profile, str) else profile
        self._built = None
        row = len(self._columns["key"])
        self._open.append(region.region_id)
        if len(self._open) == _CHUNK:
            self._flush()
        depth, entity = tree["spatial"]["depth"], tree["appearance"]["entity"]
        published = region.region_id in self._published
        values = {
            "key": _key(region.region_id),
            "image": self._images.setdefault(region.image_id, len(self._images)),
            "label": self._word(region.label),
            "entity": self._word(entity),
            "source": self._word(region.source_refs[0].source if region.source_refs else ""),
            "depth": DEPTHS.index(depth) if depth in DEPTHS else -1,
            "weight": len(region.references) + len(region.original_questions) + (published << 32),
        }
        for name, value in values.items():
            self._columns[name].append(value)
        for name, flag in (("exhaustive", exhaustive), ("complete", complete), ("crowd", region.iscrowd)):
            self._flags[name].append(flag)
        self._boxes.extend(region.bbox)
        self._add_links(row, tree)

    def _add_links(self, row: int, tree: dict[str, Any]) -> None:
        for relation, links in ((True, tree["spatial"]["relations"]), (False, tree["interaction"])):
            for link in links or []:
                target = link["target_region_id"]
                self._links["row"].append(row)
                self._links["kind"].append(
                    RELATIONS.index(link["kind"]) if relation and link["kind"] in RELATIONS else -1
                )
                self._links["word"].append(self._word(link["target"]))
                self._links["target"].append(_key(target) if target is not None else 0)

    def also_seen(self, region: Region) -> None:
        """A region that is annotated but was rejected: its label is in the picture all the same."""
        self._built = None
        if region.label is not None:
            image = self._images.setdefault(region.image_id, len(self._images))
            self._seen.extend((image, self._word(region.label)))

    def _word(self, text: str | None) -> int:
        if text is None:
            return -1
        if text not in self._codes:
            self._codes[text] = self._words.setdefault(normalised(text), len(self._words))
        return self._codes[text]

    def _flush(self) -> None:
        self._ids.append(pa.array(self._open, pa.string()))
        self._open = []

    def built(self) -> GlobalTable:
        """The table of all that was added, made once."""
        if self._built is None:
            self._flush()
            self._built = self._table()
        return self._built

    def _table(self) -> GlobalTable:
        ids = pa.chunked_array(self._ids, pa.string())
        columns = {name: np.array(values, dtype=np.int64) for name, values in self._columns.items()}
        order = np.lexsort((columns["key"], columns["image"]))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        links = {name: np.array(values, dtype=np.int64) for name, values in self._links.items()}
        flags = {name: np.array(values, dtype=np.uint8).astype(np.bool_)[order] for name, values in self._flags.items()}
        keys = columns["key"]
        columns = {name: values[order] for name, values in columns.items()}
        return GlobalTable(
            region_ids=ids.take(pa.array(order)),
            words=list(self._words),
            box=np.array(self._boxes, dtype=np.float32).reshape(-1, 4)[order],
            link_row=place[links["row"]],
            link_kind=links["kind"],
            link_word=links["word"],
            link_target=_resolved(links["target"], keys, place),
            seen=np.array(self._seen, dtype=np.int64).reshape(-1, 2),
            image=columns["image"],
            label=columns["label"],
            entity=columns["entity"],
            source=columns["source"],
            depth=columns["depth"],
            weight=columns["weight"],
            exhaustive=flags["exhaustive"],
            complete=flags["complete"],
            crowd=flags["crowd"],
        )


def _key(region_id: str) -> int:
    """A hash of 62 bits, never 0."""
    return 1 + (int.from_bytes(hashlib.blake2b(region_id.encode(), digest_size=8).digest(), "big") >> 2)


def _resolved(targets: Ints, keys: Ints, place: Ints) -> Ints:
    """Rows of the table for hashed ids: -1 where it has none, -2 for the hash 0."""
    if not len(keys):
        return np.full(len(targets), -1, dtype=np.int64)
    by_key = np.argsort(keys)
    at = np.minimum(np.searchsorted(keys, targets, sorter=by_key), len(keys) - 1)
    row = by_key[at]
    return np.where(targets == 0, -2, np.where(keys[row] == targets, place[row], -1))
