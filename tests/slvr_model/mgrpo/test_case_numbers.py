"""Numbers over the steps, against a hand-made run."""

from __future__ import annotations

from typing import Any

import pytest

from slvr_model.mgrpo.case_numbers import by_group, counted, is_mixed, is_right, names, told


def row(step: int, region: str, query: str, rollout: int, reward: float | None, **changed: Any) -> dict[str, Any]:
    plain = {
        "step": step, "region_id": region, "query_id": query, "facet": "color", "rollout": rollout, "answer": "Red ",
        "right": "red", "formed": True, "tokens": 2, "rewards": [{"term": "brief", "value": reward}], "reward": reward,
    }  # fmt: skip
    return plain | changed


def test_right_is_what_the_answers_term_says_and_else_the_same_words() -> None:
    assert is_right(row(0, "r", "q", 0, 1.0)) and not is_right(row(0, "r", "q", 0, 1.0, answer="blue"))
    judged = [{"term": "format", "value": 0.0}, {"term": "answer", "value": 1.0}]
    assert is_right(row(0, "r", "q", 0, 1.0, answer="crimson", rewards=judged))
    assert not is_right(row(0, "r", "q", 0, 1.0, rewards=[{"term": "answer", "value": 0.5}]))
    assert is_right(row(0, "r", "q", 0, 1.0, rewards=[{"term": "answer", "value": None}]))


def test_a_question_is_mixed_where_its_rollouts_earn_different_rewards() -> None:
    assert is_mixed([row(0, "r", "q", g, reward) for g, reward in enumerate((1.0, 1.0, 0.0))])
    assert not is_mixed([row(0, "r", "q", g, reward) for g, reward in enumerate((0.3, 0.1 + 0.2, None))])
    assert is_mixed([row(0, "r", "q", g, None, rewards=[{"term": "a", "value": g}]) for g in range(2)])
    assert not is_mixed([row(0, "r", "q", 0, 1.0)])


def test_means_over_the_steps() -> None:
    wrong = {"answer": "blue"}
    rows = [
        row(1, "r1", "q1", 0, 1.0), row(1, "r1", "q1", 1, 0.0, **wrong),
        row(1, "r1", "q2", 0, 1.0), row(1, "r1", "q2", 1, 1.0),
        row(2, "r1", "q1", 0, 0.0, formed=False, tokens=6, **wrong), row(2, "r1", "q1", 1, None, **wrong),
        row(2, "r2", "q3", 0, 0.5), row(2, "r2", "q3", 1, 0.5),
    ]  # fmt: skip
    first, second = counted(by_group(rows), 2)
    value = {name: mean.value for name, mean in first.means.items()}
    assert (first.first, first.last, first.groups, first.rollouts) == (1, 1, 1, 4)
    assert value == {
        "reward": 0.75, "right": 0.75, "formed": 1, "tokens": 2, "term brief": 0.75, "all right": 0.5, "mixed": 0.5,
    }  # fmt: skip
    value = {name: mean.value for name, mean in second.means.items()}
    assert (second.groups, second.rollouts) == (2, 4)
    assert value["reward"] == pytest.approx(1 / 3) and value["all right"] == 0.5 and value["mixed"] == 0
    assert value["formed"] == 0.75 and value["tokens"] == 3
    (whole,) = counted(by_group(rows), 1)
    assert (whole.first, whole.last, whole.groups) == (1, 2, 3) and whole.means["right"].value == 5 / 8
    assert names([whole]) == ["reward", "right", "all right", "mixed", "formed", "tokens", "term brief"]


def test_steps_of_several_processes_are_one_step() -> None:
    rows = [row(step, region, "q", 0, 1.0) for region in ("r1", "r2") for step in (1, 2, 3)]  # file after file
    found = counted(by_group(rows), 2)
    assert [(one.first, one.last, one.groups) for one in found] == [(1, 2, 4), (3, 3, 2)]
    head, *lines = told(found).splitlines()
    assert " ".join(head.split()) == "steps groups reward right all right mixed formed tokens term brief"
    assert lines[0].split() == ["1-2", "4", "1.00", "100%", "100%", "0%", "100%", "2.00", "1.00"]
    assert len({len(line) for line in [head, *lines]}) == 1
