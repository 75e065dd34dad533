"""How well checks do: injected errors caught by class, and sound records dropped.

An error in a profile counts as caught when a local check fails on it, or a global check over the set in
which its picture stands with this one error. Sound records are also counted beside a wrong one: a global
check that sees a contradiction may drop both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from slvr_data.annotators.base import AnnotatedPicture
from slvr_data.checks import LOCAL_CHECKS, CheckedRegion
from slvr_data.checks.global_ import GLOBAL_PROFILE_CHECKS, TableBuilder
from slvr_data.checks.queries import QUERY_CHECKS, CheckedGroup
from slvr_data.injector.base import CLASSES, SHARES, Corruption, Surroundings
from slvr_data.injector.profiles import PROFILE_KINDS, corrupt_profile
from slvr_data.injector.questions import QUERY_KINDS, corrupt_query
from slvr_data.queries.generate import write_groups
from slvr_data.queries.view import PictureView
from slvr_data.schema import AttributeProfile, Query, QueryGroup
from slvr_data.stats import wilson


@dataclass(frozen=True)
class SoundPicture:
    """A picture all of whose profiles are held to be right."""

    annotated: AnnotatedPicture
    view: PictureView
    exhaustive: bool = True
    """Every instance of each label is annotated."""
    judged: frozenset[str] | None = None
    """The regions whose profiles are known to be right, by id; None for all. Only these are spoilt and counted."""


@dataclass
class Share:
    """So many of so many."""

    hits: int = 0
    number: int = 0

    def count(self, hit: bool) -> None:
        """One more."""
        self.hits += hit
        self.number += 1

    @property
    def value(self) -> float:
        """Between 0 and 1; 0 of none."""
        return self.hits / self.number if self.number else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        return wilson(self.hits, self.number)


@dataclass
class Measured:
    """What was found on one sort of records."""

    caught: dict[str, dict[str, Share]]
    """Class -> kind of error -> caught of injected."""
    dropped: Share = field(default_factory=Share)
    """Of sound records."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(check, reason) -> sound records dropped for it."""
    beside: Share = field(default_factory=Share)
    """Sound records dropped because another record of the picture was wrong; of wrong records."""

    def of_class(self, error: str) -> Share:
        """All kinds of a class together."""
        kinds = self.caught[error].values()
        return Share(sum(s.hits for s in kinds), sum(s.number for s in kinds))

    @property
    def weighted(self) -> float:
        """The share of errors caught where classes come as often as in the paper."""
        return sum(SHARES[error] * self.of_class(error).value for error in CLASSES)


def empty(kinds: dict[str, dict[str, Any]]) -> Measured:
    """Nothing counted yet."""
    return Measured({error: {kind: Share() for kind in kinds[error]} for error in CLASSES})


def surroundings(pictures: Sequence[SoundPicture]) -> Iterator[tuple[SoundPicture, Surroundings]]:
    """Every region with what is around it."""
    vocabulary = sorted({r.label for picture in pictures for r in picture.view.regions if r.label})
    for picture in pictures:
        for region in picture.view.regions:
            if picture.judged is None or region.row.region_id in picture.judged:
                yield picture, Surroundings(picture.view, region, vocabulary)


def measure_profiles(pictures: Sequence[SoundPicture], per_class: int, seed: int) -> Measured:
    """Inject `per_class` errors of each class, in equal numbers of its kinds, and check them and the sound ones."""
    found = empty(PROFILE_KINDS)
    table = TableBuilder()
    locally: dict[str, tuple[str, str, bool]] = {}
    for picture, around in surroundings(pictures):
        row = around.region.row
        verdict = _local(picture, around, row.profile)
        found.dropped.number += 1
        if verdict is not None:
            found.dropped.hits += 1
            found.reasons[verdict] += 1
        for error in CLASSES:
            kind = _open_kind(found.caught[error], per_class, len(locally))
            spoilt = corrupt_profile(around, error, seed, kind) if kind else None
            if spoilt is None or kind is None:
                continue
            suffix = f"#{len(locally)}"
            caught = _local(picture, around, spoilt.record) is not None
            locally[row.region_id + suffix] = (error, kind, caught)
            found.caught[error][kind].number += 1
            _add(table, picture, suffix, {row.region_id: spoilt.record})
    for picture in pictures:
        _add(table, picture, "", {})
    _global(table, locally, found)
    return found


def _open_kind(kinds: dict[str, Share], per_class: int, turn: int) -> str | None:
    """In turn, a kind of which there are not enough yet."""
    least = -(-per_class // len(kinds))
    still = [kind for kind in kinds if kinds[kind].number < least]
    return still[turn % len(still)] if still else None


def _local(picture: SoundPicture, around: Surroundings, profile: AttributeProfile) -> tuple[str, str] | None:
    record = CheckedRegion(picture.annotated, around.region.row, profile)
    for check in LOCAL_CHECKS:
        verdict = check(record)
        if verdict.verdict == "fail":
            return verdict.check, verdict.reason or ""
    return None


def _add(table: TableBuilder, picture: SoundPicture, suffix: str, spoilt: dict[str, AttributeProfile]) -> None:
    """The picture as one of its own: identifiers end in `suffix`."""
    for region in picture.view.regions:
        row = region.row
        tree = spoilt.get(row.region_id, row.profile).model_dump()
        for link in (*(tree["spatial"]["relations"] or []), *(tree["interaction"] or [])):
            if link["target_region_id"] is not None:
                link["target_region_id"] += suffix
        renamed = row.model_copy(update={"region_id": row.region_id + suffix, "image_id": row.image_id + suffix})
        table.add(renamed, picture.exhaustive, tree, picture.annotated.complete)


def _global(table: TableBuilder, locally: dict[str, tuple[str, str, bool]], found: Measured) -> None:
    built = table.built()
    verdicts = [verdict for check in GLOBAL_PROFILE_CHECKS for verdict in check(built)]
    flagged = {v.region_id: (v.check, v.reason) for v in reversed(verdicts)}
    base = {region_id for region_id in flagged if "#" not in region_id}
    for region_id in base:
        found.dropped.hits += 1
        found.reasons[flagged[region_id]] += 1
    for region_id, (error, kind, caught) in locally.items():
        found.caught[error][kind].hits += caught or region_id in flagged
    found.beside.number = len(locally)
    taken_locally = {f"#{region_id.split('#')[1]}" for region_id, found_ in locally.items() if found_[2]}
    for region_id in flagged:
        own, _, number = region_id.partition("#")
        if number and region_id not in locally and own not in base and f"#{number}" not in taken_locally:
            found.beside.hits += 1


def measure_queries(pictures: Sequence[SoundPicture], per_class: int, seed: int) -> Measured:
    """The same for the questions that the templates write about these pictures."""
    found = empty(QUERY_KINDS)
    for picture, around in surroundings(pictures):
        for written in write_groups(picture.view, around.region):
            for query in written.group.queries:
                verdict = _asked(picture, around, written.group, query)
                found.dropped.number += 1
                if verdict is not None:
                    found.dropped.hits += 1
                    found.reasons[verdict] += 1
                for error in CLASSES:
                    spoilt = _spoilt(query, around, error, found.caught[error], per_class, seed)
                    if spoilt is not None:
                        queries = [spoilt.record if other is query else other for other in written.group.queries]
                        wrong = written.group.model_copy(update={"queries": queries})
                        seen = _asked(picture, around, wrong, spoilt.record)
                        found.caught[error][spoilt.kind].count(seen is not None)
    return found


def _spoilt(
    query: Query, around: Surroundings, error: str, kinds: dict[str, Share], per_class: int, seed: int
) -> Corruption[Query] | None:
    """The query with an error of a kind of which there are not enough yet."""
    least = -(-per_class // len(kinds))
    still = [kind for kind in sorted(kinds) if kinds[kind].number < least]
    spoilt = (corrupt_query(query, around, error, seed, kind) for kind in still)
    return next((one for one in spoilt if one is not None), None)


def _asked(picture: SoundPicture, around: Surroundings, group: QueryGroup, query: Query) -> tuple[str, str] | None:
    checked = CheckedGroup(picture.view, around.region, group, picture.annotated.complete)
    for check in QUERY_CHECKS:
        verdict = check(checked, query)
        if verdict.verdict == "fail":
            return verdict.check, verdict.reason or ""
    return None
