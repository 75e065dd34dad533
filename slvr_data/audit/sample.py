"""Which regions are judged: a stratified draw that depends on the set and a seed, and on nothing else."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from slvr_data.errors import UsageError
from slvr_data.manifest import Manifest
from slvr_data.reader import rows_of
from slvr_data.schema import QueryGroup
from slvr_data.shards import DataFile, files_of

LEAST = 20
"""Regions drawn from every stratum that has as many; fewer where that would take half of the sample."""

Key = tuple[str, str, bool]
"""Source, annotator, and whether there are questions."""


@dataclass(frozen=True)
class Stratum:
    """The published regions of one source and one annotator, with questions or without."""

    source: str
    annotator: str
    questions: bool
    size: int
    """Published regions."""
    drawn: int

    @property
    def weight(self) -> float:
        """How many published regions each drawn one stands for."""
        return self.size / self.drawn


@dataclass(frozen=True)
class DrawnRegion:
    """A region of the sample. `stratum` is its place among `Sample.strata`."""

    region_id: str
    image_id: str
    stratum: int
    groups: Sequence[QueryGroup]
    """Its groups of questions."""

    @property
    def questions(self) -> list[str]:
        """The ids of its questions."""
        return [query.query_id for group in self.groups for query in group.queries]


@dataclass(frozen=True)
class Sample:
    """Regions in the order in which they are judged: stopping early leaves a random part of each stratum."""

    set: str
    """`set_hash` of the set."""
    n: int
    """As it was asked for; a smaller set is drawn whole."""
    seed: int
    strata: Sequence[Stratum]
    regions: Sequence[DrawnRegion]

    def items_of(self, region: DrawnRegion, kind: str) -> list[str]:
        """The ids of what is judged of a region: "profile" or "question"."""
        return [region.region_id] if kind == "profile" else region.questions


def set_hash(files: Sequence[DataFile]) -> str:
    """What a set says of its regions, as one hash: sha256 over the manifest's hashes of profiles and questions.

    The card and the pictures' files are left out. So the hash stays when the set is published again with an
    audit on its card, with crops or by reference: verdicts on it stay valid.
    """
    judged = sorted((file.config, file.split, file.path, file.sha256) for file in files if file.config in _JUDGED)
    return hashlib.sha256("\n".join(" ".join(file) for file in judged).encode()).hexdigest()


_JUDGED = ("attributes", "multiquery")


def draw(folder: Path, manifest: Manifest, n: int, seed: int) -> Sample:
    """The sample of `n` regions, the same on every machine.

    Raises:
        UsageError: nothing is published, or there are more strata than regions to draw.
    """
    asked = {row["region_id"] for row in rows_of(folder, manifest, "multiquery", None, ("region_id",))}
    sizes: Counter[Key] = Counter()
    # Of each stratum the n regions of the smallest hashes; the heap's top is the largest of them.
    best: dict[Key, list[tuple[int, str, str]]] = defaultdict(list)
    columns = ("region_id", "image_id", "source_refs", "provenance")
    for row in rows_of(folder, manifest, "attributes", None, columns):
        source = "+".join(sorted({ref["source"] for ref in row["source_refs"]}))
        key = source, row["provenance"]["annotator"], row["region_id"] in asked
        sizes[key] += 1
        entry = -_rank(seed, row["region_id"]), row["region_id"], row["image_id"]
        if len(best[key]) < n:
            heapq.heappush(best[key], entry)
        else:
            heapq.heappushpop(best[key], entry)
    if not sizes:
        raise UsageError(f"{folder} publishes no regions: there is nothing to judge")
    keys = sorted(sizes)
    drawn = allocation([sizes[key] for key in keys], n)
    strata = [Stratum(*key, size=sizes[key], drawn=count) for key, count in zip(keys, drawn, strict=True)]
    chosen = [
        (-rank, region, image, place)
        for place, stratum in enumerate(strata)
        for rank, region, image in heapq.nlargest(stratum.drawn, best[keys[place]])
    ]
    groups = _groups_of(folder, manifest, {region for _, region, _, _ in chosen if region in asked})
    regions = [DrawnRegion(r, image, place, groups.get(r, [])) for _, r, image, place in sorted(chosen)]
    return Sample(set_hash(manifest.files), n, seed, strata, regions)


def _rank(seed: int, region: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{region}".encode()).digest()[:8], "big")


def allocation(sizes: Sequence[int], n: int) -> list[int]:
    """How many to draw from strata of these sizes: some of each, and beyond that in proportion (Sainte-Lague).

    Raises:
        UsageError: there are more strata than `n`.
    """
    if n < len(sizes):
        raise UsageError(f"-n {n} is fewer than the {len(sizes)} strata of this set: draw at least {len(sizes)}")
    least = max(1, min(LEAST, n // (2 * len(sizes))))
    drawn = [min(size, least) for size in sizes]
    heap = [(-size / (2 * drawn[h] + 1), h) for h, size in enumerate(sizes) if drawn[h] < size]
    heapq.heapify(heap)
    for _ in range(n - sum(drawn)):
        if not heap:
            break
        _, h = heapq.heappop(heap)
        drawn[h] += 1
        if drawn[h] < sizes[h]:
            heapq.heappush(heap, (-sizes[h] / (2 * drawn[h] + 1), h))
    return drawn


def _groups_of(folder: Path, manifest: Manifest, regions: Collection[str]) -> dict[str, list[QueryGroup]]:
    found: dict[str, list[QueryGroup]] = defaultdict(list)
    for row in rows_where(folder, manifest, "multiquery", "region_id", regions):
        found[row["region_id"]].append(QueryGroup.model_validate(row))
    return found


def rows_where(
    folder: Path, manifest: Manifest, config: str, column: str, wanted: Collection[str]
) -> Iterator[dict[str, Any]]:
    """The rows of a config whose `column` has one of the values; only row groups that hold one are read whole."""
    values = pa.array(sorted(wanted), pa.string())
    for file in files_of(manifest.files, config):
        with pq.ParquetFile(folder / file.path) as parquet:
            names = [name for name in parquet.schema_arrow.names if name != "image" or config == "images"]
            for group in range(parquet.num_row_groups):
                found = pc.is_in(parquet.read_row_group(group, columns=[column])[column], values)
                if pc.any(found).as_py():
                    yield from parquet.read_row_group(group, columns=names).filter(found).to_pylist()
