"""Scores over replies to one query in several forms: other wordings, rotated choices, other pictures.

Right answers are the same for all wordings and rotations, so replies must agree; where the evidence is gone they must
change. As in `benchmark.metrics` every score is a function of sums over pictures. Sources: Krippendorff (2004) for
alpha, MMBench (2307.06281) for strict circular scores, ReVSI for transforms of the evidence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np

from benchmark.metrics import Columns, Statistic, divided, ratio
from benchmark.records import CANNOT_SEE, Item, LogLine
from benchmark.table import Floats, Sums

PLAIN, INTACT = "plain", "intact"
MOST_VALUES = 100
"""Answers that are counted each on its own in resamplings, the most frequent ones; see `_alpha`."""

Key = tuple[str, str, str, int]
"""Picture, item, query, seed: what the forms of one query share."""
Forms = dict[Key, dict[str, LogLine]]
"""By query: variant -> line."""
Row = dict[str, float]
"""What one query, or one item, adds to the columns."""


def forms_of(lines: Iterable[LogLine], wanted: Callable[[str], bool]) -> Forms:
    """The lines whose variant is wanted, by query, in an order that does not depend on the log's."""
    found: Forms = defaultdict(dict)
    for line in lines:
        if wanted(line.variant):
            found[line.image_id, line.item_id, line.query_id, line.seed][line.variant] = line
    return {key: found[key] for key in sorted(found)}


def summed(rows: Sequence[tuple[Key, Row]], names: Sequence[str]) -> Sums:
    """Rows added within pictures; a column that a row does not name gets 0."""
    images = {name: i for i, name in enumerate(sorted({key[0] for key, _ in rows}))}
    items = {name: i for i, name in enumerate(sorted({key[1] for key, _ in rows}))}
    columns = {name: np.zeros(len(rows)) for name in names}
    for g, (_, row) in enumerate(rows):
        for name in row.keys() & columns.keys():
            columns[name][g] = row[name]
    item_g = np.array([items[key[1]] for key, _ in rows], np.int64)
    cluster_g = np.array([images[key[0]] for key, _ in rows], np.int64)
    return Sums.of_groups(columns, item_g, cluster_g, len(images))


def said_of(line: LogLine) -> Hashable:
    """What an answer says, to compare answers by; only for lines whose outcome is "answer".

    Right answers all say the right one: an open question may have it in several wordings.
    """
    return " ".join((line.expected if line.correct and line.expected else line.answer or "").casefold().split())


# --- other wordings


def paraphrases(lines: Iterable[LogLine]) -> tuple[Sums, list[Statistic]]:
    """Flips, agreement and alpha over the wordings of a query: "plain" and "paraphrase-1", ...

    A flip is a pair of the query's own wording and another with different answers, over pairs with two answers.
    Agreement is the mean over queries of the share of equal pairs among all its answers. Replies without an answer
    are missing in both, and `lost` and `gained` count them over all pairs. Two right answers are equal, whatever
    their words.
    """
    forms = forms_of(lines, lambda variant: variant == PLAIN or variant.startswith("paraphrase-"))
    forms = {key: own for key, own in forms.items() if len(own) > 1}
    rows = [(key, _flips(own) | _agreeing(own)) for key, own in forms.items()]
    names = [*_FLIPS, "pairs", "pairs_answered", "agreeing", "agreeing_of", "replies", "right", "queries", "all_forms"]
    answers = [Counter(said_of(line) for line in own.values() if line.outcome == "answer") for own in forms.values()]
    truths: list[Counter[Hashable]] = [
        Counter(line.correct for line in own.values() if line.outcome == "answer") for own in forms.values()
    ]
    statistics = [
        ratio("flip_rate", "flip", "pairs_answered"),
        *(ratio(f"flip_{name}", name, "pairs_answered") for name in _FLIPS[1:4]),
        *(ratio(name, name, "pairs") for name in _FLIPS[4:]),
        ratio("pairwise_agreement", "agreeing", "agreeing_of"),
        ratio("accuracy", "right", "replies"),
        ratio("right_in_all", "all_forms", "queries"),
    ]
    for name, counts in (("alpha", answers), ("alpha_of_right", truths)):
        added, statistic = _alpha(name, counts)
        rows = [(key, row | more) for (key, row), more in zip(rows, added, strict=True)]
        names += list(dict.fromkeys(column for row in added for column in row))
        statistics.append(statistic)
    return summed(rows, _with(names, statistics)), statistics


_FLIPS = ("flip", "right_to_wrong", "wrong_to_right", "wrong_to_wrong", "lost", "gained")


def _flips(own: Mapping[str, LogLine]) -> Row:
    """Pairs of a query's own wording and another, by what became of the answer."""
    row: Row = defaultdict(float)
    first = own.get(PLAIN)
    for variant, line in own.items():
        if first is None or variant == PLAIN:
            continue
        row["pairs"] += 1
        answered = first.outcome == "answer", line.outcome == "answer"
        if answered == (True, True):
            row["pairs_answered"] += 1
            if said_of(first) != said_of(line):
                row["flip"] += 1
                row[f"{'right' if first.correct else 'wrong'}_to_{'right' if line.correct else 'wrong'}"] += 1
        elif answered[0] != answered[1]:
            row["lost" if answered[0] else "gained"] += 1
    return row


def _agreeing(own: Mapping[str, LogLine]) -> Row:
    counts = Counter(said_of(line) for line in own.values() if line.outcome == "answer")
    number, right = counts.total(), sum(line.correct for line in own.values())
    row: Row = {"replies": len(own), "right": right, "queries": 1, "all_forms": right == len(own)}
    if number > 1:
        equal = sum(count * (count - 1) for count in counts.values())
        row |= {"agreeing_of": 1, "agreeing": equal / (number * (number - 1))}
    return {name: float(value) for name, value in row.items()}


def _alpha(name: str, counts: Sequence[Counter[Hashable]]) -> tuple[list[Row], Statistic]:
    """Krippendorff's alpha for nominal values, with any number of values per unit.

    alpha = 1 - D_o / D_e over the n values of units with m_u >= 2: D_o = 1/n sum_u (m_u^2 - sum_v n_uv^2) /
    (m_u - 1), D_e = (n^2 - sum_v n_v^2) / (n (n - 1)). In resamplings the squares of values beyond the
    `MOST_VALUES` most frequent move in proportion to how often these are drawn; the score itself is exact.
    """
    usable = [count if count.total() > 1 else Counter() for count in counts]
    total: Counter[Hashable] = Counter()
    for count in usable:
        total.update(count)
    ranked = sorted(total, key=lambda value: (-total[value], str(value)))
    place = {value: f"{name} {i}" for i, value in enumerate(ranked[:MOST_VALUES])}
    number, apart, rare = f"{name} values", f"{name} apart", f"{name} rare"
    rows = []
    for count in usable:
        m = count.total()
        row: Row = {number: m, apart: 0.0, rare: 0.0}
        if m:
            row[apart] = (m * m - sum(n * n for n in count.values())) / (m - 1)
        for value, n in count.items():
            if value in place:
                row[place[value]] = n
            else:
                row[rare] += n * total[value]
        rows.append(row)
    kept = list(place.values())

    def formula(c: Columns) -> Floats:
        n = c[number]
        squares = sum((c[column] ** 2 for column in kept), c[rare])
        return 1 - divided(c[apart] * (n - 1), n**2 - squares)

    return rows, Statistic(name, "coefficient", formula, number, "kappa", level=("right", "replies"))


def _with(names: Sequence[str], statistics: Sequence[Statistic]) -> list[str]:
    """Columns, with those that the statistics count by even where no row has any."""
    return list(dict.fromkeys([*names, *(statistic.base for statistic in statistics)]))


# --- rotations of the choices


def circular(lines: Iterable[LogLine], queries: Mapping[str, int] | None = None) -> tuple[Sums, list[Statistic]]:
    """Strict circular scores, over queries that were asked in every rotation of their choices.

    A query is strictly right if it is right in all of them; an item if all its queries are, and it has two at least.
    `queries` tells how many queries items have: one of which some are missing is left out.
    """
    forms = forms_of(lines, lambda variant: variant == PLAIN or variant.startswith("rotation-"))
    rows: list[tuple[Key, Row]] = []
    items: dict[tuple[str, str, int], list[bool | None]] = defaultdict(list)
    for key, own in forms.items():
        whole = PLAIN in own and len(own[PLAIN].choices) > 1 and len(own) == len(own[PLAIN].choices)
        strict = all(line.correct for line in own.values())
        items[key[0], key[1], key[3]].append(strict if whole else None)
        if whole:
            right = sum(line.correct for line in own.values())
            rows.append((key, {"queries": 1.0, "strict": float(strict), "replies": len(own), "right": right}))
    for (image, item, seed), own_queries in items.items():
        there = len(own_queries) >= (queries or {}).get(item, 0)
        if there and len(own_queries) > 1 and None not in own_queries:
            rows.append(((image, item, "", seed), {"items": 1.0, "items_strict": float(all(own_queries))}))
    statistics = [
        ratio("circular_strict", "strict", "queries"),
        ratio("all_right_strict", "items_strict", "items"),
        ratio("accuracy", "right", "replies"),
    ]
    return summed(rows, ["queries", "strict", "replies", "right", "items", "items_strict"]), statistics


# --- other pictures


def evidence(lines: Iterable[LogLine], variant: str) -> tuple[Sums, list[Statistic]]:
    """Scores of one transform of the evidence.

    Hallucination rate: share of the replies to queries without a right answer but "cannot be seen" that name
    something. Declined: the share of them that decline to answer: nothing is made up, but the choice that says so is
    not taken either, so it is neither right nor a hallucination. Sensitivity: share right on the intact picture, less
    the share that names the intact picture's answer on the changed one, over the same queries: near 0 for a model
    that does not look.
    """
    forms = forms_of(lines, lambda name: name in (INTACT, variant))
    rows = []
    for key, own in forms.items():
        if variant not in own:
            continue
        line, intact = own[variant], own.get(INTACT)
        answered = line.outcome == "answer"
        row = {"replies": 1.0, "right": line.correct, "unseen": answered and line.answer == CANNOT_SEE}
        if line.expected is None:
            row |= {"gone": 1.0, "named": answered and not line.correct, "declined": line.outcome == "refused"}
        if intact is not None and intact.expected is not None:
            still = line.correct if line.expected is not None else answered and line.answer == intact.expected
            row |= {"paired": 1.0, "intact_right": intact.correct, "still": still}
        rows.append((key, {name: float(value) for name, value in row.items()}))
    statistics = [ratio("accuracy", "right", "replies"), ratio("said_unseen", "unseen", "replies")]
    if any("gone" in row for _, row in rows):
        statistics += [ratio("hallucination_rate", "named", "gone"), ratio("declined", "declined", "gone")]
    if variant != INTACT:
        level = ("intact_right", "paired")
        statistics.append(Statistic("sensitivity", "difference", _sensitivity, "paired", "accuracy", level=level))
    names = ["replies", "right", "unseen", "gone", "named", "declined", "paired", "intact_right", "still"]
    return summed(rows, names), statistics


def _sensitivity(c: Columns) -> Floats:
    return divided(c["intact_right"] - c["still"], c["paired"])


# --- queries that the same evidence decides


def contradictions(lines: Iterable[LogLine], items: Iterable[Item]) -> tuple[Sums, list[Statistic]]:
    """Answers about one region that cannot both be true, over pairs of answers that the same evidence decides.

    Query a entails query b where all profile fields that decide b are among those that decide a. An answer to a that
    is right then implies the right answer to b, so it contradicts a wrong answer to b. Two wrong answers may agree
    with each other and are no contradiction.
    """
    fields = {(item.item_id, query.query_id): frozenset(query.evidence) for item in items for query in item.queries}
    groups: dict[tuple[str, str, int], list[LogLine]] = defaultdict(list)
    for (image, item, _, seed), own in forms_of(lines, lambda variant: variant == PLAIN).items():
        if own[PLAIN].outcome == "answer":
            groups[image, item, seed].append(own[PLAIN])
    rows = []
    for (image, item, seed), answers in groups.items():
        row: Row = defaultdict(float)
        for i, one in enumerate(answers):
            for other in answers[i + 1 :]:
                first, second = (fields.get((item, line.query_id), frozenset()) for line in (one, other))
                forward, backward = bool(second) and second <= first, bool(first) and first <= second
                row["linked"] += forward or backward
                row["against"] += (forward and one.correct and not other.correct) or (
                    backward and other.correct and not one.correct
                )
        rows.append(((image, item, "", seed), row))
    return summed(rows, ["linked", "against"]), [ratio("contradiction_rate", "against", "linked")]
