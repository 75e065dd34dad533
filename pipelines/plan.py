"""The plan: every row of every source, read and resolved to regions, in picture order.

Reading is split into chunks of units that workers do. What they find is kept per annotation file
(`pipelines.partitions`), so that another source or more rows add to a set without touching what is there.
Regions are merged here: rows of the same picture, box and label are one region.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.choice import LEFT_OUT, Choice
from pipelines.mapped import in_order
from pipelines.picture_state import state_of
from slvr_data.errors import UsageError
from slvr_data.ids import split_of
from slvr_data.regions import PlanRow
from slvr_data.schema import Mask, QuestionAnswer, Region, Rejection, SourceRef, Split
from slvr_data.sources.base import Malformed
from slvr_data.spilled import IdMap, IdSet

_FAULT = pa.struct([("reason", pa.string()), ("evidence", pa.string())])
_QA = pa.struct([("question", pa.string()), ("answer", pa.string())])
PLAN_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("id", pa.string()),
        ("path", pa.string()),
        ("image_id", pa.string()),
        ("region_id", pa.string()),
        ("box", pa.list_(pa.float64())),
        ("label", pa.string()),
        ("mask", pa.struct([("size", pa.list_(pa.int64())), ("counts", pa.string())])),
        ("iscrowd", pa.bool_()),
        ("exhaustive", pa.bool_()),
        ("complete", pa.bool_()),
        ("license", pa.string()),
        ("split", pa.string()),
        ("references", pa.list_(pa.string())),
        ("questions", pa.list_(_QA)),
        ("malformed", _FAULT),
        ("rejected", _FAULT),
        ("record", pa.string()),
    ]
)


@dataclass(frozen=True)
class PlannedRegion:
    """A region with what the plan knows of it beyond its record."""

    region: Region
    exhaustive: bool
    rejected: Malformed | None
    complete: bool = False
    """One of its sources annotates everything that the picture shows."""

    @property
    def left_out(self) -> bool:
        """Nothing is wrong with it, and it is not taken (`pipelines.choice`)."""
        return self.rejected is not None and self.rejected.reason in LEFT_OUT


@dataclass(frozen=True)
class PlannedPicture:
    """A distinct picture with its merged regions, sorted by region_id."""

    image_id: str
    files: list[tuple[str, str]]
    """(source, path) of every copy of the file, sorted."""
    source: str
    license: str | None
    split: Split
    own_split: Split | None
    """The source's own, where it is validation or test."""
    regions: list[PlannedRegion]
    told: bool = False
    """A model writes its profiles, and is told words of its sources."""

    @property
    def complete(self) -> bool:
        """Everything that it shows is among its regions."""
        return any(region.complete for region in self.regions)

    @property
    def left_out(self) -> bool:
        """None of its regions is taken, and some are left out: there is no need to look at it."""
        return all(r.rejected is not None for r in self.regions) and any(r.left_out for r in self.regions)

    @cached_property
    def key(self) -> str:
        """Its state (`pipelines.picture_state`)."""
        return state_of(self)


def plan_table(rows: Iterable[PlanRow]) -> pa.Table:
    """Rows as a table of `PLAN_SCHEMA`."""
    return pa.Table.from_pylist([_plain(row) for row in rows], schema=PLAN_SCHEMA)


def _plain(row: PlanRow) -> dict[str, Any]:
    plain = dict(vars(row))
    plain["mask"] = row.mask and {"size": row.mask.size, "counts": row.mask.counts}
    plain["questions"] = [{"question": q.question, "answer": q.answer} for q in row.questions]
    for fault in ("malformed", "rejected"):
        plain[fault] = plain[fault] and {"reason": plain[fault].reason, "evidence": plain[fault].evidence}
    return plain


REMEMBERED = 20_000
"""Regions of a set that stays in memory from one pass to the next (about 5 KB each)."""
AT_ONCE = 256  # pictures that are made together


class Plan:
    """All rows in picture order, and the accounts over them."""

    def __init__(
        self,
        tables: Iterable[pa.Table],
        seed: int,
        shares: tuple[float, float, float],
        published: Mapping[str, Split] | IdMap,
        published_regions: Collection[str],
        told: bool = False,
        choice: Choice | None = None,
    ) -> None:
        """`published` holds the split of every picture that was ever published: it never changes. `told`: a model
        writes the profiles, and is told words of the sources. `choice`: what is taken; everything without.
        """
        whole = pa.concat_tables([*tables, PLAN_SCHEMA.empty_table()])
        sound = pc.is_valid(whole["region_id"])
        self.malformed = _ordered(whole, pc.invert(sound), ["source", "file", "line"])
        self._rows = _ordered(whole, sound, ["image_id", "region_id", "source", "file", "line"])
        self._seed, self._shares, self._published = seed, shares, published
        self._published_regions, self._told = published_regions, told
        self._kept: list[PlannedPicture] | None = None
        self.image_ids: list[str] = []
        self._starts = array("q")
        self.region_count = 0
        self._index()
        self.choice = choice if choice is not None and choice.draws else None
        if self.choice is not None:
            self.choice.look(self._made())

    def _index(self) -> None:
        """Where each picture begins, and how many regions there are: rows of one lie together."""
        previous, index = ("", ""), 0
        for batch in self._rows.select(["image_id", "region_id"]).to_batches(max_chunksize=16 * AT_ONCE):
            for image_id, region_id in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if image_id != previous[0]:
                    self.image_ids.append(image_id)
                    self._starts.append(index)
                self.region_count += (image_id, region_id) != previous
                previous = image_id, region_id
                index += 1
        self._starts.append(index)

    @property
    def accounts(self) -> dict[str, int]:
        """Rows = malformed + merged + regions."""
        sound = self._rows.num_rows
        return {
            "rows": sound + self.malformed.num_rows,
            "malformed": self.malformed.num_rows,
            "merged": sound - self.region_count,
            "regions": self.region_count,
            "pictures": len(self.image_ids),
        }

    def rows_per_source(self) -> dict[str, Counter[str]]:
        """Rows and malformed rows of each source."""
        found: dict[str, Counter[str]] = {}
        for kind, table in (("rows", self._rows), ("malformed", self.malformed)):
            for name, count in (pair.values() for pair in table["source"].value_counts().to_pylist()):
                found.setdefault(name, Counter()).update(dict.fromkeys({"rows", kind}, count))
        return dict(sorted(found.items()))

    def pictures(self) -> Iterator[PlannedPicture]:
        """The pictures in order of their id; those of a small set are made once and kept."""
        if self.region_count > REMEMBERED:
            yield from self._made()
            return
        if self._kept is None:
            self._kept = list(self._made())
        yield from self._kept

    def _made(self, start: int = 0, stop: int | None = None) -> Iterator[PlannedPicture]:
        """The pictures from number `start` up to `stop`."""
        stop = len(self.image_ids) if stop is None else min(stop, len(self.image_ids))
        for first in range(start, stop, AT_ONCE):
            last = min(first + AT_ONCE, stop)
            rows = self._rows.slice(self._starts[first], self._starts[last] - self._starts[first]).to_pylist()
            offset = self._starts[first]
            for index in range(first, last):
                yield self._picture(index, rows[self._starts[index] - offset : self._starts[index + 1] - offset])

    def picture(self, image_id: str) -> PlannedPicture:
        """One picture by its id."""
        index = bisect_left(self.image_ids, image_id)
        return next(self._made(index, index + 1))

    def _picture(self, number: int, rows: list[dict[str, Any]]) -> PlannedPicture:
        image_id = rows[0]["image_id"]
        own = [row["split"] for row in rows if row["split"] in ("validation", "test")]
        split = cast("Split | None", self._published.get(image_id)) or (
            "test" if "test" in own else "validation" if own else split_of(image_id, self._seed, self._shares)
        )
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            groups.setdefault(row["region_id"], []).append(row)
        licenses = sorted({row["license"] for row in rows if row["license"]})
        regions = [_region(group, split, self._published_regions) for group in groups.values()]
        return PlannedPicture(
            image_id=image_id,
            files=sorted({(row["source"], row["path"]) for row in rows}),
            source="+".join(sorted({row["source"] for row in rows})),
            license=" AND ".join(licenses) or None,
            split=split,
            own_split="test" if "test" in own else "validation" if own else None,
            regions=self.choice.applied(number, regions) if self.choice is not None else regions,
            told=self._told,
        )

    def malformed_rejections(self) -> Iterator[Rejection]:
        """The malformed rows as rejections, by source, file and line."""
        for batch in self.malformed.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                yield Rejection(
                    kind="malformed",
                    stage="read",
                    check="row",
                    reason=row["malformed"]["reason"],
                    evidence=row["malformed"]["evidence"],
                    source=row["source"],
                    file=row["file"],
                    line=row["line"],
                    image_id=row["image_id"],
                    region_id=None,
                    record=row["record"] or "",
                )


def _ordered(table: pa.Table, chosen: pa.ChunkedArray, keys: list[str]) -> pa.Table:
    """The chosen rows, by their keys, of which alone all are in memory at once."""
    by_key = pc.sort_indices(table.select(keys).filter(chosen), [(key, "ascending") for key in keys])
    return in_order(table, np.flatnonzero(chosen.to_numpy())[by_key.to_numpy()])


def _region(rows: list[dict[str, Any]], split: Split, published: Collection[str]) -> PlannedRegion:
    """Rows of one picture, box and label as one region. A row that can be used wins over one that cannot.

    A region that is `published` stays so, whatever split its rows name now.
    """
    stays = rows[0]["region_id"] in published
    usable = [row for row in rows if _is_sound(row) and (stays or not _conflicts(row, split))]
    first = (usable or rows)[0]
    rejected = first["rejected"] and Malformed(**first["rejected"])
    if not usable and rejected is None:
        rejected = Malformed(
            "split-conflict",
            f"its source puts the picture in {first['split']}, but it is published in {split}, where it stays",
        )
    mask = next((row["mask"] for row in usable if row["mask"]), None)
    questions = {(q["question"], q["answer"]): None for row in rows for q in row["questions"]}
    region = Region.model_construct(  # every value has been through the plan's schema
        region_id=first["region_id"],
        image_id=first["image_id"],
        bbox=first["box"],
        mask=Mask.model_construct(**mask) if mask else None,
        label=first["label"],
        iscrowd=first["iscrowd"],
        source_refs=[
            SourceRef.model_construct(source=r["source"], file=r["file"], line=r["line"], id=r["id"]) for r in rows
        ],
        references=list({text: None for row in rows for text in row["references"]}),
        original_questions=[QuestionAnswer(question=q, answer=a) for q, a in questions],
    )
    exhaustive, complete = (any(row[name] for row in usable) for name in ("exhaustive", "complete"))
    return PlannedRegion(region, exhaustive, rejected, complete)


def _is_sound(row: dict[str, Any]) -> bool:
    """Whether nothing is wrong with it; it may be left out all the same."""
    return row["rejected"] is None or row["rejected"]["reason"] in LEFT_OUT


def _conflicts(row: dict[str, Any], split: Split) -> bool:
    return split == "train" and row["split"] in ("validation", "test")


def check_nothing_lost(
    before: dict[tuple[str, str], pa.Table], after: dict[tuple[str, str], pa.Table], given_up: Collection[str]
) -> None:
    """Refuse a plan that no longer holds a usable region that earlier runs worked on.

    `given_up` are the regions that were rejected: their rows may be mended or taken out.

    Raises:
        UsageError: naming one such region's file and line.
    """
    fine = IdSet()
    for table in after.values():
        fine.update(region for region in _usable(table) if region)
    for (source, file), table in before.items():
        usable = enumerate(_usable(table))
        lost = [i for i, region in usable if region and region not in fine and region not in given_up]
        if lost:
            line = table["line"][lost[0]].as_py()
            raise UsageError(
                f"{len(lost)} regions of this set are no longer in what source {source} gives now, or cannot be used "
                f"any more (the first: {file} line {line}): a set only grows. Restore the rows and their pictures, "
                "raise --limit, or build into a new folder"
            )


def _usable(table: pa.Table) -> Iterator[str | None]:
    """The region_id of each row, None for one that has none or cannot be used."""
    for batch in table.select(["rejected", "region_id"]).to_batches(max_chunksize=16 * AT_ONCE):
        yield from pc.if_else(pc.is_null(batch["rejected"]), batch["region_id"], None).to_pylist()
