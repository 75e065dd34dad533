"""The scores a second time: plain loops over log lines, written from the formulas in docs/statistics.md.

Nothing of `benchmark.table`, `metrics` or `agreement` is used. Slow, and meant to be read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, permutations
from math import comb, prod, sqrt

from benchmark.records import CANNOT_SEE, LogLine

Value = float | None
Groups = dict[tuple[str, int], list[LogLine]]


def ratio(above: float, below: float) -> Value:
    return above / below if below else None


def mean(values: Iterable[float]) -> Value:
    kept = list(values)
    return ratio(sum(kept), len(kept))


def groups(lines: Iterable[LogLine], variant: str = "plain") -> Groups:
    """(item, seed) -> its lines in order of position."""
    found: Groups = defaultdict(list)
    for line in lines:
        if line.variant == variant:
            found[line.item_id, line.seed].append(line)
    return {key: sorted(own, key=lambda line: line.position) for key, own in found.items()}


def whole(found: Groups) -> Groups:
    """Those with a reply at every place that their item has in any seed."""
    last: dict[str, int] = {}
    for (item, _), own in found.items():
        last[item] = max(last.get(item, 0), own[-1].position)
    return {key: own for key, own in found.items() if len(own) == last[key[0]] + 1}


def at(own: Sequence[LogLine], position: int) -> LogLine | None:
    return next((line for line in own if line.position == position), None)


def headline(lines: Sequence[LogLine]) -> dict[str, Value]:
    plain = [line for line in lines if line.variant == "plain"]
    every = groups(lines)
    found = whole(every)
    several = [own for own in found.values() if len(own) >= 2]
    scores = {
        "accuracy": mean(line.correct for line in plain),
        "accuracy_of_answered": ratio(
            sum(line.correct for line in plain), sum(line.outcome == "answer" for line in plain)
        ),
        **{name: mean(line.outcome == name for line in plain) for name in ("unparsed", "refused", "failed")},
        "accuracy_per_item": mean(sum(x.correct for x in own) / len(own) for own in found.values()),
        "all_right": mean(all(x.correct for x in own) for own in several),
        "any_right": mean(any(x.correct for x in own) for own in several),
        "mixed": mean(len({x.correct for x in own}) == 2 for own in several),
        "worst_of_k": worst_of_k(found, every),
        "incomplete": mean(key not in found for key in every),
        "over_chance": mean(line.correct - line.chance for line in plain if line.chance is not None),
        "all_right_over_chance": mean(
            all(x.correct for x in own) - prod(x.chance or 0.0 for x in own)
            for own in several
            if all(x.chance is not None for x in own)
        ),
        "lift_of_all": lift_of_all(several),
    }
    for k in (2, 3, 4):
        scores[f"cs_{k}"] = mean(
            comb(sum(x.correct for x in own), k) / comb(len(own), k) for own in found.values() if len(own) >= k
        )
    return scores | pair_scores(found)


def worst_of_k(found: Groups, every: Groups) -> Value:
    partial = {item for item, seed in every if (item, seed) not in found}
    found = {(item, seed): own for (item, seed), own in found.items() if item not in partial}
    items: dict[str, list[bool]] = defaultdict(list)
    counts: dict[str, int] = {}
    for (item, seed), own in found.items():
        items[item] += [x.correct for x in own]
        first = min(other for name, other in found if name == item)
        if seed == first:
            counts[item] = len(own)
    return mean(all(own) for item, own in items.items() if counts[item] >= 2)


def lift_of_all(several: Sequence[Sequence[LogLine]]) -> Value:
    right: dict[int, list[bool]] = defaultdict(list)
    for own in several:
        for line in own:
            right[line.position].append(line.correct)
    share = {position: sum(values) / len(values) for position, values in right.items()}
    return mean(all(x.correct for x in own) - prod(share[x.position] for x in own) for own in several)


def pair_scores(found: Groups) -> dict[str, Value]:
    pairs = [
        (first.correct, second.correct)
        for own in found.values()
        if (first := at(own, 0)) is not None and (second := at(own, 1)) is not None
    ]
    both = mean(a and b for a, b in pairs)
    one, two = mean(a for a, _ in pairs), mean(b for _, b in pairs)
    scores: dict[str, Value] = {
        "both": both,
        "p_q2_given_q1": mean(b for a, b in pairs if a),
        "p_q1_given_q2": mean(a for a, b in pairs if b),
        "lift": None,
        "phi": None,
        "kappa": None,
    }
    if both is not None and one is not None and two is not None:
        scores["lift"] = both - one * two
        scores["phi"] = ratio(both - one * two, sqrt(one * (1 - one) * two * (1 - two)))
        agreed = sum(a == b for a, b in pairs) / len(pairs)
        expected = one * two + (1 - one) * (1 - two)
        scores["kappa"] = ratio(agreed - expected, 1 - expected)
    ordered = [(a.correct, b.correct) for own in found.values() for a, b in permutations(own, 2)]
    share, together = mean(a for a, _ in ordered), mean(a and b for a, b in ordered)
    scores["p_other_given_one"] = mean(b for a, b in ordered if a)
    scores["correlation"] = (
        None if share is None or together is None else ratio(together - share**2, share * (1 - share))
    )
    return scores


def by(lines: Sequence[LogLine], key: Callable[[LogLine], str]) -> dict[str, Value]:
    found: dict[str, list[bool]] = defaultdict(list)
    for line in lines:
        if line.variant == "plain":
            found[key(line)].append(line.correct)
    return {name: mean(values) for name, values in found.items()}


def forms(lines: Sequence[LogLine], prefix: str) -> list[dict[str, LogLine]]:
    found: dict[tuple[str, str, int], dict[str, LogLine]] = defaultdict(dict)
    for line in lines:
        if line.variant == "plain" or line.variant.startswith(prefix):
            found[line.item_id, line.query_id, line.seed][line.variant] = line
    return [own for own in found.values() if len(own) > 1]


def paraphrases(lines: Sequence[LogLine]) -> dict[str, Value]:
    queries = forms(lines, "paraphrase-")
    pairs = [(own["plain"], x) for own in queries if "plain" in own for v, x in own.items() if v != "plain"]
    answered = [(a, b) for a, b in pairs if a.outcome == b.outcome == "answer"]
    kinds = {
        "right_to_wrong": (True, False),
        "wrong_to_right": (False, True),
        "wrong_to_wrong": (False, False),
    }
    answers = [[x.answer for x in own.values() if x.outcome == "answer"] for own in queries]
    truths = [[x.correct for x in own.values() if x.outcome == "answer"] for own in queries]
    return {
        "flip_rate": mean(a.answer != b.answer for a, b in answered),
        **{
            f"flip_{name}": mean(a.answer != b.answer and (a.correct, b.correct) == kind for a, b in answered)
            for name, kind in kinds.items()
        },
        "lost": mean(a.outcome == "answer" != b.outcome for a, b in pairs),
        "gained": mean(a.outcome != "answer" == b.outcome for a, b in pairs),
        "pairwise_agreement": mean(
            sum(a == b for a, b in combinations(own, 2)) / comb(len(own), 2) for own in answers if len(own) > 1
        ),
        "accuracy": mean(x.correct for own in queries for x in own.values()),
        "right_in_all": mean(all(x.correct for x in own.values()) for own in queries),
        "alpha": alpha(answers),
        "alpha_of_right": alpha(truths),
    }


def alpha(units: Iterable[Sequence[object]]) -> Value:
    """Krippendorff's alpha from coincidences: every ordered pair of values of a unit weighs 1 / (m - 1)."""
    usable = [unit for unit in units if len(unit) > 1]
    observed = sum(sum(a != b for a, b in permutations(unit, 2)) / (len(unit) - 1) for unit in usable)
    values = [value for unit in usable for value in unit]
    expected = sum(a != b for a, b in permutations(values, 2))
    if not expected:
        return None
    return 1 - observed / len(values) / (expected / (len(values) * (len(values) - 1)))


def circular(lines: Sequence[LogLine]) -> dict[str, Value]:
    whole: dict[tuple[str, str, int], bool] = {}
    replies: list[bool] = []
    for own in forms(lines, "rotation-"):
        if "plain" in own and set(own) == {"plain", *(f"rotation-{n}" for n in range(1, len(own["plain"].choices)))}:
            first = own["plain"]
            whole[first.item_id, first.query_id, first.seed] = all(x.correct for x in own.values())
            replies += [x.correct for x in own.values()]
    items = []
    for (item, seed), plain in groups(lines).items():
        keys = [(item, line.query_id, seed) for line in plain]
        if len(keys) > 1 and all(key in whole for key in keys):
            items.append(all(whole[key] for key in keys))
    return {"circular_strict": mean(whole.values()), "all_right_strict": mean(items), "accuracy": mean(replies)}


def evidence(lines: Sequence[LogLine], variant: str) -> dict[str, Value]:
    own = [line for line in lines if line.variant == variant]
    intact = {(x.item_id, x.query_id, x.seed): x for x in lines if x.variant == "intact"}
    gone = [x for x in own if x.expected is None]
    pairs = [(intact[key], x) for x in own if (key := (x.item_id, x.query_id, x.seed)) in intact]
    return {
        "accuracy": mean(x.correct for x in own),
        "said_unseen": mean(x.answer == CANNOT_SEE for x in own),
        "hallucination_rate": mean(x.outcome == "answer" and x.answer != CANNOT_SEE for x in gone),
        "declined": mean(x.outcome == "refused" for x in gone),
        "sensitivity": mean(a.correct - (b.answer == a.expected) for a, b in pairs),
    }


def contradiction_rate(lines: Sequence[LogLine], fields: Mapping[str, set[str]]) -> Value:
    """`fields`: query id -> what decides it."""
    found = []
    for own in groups(lines).values():
        for a, b in combinations([x for x in own if x.outcome == "answer"], 2):
            one, two = fields[a.query_id], fields[b.query_id]
            if one and two and (one <= two or two <= one):
                found.append((two <= one and a.correct and not b.correct) or (one <= two and b.correct > a.correct))
    return mean(found)
