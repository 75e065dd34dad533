"""`slvr-bench build`: the groups of a published SLV-Set as SV-QA items, balanced, tested unseen, and accounted for."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmark.drawn import REASONS, Drawn, draw
from benchmark.folder import Bench, refuse_occupied, write_bench
from benchmark.groups import Group, groups_of
from benchmark.learning import Learnt, learnt
from benchmark.records import Item
from benchmark.templates import TemplateTest
from slvr_data.errors import UsageError
from slvr_data.manifest import Manifest, load_manifest
from slvr_data.pictures import Pictures
from slvr_data.schema import SPLITS, Split
from slvr_data.shards import files_of

Wanted = Literal["train", "validation", "test", "all"]
TAUGHT_ENOUGH = 800
"""Queries that an answerer without sight has to learn from before its silence says much. Of 600 made-up yes/no
questions that are 25 points over chance unseen, one that learnt from 200 others found nothing; from 1,000 all."""


@dataclass(frozen=True)
class BuildReport:
    """What became of everything; `bench.json` says the same."""

    bench: Bench
    accounts: dict[str, int]
    facets: dict[str, dict[str, float]]
    """Facet -> "published" and "asked" queries, and the mean "chance" of those with choices."""
    dropped: dict[str, int]
    """Reason -> queries."""
    templates: list[TemplateTest]
    taught: int
    """Queries of other pictures that an answerer without sight has learnt from; of several answerers, the least."""

    def lines(self) -> Iterator[str]:
        """For people."""
        a = self.accounts
        yield (
            f"{a['items']:,} items of {a['groups']:,} groups, {a['queries']:,} of {a['queries_published']:,} queries, "
            f"{a['pictures']:,} pictures, revision {self.bench.revision[:12]}"
        )
        yield f"{'facet':<14} {'published':>9} {'asked':>7} {'chance':>7}"
        for name, facet in self.facets.items():
            yield f"{name:<14} {facet['published']:>9,.0f} {facet['asked']:>7,.0f} {facet['chance']:>7.1%}"
        for reason, number in self.dropped.items():
            yield f"left out {number:>7,}  {reason}: {REASONS[reason]}"
        for test in self.templates:
            if test.refused:
                yield (
                    f"refused {test.facet} {test.template!r}: unseen {test.accuracy:.1%} of {test.queries:,} right, "
                    f"chance {test.chance:.1%}, p {test.p:.2g}"
                )
        if self.taught < TAUGHT_ENOUGH:
            yield (
                f"what can be answered unseen is known badly: only {self.taught:,} queries of other pictures teach it "
                f"({TAUGHT_ENOUGH:,} and more are wanted); give a larger set, or other pictures with --training"
            )


def build(
    source: Path,
    out: Path,
    split: Wanted = "test",
    seed: int = 0,
    training: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> BuildReport:
    """Write the benchmark folder `out` from the set in `source`; the same set and seed give the same bytes.

    Args:
        source: a published SLV-Set with questions.
        out: a new folder.
        split: of the pictures that are asked about; "all" for a set that is made for testing only.
        seed: of all orders.
        training: another set, whose pictures teach the baselines. Without it the training split of `source` does;
            where that is asked about itself, thirds of the pictures teach for each other.
        say: takes lines about what is being done.

    Raises:
        UsageError: there is no such set, it has no questions or pictures, the split is empty, `training` shares
            pictures with the items, `out` holds something else (also a benchmark of another set, split or seed; that is
            seen before any work), or nothing is left to ask.
    """
    manifest = load_manifest(source)
    name = f"{source.resolve().name}-{split}"
    whence: dict[str, Any] = {"from": "slv-set", "split": split, "seed": seed, "source": _identity(manifest)}
    refuse_occupied(out, name, whence | ({"learnt": "training"} if training else {}))
    splits: Sequence[Split] = SPLITS if split == "all" else (split,)
    groups = [group for name in splits for group in groups_of(source, manifest, name)]
    if not groups:
        raise UsageError(_nothing(source, manifest, split))
    learning = learnt(source, groups, split, training, seed, say)
    say(f"balancing {len(groups):,} groups")
    drawn, tests = _drawn(groups, seed, learning)
    items = drawn.items()
    if not items:
        raise UsageError(_nothing_left(source, split, drawn))
    report = _Accounts.of(drawn, items)
    made: dict[str, Any] = {
        "made": {**whence, "learnt": learning.origin},
        **asdict(report),
    }
    made["templates"] = [test.tree() for test in tests]
    say(f"writing {len(items):,} items")
    bench = write_bench(out, name, items, _encoded(source), made, learning.taught())
    taught = min(part.queries for part in learning.statistics.parts)
    return BuildReport(bench, report.accounts, report.facets, report.dropped, tests, taught)


def _identity(manifest: Manifest) -> str:
    """sha256 over what a set says of itself: two sets differ in it."""
    return hashlib.sha256(manifest.to_bytes()).hexdigest()


def _nothing(source: Path, manifest: Manifest, split: str) -> str:
    found = {name: sum(f.rows for f in files_of(manifest.files, "multiquery", name)) for name in SPLITS}
    if not any(found.values()):
        return f"{source} has no questions: slvr-data build-multiquery {source} writes them"
    counts = ", ".join(f"{name} {number:,}" for name, number in found.items())
    return (
        f"the split {split!r} of {source} has no groups ({counts}): give --split all for a set made for testing only, "
        "another --split, or a larger set"
    )


def _nothing_left(source: Path, split: str, drawn: Drawn) -> str:
    reasons = Counter(drawn.dropped.values())
    told = "; ".join(f"{number:,}: {REASONS[reason]}" for reason, number in reasons.most_common())
    return (
        f"no group of the split {split!r} of {source} has two queries left ({told}): give a larger set, "
        "whose questions share their forms"
    )


def _drawn(groups: Sequence[Group], seed: int, learning: Learnt) -> tuple[Drawn, list[TemplateTest]]:
    """The queries of all templates that cannot be answered unseen, and how each template fared."""
    drawn = draw(groups, seed)
    tests = learning.tested(drawn)
    refused = frozenset((test.facet, test.template) for test in tests if test.refused)
    return (draw(groups, seed, refused) if refused else drawn), tests


@dataclass(frozen=True)
class _Accounts:
    """All published queries = asked + dropped, in sum and by facet."""

    accounts: dict[str, int]
    facets: dict[str, dict[str, float]]
    dropped: dict[str, int]

    @classmethod
    def of(cls, drawn: Drawn, items: Sequence[Item]) -> _Accounts:
        published = Counter(query.facet for group in drawn.groups for query in group.group.queries)
        queries = [query for item in items for query in item.queries]
        asked = Counter(query.facet for query in queries)
        chances: dict[str, list[float]] = defaultdict(list)
        for query in queries:
            chances[query.facet] += [] if query.chance is None else [query.chance]
        facets = {
            facet: {
                "published": number,
                "asked": asked[facet],
                "chance": round(sum(chances[facet]) / max(1, len(chances[facet])), 6),
            }
            for facet, number in sorted(published.items())
        }
        dropped = Counter(drawn.dropped.values())
        accounts = {
            "groups": len(drawn.groups),
            "items": len(items),
            "pictures": len({item.image_id for item in items}),
            "queries_published": sum(published.values()),
            "queries": len(queries),
            "queries_open": sum(not query.choices for query in queries),
        }
        return cls(accounts, facets, {reason: dropped[reason] for reason in REASONS if dropped[reason]})


def _encoded(source: Path) -> Callable[[str], bytes]:
    """The pictures of a set, or what to do where it ships none."""
    pictures = Pictures(source)

    def encoded(image_id: str) -> bytes:
        try:
            return pictures.encoded(image_id)
        except ValueError:
            raise UsageError(f"{source} ships no pictures: restore them with slvr-data attach") from None

    return encoded
