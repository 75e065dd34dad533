"""`choices`: they are distinct, one of them is the answer, and index and chance say so."""

from __future__ import annotations

from slvr_data.checks.base import failed, passed
from slvr_data.checks.queries.base import CheckedGroup, normal
from slvr_data.schema import Query, Verdict

NAME = "choices"
MOST = 4


def check_choices(checked: CheckedGroup, query: Query) -> Verdict:
    """Fails with "choices-absent", "choices-number", "choices-repeated", "answer-not-in-choices", "index-wrong" or
    "chance-wrong".

    An open question of a source has no choices, no index and no chance. Two texts may differ in case alone.
    """
    fault = choices_fault(query)
    return failed(NAME, *fault) if fault else passed(NAME)


def choices_fault(query: Query) -> tuple[str, str] | None:
    """What is wrong with a query's choices, answer, index and chance: a reason code and evidence."""
    choices, index = query.choices, query.answer_index
    if not choices:
        if query.origin == "generated":
            return "choices-absent", "a generated question has choices"
        if index is not None or query.chance is not None:
            return "index-wrong", f"an open question has answer_index {index} and chance {query.chance}"
        return None
    if not 2 <= len(choices) <= MOST:
        return "choices-number", f"{len(choices)} choices: give 2 to {MOST}"
    texts = [" ".join(choice.split()) if query.facet == "visible_text" else normal(choice) for choice in choices]
    if len(set(texts)) < len(texts):
        return "choices-repeated", f"{choices}"
    if query.answer not in choices:
        return "answer-not-in-choices", f"{query.answer!r} is none of {choices}"
    if index is None or not 0 <= index < len(choices) or choices[index] != query.answer:
        return "index-wrong", f"answer_index {index}, the answer is at {choices.index(query.answer)}"
    if query.chance is None or abs(query.chance - 1 / len(choices)) > 1e-6:
        return "chance-wrong", f"chance {query.chance} with {len(choices)} choices"
    return None
