"""A report in other forms: JSON with everything, CSV, tables for a paper in Markdown and LaTeX, leaderboard rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from benchmark.budgets import visual_tokens
from benchmark.comparison import Difference
from benchmark.opened import Run
from benchmark.scores import Estimate, Scores
from benchmark.wording import between, kind_of, word_of, written

HEADLINE = ("accuracy", "over_chance", "both", "all_right", "p_q2_given_q1", "lift", "phi", "unparsed")
"""Columns of a table for a paper."""
COLUMNS = ("run", "model", "score", "value", "low", "high", "items", "clusters", "left_out", "method", "withheld")
"""Of the CSV file."""


def as_json(runs: Sequence[Run], scores: Sequence[Scores], compared: Sequence[Difference]) -> str:
    """One object: for each run its header and every score, and the comparisons; null where there is none."""
    tree = {
        "kind": "slvr-bench report",
        "runs": [
            {
                "name": run.name,
                "state": run.state or "whole",
                "header": run.header.model_dump(mode="json"),
                "visual_tokens": visual_tokens(run.lines),
                "scores": {name: _plain(estimate) for name, estimate in own.items()},
            }
            for run, own in zip(runs, scores, strict=True)
        ],
        "comparisons": [difference.model_dump(mode="json") for difference in compared],
    }
    return json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def as_csv(runs: Sequence[Run], scores: Sequence[Scores]) -> str:
    """A line per run and score; empty where there is no number. `left_out`: see `Estimate.n_left_out`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run, own in zip(runs, scores, strict=True):
        for name, estimate in own.items():
            row = _plain(estimate)
            values = [row[key] for key in COLUMNS[3:]]
            writer.writerow([run.name, run.header.model, name, *("" if value is None else value for value in values)])
    return out.getvalue()


def as_markdown(runs: Sequence[Run], scores: Sequence[Scores]) -> str:
    """A table with a row per run: each score in percent with its 95 % interval, and what it is over."""
    names = [name for name in HEADLINE if any(name in own for own in scores)]
    lines = [
        "| model | " + " | ".join(markdown_text(word_of(name).label) for name in names) + " |",
        "| --- |" + " ---: |" * len(names),
    ]
    for run, own in zip(runs, scores, strict=True):
        cells = [_cell(name, own.get(name)) for name in names]
        lines.append(f"| {markdown_text(run.name)} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _caption(runs, scores, markdown_text), ""])


def as_latex(runs: Sequence[Run], scores: Sequence[Scores]) -> str:
    """The same as a `tabular` for the package booktabs; intervals stand below as subscripts."""
    names = [name for name in HEADLINE if any(name in own for own in scores)]
    head = " & ".join(["model", *(_latex(word_of(name).label) for name in names)])
    body = []
    for run, own in zip(runs, scores, strict=True):
        cells = [_latex_cell(name, own.get(name)) for name in names]
        body.append(" & ".join([_latex(run.name), *cells]) + r" \\")
    lines = [r"\begin{tabular}{l" + "r" * len(names) + "}", r"\toprule", head + r" \\", r"\midrule", *body]
    return "\n".join(["% " + _caption(runs, scores, _latex), *lines, r"\bottomrule", r"\end{tabular}", ""])


def leaderboard_row(run: Run, scores: Scores) -> str:
    """One line of JSON for a run: the headline scores, and every stamp that makes them comparable.

    Raises:
        ValueError: the run is not whole.
    """
    if run.state:
        raise ValueError(f"{run.name} is not whole: {run.state}")
    header = run.header
    stamps = (
        "model", "model_details", "data", "data_revision", "form", "protocol", "prompt_sha256", "extraction", "seeds",
        "max_pixels", "least_pixels", "most_pixels", "max_new_tokens", "sampling", "items",
    )  # fmt: skip
    row: dict[str, Any] = {name: getattr(header, name) for name in stamps}
    row["visual_tokens"] = visual_tokens(run.lines)
    for name in HEADLINE:
        if name in scores:
            plain = _plain(scores[name])
            row[name] = {key: plain[key] for key in ("value", "low", "high", "items", "clusters", "left_out")}
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "items": estimate.n_items,
        "clusters": estimate.n_clusters,
        "left_out": estimate.n_left_out,
        "method": estimate.method,
        "withheld": estimate.withheld,
    }


def _cell(name: str, estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    kind = kind_of(name)
    percent, signed = kind != "coefficient", kind == "points"
    interval = between(estimate.low, estimate.high, percent, signed)
    return written(estimate.value, percent, signed) + (f" ({interval})" if interval else "")


def _latex_cell(name: str, estimate: Estimate | None) -> str:
    if estimate is None:
        return "--"
    kind = kind_of(name)
    percent, signed = kind != "coefficient", kind == "points"
    value = _mathematics(written(estimate.value, percent, signed))
    if not between(estimate.low, estimate.high, percent, signed):
        return f"${value}$"
    low, high = (_mathematics(written(end, percent, signed)) for end in (estimate.low, estimate.high))
    return f"${value}_{{[{low},\\,{high}]}}$"


def _mathematics(text: str) -> str:
    return text.replace("−", "-").replace("–", r"\text{--}")


def _caption(runs: Sequence[Run], scores: Sequence[Scores], plain: Callable[[str], str]) -> str:
    """What a table is over; names of runs are made `plain`."""
    header = runs[0].header
    over = next(
        (f"{e.n_items:,} regions of {e.n_clusters:,} pictures" for s in scores for e in s.values()), "no regions"
    )
    said = (
        f"{header.data} (revision {header.data_revision[:12]}), {over}; protocol {header.protocol}, extraction "
        f"{header.extraction}; percent with 95 % intervals over pictures; phi from -1 to 1."
    )
    most = [max((estimate.n_left_out for estimate in own.values()), default=0) for own in scores]
    left = [f"{number:,} of {plain(run.name)}" for run, number in zip(runs, most, strict=True) if number]
    return said + (f" Scores of regions leave out those with missing replies: {', '.join(left)}." if left else "")


def markdown_text(text: str) -> str:
    """Text in a cell: nothing in it is markup."""
    for character in "\\`*_[]<>|#~":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
