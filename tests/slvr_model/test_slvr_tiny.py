"""The checkpoint that ships as `slvr:tiny`: what made it, and what it can do."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from slvr_data.files import sha256_of
from slvr_data.stats import wilson
from slvr_model.checkpoints import SHIPPED, open_checkpoint
from slvr_model.examination import examine_decoded
from slvr_model.lessons import Lesson, lessons
from slvr_model.recipes.tiny import HELD_OUT, STAGES, WORLD
from slvr_model.teaching import Settings, Teacher
from slvr_model.tiny import size_of
from slvr_model.tiny_training import table_of

FOLDER = SHIPPED["slvr:tiny"]
FRESH = 31337
"""Seed of a world that nothing else uses."""


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "report.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def fresh() -> list[Lesson]:
    assert FRESH not in (WORLD, HELD_OUT)
    return list(lessons("easy", FRESH, 150))


def test_it_is_small_and_says_what_made_it(report: dict[str, Any]) -> None:
    model, _ = open_checkpoint("slvr:tiny")
    assert 1_000_000 <= size_of(model) <= 3_000_000
    assert (FOLDER / "model.safetensors").stat().st_size < 8_000_000
    assert report["weights"] == sha256_of(FOLDER / "model.safetensors")
    assert report["command"].startswith("slvr-train tiny DIR --lessons ")
    assert len(report["data"]) == 64 and report["recipe"]["seed"] == 0 and report["recipe"]["scale"] == 1.0
    assert {"slvr", "torch", "transformers"} <= report["versions"].keys()
    log = (FOLDER / "log.txt").read_text(encoding="utf-8")
    assert all(f"{stage}: {{" in log for stage in STAGES)


@pytest.mark.slow
@pytest.mark.parametrize("lettered", [False, True], ids=["open", "lettered"])
def test_150_fresh_scenes(fresh: list[Lesson], report: dict[str, Any], lettered: bool) -> None:
    """Free-running, with the latents that it writes itself: at least 85 % right, the lower 95 % bound at least 80 %."""
    torch.set_num_threads(1)
    model, processor = open_checkpoint("slvr:tiny")
    teacher = Teacher(processor.tokenizer, Settings())
    scores = examine_decoded(model, teacher, processor, fresh, lettered=lettered, latents=True)
    right, asked = (sum(pair[i] for pair in scores.values()) for i in (0, 1))
    assert asked > 1500
    assert right / asked >= 0.85, table_of(scores)
    assert wilson(right, asked)[0] >= 0.80
    told = report["scores"][f"easy, latents, {'lettered' if lettered else 'open'}"]["all"]["share"]
    assert abs(right / asked - told) < 0.04, "the report speaks of another model"
