"""Arms as a command names them, `NAME=RUN,RUN`: their runs are opened one by one, and their scores computed.

A log is let go as soon as it is added up, so that fifty runs need no more memory than two.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark import metrics
from benchmark.arms import (
    FEW,
    ArmDifference,
    ArmScore,
    Family,
    Sampled,
    Side,
    adjusted,
    differences_of,
    families_of,
    sampled_of,
    score_of,
)
from benchmark.compare import check_comparable
from benchmark.interventions.slots import own_slots, slot_scores
from benchmark.opened import Run, open_runs, runs_below
from benchmark.records import Header
from benchmark.runlog import LOG
from benchmark.stats import DRAWS
from slvr_data.errors import UsageError

_NUMBER = re.compile(r"(?:^|[^a-z])(?:seed|s)[-_ ]?(\d+)(?![a-z0-9])")
BY_PLACE = "in the order in which they are named"
_GIVEN = re.compile(r"(.+)@(\d+)")


@dataclass(frozen=True)
class Named:
    """An arm as it was named."""

    name: str
    folders: tuple[Path, ...]
    numbers: tuple[int, ...]
    """The training seed of each run: given as RUN@N, told by folders' names ("seed3", "slvr-s3", "3"), or its place."""
    numbered: str
    """By which of these, in words."""


@dataclass(frozen=True)
class OpenedArm:
    """An arm's runs, added up."""

    name: str
    numbers: tuple[int, ...]
    numbered: str
    folders: tuple[Path, ...]
    headers: tuple[Header, ...]
    families: tuple[Sequence[Family], ...]


@dataclass(frozen=True)
class ComparedArm:
    """An arm with its scores."""

    arm: OpenedArm
    scores: dict[str, ArmScore]


@dataclass(frozen=True)
class Comparison:
    """All arms, and their differences from the base arm."""

    arms: Sequence[ComparedArm]
    base: str | None
    differences: Sequence[ArmDifference]
    warnings: Sequence[str]
    draws: int
    seed: int


def named_of(texts: Iterable[str]) -> list[Named]:
    """Arms of texts such as "slvr=runs/slvr-s0,runs/slvr-s1"; a folder that is no run stands for the runs in it.

    Raises:
        UsageError: one has no name or no runs, two have one name, or two runs of an arm have one number.
    """
    found: list[Named] = []
    for text in texts:
        name, equals, rest = text.partition("=")
        entries = [entry.strip() for entry in rest.split(",") if entry.strip()]
        if not equals or not name.strip() or not entries:
            raise UsageError(f"--arm {text}: name an arm and its runs, as in --arm slvr=runs/slvr-s0,runs/slvr-s1")
        if name.strip() in {arm.name for arm in found}:
            raise UsageError(f"--arm {name.strip()} is named twice: name all of its runs at once, with commas between")
        found.append(_named(name.strip(), entries))
    return found


def _named(name: str, entries: Sequence[str]) -> Named:
    given = [_GIVEN.fullmatch(entry) if not Path(entry).exists() else None for entry in entries]
    if any(given):
        if not all(given):
            raise UsageError(f"--arm {name}: give the number of the seed of every run (RUN@N), or of none")
        folders = [Path(match[1]) for match in given if match]
        numbers, numbered = [int(match[2]) for match in given if match], "as given"
    else:
        folders = [folder for entry in entries for folder in _runs_of(Path(entry))]
        told = [_told(folder) for folder in folders]
        known = [number for number in told if number is not None]
        by_name = len(set(known)) == len(folders)
        numbers = known if by_name else list(range(len(folders)))
        numbered = "by the names of their folders" if by_name else BY_PLACE
    twice = {number for number in numbers if numbers.count(number) > 1}
    if twice:
        raise UsageError(f"--arm {name}: two of its runs are of seed {min(twice)}")
    return Named(name, tuple(folders), tuple(numbers), numbered)


def _runs_of(folder: Path) -> list[Path]:
    """The folder, where it is a run (or a log); otherwise those in it."""
    if not folder.is_dir() or (folder / LOG).is_file():
        return [folder]
    below = runs_below(folder)
    return below or [folder]


def _told(folder: Path) -> int | None:
    """The seed that a path tells, its last part first."""
    for part in reversed(folder.parts):
        found = [part] if re.fullmatch("[0-9]{1,4}", part) else _NUMBER.findall(part.casefold())
        if found:
            return int(found[-1])
    return None


def open_arms(named: Sequence[Named], despite: Collection[str] = ()) -> list[OpenedArm]:
    """The arms with all of their runs added up; runs may differ in what `despite` names (`benchmark.compare.DESPITE`).

    Raises:
        UsageError: a run is missing, damaged, not whole, in two arms, or was asked something else than the first.
    """
    folders = [folder.resolve() for arm in named for folder in arm.folders]
    for folder in folders:
        if folders.count(folder) > 1:
            raise UsageError(f"{folder} is named twice: a run is one seed of one arm")
    first: Run | None = None
    queries: dict[str, int] = {}
    found = []
    for arm in named:
        headers, families = [], []
        for folder in arm.folders:
            (run,) = open_runs([folder])
            run = Run(f"{arm.name} ({folder})", run.log)
            if first is None:
                first, queries = run, metrics.queries_of(run.lines)
            check_comparable([first, run], despite)
            headers.append(run.header)
            families.append(families_of(run.lines, queries))
        found.append(OpenedArm(arm.name, arm.numbers, arm.numbered, arm.folders, tuple(headers), tuple(families)))
    return found


def compared_arms(arms: Sequence[OpenedArm], base: str | None, draws: int = DRAWS, seed: int = 0) -> Comparison:
    """The scores of all arms, and the differences of the others from `base`.

    Raises:
        UsageError: there is no arm, or none of the name `base`.
        RunError: two runs of an arm have other pictures.
    """
    if not arms:
        raise UsageError("name an arm with its runs: --arm slvr=runs/slvr-s0,runs/slvr-s1")
    by_name = {arm.name: arm for arm in arms}
    if base is not None and base not in by_name:
        raise UsageError(f"--base {base}: none of the arms is named so; they are {', '.join(by_name)}")
    against = _side(by_name[base], draws, seed) if base is not None else None
    found, rows = [], list[ArmDifference]()
    for arm in arms:
        side = against if against is not None and arm.name == against.name else _side(arm, draws, seed)
        found.append(ComparedArm(arm, {name: score_of(one, arm.numbers, seed) for name, one in side.scores.items()}))
        if against is not None and side is not against:
            rows += differences_of(side, against, seed)
    return Comparison(found, base, adjusted(rows), list(_warnings(found, by_name.get(base or ""))), draws, seed)


def _side(arm: OpenedArm, draws: int, seed: int) -> Side:
    scores = sampled_of(dict(zip(arm.numbers, arm.families, strict=True)), draws, seed)
    return Side(arm.name, scores | _own_slots(arm, scores))


def _own_slots(arm: OpenedArm, scores: Mapping[str, Sampled]) -> dict[str, Sampled]:
    """The accuracy with the arm's own number of slots, of those seeds that were asked with other numbers."""
    own, others = own_slots(arm.headers), slot_scores(scores, None)
    if own is None or not others:
        return {}
    return {f"latents/slots-{own}/accuracy": scores["accuracy"].of(next(iter(others.values())).numbers)}


def _warnings(found: Sequence[ComparedArm], base: OpenedArm | None) -> Iterator[str]:
    arms = [shown.arm for shown in found]
    single = [arm.name for arm in arms if len(arm.numbers) == 1]
    if single:
        yield (
            f"one seed alone: {', '.join(single)}. Intervals are over pictures, and say nothing of what another "
            "training would give"
        )
    few = [f"{arm.name} ({len(arm.numbers)})" for arm in arms if 1 < len(arm.numbers) < FEW]
    if few:
        yield (
            f"fewer than {FEW} seeds: {', '.join(few)}. The spread between seeds is known badly: intervals are wide, "
            "and a p value rests on it"
        )
    placed = [arm.name for arm in arms if arm.numbered == BY_PLACE and len(arm.numbers) > 1]
    if placed and base is not None:
        yield f"seeds are numbered by their order, and so paired: {', '.join(placed)}; RUN@N gives them their numbers"
    for arm in arms:
        if base is not None and arm is not base and set(arm.numbers) != set(base.numbers):
            own, other = (", ".join(map(str, sorted(one.numbers))) for one in (arm, base))
            yield f"seeds are not paired: {arm.name} has {own}, {base.name} has {other}; pictures are"
    for shown in found:
        some = {name.split("/")[1] for name, score in shown.scores.items() if score.n_seeds < len(shown.arm.numbers)}
        if some:
            yield f"not all seeds of {shown.arm.name} were asked with these latents: {', '.join(sorted(some))}"
