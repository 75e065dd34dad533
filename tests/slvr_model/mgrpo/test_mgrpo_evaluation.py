"""Held-out questions: counted by hand; and evaluators from outside, as a function and as commands."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slvr_data.errors import RunError, UsageError
from slvr_model.decoding import decode
from slvr_model.mgrpo.evaluation import Commands, HeldOut, evaluator_of, scores_in
from slvr_model.right import is_right
from slvr_model.sft.settings import load_config
from tests.slvr_model.mgrpo.rollout_support import shown, talkative
from tests.slvr_model.objectives.objective_support import opened, tiny

PYTHON = shlex.quote(sys.executable)
ASK = (
    "import json, sys; print('asking'); print(json.dumps({'both': 0.5, 'name': sys.argv[1], 'step': int(sys.argv[2])}))"
)


def test_scores_are_those_counted_by_hand() -> None:
    model, tokenizer, objective = talkative(), tiny()[1].tokenizer, opened("slvr", talkative())
    groups = [shown(objective), shown(objective, 3, 2, 3, region="other")]
    said = []
    for group in groups:
        batch = objective.collate(group.asked, "left")
        decoded = decode(model, batch, max_new_tokens=16, **objective.form.options())
        replies = [objective.answer(ids) for ids in decoded.replies()]
        said.append(tuple(tokenizer.decode(list(ids), skip_special_tokens=True).strip() for ids in replies))
    wrong = (said[1][0], "something else", said[1][2])
    groups = [replace(groups[0], answers=said[0]), replace(groups[1], answers=wrong)]
    for rows in (1, 4, 16):
        found = HeldOut(groups, objective, tokenizer, rows, 16).scores(model, torch.device("cpu"))
        assert (found["accuracy"], found["all_right"], found["groups"]) == (pytest.approx(0.8), 0.5, 2)
    assert not model.training and 0 <= found["ended"] <= 1


def test_an_answer_is_right_by_the_rules_of_rewards() -> None:
    """Case, spaces and a full stop at the end are no mistakes; a letter may have its choice behind it."""
    for given, right, lettered, wanted in (
        ("Dark  red.", "dark red", False, True),
        ("dark", "dark red", False, False),
        ("b. red", "B", True, True),
        ("b. red", "B", False, False),
        ("A", "B", True, False),
    ):
        assert is_right(given, right, lettered) == wanted, given
    model, objective = talkative(), opened("slvr", talkative())
    group = shown(objective)
    held = HeldOut([group], objective, tiny()[1].tokenizer, 4, 16)
    decoded = decode(model, objective.collate(group.asked, "left"), max_new_tokens=16, **objective.form.options())
    said = [held.tokenizer.decode(list(objective.answer(ids)), skip_special_tokens=True) for ids in decoded.replies()]
    held.shown = [replace(group, answers=tuple(f" {one.upper()}." for one in said))]
    assert held.scores(model, torch.device("cpu"))["accuracy"] == 1


def test_commands_leave_numbers_as_their_last_line_or_as_a_file(tmp_path: Path) -> None:
    one = evaluator_of(f'{PYTHON} -c "{ASK}" {{checkpoint}} {{step}}', tmp_path)
    assert one is not None and one("folder", 7) == {"both": 0.5, "step": 7.0}
    write = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.mkdir(); (p / 'scores.json').write_text(sys.argv[2])"
    report = json.dumps({"runs": [{"scores": {"accuracy": {"value": 0.25, "low": 0}, "none": {"value": None}}}]})
    two = evaluator_of(f"{PYTHON} -c pass {{checkpoint}} && {PYTHON} -c \"{write}\" {{out}} '{report}'", tmp_path)
    assert two is not None and two("folder", 8) == {"accuracy": 0.25}


def test_the_commands_of_the_documentation_are_two(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/training.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if "evaluation.evaluator=" in line)
    assignment = shlex.split(line)[1]
    told = load_config("mgrpo-7b", [assignment], "mgrpo").evaluation.evaluator
    found = evaluator_of(told, tmp_path)
    assert isinstance(found, Commands)
    assert [(words[:2], words[-2:]) for words in found.commands] == [
        (["slvr-bench", "run"], ["--out", "{out}"]), (["slvr-bench", "report"], ["--out", "{out}"])
    ]  # fmt: skip


def test_evaluators_that_do_not_work_are_said(tmp_path: Path) -> None:
    for text, says in (
        (
            f"{PYTHON} -c \"import sys; sys.exit('no such items')\" {{checkpoint}}",
            "failed at step 1.*no such items",
        ),
        (f"{PYTHON} -c pass {{checkpoint}}", "left no scores at step 1"),
        ("/nowhere/at-all {checkpoint}", "cannot be started"),
    ):
        found = evaluator_of(text, tmp_path)
        assert found is not None
        with pytest.raises(RunError, match=says):
            found("folder", 1)
    for text, says in (
        ("slvr-bench run --data x", "a command needs {checkpoint}"),
        ("json", "give package.module:function"),
        ("json:nothing", "has no attribute"),
        ("no_such_package_at_all:f", "No module named"),
    ):
        with pytest.raises(UsageError, match=says):
            evaluator_of(text, tmp_path)
    assert evaluator_of(None, tmp_path) is None and evaluator_of("json:dumps", tmp_path) is json.dumps


def test_only_numbers_are_scores() -> None:
    assert scores_in({"a": 1, "b": True, "c": "x", "d": float("nan"), "e": {"value": 2}}) == {"a": 1.0, "e": 2.0}
    with pytest.raises(ValueError, match="no numbers"):
        scores_in([])
