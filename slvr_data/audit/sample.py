"""Which regions are judged: a stratified draw that depends on the set and a seed, and on nothing else."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slvr_data.errors import UsageError
from slvr_data.manifest import Manifest
from slvr_data.reader import opened, rows_in
from slvr_data.remote.addresses import shown
from slvr_data.schema import QueryGroup
from slvr_data.shards import DataFile, files_of
from slvr_data.spilled import IdSet

LEAST = 20
"""Regions drawn from every stratum that has as many; fewer where that would take half of the sample."""

_DRAWN_BY = ("region_id", "image_id", "source_refs.source", "provenance.annotator")

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
    """The sample of `n` regions, the same on every machine and wherever the set lies.

    Of the set it reads ids, and of each region the names of its sources and its annotator; of the regions drawn, their
    questions.

    Raises:
        UsageError: nothing is published, or there are more strata than regions to draw.
        RunError: a file of the set is damaged, or was taken away meanwhile.
    """
    asked = IdSet(row["region_id"] for row in _columns_of(folder, manifest, "multiquery", ("region_id",)))
    sizes: Counter[Key] = Counter()
    # Of each stratum the n regions of the smallest hashes; the heap's top is the largest of them.
    best: dict[Key, list[tuple[int, str, str]]] = defaultdict(list)
    for row in _columns_of(folder, manifest, "attributes", _DRAWN_BY):
        source = "+".join(sorted({ref["source"] for ref in row["source_refs"]}))
        key = source, row["provenance"]["annotator"], row["region_id"] in asked
        sizes[key] += 1
        entry = -_rank(seed, row["region_id"]), row["region_id"], row["image_id"]
        if len(best[key]) < n:
            heapq.heappush(best[key], entry)
        else:
            heapq.heappushpop(best[key], entry)
    if not sizes:
        raise UsageError(f"{shown(folder)} publishes no regions: there is nothing to judge")
    keys = sorted(sizes)
    drawn = allocation([sizes[key] for key in keys], n)
    strata = [Stratum(*key, size=sizes[key], drawn=count) for key, count in zip(keys, drawn, strict=True)]
    chosen = [
        (-rank, region, image, place)
        for place, stratum in enumerate(strata)
        for rank, region, image in heapq.nlargest(stratum.drawn, best[keys[place]])
    ]
    groups = _groups_of(folder, manifest, {region: image for _, region, image, _ in chosen if region in asked})
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


def _groups_of(folder: Path, manifest: Manifest, regions: Mapping[str, str]) -> dict[str, list[QueryGroup]]:
    """The groups of regions, which are told with their pictures."""
    found: dict[str, list[QueryGroup]] = defaultdict(list)
    for row in rows_with(folder, manifest, "multiquery", set(regions.values())):
        if row["region_id"] in regions:
            found[row["region_id"]].append(QueryGroup.model_validate(row))
    return found


def rows_with(
    folder: Path, manifest: Manifest, config: str, images: Collection[str], columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a config that belong to these pictures; of other row groups at most ids are read.

    Raises:
        RunError: a file is damaged, or was taken away meanwhile.
    """
    for file in files_of(manifest.files, config):
        with opened(folder / file.path) as parquet:
            yield from rows_in(parquet, images, columns)


def _columns_of(folder: Path, manifest: Manifest, config: str, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    """All rows of a config, of these columns alone: "a.b" is the field b of a struct a, or of a list of them."""
    for file in files_of(manifest.files, config):
        with opened(folder / file.path) as parquet:
            schema = parquet.metadata.schema
            paths = [schema.column(number).path for number in range(parquet.metadata.num_columns)]
            columns = [path for path in paths if path.replace(".list.element", "") in wanted]
            for batch in parquet.iter_batches(batch_size=512, columns=columns):
                yield from batch.to_pylist()
