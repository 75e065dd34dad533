"""The barrier between shards and publication: checks that need the whole set.

It looks at what would be published a picture at a time, in no particular order, and gives reasons against
regions and splits for pictures. It is a pure function of finished work and of what is published: nothing
published changes its split, and a published region is preferred to a new one. What it keeps of a picture that
it has nothing against is its id and its hash.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa

from pipelines.finished import Finished
from pipelines.history import History
from pipelines.outcome import Outcome, Reason
from pipelines.plan import Plan, PlannedPicture
from pipelines.progress import Progress
from slvr_data.checks.global_ import WholeSet
from slvr_data.checks.global_.near_pictures import Thumbnail, clusters, thumbnail
from slvr_data.schema import Split

THUMBNAILS = 4096
"""How many small pictures stay in memory while proposed pairs are compared (24 KB each)."""
_IDS = 1 << 14
"""Ids of pictures that become one piece of Arrow."""


@dataclass
class Barrier:
    """What the barrier found."""

    reasons: dict[str, Reason] = field(default_factory=dict)
    """Against regions, by region_id."""
    splits: dict[str, Split] = field(default_factory=dict)
    """Of pictures that are near-identical to others, by image_id."""
    clusters: int = 0
    pictures: int = 0


class _Hashes:
    """Perceptual hashes by picture, 72 bytes each."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._ids: list[pa.Array] = []
        self._hashes = array("Q")

    def add(self, image_id: str, phash: str) -> None:
        self._open.append(image_id)
        self._hashes.append(int(phash, 16))
        if len(self._open) == _IDS:
            self._close()

    def _close(self) -> None:
        self._ids.append(pa.array(self._open, pa.string()))
        self._open = []

    def columns(self) -> tuple[pa.ChunkedArray, np.ndarray[tuple[int], np.dtype[np.uint64]]]:
        """Ids, and their hashes."""
        self._close()
        return pa.chunked_array(self._ids, pa.string()), np.frombuffer(self._hashes, np.uint64)


def look(
    plan: Plan,
    finished: Finished,
    outcomes: Iterable[tuple[PlannedPicture, Outcome]],
    history: History,
    progress: Progress,
) -> Barrier:
    """All global checks on pictures and profiles. What was published before is preferred."""
    barrier = Barrier()
    profiles, hashes = WholeSet(history.regions), _Hashes()
    phashes = finished.cache("crop", "images", "image_id", ["image_id", "phash"])
    for picture, outcome in outcomes:
        progress.advance(1)
        gone = [region.region for region, _ in outcome.gone]
        shard = finished.prepared.get(picture.image_id)
        phash = None
        if shard is not None and (outcome.kept or outcome.unfinished):
            phash = phashes.rows(shard, picture.image_id)[0]["phash"]
        if phash is None:
            profiles.add((), gone)
            continue
        # a picture that is still open takes part, so that its likes get the split that they will have with it
        hashes.add(picture.image_id, phash)
        kept = ((kept.planned.region, kept.planned.exhaustive, kept.profile) for kept in outcome.kept)
        profiles.add(kept, gone, complete=picture.complete and not outcome.gone)
    for verdict in profiles.verdicts():
        reason = Reason("check", verdict.check, verdict.reason, verdict.evidence)
        barrier.reasons.setdefault(verdict.region_id, reason)
    thumbnails = finished.cache("crop", "images", "image_id", ["image_id", "thumbnail"])

    @lru_cache(maxsize=THUMBNAILS)
    def thumbnail_of(image_id: str) -> Thumbnail:
        return thumbnail(thumbnails.rows(finished.prepared[image_id], image_id)[0]["thumbnail"])

    for cluster in clusters(*hashes.columns(), thumbnail_of):
        _settle(plan, cluster, history, barrier)
    return barrier


def _settle(plan: Plan, cluster: list[str], history: History, barrier: Barrier) -> None:
    """One split for a cluster: that of its published pictures, else of a source's own, else of its smallest id."""
    barrier.clusters += 1
    barrier.pictures += len(cluster)
    published = {image_id: history.split_of(image_id) for image_id in cluster}
    new = [plan.picture(image_id) for image_id, split in published.items() if split is None]
    taken = sorted({split for split in published.values() if split is not None})
    own = {plan.picture(image_id).own_split for image_id in cluster}
    if len(taken) > 1:
        for picture in new:
            evidence = f"joins published pictures of {' and '.join(taken)}"
            _reject(picture, "near-identical-across-splits", evidence, barrier)
        return
    split: Split = (
        taken[0]
        if taken
        else "test"
        if "test" in own
        else "validation"
        if "validation" in own
        else plan.picture(min(cluster)).split
    )
    for picture in new:
        if split == "train" and picture.own_split:
            evidence = f"its source puts it in {picture.own_split}, but a near-identical picture is published in train"
            _reject(picture, "near-identical-to-train", evidence, barrier)
        else:
            barrier.splits[picture.image_id] = split


def _reject(picture: PlannedPicture, reason: str, evidence: str, barrier: Barrier) -> None:
    for region in picture.regions:
        found = Reason("check", "near-pictures", reason, f"picture {picture.files[0][1]}: {evidence}")
        barrier.reasons[region.region.region_id] = found
