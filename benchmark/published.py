"""The SV-QA table of the SLVR paper as a worked example: what can and what cannot be concluded from printed figures.

Printed are, for six models on three sets, the shares of regions right in the first query, in the second, and in both
(arXiv 2605.19342). No replies are published, so only unpaired intervals can be given, and for each pair of models the
range of p values that the printed shares allow. `python -m benchmark.published` prints the example.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

from benchmark.stats import mcnemar
from slvr_data.stats import wilson

ALPHA = 0.05


@dataclass(frozen=True)
class Source:
    """One of the three sets."""

    name: str
    regions: int
    """Independent ones: HR-Bench asks 200 questions, each in four orders of its choices."""
    whole: bool
    """Whether the printed shares are counts of `regions`; otherwise they are means over orders."""


SOURCES = (Source("V*", 191, True), Source("HR-Bench 4K", 200, False), Source("HR-Bench 8K", 200, False))

TABLE: dict[str, tuple[tuple[float, float, float], ...]] = {
    "Qwen2.5-VL-7B": ((146, 106, 84), (60.5, 74.1, 45.8), (53.5, 66.1, 37.5)),
    "GRIT": ((133, 118, 95), (58.4, 70.4, 48.6), (49.1, 61.9, 38.6)),
    "DeepEyes": ((159, 151, 134), (71.3, 79.3, 60.6), (65.1, 72.4, 49.0)),
    "Visual-SR1": ((145, 140, 120), (63.9, 76.4, 54.6), (56.3, 67.4, 44.4)),
    "LVR": ((156, 148, 125), (70.1, 80.4, 57.9), (62.9, 71.1, 46.6)),
    "SLVR": ((157, 153, 132), (70.4, 82.8, 61.1), (62.5, 73.6, 50.6)),
}
"""Model -> by source (first right, second right, both right): counts of 191 for V*, otherwise percent.

Each count gives the printed percent of V* to its one decimal, but for DeepEyes' first query: 159 of 191 are 83.2 %,
and 83.3 is printed.
"""

Verdict = Literal["they differ", "no difference is shown", "undecidable from published figures"]


@dataclass(frozen=True)
class Published:
    """A model on a source: shares with their unpaired 95 % intervals, and the consistency that they imply."""

    model: str
    source: str
    shares: tuple[float, float, float]
    """First, second, both."""
    intervals: tuple[tuple[float, float], ...]
    """Wilson's, of `Source.regions` observations: for HR-Bench as if the four orders of a question were one."""
    lift: float
    phi: float
    conditional: float
    """P(second right | first right)."""


@dataclass(frozen=True)
class Pair:
    """Two models compared on Both of one source."""

    source: str
    first: str
    second: str
    smallest: float
    """Exact McNemar p, if the regions right in one model alone are as few as the shares allow."""
    largest: float
    """The same if they are as many."""

    @property
    def verdict(self) -> Verdict:
        """At 5 %, without correction for the number of pairs."""
        if self.largest < ALPHA:
            return "they differ"
        return "no difference is shown" if self.smallest >= ALPHA else "undecidable from published figures"


def published() -> Iterator[Published]:
    """All cells of the table, source by source."""
    for place, source in enumerate(SOURCES):
        for model, rows in TABLE.items():
            first, second, both = shares = tuple(_share(value, source) for value in rows[place])
            lift = both - first * second
            phi = lift / math.sqrt(first * (1 - first) * second * (1 - second))
            intervals = tuple(wilson(share * source.regions, source.regions) for share in shares)
            yield Published(model, source.name, (first, second, both), intervals, lift, phi, both / first)


def pairs() -> Iterator[Pair]:
    """Every pair of models on Both, source by source."""
    for place, source in enumerate(SOURCES):
        for (first, one), (second, other) in combinations(TABLE.items(), 2):
            bounds = [
                p_bounds(k, m, source.regions)
                for k, m in product(*(_counts(rows[place][2], source) for rows in (one, other)))
            ]
            yield Pair(source.name, first, second, min(b[0] for b in bounds), max(b[1] for b in bounds))


def p_bounds(first: int, second: int, regions: int) -> tuple[float, float]:
    """The smallest and the largest exact McNemar p of two models with so many of `regions` right.

    With b regions right in the first alone and c in the second alone, b - c = first - second is known, and b is
    anything from max(0, first - second) to min(first, regions - second).

    Raises:
        ValueError: a count is not between 0 and `regions`.
    """
    if not (0 <= first <= regions and 0 <= second <= regions):
        raise ValueError(f"{first} and {second} are not counts of {regions} regions")
    found = [
        mcnemar(alone, alone - first + second)
        for alone in range(max(0, first - second), min(first, regions - second) + 1)
    ]
    return min(found), max(found)


def _share(value: float, source: Source) -> float:
    return value / source.regions if source.whole else value / 100


def _counts(value: float, source: Source) -> tuple[int, ...]:
    """The counts of regions that a printed figure may stand for: both neighbours of a mean over orders."""
    if source.whole:
        return (int(value),)
    count = round(value / 100 * source.regions, 6)
    return tuple(sorted({math.floor(count), math.ceil(count)}))


def text() -> str:
    """The worked example as Markdown: the shares with their intervals, then the pairs."""
    lines = [
        "| source | model | q1 | q2 | both | lift | phi | P(q2 given q1) |",
        "| --- | --- | --: | --: | --: | --: | --: | --: |",
    ]
    for cell in published():
        shown = (
            f"{100 * share:.1f} ({100 * low:.1f}-{100 * high:.1f})"
            for share, (low, high) in zip(cell.shares, cell.intervals, strict=True)
        )
        rest = f"{100 * cell.lift:+.1f} | {cell.phi:+.2f} | {100 * cell.conditional:.1f}"
        lines.append(f"| {cell.source} | {cell.model} | {' | '.join(shown)} | {rest} |")
    lines += ["", "| source | pair, on Both | smallest p | largest p | |", "| --- | --- | --: | --: | --- |"]
    for pair in pairs():
        names, bounds = f"{pair.first}, {pair.second}", f"{_p(pair.smallest)} | {_p(pair.largest)}"
        lines.append(f"| {pair.source} | {names} | {bounds} | {pair.verdict} |")
    return "\n".join(lines) + "\n"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


if __name__ == "__main__":
    print(text(), end="")
