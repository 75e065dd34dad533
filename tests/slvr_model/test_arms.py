"""The comparison of objectives: equal steps on equal samples, data with one query a region, runs that go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from slvr_data.errors import UsageError
from slvr_model.checkpoints import open_checkpoint
from slvr_model.lessons import Lesson, lessons
from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import checked_objective
from slvr_model.objectives.kept import layout_of
from slvr_model.recipes import arms
from slvr_model.recipes.arms import ARMS, COMMON, SETTINGS, ArmTeacher, train_arm
from slvr_model.teaching import Teacher
from slvr_model.tiny import new_tiny

SMALL = replace(SETTINGS, steps=2, pictures=2, questions=3)


@pytest.fixture(scope="module")
def few() -> list[Lesson]:
    return list(lessons("easy", 5, 6))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    model, processor = new_tiny(4)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def teacher(name: str) -> tuple[Any, ArmTeacher]:
    model, processor = new_tiny(4)
    objective = open_objective(checked_objective({**COMMON, **ARMS[name].objective}), model, processor.tokenizer)
    made = ArmTeacher(
        Teacher(processor.tokenizer, SMALL), objective, model.latent_config.semantic_dim, ARMS[name].single
    )
    return processor.tokenizer, made


def shown(name: str, few: list[Lesson], step: int) -> list[tuple[str, str]]:
    """(question, answer) of everything that a step shows, in order."""
    tokenizer, made = teacher(name)
    batch, found = made.batch(few, step), []
    for ids_L, blocks_L in zip(batch.ids_BL, batch.blocks_BL, strict=True):
        for number in range(1, int(blocks_L.max()) + 1):
            text = tokenizer.decode(ids_L[blocks_L == number])
            question, reply = text.split("<|im_end|>", 1)
            found.append((question, reply.rsplit(":", 1)[-1]))
    return found


def test_all_arms_see_the_same_samples_in_the_same_order(few: list[Lesson]) -> None:
    steps = range(3)
    wanted = [shown("direct", few, step) for step in steps]
    assert len({question for one in wanted for question, _ in one}) > 5
    for name, arm in ARMS.items():
        if not arm.single:
            assert [shown(name, few, step) for step in steps] == wanted, name


def test_data_with_one_query_a_region_asks_each_region_one_thing(few: list[Lesson]) -> None:
    _, made = teacher("text-single")
    asked: dict[str, set[str]] = {}
    for lesson in few:
        for thing in lesson.things:
            if thing.questions:
                asked.setdefault(thing.text, set()).add(thing.questions[made._own(thing)].facet)
    single = {question for step in range(30) for question, _ in shown("text-single", few, step)}
    several = {question for step in range(30) for question, _ in shown("text", few, step)}
    assert all(len(facets) == 1 for facets in asked.values())
    assert len(single) < 0.7 * len(several)


@pytest.mark.parametrize("name", ["direct", "pause", "text", "slvr-k4", "multi-encoder"])
def test_an_arm_is_trained_and_its_checkpoint_says_how_it_replies(
    name: str, few: list[Lesson], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arms, "SETTINGS", SMALL)
    folder = train_arm(tmp_path, name, 1, base, (few, "hash"), tell=lambda line: None)
    model, _ = open_checkpoint(str(folder))
    layout, report = layout_of(model), json.loads((folder / "report.json").read_text())
    assert layout is not None and layout.kind == ARMS[name].objective["kind"] and layout.echo
    assert model.latent_config.visual_slots == (ARMS[name].slots or 2)
    assert report["costs"]["samples"] == 2 * 2 * 3 and report["costs"]["positions"] > report["costs"]["replied"] > 0
    before, _ = open_checkpoint(str(base))
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before.state_dict()[n])}
    assert changed and not any(n.startswith("model.visual") for n in changed)


def test_an_arm_goes_on_to_the_same_bits_and_refuses_another_base(
    few: list[Lesson], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arms, "SETTINGS", SMALL)
    whole = train_arm(tmp_path / "whole", "slvr", 3, base, (few, "hash"), tell=lambda line: None)

    class StoppedError(Exception):
        pass

    def stop(line: str) -> None:
        raise StoppedError

    train = arms.Run.train
    monkeypatch.setattr(arms.Run, "train", lambda self, until, tell: train(self, until, save_every=1, tell=tell))
    with pytest.raises(StoppedError):
        train_arm(tmp_path / "parts", "slvr", 3, base, (few, "hash"), tell=stop)
    monkeypatch.setattr(arms.Run, "train", train)
    parts = train_arm(tmp_path / "parts", "slvr", 3, base, (few, "hash"), tell=lambda line: None)
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    train_arm(tmp_path / "parts", "slvr", 3, base, (few, "hash"), tell=lambda line: None)  # all is done already
    told = [json.loads((folder / "report.json").read_text())["costs"] for folder in (whole, parts)]
    assert (
        all(told[0][name] == told[1][name] for name in ("samples", "positions", "replied")) and told[1]["seconds"] > 0
    )
    with pytest.raises(UsageError, match="another run"):
        train_arm(tmp_path / "parts", "slvr", 3, base, (few, "other"), tell=lambda line: None)


def test_an_unknown_arm_is_refused(few: list[Lesson], base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="slvr-teacher"):
        train_arm(tmp_path, "slvvr", 1, base, (few, "hash"))
