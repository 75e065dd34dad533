"""What changed latents do to answers: each query with its latents replaced, beside the same query plainly asked.

With S the pairs of a plain reply and one with latents replaced:

    changed       pairs whose replies do not say the same / S       (no answer is something said, too)
    text_changed  pairs whose words differ in any way / S           (a guard: were the latents replaced at all?)
    accuracy      right with latents replaced / S
    accuracy_lost (right plainly - right with latents replaced) / S
    follows       pairs that name the donor's answer / pairs whose donor has another answer that the query could have
    followed_plainly  the same share of the plain replies: how often that answer is named anyway
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmark.agreement import PLAIN, Key, Row, forms_of, said_of, summed
from benchmark.interventions.names import MEANINGS, PARTS, SLOTS, Intervention, intervention_of
from benchmark.metrics import Columns, Statistic, divided, ratio
from benchmark.records import LogLine
from benchmark.table import Floats, Sums

_RANK = (*MEANINGS, SLOTS)
_NAMES = ("pairs", "changed", "text_changed", "right", "right_plain", "told", "follows", "followed_plain")


def interventions_in(lines: Iterable[LogLine]) -> list[Intervention]:
    """Those that a log has lines of, in the order in which they are shown."""
    found = {change for variant in {line.variant for line in lines} if (change := intervention_of(variant)) is not None}
    return sorted(found, key=lambda one: (_RANK.index(one.name), one.slots or 0, PARTS.index(one.part)))


def effects(lines: Iterable[LogLine]) -> tuple[Sums, dict[str, Statistic]]:
    """The sums over pictures, and the scores by name ("latents/zeroed-visual/changed"), of every intervention of a log.

    Queries without their plain reply are left out.
    """
    log = list(lines)
    changes = interventions_in(log)
    rows: list[tuple[Key, Row]] = []
    told: set[str] = set()
    for key, own in forms_of(log, lambda variant: variant == PLAIN or intervention_of(variant) is not None).items():
        row: Row = {}
        for change in changes if PLAIN in own else ():
            if change.variant in own:
                added = _row(own[PLAIN], own[change.variant])
                row |= {_column(change, name): value for name, value in added.items()}
                told |= {change.variant} if "told" in added else set()
        rows.append((key, row))
    sums = summed(rows, [_column(change, name) for change in changes for name in _NAMES])
    return sums, {
        f"{change.variant.replace('-', '/', 1)}/{statistic.name}": statistic
        for change in changes
        for statistic in _statistics(change, change.variant in told)
    }


def changed_by_facet(lines: Iterable[LogLine]) -> dict[tuple[Intervention, str], tuple[int, int]]:
    """(Intervention, facet) -> pairs whose replies do not say the same, and all pairs."""
    log = list(lines)
    changes = interventions_in(log)
    found: dict[tuple[Intervention, str], tuple[int, int]] = {}
    for own in forms_of(log, lambda variant: variant == PLAIN or intervention_of(variant) is not None).values():
        for change in changes if PLAIN in own else ():
            if change.variant in own:
                plain = own[PLAIN]
                changed, pairs = found.get((change, plain.facet), (0, 0))
                found[change, plain.facet] = changed + (_said(plain) != _said(own[change.variant])), pairs + 1
    return found


def _column(change: Intervention, name: str) -> str:
    return f"{change.words} {name}"


def _statistics(change: Intervention, told: bool) -> Iterator[Statistic]:
    """The scores of one intervention; `told`: there are donors whose answer can be followed."""

    def share(name: str, above: str, below: str = "pairs") -> Statistic:
        return ratio(name, _column(change, above), _column(change, below))

    def lost(c: Columns) -> Floats:
        before, after, pairs = (c[_column(change, name)] for name in ("right_plain", "right", "pairs"))
        return divided(before - after, pairs)

    level = _column(change, "right_plain"), _column(change, "pairs")
    yield share("changed", "changed")
    yield Statistic("accuracy_lost", "difference", lost, level[1], "accuracy", level=level)
    yield share("accuracy", "right")
    yield share("text_changed", "text_changed")
    if told:
        yield share("follows", "follows", "told")
        yield share("followed_plainly", "followed_plain", "told")


def _row(plain: LogLine, replaced: LogLine) -> Row:
    row = {
        "pairs": True,
        "changed": _said(plain) != _said(replaced),
        "text_changed": plain.reply != replaced.reply,
        "right": replaced.correct,
        "right_plain": plain.correct,
    }
    if (other := replaced.donor_answer) is not None:
        named = [line.outcome == "answer" and not line.correct and line.answer == other for line in (plain, replaced)]
        row |= {"told": True, "followed_plain": named[0], "follows": named[1]}
    return {name: float(value) for name, value in row.items()}


def _said(line: LogLine) -> tuple[str, object]:
    return (line.outcome, said_of(line)) if line.outcome == "answer" else ("none", None)
