"""How far an interval can be trusted: the simulated coverage of each kind of score, and the rule made from it.

The table is written by `perf/bench_coverage.py` and is part of the package. An interval is withheld where intervals
like it held the truth in fewer than `LEAST` of the simulated runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

TABLE = Path(__file__).parent / "coverage.json"
LEAST = 0.90
"""Coverage below which an interval is withheld; 0.95 is what is claimed."""
FEWEST_RUNS = 100
"""Simulated runs with an interval, below which its coverage counts as unknown."""


class Cell(BaseModel):
    """One kind of score in one simulated situation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    score: str
    clusters: int
    icc: float
    """Correlation of any two replies on a picture."""
    share: float
    """Expected share of right replies."""
    runs: int
    given: int
    """Runs in which the bootstrap gave an interval."""
    held: int
    """Of these, those in which it held the truth."""
    t_given: int
    """The same of Student's t interval."""
    t_held: int

    @property
    def coverage(self) -> float | None:
        """Of the bootstrap's interval where it was given; None where it was given too seldom to know."""
        return self.held / self.given if self.given >= FEWEST_RUNS else None

    @property
    def t_coverage(self) -> float | None:
        """Of the t interval."""
        return self.t_held / self.t_given if self.t_given >= FEWEST_RUNS else None


class Coverage(BaseModel):
    """The whole simulation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    draws: int
    """Resamplings per simulated run."""
    cells: tuple[Cell, ...]

    def as_json(self) -> str:
        """The file's text, a line per cell: `[score, clusters, ...]` in the order of `Cell`'s fields."""
        rows = ",\n".join(json.dumps(list(cell.model_dump().values())) for cell in self.cells)
        return f'{{"draws": {self.draws}, "fields": {json.dumps(list(Cell.model_fields))}, "cells": [\n{rows}\n]}}\n'

    @classmethod
    def from_json(cls, text: str) -> Coverage:
        """What `as_json` wrote."""
        raw = json.loads(text)
        cells = (Cell(**dict(zip(raw["fields"], row, strict=True))) for row in raw["cells"])
        return cls(draws=raw["draws"], cells=tuple(cells))


@cache
def shipped() -> Coverage:
    """The table of this version."""
    return Coverage.from_json(TABLE.read_text(encoding="utf-8"))


def why_withheld(score: str, clusters: int, share: float, coverage: Coverage | None = None) -> str | None:
    """Why the interval of a kind of score is not shown, in words; None where it is.

    Looked up is the largest simulated number of pictures that is not above `clusters`, and the simulated share
    whose odds are nearest to those of `share`; of the simulated correlations the worse one decides.

    Raises:
        KeyError: no coverage was simulated under the name `score`.
    """
    cells = [cell for cell in (coverage or shipped()).cells if cell.score == score]
    if not cells:
        raise KeyError(score)
    sizes = {cell.clusters for cell in cells}
    if clusters < min(sizes):
        return f"{clusters} pictures are too few: intervals are known to hold from {min(sizes)} on"
    size = max(size for size in sizes if size <= clusters)
    nearest = min((cell.share for cell in cells), key=lambda other: abs(_log_odds(other) - _log_odds(share)))
    found = [cell.coverage for cell in cells if cell.clusters == size and cell.share == nearest]
    return _reason([value for value in found if value is not None], len(found), clusters, (size, nearest))


def _reason(known: list[float], situations: int, clusters: int, simulated: tuple[int, float]) -> str | None:
    here, situation = f"with {clusters} pictures", f"of {simulated[0]} pictures and {simulated[1]:.0%} right replies"
    if known and min(known) < LEAST:
        return (
            f"{here}, 95 % intervals of this score hold the truth too seldom: "
            f"{min(known):.0%} of the time in simulations {situation}"
        )
    if len(known) < situations:
        return f"{here}, this score is hardly ever defined: so it is in simulations {situation}"
    return None


def _log_odds(share: float) -> float:
    share = min(1 - 1e-9, max(1e-9, share))
    return math.log(share / (1 - share))


def table_text(coverage: Coverage) -> str:
    """The table as Markdown: a row per score and number of pictures, a column per share and correlation."""
    shares, correlations = _values(coverage, "share"), _values(coverage, "icc")
    columns = [(share, icc) for share in shares for icc in correlations]
    lines = [
        "| score | pictures | " + " | ".join(f"{share:g}; {icc:g}" for share, icc in columns) + " |",
        "| --- | --: |" + " --: |" * len(columns),
    ]
    by_key = {(cell.score, cell.clusters, cell.share, cell.icc): cell for cell in coverage.cells}
    for score in dict.fromkeys(cell.score for cell in coverage.cells):
        for size in _values(coverage, "clusters"):
            row = [by_key[score, int(size), share, icc] for share, icc in columns]
            lines.append(f"| {score} | {size:g} | " + " | ".join(_shown(cell) for cell in row) + " |")
    return "\n".join(lines) + "\n"


def _shown(cell: Cell) -> str:
    """Coverage of the bootstrap / of t in per cent; the bootstrap's in brackets where it is withheld."""
    mine = "-" if cell.coverage is None else f"{100 * cell.coverage:.1f}"
    if cell.coverage is None or cell.coverage < LEAST:
        mine = f"({mine})"
    return f"{mine} / " + ("-" if cell.t_coverage is None else f"{100 * cell.t_coverage:.1f}")


def _values(coverage: Coverage, field: str) -> list[float]:
    values: Iterable[float] = (getattr(cell, field) for cell in coverage.cells)
    return sorted(set(values))
