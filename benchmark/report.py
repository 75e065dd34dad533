"""The report: runs with their scores, comparisons and samples, as one HTML page and in forms for other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import budgets, exports, panels
from benchmark.compare import Comparing, compared, in_spite, tests_of, too_few, verdict
from benchmark.comparison import Difference
from benchmark.interventions.panel import latent_panels, slot_chart
from benchmark.opened import Run, bench_of, open_runs
from benchmark.pages.strips import Axis, fitting_axis, strip
from benchmark.pages.view import Page, Pair, PairRow, render_page
from benchmark.records import Item
from benchmark.sampled import browser
from benchmark.samples import CLASSES
from benchmark.scores import Scores, scores_of
from benchmark.sections import Footnotes, sections
from benchmark.wording import between, plural, word_of, written
from slvr_data.errors import UsageError
from slvr_data.files import disk_errors, write_atomic

if TYPE_CHECKING:
    from benchmark.folder import Bench

PAIRS_NOTE = (
    "Differences on the same regions, in points, with 95 % intervals from resampling pictures; p from exchanging the "
    "runs within pictures. A difference is called one where p after Holm's correction for all rows is below 0.05."
)


@dataclass(frozen=True)
class Gathered:
    """Everything that a report says."""

    runs: Sequence[Run]
    scores: Sequence[Scores]
    differences: Sequence[Difference]
    warnings: Sequence[str]
    bench: Bench | None


def write_report(
    paths: Sequence[Path],
    data: Path | None,
    out: Path | None,
    most: int,
    command: str,
    how: Comparing = Comparing(),
) -> list[Path]:
    """The report of these runs; the files that were written, the page first.

    Args:
        paths: folders of runs.
        data: their benchmark folder; None looks where runs lie by themselves (DIR/runs/NAME).
        out: folder of the report; None: `report` in the folder of the first run.
        most: regions that the page shows.
        command: the line that asked for it, which the page repeats.
        how: runs are compared.

    Raises:
        UsageError: a run is missing, or `data` is another folder than that which was asked about.
        RunError: a file cannot be written.
    """
    gathered = gather(open_runs(paths), data, how)
    folder = out or gathered.runs[0].folder / "report"
    with disk_errors(f"making {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in files_of(gathered, most, command).items():
        write_atomic(folder / name, text.encode("utf-8"))
        written.append(folder / name)
    return written


def gather(runs: Sequence[Run], data: Path | None, how: Comparing = Comparing()) -> Gathered:
    """Scores of the runs, and comparisons of each pair, or with a base, where they may be compared."""
    bench, warnings = _bench(runs, data)
    items = None if bench is None else bench.items
    scores = [scores_of(run.lines, items) for run in runs]
    warnings += [f"{run.name} is not whole: {run.state}. Its scores are of what is there." for run in runs if run.state]
    differences: list[Difference] = []
    if len(runs) > 1:
        try:
            differences = compared(runs, how)
        except UsageError as error:
            warnings.append(f"No comparison: {error}.")
        if told := in_spite(runs, how.despite):
            warnings.append(f"Compared although these differ: {told}.")
        if few := too_few(differences):
            warnings.append(few)
    return Gathered(runs, scores, differences, warnings, bench)


def files_of(gathered: Gathered, most: int, command: str) -> dict[str, str]:
    """Name -> content of every file of the report. Runs that are not whole have no row for a leaderboard."""
    runs, scores = gathered.runs, gathered.scores
    rows = [exports.leaderboard_row(run, own) + "\n" for run, own in zip(runs, scores, strict=True) if not run.state]
    return {
        "report.html": render_page(page_of(gathered, most, command)),
        "scores.json": exports.as_json(runs, scores, gathered.differences),
        "scores.csv": exports.as_csv(runs, scores),
        "table.md": exports.as_markdown(runs, scores),
        "table.tex": exports.as_latex(runs, scores),
        "leaderboard.jsonl": "".join(rows),
    }


def page_of(gathered: Gathered, most: int, command: str) -> Page:
    """What the page shows."""
    runs, scores, bench = gathered.runs, gathered.scores, gathered.bench
    items: Mapping[str, Item] = {} if bench is None else {item.item_id: item for item in bench.items}
    samples = browser(runs, items, None if bench is None else bench.picture, most)
    header = runs[0].header
    over = scores[0]["accuracy"]
    notes = Footnotes()
    pairs, axis = shown_pairs(runs, gathered.differences, notes)
    return Page(
        title=f"SV-QA: {header.data}",
        subtitle=", ".join(
            [plural(len(runs), "run"), plural(over.n_items, "region"), plural(over.n_clusters, "picture")]
        ),
        facts=[
            ("Data revision", header.data_revision[:12]),
            ("Protocol", header.protocol),
            ("Form", header.form),
            ("Extraction", header.extraction),
            ("Tokens at most", f"{header.max_new_tokens:,}"),
            ("Picture budget", ", ".join(dict.fromkeys(budgets.told(run.header) for run in runs))),
            ("Seeds", str(len(header.seeds))),
        ],
        warnings=gathered.warnings,
        runs=[panels.shown_run(run) for run in runs],
        sections=sections(scores),
        pairs=pairs,
        pairs_axis=axis,
        pairs_note=PAIRS_NOTE,
        pairs_notes=notes.listed,
        grids=panels.facet_grids(runs),
        evidence=panels.evidence(runs),
        classes={str(name): meaning for name, meaning in CLASSES.items()},
        counts=samples.counts,
        samples=samples.samples,
        samples_note=samples.note,
        pictures=samples.pictures,
        stamps=panels.stamps([run.header for run in runs]),
        command=command,
        facet_filter=samples.facets,
        latents=latent_panels(runs, scores),
        slots=slot_chart(runs, scores),
    )


def shown_pairs(runs: Sequence[Run], rows: Sequence[Difference], notes: Footnotes) -> tuple[list[Pair], Axis | None]:
    """Every difference on one axis, pair by pair; no axis where there is none."""
    if not rows:
        return [], None
    axis = fitting_axis([value for row in rows for value in (row.difference, row.low, row.high)])
    places = {run.name: place for place, run in enumerate(runs)}
    pairs: dict[tuple[int, int], list[PairRow]] = {}
    for row in rows:
        pairs.setdefault((places[row.first], places[row.second]), []).append(_pair_row(row, axis, notes))
    return [Pair(first, second, own) for (first, second), own in pairs.items()], axis


def _pair_row(row: Difference, axis: Axis, notes: Footnotes) -> PairRow:
    return PairRow(
        label=word_of(row.score).label,
        strip=strip(axis, row.difference, row.low, row.high),
        difference=written(row.difference, signed=True),
        interval=between(row.low, row.high, signed=True),
        footnote=notes.letter(row.withheld),
        tests=tests_of(row),
        verdict=verdict(row),
    )


def _bench(runs: Sequence[Run], data: Path | None) -> tuple[Bench | None, list[str]]:
    """The benchmark folder of the runs, or None and the reason where it is not named and cannot be used.

    Raises:
        UsageError: it was named, and is not what was asked about.
    """
    folder = data or bench_of(runs[0])
    if folder is None:
        return None, []
    from benchmark.folder import ABOUT, open_bench

    if data is None and not (folder / ABOUT).is_file():
        return None, []
    try:
        bench = open_bench(folder)
        wanted = runs[0].header.data_revision
        if bench.revision != wanted:
            raise UsageError(
                f"{folder} is at revision {bench.revision[:12]}, but {runs[0].name} was asked about {wanted[:12]}: "
                "name the folder that was asked about with --data"
            )
    except UsageError as error:
        if data is not None:
            raise
        return None, [f"The pictures are not in here: {error}."]
    return bench, []
