"""What became of each region: published, or rejected and why. Read from plan and finished work, a picture at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pipelines.finished import Finished
from pipelines.plan import PlannedPicture, PlannedRegion
from slvr_data.errors import RunError


@dataclass(frozen=True)
class Reason:
    """Why a region is not published: stage, check, stable code, and the evidence in words."""

    stage: str
    check: str
    reason: str
    evidence: str


@dataclass(frozen=True)
class Kept:
    """A region to publish; `profile` and `provenance` as JSON."""

    planned: PlannedRegion
    profile: str
    provenance: str
    verdicts: list[dict[str, Any]]


@dataclass
class Outcome:
    """The regions of one picture."""

    kept: list[Kept] = field(default_factory=list)
    gone: list[tuple[PlannedRegion, Reason]] = field(default_factory=list)
    unfinished: list[PlannedRegion] = field(default_factory=list)
    """Of a picture that is still open: neither published nor rejected yet."""


class Outcomes:
    """Reads the stage stores in picture order."""

    def __init__(self, finished: Finished, annotator: str, licenses: list[str] | None) -> None:
        self._finished, self._annotator, self._licenses = finished, annotator, licenses
        self._dropped = finished.cache("crop", "dropped", "image_id")
        self._profiles = finished.cache("attributes", "profiles", "picture_key")
        self._verdicts = finished.cache("check", "verdicts", "picture_key")

    def of(self, picture: PlannedPicture) -> Outcome:
        """What became of a picture's regions, as far as its own shards tell."""
        key, finished = picture.key, self._finished
        dropped = {
            row["region_id"]: Reason("crop", row["check"], row["reason"], row["evidence"])
            for shard in finished.crop_shards(picture.image_id)
            for row in self._dropped.rows(shard, picture.image_id)
        }
        if finished.is_open(picture):
            return _open_outcome(picture, dropped)
        profiles = {row["region_id"]: row for row in self._profiles.rows(finished.profiled[key], key)}
        verdicts = {
            row["region_id"]: json.loads(row["verdicts"]) for row in self._verdicts.rows(finished.checked[key], key)
        }
        refused = self._refused(picture)
        outcome = Outcome()
        for region in picture.regions:
            identifier = region.region.region_id
            reason = _early(region, dropped) or self._late(
                profiles.get(identifier), verdicts.get(identifier, []), identifier
            )
            reason = reason or refused
            if reason is not None:
                outcome.gone.append((region, reason))
            else:
                row = profiles[identifier]
                outcome.kept.append(Kept(region, row["profile"], row["provenance"], verdicts[identifier]))
        return outcome

    def _late(self, profile: dict[str, Any] | None, verdicts: list[dict[str, Any]], identifier: str) -> Reason | None:
        """Of the stages `attributes` and `check`."""
        if profile is None:
            raise RunError(f"region {identifier} is neither profiled nor rejected: please report this")
        if profile["profile"] is None:
            return Reason("attributes", self._annotator, profile["reason"], profile["evidence"])
        failed = next((v for v in verdicts if v["verdict"] == "fail"), None)
        return Reason("check", failed["check"], failed["reason"], failed["evidence"]) if failed else None

    def _refused(self, picture: PlannedPicture) -> Reason | None:
        wanted = self._licenses
        if wanted is None or picture.license in wanted:
            return None
        if picture.license and all(part in wanted for part in picture.license.split(" AND ")):
            return None
        evidence = f"licence {picture.license!r} is not among those kept: {wanted}"
        return Reason("publish", "license", "license-not-kept", evidence)


def with_global(outcome: Outcome, reasons: dict[str, Reason]) -> Outcome:
    """The outcome after the barrier, whose reasons (by region_id) come before a licence that is not kept."""
    if not reasons:
        return outcome
    after = Outcome(unfinished=outcome.unfinished)
    for region, reason in outcome.gone:
        late = reasons.get(region.region.region_id) if reason.stage == "publish" else None
        after.gone.append((region, late or reason))
    for kept in outcome.kept:
        late = reasons.get(kept.planned.region.region_id)
        if late is None:
            after.kept.append(kept)
        else:
            after.gone.append((kept.planned, late))
    after.gone.sort(key=lambda item: item[0].region.region_id)
    return after


def _open_outcome(picture: PlannedPicture, dropped: dict[str, Reason]) -> Outcome:
    """Of a picture whose profiles are still to come: a picture is published whole or not at all."""
    outcome = Outcome()
    for region in picture.regions:
        reason = _early(region, dropped)
        if reason is None:
            outcome.unfinished.append(region)
        else:
            outcome.gone.append((region, reason))
    return outcome


def _early(region: PlannedRegion, dropped: dict[str, Reason]) -> Reason | None:
    """Of the plan and the stage `crop`."""
    if region.rejected is not None:
        of_picture = region.rejected.reason.startswith("picture-")
        check = "choice" if region.left_out else "picture" if of_picture else "box"
        return Reason("crop", check, region.rejected.reason, region.rejected.evidence)
    return dropped.get(region.region.region_id)
