"""Two or more runs against each other: whether they may be compared, and what the comparison says, as text.

They may where the same was asked in the same way; otherwise the difference is named. The statistics are those of
`benchmark.comparison`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark import budgets
from benchmark.comparison import Difference, differences
from benchmark.opened import Run
from benchmark.records import Header
from benchmark.wording import between, kind_of, plural, word_of, written
from slvr_data.errors import UsageError

MUST_AGREE = (
    "data_revision", "form", "protocol", "prompt_sha256", "extraction", "seeds", "max_new_tokens",
)  # fmt: skip
"""Fields of a header that two runs must share, beside their picture budget (`benchmark.budgets`)."""
PICTURES = "pictures"
DESPITE = {
    PICTURES: (),
    "tokens": ("max_new_tokens",),
    "prompt": ("protocol", "prompt_sha256"),
    "extraction": ("extraction",),
}
"""Differences that runs may be compared in spite of, by the names that a command takes: fields of a header. Others
leave nothing that could be paired."""
WORDS = {
    "data_revision": "data revision",
    "prompt_sha256": "prompt text",
    "extraction": "version of the extraction rules",
    "max_new_tokens": "limit on new tokens",
}
"""What a person calls a field of the header, where that is not its name."""


LEVEL = 0.05
"""A difference is said to be one where p after Holm's correction is below."""


@dataclass(frozen=True)
class Comparing:
    """How runs are compared."""

    draws: int | None = None
    """Resamplings and exchanges; None: as many as the number of tests needs."""
    base: str | None = None
    """A run, by its name or its folder, that each other is compared with; None: every pair."""
    despite: tuple[str, ...] = ()
    """Names of `DESPITE`."""


def despite_of(text: str) -> tuple[str, ...]:
    """The names in a list such as "pictures,tokens".

    Raises:
        UsageError: one is unknown.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in DESPITE:
            raise UsageError(f"--despite {name}: give {', '.join(DESPITE)}; other differences leave nothing to pair")
    return names


def compared(runs: Sequence[Run], how: Comparing = Comparing()) -> list[Difference]:
    """Every pair of runs, or each with the base, on the scores of `benchmark.comparison.TESTED`.

    Raises:
        UsageError: they may not be compared, or none of them is the base.
    """
    check_comparable(runs, how.despite)
    base = None if how.base is None else _base(runs, how.base)
    return differences({run.name: run.lines for run in runs}, draws=how.draws, base=base)


def _base(runs: Sequence[Run], named: str) -> str:
    """The name of the run that is named by its name, folder or log."""
    for run in runs:
        if named == run.name or Path(named).resolve() in (run.folder.resolve(), run.log.path.resolve()):
            return run.name
    raise UsageError(f"--base {named}: it is none of the runs that are compared; name it among {_names(runs)}")


def _names(runs: Iterable[Run]) -> str:
    return ", ".join(str(run.folder) for run in runs)


def check_comparable(runs: Sequence[Run], despite: Collection[str] = ()) -> None:
    """Every run against the first, and the picture budgets of all pairs.

    Raises:
        UsageError: there are fewer than two, one is not whole, or two differ in what they must share.
    """
    if len(runs) < 2:
        raise UsageError("one run cannot be compared: name two or more (slvr-bench report shows one)")
    for run in runs:
        if run.state:
            raise UsageError(
                f"{run.name} is not whole ({run.state}): the command that began it goes on with it, "
                "and slvr-bench report shows it as it is"
            )
    for place, run in enumerate(runs):
        for other in runs[place + 1 :]:
            differing = disagreements(run.header, other.header, despite)
            if differing:
                raise UsageError(
                    f"{run.name} and {other.name} cannot be compared: {'; '.join(differing)}{_cure(differing)}"
                )
    for run in runs[1:]:
        _same_asks(runs[0], run)


def _cure(differing: Sequence[str]) -> str:
    """What can be done about picture budgets."""
    if not any(words.startswith(("picture budget", "least pixels")) for words in differing):
        return ""
    return " (ask both with one --max-pixels, or compare them all the same with --despite pictures)"


def disagreements(first: Header, second: Header, despite: Collection[str] = ()) -> list[str]:
    """What must agree and does not, in words; empty for two runs that may be compared."""
    found = []
    waived = {field for name in despite for field in DESPITE[name]}
    for name in MUST_AGREE:
        one, other = getattr(first, name), getattr(second, name)
        if one != other and name not in waived:
            found.append(f"{WORDS.get(name, name)} {_short(one)} and {_short(other)}")
    budget = "" if PICTURES in despite else budgets.disagreement(first, second)
    return [*found, budget] if budget else found


def in_spite(runs: Sequence[Run], despite: Collection[str]) -> str:
    """What runs are compared in spite of, in words; empty where nothing of it differs."""
    kept: dict[str, None] = {}
    for place, run in enumerate(runs):
        for other in runs[place + 1 :]:
            without = disagreements(run.header, other.header, despite)
            kept |= dict.fromkeys(set(disagreements(run.header, other.header)) - set(without))
    return "; ".join(sorted(kept))


def may_differ(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """What differs between the runs and may, by name: the model, its details, sampling, what was asked beside; how
    large pictures were to the models; and what the comparison is made in spite of.
    """
    headers = [run.header for run in runs]
    rows: list[tuple[str, list[object]]] = [
        (name, [getattr(header, name) for header in headers]) for name in ("model", "variants", "sampling")
    ]
    rows.append(("picture budget", [budgets.told(header) for header in headers]))
    rows.append(("visual tokens (mean)", [tokens_told(run) for run in runs]))
    rows += [(WORDS.get(name, name), [getattr(header, name) for header in headers]) for name in MUST_AGREE]
    details = dict.fromkeys(key for header in headers for key in header.model_details)
    rows += [(key, [header.model_details.get(key) for header in headers]) for key in details]
    return [
        (name.replace("_", " "), [_short(value) for value in values])
        for name, values in rows
        if any(value != values[0] for value in values)
    ]


def tokens_told(run: Run) -> str:
    """The mean number of visual tokens of a run's plain asks, in words."""
    mean = budgets.visual_tokens(run.lines)
    return "unknown" if mean is None else f"{mean:,.1f}"


def _same_asks(first: Run, second: Run) -> None:
    """The same plain asks: another limit, or a log that was put together by hand, is named by what it lacks."""
    one, other = (
        {line.ask_id: (line.question, line.choices) for line in run.lines if line.variant == "plain"}
        for run in (first, second)
    )
    for here, there, lacking in ((one, other, second), (other, one, first)):
        missing = [ask_id for ask_id in here if ask_id not in there]
        if missing:
            raise UsageError(
                f"{first.name} and {second.name} were not asked the same: {lacking.name} lacks {len(missing):,} of the "
                f"queries of the other, {missing[0]} for one; run both with the same --limit"
            )
    for ask_id, put in one.items():
        if other[ask_id] != put:
            raise UsageError(f"{first.name} and {second.name} were asked {ask_id} in other words or another order")


def _short(value: object) -> str:
    """A value in a sentence; hashes are cut."""
    if value is None or value == [] or value == {}:
        return "none"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:12] if len(text) == 64 and all(c in "0123456789abcdef" for c in text) else text


# --- what a comparison says


def verdict(row: Difference) -> str:
    """One sentence, after Holm's correction for all differences of the comparison."""
    if row.difference is None or row.p_adjusted is None:
        return "cannot be tested"
    if row.p_adjusted >= LEVEL:
        return "no difference is shown"
    return f"{row.second} is {'higher' if row.difference > 0 else 'lower'}"


def too_few(rows: Sequence[Difference]) -> str:
    """A sentence where no difference could be shown, however large: the least p times the tests is above `LEVEL`.

    Otherwise empty.
    """
    tests = [row for row in rows if row.p is not None]
    if not tests:
        return ""
    least = min(tests, key=lambda row: row.least_p)
    corrected = least.least_p * len(tests)
    if corrected <= LEVEL:
        return ""
    several = len({(row.first, row.second) for row in tests}) > 1
    cures = ["compare with one run (--base RUN)", "name fewer runs"] if several else []
    cures.append("ask about more pictures" if least.exact else "give more --draws")
    return (
        f"No difference can be shown here, however large: {plural(len(tests), 'test')}, and the least p that one of "
        f"them can have is {least.least_p:.2g}, after Holm's correction {min(1.0, corrected):.2g}. To show one, "
        f"{', or '.join([', '.join(cures[:-1]), cures[-1]] if cures[:-1] else cures)}."
    )


def p_written(p: float | None) -> str:
    """A p value as it is printed."""
    if p is None:
        return "–"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.001 else f"{p:.3f}"


def as_text(runs: Sequence[Run], rows: Sequence[Difference]) -> str:
    """The comparison for a terminal: what differs and may, then a block for every pair."""
    lines = [f"{run.name}: {run.folder}" for run in runs]
    lines += [
        f"may differ, and does: {name}: {' | '.join(values)}" for name, values in may_differ(runs) if name != "model"
    ]
    pair = None
    for row in rows:
        if (row.first, row.second) != pair:
            pair = (row.first, row.second)
            over = f"{row.n_items:,} regions of {row.n_clusters:,} pictures"
            lines += ["", f"{row.second} less {row.first}, over {over}"]
        lines.append("  " + _line(row))
    lines += ["", "Points or coefficients with 95 % intervals over pictures; p by exchanging the runs within pictures."]
    return "\n".join([*lines, *filter(None, [too_few(rows)]), ""])


def _line(row: Difference) -> str:
    percent = kind_of(row.score) != "coefficient"
    values = f"{written(row.first_value, percent)} -> {written(row.second_value, percent)}"
    shown = written(row.difference, percent, signed=True)
    interval = between(row.low, row.high, percent, signed=True) or f"no interval: {row.withheld}"
    return f"{word_of(row.score).label:<10} {values:<16} {shown} ({interval}); {tests_of(row)}: {verdict(row)}"


def tests_of(row: Difference) -> str:
    """The p values, and the difference that these items would show, in words."""
    parts = [f"p {p_written(row.p)}, after Holm {p_written(row.p_adjusted)}"]
    if row.mcnemar is not None:
        regions = f"{row.only_first:,} and {row.only_second:,} regions right in one alone"
        parts.append(f"exact McNemar p {p_written(row.mcnemar)} ({regions})")
    if row.detectable is not None:
        size = written(row.detectable, kind_of(row.score) != "coefficient")
        parts.append(f"a true difference of {size} would be found four times in five")
    return "; ".join(parts)
