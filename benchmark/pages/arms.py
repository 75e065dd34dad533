"""What the page of arms shows, ready to be printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.pages.charts import Chart
from benchmark.pages.strips import Axis
from benchmark.pages.view import COLORS, LatentRow, Pair, Section, ShownRun
from slvr_data.pages.render import render


@dataclass(frozen=True)
class ArmsPage:
    """The whole page; `runs` are the arms, so that it shares its parts with the report."""

    title: str
    subtitle: str
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    runs: Sequence[ShownRun]
    sections: Sequence[Section]
    pairs: Sequence[Pair]
    """Each arm with the base arm."""
    pairs_axis: Axis | None
    pairs_note: str
    pairs_notes: Sequence[tuple[str, str]]
    heat_columns: Sequence[str]
    """Arms with latents."""
    changed: Sequence[LatentRow]
    """Answers changed, a cell per such arm."""
    lost: Sequence[LatentRow]
    """Accuracy lost."""
    slots: Chart | None
    """Accuracy over the number of visual slots."""
    shared: Sequence[tuple[str, str]]
    """Stamps that all runs share."""
    differing: Sequence[str]
    """Names of the others."""
    differ: Sequence[tuple[int, str, Sequence[str]]]
    """Arm, number of the seed, and the values of these, a row per run."""
    command: str


def render_arms(page: ArmsPage) -> str:
    """One self-contained HTML page; write it as UTF-8."""
    return render(
        "arms.html.j2",
        folder=Path(__file__).parent,
        title=page.title,
        subtitle=page.subtitle,
        facts=page.facts,
        command=page.command,
        configuration=None,
        page=page,
        colors=COLORS,
    )
