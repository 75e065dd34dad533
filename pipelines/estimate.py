"""What a whole source would cost: both builds on about 50 of its regions, and the rest by proportion."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.asking_config import AskingConfig, check_served, load_asking
from pipelines.build import Summary, build_attributes
from pipelines.choice import LEFT_OUT
from pipelines.config import BuildConfig, load_config
from pipelines.multiquery import build_multiquery
from pipelines.opened import WORK, opened
from pipelines.serving import ledger_file, request_folder
from slvr_data.errors import RunError, UsageError
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.ledger import Counts, Ledger
from slvr_data.requests.store import RequestStore
from slvr_data.sources import open_source
from slvr_data.sources.base import ParsedRow, SourceConfig

REGIONS = 50
"""Asked about, at least; whole pictures are taken."""


@dataclass(frozen=True)
class Examined:
    """What `doctor` is told: a model, and a source to estimate, or none."""

    served: ServedConfig
    build: BuildConfig | None


@dataclass(frozen=True)
class Step:
    """One of the two builds on the sample."""

    name: str
    counts: Counts
    seconds: float
    """Wall time, start included."""


@dataclass(frozen=True)
class Estimate:
    """What the sample has cost, and how much more there is."""

    pictures: int
    """Of the sample."""
    regions: int
    """Of the sample, those apart that are left out (`regions.*`)."""
    all_pictures: int
    """Of all sources, up to the limit of the build."""
    steps: list[Step]
    limit: int | None = None
    """`regions.limit` of the build."""

    @property
    def share(self) -> float:
        """How many times the sample the whole is."""
        whole = self.all_pictures / self.pictures
        return whole if self.limit is None else min(whole, self.limit / self.regions)


def examined(
    told: dict[str, object] | None,
    file: Path | None,
    assignments: list[str],
    sources: list[dict[str, object]] | None,
) -> Examined:
    """The model, from a build's file, options and assignments; with `sources` or a file's, a build to estimate.

    Raises:
        UsageError: no model or server is named, or a value does not fit.
    """
    if sources is None:
        served = load_asking({"annotator": "served", "served": told}, file, assignments).served
        check_served(served)
        return Examined(served, None)
    options = {"out": Path("estimate"), "annotator": "served", "served": told, "sources": sources}
    build = load_config(file, options, assignments)
    check_served(build.served)
    return Examined(build.served, build)


def estimate(build: BuildConfig, say: Callable[[str], None], keep: Path | None = None) -> Estimate:
    """Run both builds on a sample, in a folder that is removed afterwards.

    With `keep`, the replies that were accepted go into the set in that folder, which is made where there is none: its
    builds do not ask for them again. What they have cost is its cost.

    Raises:
        RunError: no reply was accepted.
        UsageError: the source is empty, or `keep` holds something else.
    """
    counted = [_count(source, build) for source in build.sources]
    pictures = sum(source.pictures for source in counted)
    if not pictures:
        raise UsageError("the source names no pictures: there is nothing to estimate")
    sampled = next((n for n in range(1, REGIONS) if sum(source.rows(n) for source in counted) >= REGIONS), REGIONS)
    mine = sum(min(sampled, source.pictures) for source in counted)
    kept: AbstractContextManager[Any] = nullcontext() if keep is None else opened(keep)
    with kept as held, tempfile.TemporaryDirectory(prefix="slvr-estimate-") as folder:
        out = Path(folder) / "set"
        say(f"asking about the first {sampled} pictures of each source, of {pictures:,} in all")
        served = build.served.model_copy(update={"budget_requests": None, "budget_tokens": None})
        sample = build.model_copy(update={"out": out, "limit": sampled, "shard": None, "served": served})
        try:
            taken, steps = _asked(sample)
        finally:
            if held is not None:
                _keep(out / WORK, held[0], served, say)
        return Estimate(mine, taken, pictures, steps, build.regions.limit)


def _asked(sample: BuildConfig) -> tuple[int, list[Step]]:
    """Both builds: regions that were taken, and what each build has cost."""
    out, started = sample.out, time.monotonic()
    summary = build_attributes(sample)
    taken, profiles = _taken(summary), _spent(out)
    steps = [Step("build-attributes", profiles, time.monotonic() - started)]
    if not steps[0].counts.accepted:
        raise RunError("no profile of the sample was accepted, so nothing can be estimated: see the findings above")
    if summary.accounts.get("published"):
        started = time.monotonic()
        asking = AskingConfig(
            annotator="served", workers=sample.workers, served=sample.served, model_checks=sample.model_checks
        )
        build_multiquery(out, asking)
        steps.append(Step("build-multiquery", _less(_spent(out), profiles), time.monotonic() - started))
    return taken, steps


def _keep(sample: Path, work: Path, served: ServedConfig, say: Callable[[str], None]) -> None:
    """Take over what a set's working folder knows of calls into another's; rejected replies are asked for anew."""
    identity = request_folder(sample) / "identity"
    if not identity.exists():
        return
    with (
        Ledger(ledger_file(work)) as ledger,
        RequestStore(request_folder(work), served.scratch, say) as store,
    ):
        store.take_over(request_folder(sample), accepted=True)
        ledger.take_in(ledger_file(sample), identity.read_text().strip())


@dataclass(frozen=True)
class _Counted:
    """A source: how many pictures it names, and how many good rows each of the first ones has."""

    pictures: int
    first: list[int]

    def rows(self, pictures: int) -> int:
        return sum(self.first[:pictures])


def _count(told: SourceConfig, build: BuildConfig) -> _Counted:
    source = open_source(told, build.seed, build.follow_links)
    paths: set[str] = set()
    first: dict[str, int] = {}
    for unit in source.units(build.limit):
        if unit.path is None:
            continue
        paths.add(unit.path)
        if unit.path in first or len(first) < REGIONS:
            good = sum(isinstance(row, ParsedRow) for _, row in source.parse(unit))
            first[unit.path] = first.get(unit.path, 0) + good
    return _Counted(len(paths), list(first.values()))


def _taken(summary: Summary) -> int:
    """Regions that are not left out by choice. Raises RunError where all are."""
    regions = summary.accounts["regions"]
    taken = regions - sum(summary.reasons.get(reason, 0) for reason in LEFT_OUT)
    if regions and not taken:
        raise RunError(f"none of the {regions} regions of the sample is taken: is regions.least_share too high?")
    return taken


def _spent(out: Path) -> Counts:
    """All calls that the set has cost so far."""
    total = Counts()
    for counts in Ledger(ledger_file(out / WORK)).purposes().values():
        total.add(counts)
    return total


def _less(total: Counts, before: Counts) -> Counts:
    """What came after `before`."""
    names = ("calls", "accepted", "prompt_tokens", "completion_tokens", "cached_tokens")
    return Counts.model_validate({name: getattr(total, name) - getattr(before, name) for name in names})


def print_estimate(found: Estimate) -> None:
    """A line per build: calls and tokens per region, and calls, tokens and hours for the whole."""
    print(
        f"estimate from {found.regions:,} regions of {found.pictures:,} pictures, for {found.all_pictures:,} pictures "
        f"with about {found.regions * found.share:,.0f} regions:"
    )
    for step in found.steps:
        counts = step.counts
        tokens = counts.prompt_tokens + counts.completion_tokens
        print(
            f"  {step.name:<17} {counts.calls / found.regions:.2f} calls and {tokens / found.regions:,.0f} tokens a "
            f"region ({counts.cached_tokens / max(counts.prompt_tokens, 1):.0%} of the prompts cached); in all "
            f"{counts.calls * found.share:,.0f} calls, {tokens * found.share:,.0f} tokens, "
            f"{step.seconds * found.share / 3600:,.2f} hours"
        )
    print("  (hours at the pace of this short run, its start included: a long run with a full queue is faster)")
