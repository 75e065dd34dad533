"""What the report page shows, ready to be printed: no statistics are computed from here on.

Everything that came from a model, a picture or an imported file is plain text here; the template escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from benchmark.pages.charts import Chart
from benchmark.pages.strips import Axis, Strip
from slvr_data.pages.render import render

COLORS = 7
"""Runs that have a colour and a mark of their own; an eighth begins anew."""


@dataclass(frozen=True)
class ShownRun:
    """A run in the legend."""

    name: str
    state: str
    """Empty for a whole run; otherwise what is missing."""
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Row:
    """A score of one run."""

    run: int
    """Place among the runs."""
    strip: Strip
    value: str
    interval: str
    over: str
    """How many regions and pictures."""
    footnote: str
    """Letter of the section's note that says why there is no interval; empty where there is one."""


@dataclass(frozen=True)
class Measure:
    """A score over all runs."""

    label: str
    meaning: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Section:
    """Scores on one axis."""

    key: str
    title: str
    intro: str
    axis: Axis
    measures: Sequence[Measure]
    folded: bool = False
    notes: Sequence[tuple[str, str]] = ()
    """Letter, and why an interval is withheld."""


@dataclass(frozen=True)
class PairRow:
    """One score of two runs."""

    label: str
    strip: Strip
    difference: str
    interval: str
    footnote: str
    tests: str
    """p and the like, in words."""
    verdict: str


@dataclass(frozen=True)
class Pair:
    """Two runs, compared."""

    first: int
    second: int
    rows: Sequence[PairRow]


@dataclass(frozen=True)
class FacetCell:
    """A cell of the table facet x facet; the words of an empty one are empty."""

    words: str
    detail: str
    shade: float
    """From -1 (below what independence gives) to 1; 0 for none."""
    faint: bool
    """Of too few pairs to be read."""


@dataclass(frozen=True)
class FacetGrid:
    """A run's table facet x facet."""

    run: int
    facets: Sequence[str]
    rows: Sequence[Sequence[FacetCell]]


@dataclass(frozen=True)
class Part:
    """A part of a bar; `kind` is one of right, unseen, wrong, none."""

    kind: str
    share: float
    words: str


@dataclass(frozen=True)
class Evidence:
    """One transform of the evidence family over all runs."""

    name: str
    expected: str
    """What a model that looks would do."""
    bars: Sequence[tuple[int, str, Sequence[Part]]]
    """Run, number of asks, parts that add up to 1."""


@dataclass(frozen=True)
class LatentCell:
    """What one intervention on one part of the latents did; the words of an empty one are empty."""

    words: str
    detail: str
    shade: float
    """From 0 (no answer changed) to 1."""


@dataclass(frozen=True)
class LatentRow:
    """An intervention."""

    name: str
    meaning: str
    cells: Sequence[LatentCell]


@dataclass(frozen=True)
class LatentTable:
    """Numbers in words."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, str, Sequence[str]]]
    """Label, meaning, a cell per column."""


@dataclass(frozen=True)
class LatentPanel:
    """What changing a run's latents did, and what they are like."""

    run: int
    parts: Sequence[str]
    grid: Sequence[LatentRow]
    tables: Sequence[LatentTable]
    facets: Sequence[str] = ()
    """Columns of `by_facet`; none where there is one facet only."""
    by_facet: Sequence[LatentRow] = ()
    """A row per intervention: share of answers changed, and number of queries."""


@dataclass(frozen=True)
class ShownReply:
    """What a run said to an ask."""

    run: int
    outcome: str
    right: bool
    answer: str
    text: str
    cut: int
    """Characters that are left out."""
    error: str


@dataclass(frozen=True)
class ShownAsk:
    """A query in another variant, with the replies of all runs."""

    variant: str
    question: str
    choices: Sequence[str]
    expected: str
    replies: Sequence[ShownReply]


@dataclass(frozen=True)
class ShownQuery:
    """A query of a sample."""

    facet: str
    question: str
    choices: Sequence[str]
    expected: str
    replies: Sequence[ShownReply]
    others: Sequence[ShownAsk]


@dataclass(frozen=True)
class Sample:
    """An item to look at."""

    item_id: str
    label: str
    picture: int | None
    """Place among the page's pictures; None where it has none."""
    box: tuple[float, float, float, float] | None
    """[x1, y1, x2, y2] in pixels of the upright picture."""
    crop: bytes | None
    """JPEG."""
    classes: Sequence[str]
    """Class by run; empty where a run does not have it."""
    queries: Sequence[ShownQuery]

    @property
    def path(self) -> str:
        """SVG path of the box; empty where there is none, or where it is no finite box."""
        if self.box is None or not all(map(isfinite, self.box)):
            return ""
        x1, y1, x2, y2 = (f"{round(c, 1):g}" for c in self.box)
        return f"M{x1} {y1}H{x2}V{y2}H{x1}z"


@dataclass(frozen=True)
class ShownPicture:
    """A picture; `width` and `height` are those of the picture, not of the thumbnail."""

    width: int
    height: int
    jpeg: bytes


@dataclass(frozen=True)
class RunsPage:
    """What a page about runs shows, whichever it is: their templates share these parts."""

    title: str
    subtitle: str
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    runs: Sequence[ShownRun]
    sections: Sequence[Section]
    pairs: Sequence[Pair]
    pairs_axis: Axis | None
    pairs_note: str
    pairs_notes: Sequence[tuple[str, str]]
    """Letter, and why an interval is withheld."""
    command: str


@dataclass(frozen=True)
class Page(RunsPage):
    """The whole report."""

    grids: Sequence[FacetGrid]
    evidence: Sequence[Evidence]
    classes: Mapping[str, str]
    """Class -> meaning."""
    counts: Sequence[tuple[int, Mapping[str, int]]]
    """Run, class -> number of items in the whole run."""
    samples: Sequence[Sample]
    samples_note: str
    pictures: Sequence[ShownPicture]
    stamps: Sequence[tuple[str, Sequence[str]]]
    """Name of a stamp, and its value by run."""
    facet_filter: Sequence[str] = field(default_factory=tuple)
    latents: Sequence[LatentPanel] = field(default_factory=tuple)
    slots: Chart | None = None
    """Accuracy over the number of visual slots, a line per run."""


def render_page(page: Page) -> str:
    """One self-contained HTML page; write it as UTF-8.

    Raises:
        ValueError: a picture's width or height is not positive.
    """
    for picture in page.pictures:
        if picture.width <= 0 or picture.height <= 0:
            raise ValueError(f"a picture has the size {picture.width} x {picture.height}; both must be positive")
    told = [
        {"classes": sample.classes, "facets": sorted({query.facet for query in sample.queries})}
        for sample in page.samples
    ]
    return render(
        "report.html.j2",
        folder=Path(__file__).parent,
        title=page.title,
        subtitle=page.subtitle,
        facts=page.facts,
        command=page.command,
        configuration=None,
        page=page,
        colors=COLORS,
        told=told,
    )
