"""What the verdicts on a sample say of the whole set: error rates, classes, agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from slvr_data.audit.sample import Sample, Stratum
from slvr_data.audit.verdicts import ERROR_CLASSES, KINDS, Judgement, Kind, VerdictFile
from slvr_data.errors import UsageError
from slvr_data.files import write_atomic
from slvr_data.stats import Kappa, Rate, cohen_kappa, stratified_rate, stratum_weights

NAME = "audit.json"


class _Figures(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClassFigures(_Figures):
    """One class of errors."""

    name: str
    count: int
    """Verdicts of this class, of all judges."""
    share: float
    """Of all errors, each weighted by what its region stands for."""


class Agreement(_Figures):
    """Two judges on the items that both have judged; the sample's weights play no part."""

    judges: tuple[str, str]
    right_or_wrong: Kappa
    """On items that both have decided."""
    verdict: Kappa
    """On all items of both: right, each of the nine classes, and cannot tell are eleven different verdicts."""


class Part(_Figures):
    """The verdicts on profiles, or those on questions."""

    drawn: int
    judged: int
    """Items that at least one judge has decided: right or wrong."""
    wrong: int
    """Of these, items that at least one judge calls wrong."""
    unclear: int
    """Items of which judges say only that they cannot tell."""
    open: int
    """Items without a verdict."""
    unseen: int
    """Published regions in strata of which nothing is judged: the rate does not speak of them."""
    rate: Rate
    """Share of wrong items in the set. Where judges differ, an item counts by the share that calls it wrong."""
    classes: list[ClassFigures]
    agreement: list[Agreement]


class AuditSummary(_Figures):
    """`.work/audit.json`. Nothing in it tells when or in what order verdicts were given."""

    set: str
    n: int
    seed: int
    population: int
    """Published regions."""
    regions: int
    """Drawn."""
    strata: list[Stratum]
    judges: list[str]
    profiles: Part
    questions: Part | None
    """None where the sample has no questions."""


def summarise(sample: Sample, files: Sequence[VerdictFile]) -> AuditSummary:
    """The figures of all judges' verdicts on one sample.

    Raises:
        UsageError: two files are of one judge, or a file judges something that is not in the sample.
    """
    judges = [file.judge for file in files]
    twice = next((name for name, count in Counter(judges).items() if count > 1), None)
    if twice is not None:
        raise UsageError(
            f"two files are by the judge {twice!r}: give each judge's name; halves of one judge's work are "
            "joined in the page (Load), and saved as one file"
        )
    known = {(kind, key) for kind in KINDS for region in sample.regions for key in sample.items_of(region, kind)}
    for file in files:
        strange = next((item for item in file.items if (item.kind, item.id) not in known), None)
        if strange is not None:
            raise UsageError(
                f"the file of {file.judge!r} judges the {strange.kind} {strange.id!r}, which is not in the "
                f"sample (-n {sample.n} --seed {sample.seed}): was its page written by another version of slvr?"
            )
    asked = any(region.questions for region in sample.regions)
    return AuditSummary(
        set=sample.set,
        n=sample.n,
        seed=sample.seed,
        population=sum(stratum.size for stratum in sample.strata),
        regions=len(sample.regions),
        strata=list(sample.strata),
        judges=judges,
        profiles=_part(sample, files, "profile"),
        questions=_part(sample, files, "question") if asked else None,
    )


def _part(sample: Sample, files: Sequence[VerdictFile], kind: Kind) -> Part:
    said = [{item.id: item for item in file.items if item.kind == kind and item.verdict} for file in files]
    items = [(place, key) for place, region in enumerate(sample.regions) for key in sample.items_of(region, kind)]
    given = {key: [own[key] for own in said if key in own] for _, key in items}
    decided = {key: [item for item in found if item.decided] for key, found in given.items()}
    wrong = {key: sum(item.verdict == "wrong" for item in found) for key, found in decided.items()}
    hits: dict[int, float] = {}
    trials: dict[int, int] = {}
    for place, key in items:
        if decided[key]:
            trials[place] = trials.get(place, 0) + 1
            hits[place] = hits.get(place, 0.0) + wrong[key] / len(decided[key])
    places = sorted(trials)
    strata = [sample.regions[place].stratum for place in places]
    weights = stratum_weights([stratum.size for stratum in sample.strata], strata).tolist()
    unseen = {sample.regions[place].stratum for place, _ in items} - set(strata)
    return Part(
        drawn=len(items),
        judged=sum(bool(found) for found in decided.values()),
        wrong=sum(bool(count) for count in wrong.values()),
        unclear=sum(bool(given[key]) and not decided[key] for key in given),
        open=sum(not found for found in given.values()),
        unseen=sum(sample.strata[h].size for h in unseen),
        rate=stratified_rate([hits[p] for p in places], [trials[p] for p in places], weights),
        classes=_classes(items, decided, dict(zip(places, weights, strict=True))),
        agreement=[_agreement(*pair) for pair in combinations(zip(files, said, strict=True), 2)],
    )


def _classes(
    items: Sequence[tuple[int, str]], decided: dict[str, list[Judgement]], weights: dict[int, float]
) -> list[ClassFigures]:
    counts: Counter[str] = Counter()
    mass = dict.fromkeys(ERROR_CLASSES, 0.0)
    for place, key in items:
        for item in decided[key]:
            if item.error is not None:
                counts[item.error] += 1
                mass[item.error] += weights[place] / len(decided[key])
    total = sum(mass.values())
    return [ClassFigures(name=c, count=counts[c], share=mass[c] / total if total else 0.0) for c in ERROR_CLASSES]


def _agreement(
    first: tuple[VerdictFile, dict[str, Judgement]], second: tuple[VerdictFile, dict[str, Judgement]]
) -> Agreement:
    one, two = first[1], second[1]
    both = [key for key in one if key in two]
    clear = [key for key in both if one[key].decided and two[key].decided]
    return Agreement(
        judges=(first[0].judge, second[0].judge),
        right_or_wrong=cohen_kappa([one[key].verdict for key in clear], [two[key].verdict for key in clear]),
        verdict=cohen_kappa(*([own[key].error or own[key].verdict for key in both] for own in (one, two))),
    )


def save_summary(work: Path, summary: AuditSummary) -> None:
    """Keep it for the next publication's card."""
    write_atomic(work / NAME, (summary.model_dump_json(indent=1) + "\n").encode())


def load_summary(work: Path) -> AuditSummary | None:
    """What the last audit of the set found, or None.

    Raises:
        UsageError: the file is damaged.
    """
    path = work / NAME
    if not path.exists():
        return None
    try:
        return AuditSummary.model_validate_json(path.read_bytes())
    except ValueError:
        raise UsageError(
            f"{path} is damaged: remove it, or write it again with slvr-data audit {work.parent} --read FILE"
        ) from None
