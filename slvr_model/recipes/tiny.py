"""The recipe of `slvr:tiny`: from nothing to plain answers, then to answers from latents, on easy scenes.

    look     the picture's encoder alone: what thing does a visual token belong to? (`slvr_model.teaching`)
    plain    answers and profiles, with the same reading loss beside them
    teacher  replies open with latents, every slot fed its target (`slvr_model.latent_teaching`)
    own      the same, every slot fed what the model predicts

The picture's encoder is trained in the first two stages only: the targets of visual latents stand still.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slvr_data.stats import wilson
from slvr_model.examination import examine_decoded
from slvr_model.latent_teaching import LatentTeacher, losses_of, region_tokens
from slvr_model.lessons import Lesson, kept_lessons, lessons
from slvr_model.modeling import SlvrModel
from slvr_model.teaching import Scores, Settings, Teacher, looking_loss, loss_of
from slvr_model.tiny import StillProcessor, new_tiny
from slvr_model.tiny_training import Run, table_of

WORLD, HELD_OUT = 2024, 90210
"""Seeds of the worlds that are learnt from and examined on."""
LOOK = Settings(steps=800, pictures=16, muon_lr=5e-3, adam_lr=1e-3, decay=0.2)
PLAIN = Settings(steps=5500, muon_lr=4e-3, adam_lr=1e-3, decay=0.6)
TEACHER = Settings(steps=600, profiles=0, muon_lr=2e-3, adam_lr=5e-4)
OWN = Settings(steps=400, profiles=0, muon_lr=1.5e-3, adam_lr=3e-4)
STAGES = ("look", "plain", "teacher", "own")
MEASURED_ON = 8
"""Batches from which mean and deviation of visual tokens are taken."""


@dataclass(frozen=True)
class Recipe:
    """What can be chosen."""

    lessons: int
    seed: int
    scale: float = 1.0
    """Factor on the steps of all stages."""
    held_out: int = 300

    def settings(self, stage: Settings) -> Settings:
        """A stage's settings."""
        return replace(stage, seed=self.seed, steps=max(1, round(self.scale * stage.steps)))


def train_tiny(
    folder: Path, recipe: Recipe, cache: Path, threads: int = 1, tell: Callable[[str], None] = print
) -> dict[str, Any]:
    """Train, examine and save in `folder`; the report, which also stands in `folder/checkpoint/report.json`.

    Started again with the same arguments, it goes on where it was stopped.

    Raises:
        UsageError: the folder holds a run with another recipe.
    """
    torch.set_num_threads(threads)
    tell(f"drawing {recipe.lessons} easy scenes, or reading them from {cache}")
    learnt, digest = kept_lessons(cache, "easy", WORLD, recipe.lessons, workers=2)
    model, processor = new_tiny(recipe.seed)
    depends = {"lessons": recipe.lessons, "data": digest}
    _look(folder / "look", recipe, model, processor, learnt, depends, tell)
    _plain(folder / "plain", recipe, model, processor, learnt, depends, tell)
    model.model.visual.requires_grad_(False)
    for name, stage in (("teacher", TEACHER), ("own", OWN)):
        _latent(folder / name, name, recipe.settings(stage), model, processor, learnt, depends, tell)
    report = {"recipe": asdict(recipe), **depends, **_examined(model, processor, recipe, tell)}
    _save(folder, model, processor, report)
    tell(f"saved in {folder / 'checkpoint'}")
    return report


def _look(
    folder: Path,
    recipe: Recipe,
    model: SlvrModel,
    processor: StillProcessor,
    learnt: list[Lesson],
    depends: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    settings = recipe.settings(LOOK)
    teacher = Teacher(processor.tokenizer, settings)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("model.visual") or "embed_tokens" in name)
    run = Run(folder, model, lambda step: looking_loss(model, teacher, learnt, step), settings, depends)
    run.train(settings.steps, tell=lambda line: tell(f"look    {line}"))
    model.requires_grad_(True)


def _plain(
    folder: Path,
    recipe: Recipe,
    model: SlvrModel,
    processor: StillProcessor,
    learnt: list[Lesson],
    depends: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    settings = recipe.settings(PLAIN)
    teacher = Teacher(processor.tokenizer, settings)

    def loss(step: int) -> Tensor:
        return loss_of(model, teacher.batch(learnt, step), teacher, teacher.labels(learnt, step))

    Run(folder, model, loss, settings, depends).train(settings.steps, tell=lambda line: tell(f"plain   {line}"))


def _latent(
    folder: Path,
    feed: str,
    settings: Settings,
    model: SlvrModel,
    processor: StillProcessor,
    learnt: list[Lesson],
    depends: dict[str, Any],
    tell: Callable[[str], None],
) -> None:
    teacher = LatentTeacher(Teacher(processor.tokenizer, settings), model)
    if feed == "teacher":
        model.latents.set_statistics(region_tokens(model, [teacher.batch(learnt, n) for n in range(MEASURED_ON)]))

    def loss(step: int) -> Tensor:
        batch = teacher.batch(learnt, step)
        return losses_of(model, batch, "own" if feed == "own" else "teacher").total

    Run(folder, model, loss, settings, depends).train(settings.steps, tell=lambda line: tell(f"{feed:<7} {line}"))


def _examined(
    model: SlvrModel, processor: StillProcessor, recipe: Recipe, tell: Callable[[str], None]
) -> dict[str, Any]:
    model.train(False)
    teacher = Teacher(processor.tokenizer, recipe.settings(PLAIN))
    scores: dict[str, Scores] = {}
    for level, number in (("easy", recipe.held_out), ("full", recipe.held_out // 8)):
        fresh = list(lessons(level, HELD_OUT, number))
        for form, kind in product(("open", "lettered"), ("plain", "latents")):
            scores[f"{level}, {kind}, {form}"] = examine_decoded(
                model, teacher, processor, fresh, lettered=form == "lettered", latents=kind == "latents"
            )
    for name, found in scores.items():
        tell(f"{name}\n{table_of(found)}")
    shares = {name: _shares(found) for name, found in scores.items()}
    return {"held_out": {"world": HELD_OUT, "scenes": recipe.held_out}, "scores": shares}


def _shares(scores: Scores) -> dict[str, Any]:
    total = (sum(right for right, _ in scores.values()), sum(number for _, number in scores.values()))
    return {
        name: {"right": right, "asked": number, "share": right / max(1, number), "interval": wilson(right, number)}
        for name, (right, number) in {"all": total, **scores}.items()
    }


def _save(folder: Path, model: SlvrModel, processor: StillProcessor, report: dict[str, Any]) -> None:
    target = folder / "checkpoint"
    model.save_pretrained(target)
    processor.save_pretrained(target)
    (target / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    curves = [f"{stage}: {line}" for stage in STAGES for line in _lines(folder / stage)]
    (target / "log.txt").write_text("\n".join(curves) + "\n", encoding="utf-8")


def _lines(folder: Path) -> list[str]:
    return (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
