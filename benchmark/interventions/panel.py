"""The part of the report about latents: what replacing them did, and what they are like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.interventions.effects import changed_by_facet, interventions_in
from benchmark.interventions.measured import Measured, read_measured
from benchmark.interventions.names import MEANINGS, PARTS, Intervention
from benchmark.interventions.probes import CONTROLS
from benchmark.interventions.slots import own_slots, slot_points, slot_scores
from benchmark.opened import Run
from benchmark.pages.charts import Chart, chart
from benchmark.pages.view import LatentCell, LatentPanel, LatentRow, LatentTable
from benchmark.scores import Estimate, Scores
from benchmark.wording import between, facet_name, plural, written

_MEASURES = {
    "effective_rank": ("Effective rank", "Number of directions that the latents use.", False),
    "spread_slots": (
        "Spread over slots",
        "Distance of a query's slots from their mean, as a share of their length.",
        True,
    ),
    "spread_pictures": (
        "Spread over pictures",
        "Distance of pictures from their mean, as a share of the length.",
        True,
    ),
    "cosine_pictures": ("Cosine between pictures", "1 where the latents of all pictures are the same.", False),
    "within_region": ("Distance within a region", "Of two queries about one region.", False),
    "within_picture": ("Distance between regions", "Of two regions of one picture.", False),
    "between_pictures": ("Distance between pictures", "Of regions of two pictures.", False),
    "within_over_picture": ("Within a region / between regions", "Below 1 where latents tell regions apart.", False),
    "within_over_pictures": ("Within a region / between pictures", "Below 1 where latents tell pictures apart.", False),
    "shift_edited": (
        "Shift with the thing",
        "Distance of latents when the thing that is asked about is edited.",
        False,
    ),
    "shift_other": ("Shift with another thing", "Distance of latents when another thing is edited.", False),
    "edited_over_other": ("Shift with the thing / with another", "Above 1 where latents follow the region.", False),
    "target_r2": ("R² of the target", "1: the region's visual tokens; 0: no better than their mean.", False),
    "target_cosine": ("Cosine with the target", "1: the embedding of the region's profile.", False),
}
"""Measure -> label, meaning, and whether it is written in percent."""
_ATTENTION = {
    "visual": ("Visual latents", "Attention that goes to the visual slots."),
    "semantic": ("Semantic latent", "Attention that goes to the semantic slot."),
    "picture": ("Picture", "Attention that goes to the picture's tokens."),
    "text": ("Prompt", "Attention that goes to the other tokens of the prompt."),
    "reply": ("Reply", "Attention that goes to the reply's own tokens."),
}
_PART_WORDS = {"all": "all latents", "visual": "visual", "semantic": "semantic"}
_SLOTS = "So many visual slots in place of the model's own number."
_CONTROL_WORDS = {"own": "own latents", "zero": "zeros", "shuffled": "shuffled"}


def latent_panels(runs: Sequence[Run], scores: Sequence[Scores]) -> list[LatentPanel]:
    """A panel for each run whose latents were changed.

    Raises:
        UsageError: a run's `latents.json` is damaged.
    """
    panels = []
    for place, (run, own) in enumerate(zip(runs, scores, strict=True)):
        changes = interventions_in(run.lines)
        if changes:
            parts = [part for part in PARTS if any(change.part == part for change in changes)]
            measured = read_measured(run.folder)
            tables = [] if measured is None else _tables(measured)
            words, grid = [_PART_WORDS[part] for part in parts], _grid(changes, parts, own)
            panels.append(LatentPanel(place, words, grid, tables, *_by_facet(run, changes)))
    return panels


def slot_chart(runs: Sequence[Run], scores: Sequence[Scores]) -> Chart | None:
    """Accuracy over the number of visual slots, a line per run that was asked with several; None where none was."""
    lines = []
    for place, (run, own) in enumerate(zip(runs, scores, strict=True)):
        number = own_slots([run.header])
        lines.append((place, slot_points(slot_scores(own, number), number)))
    return chart("visual slots fed", lines)


def _by_facet(run: Run, changes: Sequence[Intervention]) -> tuple[list[str], list[LatentRow]]:
    """Facets, and a row per intervention with the share of answers changed; none where there is one facet only."""
    counts = changed_by_facet(run.lines)
    facets = sorted({facet for _, facet in counts})
    if len(facets) < 2:
        return [], []

    def cell(change: Intervention, facet: str) -> LatentCell:
        changed, pairs = counts.get((change, facet), (0, 0))
        return LatentCell(written(changed / pairs), f"{pairs:,}", changed / pairs) if pairs else LatentCell("", "", 0.0)

    rows = [
        LatentRow(change.words, MEANINGS.get(change.name, _SLOTS), [cell(change, facet) for facet in facets])
        for change in changes
    ]
    return [facet_name(facet) for facet in facets], rows


def _grid(changes: Sequence[Intervention], parts: Sequence[str], own: Scores) -> list[LatentRow]:
    """A row per intervention, or number of slots; a cell per part of the latents."""
    rows: dict[tuple[str, int | None], dict[str, LatentCell]] = {}
    for change in changes:
        rows.setdefault((change.name, change.slots), {})[change.part] = _cell(own, change)
    empty = LatentCell("", "", 0.0)
    return [
        LatentRow(
            name if slots is None else plural(slots, "slot"),
            MEANINGS.get(name, _SLOTS),
            [cells.get(part, empty) for part in parts],
        )
        for (name, slots), cells in rows.items()
    ]


def _cell(own: Scores, change: Intervention) -> LatentCell:
    prefix = change.variant.replace("-", "/", 1)
    changed, lost = own.get(f"{prefix}/changed"), own.get(f"{prefix}/accuracy_lost")
    if changed is None or changed.value is None or lost is None:
        return LatentCell("", "", 0.0)
    return LatentCell(written(changed.value), f"lost {written(lost.value, signed=True)}", changed.value)


def _tables(measured: Measured) -> list[LatentTable]:
    kinds = [kind for kind in ("visual", "semantic") if f"{kind}/effective_rank" in measured.measures]
    rows = []
    for name, (label, meaning, percent) in _MEASURES.items():
        prefix = "edits/" if "edited" in name or name.startswith("shift") else ""
        own = [measured.measures.get(f"{prefix}{kind}/{name}") for kind in kinds]
        if any(one is not None and one.value is not None for one in own):
            rows.append((label, meaning, [_written(one, percent) for one in own]))
    tables = [LatentTable("What the latents are like", [f"{kind} latents" for kind in kinds], rows)]
    tables += [table for table in (_attention(measured.measures), *_probes(measured.probes)) if table is not None]
    return tables


def _attention(measures: Mapping[str, Estimate]) -> LatentTable | None:
    rows = []
    for part, (label, meaning) in _ATTENTION.items():
        own = [measures.get(f"attention/{name}/{part}") for name in ("middle", "mean", "even")]
        if any(own):
            rows.append((label, meaning, [_written(one, True) for one in own]))
    columns = ["middle layer", "all layers", "an even look"]
    return LatentTable("Where answers look, %", columns, rows) if rows else None


def _probes(probes: Mapping[str, Estimate]) -> list[LatentTable]:
    """A table for each kind of probe: a row per word, a column per control."""
    tables: dict[str, dict[str, list[str]]] = {}
    for name, estimate in probes.items():
        *kind, word, control = name.split("/")
        row = tables.setdefault(" ".join(kind), {}).setdefault(word, [""] * len(CONTROLS))
        row[CONTROLS.index(control)] = _written(estimate, True)
    titles = {
        "linear visual": "Read from the visual latents by a line, %",
        "linear semantic": "Read from the semantic latent by a line, %",
        "interpreter": "Read from the semantic latent by the nearest profile, %",
    }
    columns = [_CONTROL_WORDS[control] for control in CONTROLS]
    return [
        LatentTable(titles[kind], columns, [(facet_name(word), "", cells) for word, cells in rows.items()])
        for kind, rows in tables.items()
    ]


def _written(estimate: Estimate | None, percent: bool) -> str:
    if estimate is None or estimate.value is None:
        return "–"
    interval = between(estimate.low, estimate.high, percent)
    return written(estimate.value, percent) + (f" ({interval})" if interval else "")
