"""The files of a comparison of arms: a page with plots, JSON and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark import arm_report
from benchmark.arm_report import changes_of, interval_of, prefix_of, score_name, slots_of
from benchmark.arm_runs import ComparedArm, Comparison
from benchmark.arms import TESTED, ArmDifference, ArmScore
from benchmark.interventions.names import MEANINGS, Intervention
from benchmark.interventions.slots import own_slots, slot_points
from benchmark.pages.arms import ArmsPage, render_arms
from benchmark.pages.charts import Chart, chart
from benchmark.pages.strips import Axis, Strip, fitting_axis, share_axis, strip
from benchmark.pages.view import LatentCell, LatentRow, Measure, Pair, PairRow, Row, Section, ShownRun
from benchmark.panels import stamps
from benchmark.sections import Footnotes
from benchmark.wording import kind_of, plural, titled, written
from slvr_data.files import disk_errors, write_atomic

_KINDS = (
    ("share", "scores", "Scores", "In percent."),
    ("points", "points", "Beyond accuracy", "In points."),
    ("coefficient", "together", "Right together", "From −1 to 1."),
)
_EACH = "The mark is the mean of an arm's seeds, rings are its seeds, lines 95 % intervals over seeds and pictures."
_PAIRS = (
    "Each arm less the base arm on the same pictures, in points (phi from −1 to 1), with 95 % intervals over seeds and "
    "pictures; rings are pairs of seeds. p is Student's t; a difference is called one where p after Holm's correction "
    "for these rows is below 0.05."
)


def write_arms(comparison: Comparison, folder: Path, command: str) -> list[Path]:
    """Write arms.html, arms.json and arms.md; the page first.

    Raises:
        RunError: a file cannot be written.
    """
    files = {
        "arms.html": render_arms(page_of(comparison, command)),
        "arms.json": arm_report.as_json(comparison),
        "arms.md": arm_report.as_markdown(comparison),
    }
    with disk_errors(f"making {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_atomic(folder / name, text.encode("utf-8"))
    return [folder / name for name in files]


def page_of(comparison: Comparison, command: str) -> ArmsPage:
    """What the page shows."""
    notes = Footnotes()
    pairs, axis = _pairs(comparison, notes)
    header = comparison.arms[0].arm.headers[0]
    told = stamps([header for shown in comparison.arms for header in shown.arm.headers])
    runs = [(place, str(number)) for place, shown in enumerate(comparison.arms) for number in shown.arm.numbers]
    return ArmsPage(
        title=f"Arms on {header.data}",
        subtitle=arm_report.over_what(comparison),
        facts=[
            ("Protocol", header.protocol),
            ("Form", header.form),
            ("Base", comparison.base or "none"),
            ("Resamplings", f"{comparison.draws:,}, seed {comparison.seed}"),
        ],
        warnings=comparison.warnings,
        runs=[_legend(shown) for shown in comparison.arms],
        sections=[section for kind in _KINDS if (section := _section(comparison, *kind)).measures],
        pairs=pairs,
        pairs_axis=axis,
        pairs_note=_PAIRS,
        pairs_notes=notes.listed,
        heat_columns=[shown.arm.name for shown in _with_latents(comparison)],
        changed=_heat(comparison, "changed"),
        lost=_heat(comparison, "accuracy_lost"),
        slots=_slots(comparison),
        shared=[(name, values[0]) for name, values in told if len(set(values)) == 1],
        differing=[name for name, values in told if len(set(values)) > 1],
        differ=[
            (place, number, [_cut(values[run]) for _, values in told if len(set(values)) > 1])
            for run, (place, number) in enumerate(runs)
        ],
        command=command,
    )


def _legend(shown: ComparedArm) -> ShownRun:
    own = shown.arm
    facts = [(f"seed {number}", str(folder)) for number, folder in zip(own.numbers, own.folders, strict=True)]
    return ShownRun(own.name, "", [*facts, ("numbered", own.numbered)])


def _cut(value: str) -> str:
    """A value in a cell; hashes are cut."""
    return f"{value[:12]}…" if len(value) == 64 and " " not in value else value


# --- scores


def _section(comparison: Comparison, kind: str, key: str, title: str, intro: str) -> Section:
    names = [name for name in arm_report.shown_of(comparison) if kind_of(name) == kind]
    own = [shown.scores[name] for name in names for shown in comparison.arms if name in shown.scores]
    values = [value for score in own for value in (score.value, score.low, score.high, *score.seeds)]
    axis = share_axis() if kind == "share" else fitting_axis(values, percent=kind == "points")
    notes = Footnotes()
    measures = []
    for name in names:
        rows = [
            _row(place, shown.scores[name], name, axis, notes)
            for place, shown in enumerate(comparison.arms)
            if name in shown.scores
        ]
        measures.append(Measure(score_name(name), titled(name)[1], rows))
    return Section(key, title, f"{intro} {_EACH}", axis, measures, notes=notes.listed)


def _row(place: int, own: ArmScore, name: str, axis: Axis, notes: Footnotes) -> Row:
    percent, signed = kind_of(name) != "coefficient", kind_of(name) == "points"
    each = ", ".join(written(value, percent, signed) for value in own.seeds)
    spread = "" if own.spread is None else f"; standard deviation {written(own.spread, percent)}"
    interval = interval_of(own, name, signed)
    over = f"{plural(len(own.seeds), 'seed')}: {each}{spread}"
    drawn = _strip(axis, own.value, own.low, own.high, own.seeds)
    return Row(
        place,
        drawn,
        written(own.value, percent, signed),
        interval,
        over,
        "" if interval else notes.letter(own.withheld),
    )


def _strip(
    axis: Axis, value: float | None, low: float | None, high: float | None, seeds: Sequence[float | None]
) -> Strip:
    made = strip(axis, value, low, high)
    return Strip(made.dot, made.low, made.high, None, tuple(axis.place(one) for one in seeds if one is not None))


# --- differences


def _pairs(comparison: Comparison, notes: Footnotes) -> tuple[list[Pair], Axis | None]:
    rows = [row for row in comparison.differences if row.score in TESTED and row.difference is not None]
    if not rows:
        return [], None
    axis = fitting_axis([value for row in rows for value in (row.difference, row.low, row.high, *row.seeds)])
    places = {shown.arm.name: place for place, shown in enumerate(comparison.arms)}
    by_arm: dict[str, list[PairRow]] = {}
    for row in rows:
        by_arm.setdefault(row.arm, []).append(_pair_row(row, axis, notes))
    return [Pair(places[comparison.base or ""], places[arm], own) for arm, own in by_arm.items()], axis


def _pair_row(row: ArmDifference, axis: Axis, notes: Footnotes) -> PairRow:
    percent = kind_of(row.score) != "coefficient"
    interval = interval_of(row, row.score, signed=True)
    return PairRow(
        label=score_name(row.score),
        strip=_strip(axis, row.difference, row.low, row.high, row.seeds),
        difference=written(row.difference, percent, signed=True),
        interval=interval,
        footnote="" if interval else notes.letter(row.withheld),
        tests=arm_report.tests_of(row) + ("" if row.paired else "; seeds are not paired"),
        verdict=arm_report.verdict(row),
    )


# --- latents


def _with_latents(comparison: Comparison) -> list[ComparedArm]:
    return [shown for shown in comparison.arms if any(name.startswith("latents/") for name in shown.scores)]


def _heat(comparison: Comparison, last: str) -> list[LatentRow]:
    """A row for each change of the latents, a cell for each arm that has latents."""
    arms = _with_latents(comparison)
    changes = [*changes_of(comparison, slots=False), *changes_of(comparison, slots=True)]
    return [
        LatentRow(change.words, _meaning(change), [_cell(shown, f"{prefix_of(change)}/{last}") for shown in arms])
        for change in changes
    ]


def _meaning(change: Intervention) -> str:
    return MEANINGS.get(change.name, "So many visual slots in place of the model's own number.")


def _cell(shown: ComparedArm, name: str) -> LatentCell:
    own = shown.scores.get(name)
    if own is None or own.value is None:
        return LatentCell("", "", 0.0)
    signed = kind_of(name) == "points"
    return LatentCell(written(own.value, signed=signed), interval_of(own, name, signed), own.value)


def _slots(comparison: Comparison) -> Chart | None:
    lines = [
        (place, slot_points(slots_of(shown), own_slots(shown.arm.headers)))
        for place, shown in enumerate(comparison.arms)
    ]
    return chart("visual slots fed", lines)
