"""What the page of arms shows, ready to be printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.pages.charts import Chart
from benchmark.pages.view import COLORS, LatentRow, RunsPage
from slvr_data.pages.render import render


@dataclass(frozen=True)
class ArmsPage(RunsPage):
    """The whole page; `runs` are the arms, and `pairs` each of them with the base arm."""

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
