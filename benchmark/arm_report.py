"""What a comparison of arms says: as text for a terminal, as JSON with everything, and as Markdown for a paper."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.arm_runs import ComparedArm, Comparison
from benchmark.arms import ArmDifference, ArmScore
from benchmark.compare import LEVEL, p_written
from benchmark.exports import markdown_text
from benchmark.interventions.names import SLOTS, Intervention, intervention_of
from benchmark.interventions.slots import own_slots, slot_scores
from benchmark.wording import between, kind_of, plural, titled, written

SHOWN = (
    "accuracy", "both", "all_right", "lift", "phi", "unparsed", "failed",
    "edit_changed", "edit_followed", "edit_stayed",
    "latents/picture/changed", "latents/picture/follows", "latents/picture/accuracy_lost",
)  # fmt: skip
"""Scores of the terminal's table and of the page's plots, where an arm has them."""
HEADLINE = ("accuracy", "both", "lift", "phi")
"""Columns of the Markdown table."""


def shown_of(comparison: Comparison) -> list[str]:
    """The scores of `SHOWN` that some arm has."""
    return [name for name in SHOWN if any(name in arm.scores for arm in comparison.arms)]


def difference_of(comparison: Comparison, arm: str, score: str) -> ArmDifference | None:
    """The difference of an arm from the base arm."""
    return next((row for row in comparison.differences if (row.arm, row.score) == (arm, score)), None)


def score_name(score: str) -> str:
    """A score's title, with the latents that it is of: "picture: Answers changed"."""
    return titled(score)[0]


def over_what(comparison: Comparison) -> str:
    """What the scores are over."""
    header = comparison.arms[0].arm.headers[0]
    first = comparison.arms[0].scores["accuracy"]
    over = f"{plural(first.n_items, 'region')} of {plural(first.n_clusters, 'picture')}"
    return f"{header.data} (revision {header.data_revision[:12]}), {over}"


# --- as text


def as_text(comparison: Comparison) -> str:
    """A block for every score, a row for every arm."""
    lines = [f"{over_what(comparison)}; 95 % intervals over seeds and pictures"]
    for shown in comparison.arms:
        own = shown.arm
        seeds = ", ".join(map(str, own.numbers))
        lines.append(f"{own.name}: {plural(len(own.numbers), 'seed')} {seeds} ({own.numbered})")
    lines += [f"note: {warning}" for warning in comparison.warnings]
    width = max(len(shown.arm.name) for shown in comparison.arms)
    for score in shown_of(comparison):
        lines += ["", score_name(score)]
        for shown in comparison.arms:
            if score in shown.scores:
                lines.append("  " + _line(comparison, shown, score, width))
    if comparison.base is not None:
        lines += ["", f"less {comparison.base}: p of Student's t over seeds and pictures, after Holm where it says so"]
    return "\n".join([*lines, ""])


def _line(comparison: Comparison, shown: ComparedArm, score: str, width: int) -> str:
    own = shown.scores[score]
    percent = kind_of(score) != "coefficient"
    each = " ".join(written(value, percent) for value in own.seeds)
    spread = "" if own.spread is None else f"sd {written(own.spread, percent)}  "
    interval = interval_of(own, score)
    first = f"{shown.arm.name:<{width}}  {written(own.value, percent):>5} {interval and f'({interval})':<16}  {spread}"
    row = difference_of(comparison, shown.arm.name, score)
    lines = [f"{first}[{each}]"]
    if own.withheld and not interval:
        lines.append(f"no interval: {own.withheld}")
    if row is not None:
        lines.append(f"less {row.base}: {difference_words(row)}: {verdict(row)}")
    return f"\n{' ' * (width + 4)}".join(lines)


def interval_of(own: ArmScore | ArmDifference, score: str, signed: bool = False) -> str:
    """An interval as it is printed; empty where there is none."""
    return between(own.low, own.high, kind_of(score) != "coefficient", signed)


def difference_words(row: ArmDifference) -> str:
    """A difference with its interval and p, in words."""
    percent = kind_of(row.score) != "coefficient"
    interval = interval_of(row, row.score, signed=True) or "no interval"
    return f"{written(row.difference, percent, signed=True)} ({interval}), {tests_of(row)}"


def tests_of(row: ArmDifference) -> str:
    """p, and what these seeds and pictures would show, in words."""
    parts = [
        f"p {p_written(row.p)}" + (f", after Holm {p_written(row.p_adjusted)}" if row.p_adjusted is not None else "")
    ]
    if row.detectable is not None:
        size = written(row.detectable, kind_of(row.score) != "coefficient")
        parts.append(f"a true difference of {size} would be found four times in five")
    return "; ".join(parts)


def verdict(row: ArmDifference) -> str:
    """One sentence; after Holm's correction where the score is one of those that it is made for."""
    p = row.p if row.p_adjusted is None else row.p_adjusted
    if row.difference is None or p is None:
        return "cannot be tested"
    if p >= LEVEL:
        return "no difference is shown"
    return f"{row.arm} is {'higher' if row.difference > 0 else 'lower'}"


# --- as JSON


def as_json(comparison: Comparison) -> str:
    """One object with every score of every arm and seed, and every difference; null where there is none."""
    tree: dict[str, Any] = {
        "kind": "slvr-bench arms",
        "version": 1,
        "draws": comparison.draws,
        "seed": comparison.seed,
        "base": comparison.base,
        "warnings": list(comparison.warnings),
        "arms": [_arm(shown) for shown in comparison.arms],
        "differences": [row.model_dump(mode="json") for row in comparison.differences],
    }
    return json.dumps(tree, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _arm(shown: ComparedArm) -> dict[str, Any]:
    own = shown.arm
    return {
        "name": own.name,
        "numbered": own.numbered,
        "seeds": [
            {"number": number, "run": str(folder), "header": header.model_dump(mode="json")}
            for number, folder, header in zip(own.numbers, own.folders, own.headers, strict=True)
        ],
        "scores": {name: score.model_dump(mode="json") for name, score in shown.scores.items()},
    }


# --- as Markdown


def as_markdown(comparison: Comparison) -> str:
    """Tables of scores, differences, replaced latents and numbers of slots, and what they are of."""
    parts = [_score_table(comparison), _difference_table(comparison), _latent_table(comparison), slot_table(comparison)]
    notes = "".join(f"\n* {markdown_text(warning)}." for warning in comparison.warnings)
    said = (
        f"{markdown_text(over_what(comparison))}. Percent, lift in points, phi from -1 to 1; 95 % intervals over seeds "
        "and pictures; ± is the standard deviation between seeds."
    )
    return "\n\n".join([said + notes, *(part for part in parts if part)]) + "\n"


def _score_table(comparison: Comparison) -> str:
    columns = ["arm", "seeds", *(score_name(name) for name in HEADLINE)]
    rows = [
        [shown.arm.name, str(len(shown.arm.numbers)), *(_cell(shown.scores.get(name), name) for name in HEADLINE)]
        for shown in comparison.arms
    ]
    return _table(columns, rows, left=1)


def _cell(own: ArmScore | None, score: str) -> str:
    if own is None or own.value is None:
        return "–"
    percent = kind_of(score) != "coefficient"
    spread = "" if own.spread is None else f" ± {written(own.spread, percent)}"
    interval = interval_of(own, score)
    return written(own.value, percent) + spread + (f" ({interval})" if interval else "")


def _difference_table(comparison: Comparison) -> str:
    told = [row for row in comparison.differences if row.p_adjusted is not None]
    if not told:
        return ""
    rows = []
    for row in told:
        percent = kind_of(row.score) != "coefficient"
        shown = written(row.difference, percent, signed=True)
        interval = interval_of(row, row.score, signed=True)
        paired = "yes" if row.paired else "no"
        name = f"{row.arm} less {row.base}"
        cells = [shown, interval or "withheld", p_written(row.p), p_written(row.p_adjusted), paired]
        rows.append([name, score_name(row.score), *cells, verdict(row)])
    return _table(["arms", "score", "difference", "interval", "p", "p, Holm", "seeds paired", ""], rows, left=2)


def changes_of(comparison: Comparison, slots: bool) -> list[Intervention]:
    """The interventions that some arm has: numbers of slots, or the others."""
    names = dict.fromkeys(
        name.split("/")[1] for shown in comparison.arms for name in shown.scores if name.endswith("/changed")
    )
    found = [intervention_of(f"latents-{name}") for name in names]
    own = [change for change in found if change is not None and (change.name == SLOTS) == slots]
    return sorted(own, key=lambda change: change.slots or 0) if slots else own


def _latent_table(comparison: Comparison) -> str:
    arms = [shown for shown in comparison.arms if any(name.startswith("latents/") for name in shown.scores)]
    rows = []
    for change in changes_of(comparison, slots=False):
        for last in ("changed", "accuracy_lost", "follows", "followed_plainly"):
            name = f"{prefix_of(change)}/{last}"
            if any(name in shown.scores for shown in arms):
                cells = [_cell(shown.scores.get(name), name) for shown in arms]
                rows.append([change.words, score_name(name).partition(": ")[2], *cells])
    return _table(["latents replaced", "score", *(shown.arm.name for shown in arms)], rows, left=2) if rows else ""


def prefix_of(change: Intervention) -> str:
    """What the names of an intervention's scores begin with: "latents/picture-visual"."""
    return change.variant.replace("-", "/", 1)


def slots_of(shown: ComparedArm) -> dict[int, ArmScore]:
    """Number of visual slots -> accuracy of the arm with so many."""
    return slot_scores(shown.scores, own_slots(shown.arm.headers))


def slot_table(comparison: Comparison) -> str:
    """Accuracy over the number of slots: a row per arm; empty where no arm has any."""
    by_arm: Mapping[str, dict[int, ArmScore]] = {shown.arm.name: slots_of(shown) for shown in comparison.arms}
    numbers = sorted({number for own in by_arm.values() for number in own})
    rows = [[name, *(_cell(own.get(number), "accuracy") for number in numbers)] for name, own in by_arm.items() if own]
    return _table(["accuracy with slots", *map(str, numbers)], rows, left=1) if rows else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table, its first `left` columns to the left."""
    rule = [" --- "] * left + [" ---: "] * (len(columns) - left)
    lines = ["| " + " | ".join(markdown_text(name) for name in columns) + " |", "|" + "|".join(rule) + "|"]
    lines += ["| " + " | ".join(markdown_text(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
