"""Parts of the report that are counted straight from logs: the runs themselves, facet by facet, evidence, stamps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

import numpy as np

from benchmark.budgets import visual_tokens
from benchmark.facets import LEAST_PAIRS, FacetTable, facet_table, joined_facets
from benchmark.opened import Run
from benchmark.pages.view import Evidence, FacetCell, FacetGrid, Part, ShownRun
from benchmark.records import CANNOT_SEE, Header
from benchmark.table import Outcomes
from benchmark.transforms import TRANSFORMS
from benchmark.wording import facet_name, plural, written

EXPECTED = {
    "intact": "Nothing is changed: the answer is there.",
    "masked": "The region is painted over: it cannot be seen.",
    "blurred": "The region is blurred: its details cannot be seen.",
    "cropped-out": "The region is cut away: it cannot be seen.",
    "only-region": "Only the region is left: what is its own can still be seen.",
    "swapped": "Another picture is shown: nothing of the region can be seen.",
    "blank": "A grey picture is shown: nothing can be seen.",
}
"""Variant -> what is right then, in words."""


def shown_run(run: Run) -> ShownRun:
    """A run in the legend: what was asked, what came back, at what cost."""
    lines = run.lines
    outcomes: Counter[str] = Counter(line.outcome for line in lines)
    seconds = [line.seconds for line in lines if line.seconds is not None]
    tokens = [line.reply_tokens for line in lines if line.reply_tokens is not None]
    facts = [
        ("asked", f"{plural(len(lines), 'query', 'queries')} of {plural(len({x.item_id for x in lines}), 'region')}"),
        ("replies", ", ".join(f"{outcomes[name]:,} {word}" for name, word in _OUTCOME_WORDS if outcomes[name])),
    ]
    if tokens:
        facts.append(("reply tokens", f"{sum(tokens):,}, median {median(tokens):,.0f}"))
    if (shown := visual_tokens(lines)) is not None:
        facts.append(("visual tokens", f"mean {shown:,.1f}"))
    if seconds:
        facts.append(("seconds per reply", f"median {median(seconds):.3g}, longest {max(seconds):.3g}"))
    facts += [(name.replace("_", " "), _brief(value)) for name, value in run.header.model_details.items()]
    return ShownRun(run.name, run.state, [fact for fact in facts if fact[1]])


def _brief(value: object) -> str:
    """A detail in the legend; hashes are whole under "Stamps"."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = _text(value)
    return f"{text[:12]}…" if len(text) == 64 and all(c in "0123456789abcdef" for c in text) else text


_OUTCOME_WORDS = (
    ("answer", "name an answer"),
    ("unparsed", "name none"),
    ("refused", "decline"),
    ("failed", "did not come whole"),
)


def facet_grids(runs: Sequence[Run]) -> list[FacetGrid]:
    """The table facet x facet of each run, all over the same facets; none where regions have one facet only."""
    tables = [facet_table(Outcomes.from_log(run.lines)) for run in runs]
    facets = joined_facets(tables)
    if len(facets) < 2:
        return []
    grids = []
    for place, table in enumerate(tables):
        rows = [[_cell(table, row, column) for column in facets] for row in facets]
        grids.append(FacetGrid(place, [facet_name(facet) for facet in facets], rows))
    return grids


def _cell(table: FacetTable, row: str, column: str) -> FacetCell:
    empty = FacetCell("", "", 0.0, False)
    if row not in table.facets or column not in table.facets:
        return empty
    f, g = table.facets.index(row), table.facets.index(column)
    number, both, expected = int(table.pairs_fg[f, g]), float(table.both_fg[f, g]), float(table.expected_fg[f, g])
    if not number:
        return empty
    faint = number < LEAST_PAIRS
    if f >= g:
        return FacetCell(written(both), f"{number:,}", 0.0, faint)
    phi = float(table.phi_fg[f, g])
    shade = 0.0 if faint or np.isnan(phi) else max(-1.0, min(1.0, phi))
    return FacetCell(written(both - expected, signed=True), f"φ {written(phi, percent=False)}", shade, faint)


def evidence(runs: Sequence[Run]) -> list[Evidence]:
    """What became of the same queries on changed pictures; empty where no run has asked on them."""
    found = []
    for name in TRANSFORMS:
        bars = [(place, *bar) for place, run in enumerate(runs) if (bar := _bar(run, name)) is not None]
        if bars:
            found.append(Evidence(name.replace("-", " "), EXPECTED.get(name, ""), bars))
    return found


def _bar(run: Run, variant: str) -> tuple[str, list[Part]] | None:
    """Number of asks, of how many where some were left out, and the shares of what was said.

    "Right" is the answer of the intact picture.
    """
    asked = sum(line.variant == "plain" for line in run.lines)
    right = {(line.item_id, line.query_id): line.expected for line in run.lines if line.variant == "plain"}
    counts: Counter[str] = Counter()
    for line in run.lines:
        if line.variant != variant:
            continue
        if line.outcome != "answer":
            counts["none"] += 1
        elif line.answer == CANNOT_SEE:
            counts["unseen"] += 1
        else:
            counts["right" if line.answer == right.get((line.item_id, line.query_id)) else "wrong"] += 1
    number = counts.total()
    if not number:
        return None
    parts = [Part(kind, counts[kind] / number, written(counts[kind] / number)) for kind in _KINDS if counts[kind]]
    return (f"{number:,} of {asked:,}" if number < asked else f"{number:,}"), parts


_KINDS = ("right", "unseen", "wrong", "none")


def stamps(headers: Sequence[Header]) -> list[tuple[str, list[str]]]:
    """Every field of the headers with its value in each run, model details last."""
    rows = [
        (name.replace("_", " "), [_text(getattr(header, name)) for header in headers])
        for name in Header.model_fields
        if name not in ("kind", "model_details", "shard", "whole_items", "whole_asks")
    ]
    details = dict.fromkeys(key for header in headers for key in header.model_details)
    rows += [(key.replace("_", " "), [_text(header.model_details.get(key)) for header in headers]) for key in details]
    return rows


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {entry}" for key, entry in value.items()) or "none"
    return str(value)
