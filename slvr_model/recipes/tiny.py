"""The recipe of `slvr:tiny`: from nothing to plain answers, then to answers from latents, on easy scenes.

    look     the picture's encoder alone: what thing does a visual token belong to? (`slvr_model.teaching`)
    letters  drills alone: the letter of a choice that is given
    plain    answers, open and lettered, profiles and a few drills, with the same reading loss beside them; cut short
    teacher  replies that open with latents, every slot fed its target (`slvr_model.latent_teaching`), and few without
    own      the same, every slot fed what the model predicts

The picture's encoder is trained in the first three stages only: the targets of visual latents stand still.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slvr_data.files import sha256_of
from slvr_data.manifest import versions
from slvr_data.stats import wilson
from slvr_model.examination import examine_decoded
from slvr_model.latent_teaching import LatentTeacher, losses_of, region_tokens
from slvr_model.lessons import Lesson, kept_lessons, lessons
from slvr_model.modeling import Feed, SlvrModel
from slvr_model.teaching import Scores, Settings, Teacher, looking_loss, plain_loss
from slvr_model.tiny import StillProcessor, new_tiny
from slvr_model.tiny_training import Run, table_of
from slvr_model.together import Group, together

WORLD, HELD_OUT = 2024, 90210
"""Seeds of the worlds that are learnt from and examined on."""
LOOK = Settings(steps=800, pictures=16, muon_lr=5e-3, adam_lr=1e-3, decay=0.2)
DRILLED = Settings(steps=600, questions=0, profiles=0, drills=12, decay=0.2)
PLAIN = Settings(steps=1200, muon_lr=4e-3, adam_lr=1e-3, decay=0.4)
"""Few: a model that answers well from the picture does not learn to read latents (docs/results.md)."""
TEACHER = Settings(steps=4000, questions=6, profiles=0, fewer=0.5, lettered=0.6, muon_lr=3e-3, adam_lr=7e-4, decay=0.6)
OWN = Settings(steps=350, questions=6, profiles=0, fewer=0.5, lettered=0.6, muon_lr=1e-3, adam_lr=2e-4)
BESIDE = 0.5
"""Weight of replies without latents beside those with them."""
STAGES = ("look", "letters", "plain", "teacher", "own")
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
    folder: Path, recipe: Recipe, cache: Path, processes: int = 2, tell: Callable[[str], None] = print
) -> dict[str, Any]:
    """Train, examine and save in `folder`; the report, which also stands in `folder/checkpoint/report.json`.

    Started again with the same arguments, it goes on where it was stopped.

    Args:
        folder: of the run.
        recipe: what is made.
        cache: where drawn lessons are kept.
        processes: that train together, each on a share of every step's pictures and with one thread. Other numbers
            give another model.
        tell: takes lines of progress.

    Raises:
        UsageError: the folder holds a run with another recipe, or a step has too few pictures for the processes.
        RunError: a file cannot be read, or one of the processes ended.
    """
    tell(f"drawing {recipe.lessons} easy scenes, or reading them from {cache}")
    drawn = kept_lessons(cache, "easy", WORLD, recipe.lessons, workers=processes)
    with together(processes, partial(_helped, folder, recipe, cache)) as group:
        made = Making(folder, recipe, *drawn, group, tell)
        made.all_stages()
    report = {
        "recipe": asdict(recipe),
        "processes": processes,
        "data": made.digest,
        **_examined(made.model, made.processor, recipe, tell),
    }
    _save(folder, made.model, made.processor, report)
    tell(f"saved in {folder / 'checkpoint'}")
    return report


def _helped(folder: Path, recipe: Recipe, cache: Path, group: Group) -> None:
    """What the other processes do."""
    drawn = kept_lessons(cache, "easy", WORLD, recipe.lessons)
    Making(folder, recipe, *drawn, group, lambda line: None).all_stages()


class Making:
    """The stages of a recipe, in one of the processes that train together."""

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        learnt: list[Lesson],
        digest: str,
        group: Group,
        tell: Callable[[str], None],
    ) -> None:
        torch.set_num_threads(1)
        self.folder, self.recipe, self.learnt, self.digest = folder, recipe, learnt, digest
        self.group, self.tell = group, tell
        self.model, self.processor = new_tiny(recipe.seed)

    def all_stages(self) -> None:
        """From nothing to the end."""
        self.without_latents(PLAIN)
        self.model.model.visual.requires_grad_(False)
        self.latent("teacher", TEACHER)
        self.latent("own", OWN)

    def without_latents(self, plain: Settings) -> None:
        """From nothing to plain answers, by these settings of the last stage."""
        self.look()
        self.taught("letters", DRILLED)
        self.taught("plain", plain)

    def look(self) -> None:
        """The picture's encoder alone."""
        teacher = self._teacher(LOOK)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name.startswith("model.visual") or "embed_tokens" in name)
        self._run("look", LOOK, partial(looking_loss, self.model, teacher, self.learnt))
        self.model.requires_grad_(True)

    def taught(self, stage: str, settings: Settings) -> None:
        """Drills, questions and profiles, as the settings have them."""
        self._run(stage, settings, partial(plain_loss, self.model, self._teacher(settings), self.learnt))

    def latent(self, feed: Feed, settings: Settings) -> None:
        """Replies opened by latents, and plain ones beside them."""
        plain = self._teacher(replace(settings, questions=3, profiles=1))
        teacher = LatentTeacher(self._teacher(settings), self.model)
        if feed == "teacher":
            whole = LatentTeacher(Teacher(self.processor.tokenizer, settings), self.model)
            batches = [whole.batch(self.learnt, step) for step in range(MEASURED_ON)]
            self.model.latents.set_statistics(region_tokens(self.model, batches))

        def loss(step: int) -> Tensor:
            latent = losses_of(self.model, teacher.batch(self.learnt, step), feed).total
            return latent + BESIDE * plain_loss(self.model, plain, self.learnt, step)

        self._run(feed, settings, loss)

    def _teacher(self, settings: Settings) -> Teacher:
        return Teacher(self.processor.tokenizer, self.recipe.settings(settings), self.group)

    def _run(self, stage: str, settings: Settings, loss: Callable[[int], Tensor]) -> None:
        settings = self.recipe.settings(settings)
        depends = {"lessons": self.recipe.lessons, "data": self.digest, "processes": self.group.of}
        run = Run(self.folder / stage, self.model, loss, settings, depends, self.group)
        run.train(settings.steps, tell=lambda line: self.tell(f"{stage:<7} {line}"))


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
    made = {
        "command": _command(report["recipe"], report["processes"]),
        "weights": sha256_of(target / "model.safetensors"),
        "versions": versions() | {name: version(name) for name in ("torch", "transformers")},
    }
    (target / "report.json").write_text(json.dumps(made | report, indent=1) + "\n", encoding="utf-8")
    curves = [f"{stage}: {line}" for stage in STAGES for line in _lines(folder / stage)]
    (target / "log.txt").write_text("\n".join(curves) + "\n", encoding="utf-8")


def _command(recipe: dict[str, Any], processes: int) -> str:
    options = {name.replace("_", "-"): value for name, value in recipe.items()} | {"processes": processes}
    return " ".join(["slvr-train tiny DIR", *(f"--{name} {value}" for name, value in options.items())])


def _lines(folder: Path) -> list[str]:
    return (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
