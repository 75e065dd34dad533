"""The barrier between shards and publication: checks that need the whole set.

It reads a compact table of what would be published, in no particular order, and gives reasons against
regions and splits for pictures. It is a pure function of finished work and of what is published: nothing
published changes its split, and a published region is preferred to a new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from pipelines.finished import Finished
from pipelines.history import History
from pipelines.outcome import Outcome, Reason
from pipelines.plan import Plan, PlannedPicture
from pipelines.progress import Progress
from slvr_data.checks.global_ import GLOBAL_PROFILE_CHECKS, TableBuilder
from slvr_data.checks.global_.near_pictures import Thumbnail, clusters, thumbnail
from slvr_data.schema import Split

THUMBNAILS = 4096
"""How many small pictures stay in memory while proposed pairs are compared (24 KB each)."""


@dataclass
class Barrier:
    """What the barrier found."""

    reasons: dict[str, Reason] = field(default_factory=dict)
    """Against regions, by region_id."""
    splits: dict[str, Split] = field(default_factory=dict)
    """Of pictures that are near-identical to others, by image_id."""
    clusters: int = 0
    pictures: int = 0


@dataclass(frozen=True)
class _Place:
    split: Split
    own_split: Split | None


def look(
    plan: Plan,
    finished: Finished,
    outcomes: Iterable[tuple[PlannedPicture, Outcome]],
    history: History,
    progress: Progress,
) -> Barrier:
    """All global checks on pictures and profiles. What was published before is preferred."""
    barrier = Barrier()
    table = TableBuilder(history.regions)
    phashes: dict[str, str] = {}
    places: dict[str, _Place] = {}
    images = finished.cache("crop", "images", "image_id")
    for picture, outcome in outcomes:
        progress.advance(1)
        for region, _ in outcome.gone:
            table.also_seen(region.region)
        shard = finished.prepared.get(picture.image_id)
        if shard is None or not (outcome.kept or outcome.unfinished):
            continue
        row = images.rows(shard, picture.image_id)[0]
        if row["phash"] is None:
            continue
        # a picture that is still open takes part, so that its likes get the split that they will have with it
        phashes[picture.image_id] = row["phash"]
        places[picture.image_id] = _Place(picture.split, picture.own_split)
        for kept in outcome.kept:
            complete = picture.complete and not outcome.gone
            table.add(kept.planned.region, kept.planned.exhaustive, kept.profile, complete=complete)
    for check in GLOBAL_PROFILE_CHECKS:
        for verdict in check(table.built()):
            reason = Reason("check", verdict.check, verdict.reason, verdict.evidence)
            barrier.reasons.setdefault(verdict.region_id, reason)

    @lru_cache(maxsize=THUMBNAILS)
    def thumbnail_of(image_id: str) -> Thumbnail:
        return thumbnail(images.rows(finished.prepared[image_id], image_id)[0]["thumbnail"])

    for cluster in clusters(list(phashes), list(phashes.values()), thumbnail_of):
        _settle(plan, {image_id: places[image_id] for image_id in cluster}, history.splits, barrier)
    return barrier


def _settle(plan: Plan, cluster: dict[str, _Place], published: dict[str, Split], barrier: Barrier) -> None:
    """One split for a cluster: that of its published pictures, else of a source's own, else of its smallest id."""
    barrier.clusters += 1
    barrier.pictures += len(cluster)
    new = [image_id for image_id in cluster if image_id not in published]
    taken = sorted({published[image_id] for image_id in cluster if image_id in published})
    own = {place.own_split for place in cluster.values()}
    if len(taken) > 1:
        for image_id in new:
            evidence = f"joins published pictures of {' and '.join(taken)}"
            _reject(plan.picture(image_id), "near-identical-across-splits", evidence, barrier)
        return
    first = cluster[min(cluster)]
    split: Split = (
        taken[0] if taken else "test" if "test" in own else "validation" if "validation" in own else first.split
    )
    for image_id in new:
        its_own = cluster[image_id].own_split
        if split == "train" and its_own:
            evidence = f"its source puts it in {its_own}, but a near-identical picture is published in train"
            _reject(plan.picture(image_id), "near-identical-to-train", evidence, barrier)
        else:
            barrier.splits[image_id] = split


def _reject(picture: PlannedPicture, reason: str, evidence: str, barrier: Barrier) -> None:
    for region in picture.regions:
        found = Reason("check", "near-pictures", reason, f"picture {picture.files[0][1]}: {evidence}")
        barrier.reasons[region.region.region_id] = found
