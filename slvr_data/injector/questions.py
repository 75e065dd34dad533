"""Errors in generated questions: wrong answers, and references that fit several things or none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from slvr_data.injector.base import Corruption, Surroundings, dice, pick
from slvr_data.injector.profiles import VAGUE
from slvr_data.queries.references import references
from slvr_data.schema import Query

Spoil = Callable[[Query, Surroundings, Random], Query | None]


def corrupt_query(
    query: Query, around: Surroundings, error: str, seed: int, kind: str | None = None
) -> Corruption[Query] | None:
    """The question with one error of a class (and kind); None where it has nothing to spoil so."""
    random = dice(seed, error, kind or "", query.query_id)
    kinds = QUERY_KINDS[error]
    for name in random.sample(sorted(kinds), len(kinds)) if kind is None else [kind]:
        spoilt = kinds[name](query, around, random)
        if spoilt is not None:
            return Corruption(error, name, spoilt)
    return None


def _another_answer(facet: str, query: Query, around: Surroundings, random: Random) -> Query | None:
    """A wrong choice given as the right one."""
    wrong = pick(random, [choice for choice in query.choices if choice != query.answer])
    if query.facet != facet or wrong is None:
        return None
    return query.model_copy(update={"answer": wrong, "answer_index": query.choices.index(wrong)})


def _reference(query: Query, around: Surroundings) -> str | None:
    """The phrase by which the question names its region."""
    found = [r.phrase for r in references(around.picture, around.region) if r.phrase in _lower(query.question)]
    return max(found, key=len, default=None)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _renamed(query: Query, phrase: str, instead: str) -> Query:
    def change(text: str) -> str:
        changed = _lower(text).replace(phrase, instead)
        return changed[0].upper() + changed[1:]

    return query.model_copy(
        update={"question": change(query.question), "paraphrases": [change(text) for text in query.paraphrases]}
    )


def _ambiguous(query: Query, around: Surroundings, random: Random) -> Query | None:
    """The bare name of which the picture shows several."""
    phrase, label = _reference(query, around), around.region.label
    same = [other for other in around.others if other.label == label]
    if phrase is None or label is None or not same or phrase == f"the {label}":
        return None
    return _renamed(query, phrase, f"the {label}")


def _invisible(query: Query, around: Surroundings, random: Random) -> Query | None:
    """About a thing of which the picture shows none."""
    phrase, word = _reference(query, around), pick(random, around.absent)
    return None if phrase is None or word is None else _renamed(query, phrase, f"the {word}")


def _vague_reference(query: Query, around: Surroundings, random: Random) -> Query | None:
    phrase = _reference(query, around)
    return None if phrase is None else _renamed(query, phrase, f"the {random.choice(VAGUE[:3])}")


def _vague_answer(query: Query, around: Surroundings, random: Random) -> Query | None:
    if not query.choices or query.answer_index is None:
        return None
    word = random.choice((*VAGUE, "unknown", "various"))
    choices = [word if i == query.answer_index else choice for i, choice in enumerate(query.choices)]
    return query.model_copy(update={"answer": word, "choices": choices})


def _false_attribute(query: Query, around: Surroundings, random: Random) -> Query | None:
    """A pattern in the reference that the thing does not have."""
    phrase, mine = _reference(query, around), around.region.row.profile.appearance.material
    label = around.region.label
    if phrase is None or label is None or mine is None or query.facet == "material":
        return None
    wrong = random.choice([m for m in ("striped", "dotted", "checkered") if m != mine])
    return _renamed(query, phrase, f"the {wrong} {label}")


def _answers(*facets: str) -> dict[str, Spoil]:
    return {facet: partial(_another_answer, facet) for facet in facets}


QUERY_KINDS: dict[str, dict[str, Spoil]] = {
    "color": _answers("color"),
    "action/pose": _answers("action"),
    "spatial": _answers("size", "position", "orientation", "depth", "relation"),
    "hallucinated attribute": _answers("material", "visible_text") | {"reference": _false_attribute},
    "invisible object": {"reference": _invisible},
    "held object": _answers("interaction"),
    "ambiguous reference": {"bare name": _ambiguous},
    "vague": {"reference": _vague_reference, "answer": _vague_answer},
    "other": _answers("entity", "count"),
}
"""Class -> kind -> how it is done."""
