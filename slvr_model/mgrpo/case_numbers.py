"""How rollouts fare over the steps of a run, counted from its cases.

A rollout is *right* where its term "answer" is 1, and without that term where its answer is the right one. A question
is *mixed* where its rollouts earn different rewards: where they do not, there is nothing to learn from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

COLUMNS = ("region_id", "query_id", "facet", "rollout", "answer", "right", "formed", "tokens", "rewards", "reward")
"""Of cases, that are counted."""
SPREAD = 1e-6
"""Rewards that differ by less are the same."""

Row = Mapping[str, Any]


@dataclass
class Mean:
    """Of what was added; None where nothing was."""

    total: float = 0.0
    number: int = 0

    def add(self, value: float | None) -> None:
        """One more; unknown ones do not count."""
        if value is not None:
            self.total, self.number = self.total + float(value), self.number + 1

    @property
    def value(self) -> float | None:
        """The mean."""
        return self.total / self.number if self.number else None


@dataclass
class Numbers:
    """Of some steps."""

    first: int
    last: int
    groups: int = 0
    rollouts: int = 0
    means: dict[str, Mean] = field(default_factory=lambda: defaultdict(Mean))
    """By name: reward, right, all right, mixed, formed, tokens; terms of the reward behind them."""

    def take(self, group: Sequence[Row]) -> None:
        """The rows of a group."""
        self.groups, self.rollouts = self.groups + 1, self.rollouts + len(group)
        right: dict[int, bool] = defaultdict(lambda: True)
        for row in group:
            right[row["rollout"]] &= is_right(row)
            self.means["reward"].add(row["reward"])
            self.means["right"].add(is_right(row))
            self.means["formed"].add(row["formed"])
            self.means["tokens"].add(row["tokens"])
            for earned in row["rewards"]:
                self.means[f"term {earned['term']}"].add(earned["value"])
        for each in right.values():
            self.means["all right"].add(each)
        for query in by_query(group):
            self.means["mixed"].add(is_mixed(query))


def is_right(row: Row) -> bool:
    """Whether a rollout counts as right."""
    told = next((earned["value"] for earned in row["rewards"] if earned["term"] == "answer"), None)
    if told is not None:
        return bool(told >= 1)
    return bool(row["answer"].strip().casefold() == row["right"].strip().casefold())


def is_mixed(query: Sequence[Row]) -> bool:
    """Whether the rollouts of a question differ in what they earn."""
    earned = [_earned(row) for row in query]
    known = [value for value in earned if value is not None]
    return len(known) > 1 and max(known) - min(known) > SPREAD


def by_group(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows that stand together and are of one step and region."""
    group: list[Row] = []
    for row in rows:
        if group and (row["step"], row["region_id"]) != (group[0]["step"], group[0]["region_id"]):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def by_query(group: Iterable[Row]) -> list[list[Row]]:
    """The rows of each question."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in group:
        found[row["query_id"]].append(row)
    return list(found.values())


def counted(groups: Iterable[Sequence[Row]], bins: int) -> list[Numbers]:
    """Numbers of at most `bins` stretches of about as many steps each, in order; a step lies in one of them."""
    by_step: dict[int, Numbers] = {}
    for group in groups:
        step = group[0]["step"]
        by_step.setdefault(step, Numbers(step, step)).take(group)
    steps = sorted(by_step)
    size = -(-len(steps) // bins) if steps else 1
    return [together([by_step[step] for step in steps[at : at + size]]) for at in range(0, len(steps), size)]


def names(numbers: Sequence[Numbers]) -> list[str]:
    """The means that some of them have, the general ones first."""
    first = ["reward", "right", "all right", "mixed", "formed", "tokens"]
    seen = dict.fromkeys(name for one in numbers for name, mean in one.means.items() if mean.number)
    return [name for name in first if name in seen] + [name for name in seen if name not in first]


def told(numbers: Sequence[Numbers]) -> str:
    """A table for people."""
    columns = names(numbers)
    head = ["steps", "groups", *columns]
    lines = [
        [
            f"{one.first}" if one.first == one.last else f"{one.first}-{one.last}",
            f"{one.groups:,}",
            *(shown(name, one.means[name].value) for name in columns),
        ]
        for one in numbers
    ]
    widths = [max(len(line[at]) for line in [head, *lines]) for at in range(len(head))]
    return "\n".join(
        "  ".join(cell.rjust(wide) for cell, wide in zip(line, widths, strict=True)) for line in [head, *lines]
    )


def shown(name: str, value: float | None) -> str:
    """A mean in a few characters: shares in percent."""
    if value is None:
        return "-"
    return f"{value:.0%}" if name in ("right", "all right", "mixed", "formed") else f"{value:.2f}"


def together(parts: Sequence[Numbers]) -> Numbers:
    """Of all their steps."""
    found = Numbers(parts[0].first, parts[-1].last)
    for part in parts:
        found.groups, found.rollouts = found.groups + part.groups, found.rollouts + part.rollouts
        for name, mean in part.means.items():
            found.means[name].total += mean.total
            found.means[name].number += mean.number
    return found


def _earned(row: Row) -> float | None:
    if row["reward"] is not None:
        return float(row["reward"])
    values = [earned["value"] for earned in row["rewards"]]
    return None if None in values or not values else float(sum(values))
