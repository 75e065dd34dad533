"""Objectives compared on the embedded model: one base without latents, then each *arm* for as many equal steps.

All arms of one seed see the same pictures, regions, questions and wordings in the same order; what a step shows depends
on (seed, step) alone. They differ in the layout of a reply and its losses, by the objectives of `slvr-train sft`.
Questions are open and replies have an echo, so that a bottleneck can hide what is asked.

    base   `slvr_model.recipes.tiny` up to its stage `plain`, which leaves room to improve; then a few steps of
           `direct`, so that the echo is nothing new to any arm
    arm    the steps of `SETTINGS` from the base's weights, the picture's encoder fixed
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slvr_data.embeddings import local_embedding
from slvr_data.errors import UsageError
from slvr_data.files import sha256_of
from slvr_data.manifest import versions
from slvr_model.batches import Batch
from slvr_model.checkpoints import open_checkpoint
from slvr_model.latent_teaching import LatentTeacher, region_tokens
from slvr_model.lessons import Lesson, Question, Thing, kept_lessons
from slvr_model.loading import checked_config
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective, open_objective
from slvr_model.objectives.config import ObjectiveConfig, checked_objective
from slvr_model.objectives.kept import keep
from slvr_model.packing import patches
from slvr_model.recipes.tiny import MEASURED_ON, PLAIN, WORLD, Making, Recipe
from slvr_model.rows import Block, Picture, Row
from slvr_model.teaching import Settings, Teacher, shown_at
from slvr_model.tiny_training import Run
from slvr_model.together import Group, together

SETTINGS = Settings(
    steps=450, pictures=8, questions=8, profiles=0, drills=0, lettered=0.0, muon_lr=1e-3, adam_lr=3e-4, new=4.0
)
"""Rates that were best for `direct` and for `slvr` in another world, with another seed: `perf/arms.py DIR --rates
0.5,1,2 --arms direct,slvr`."""
ECHO = replace(SETTINGS, steps=150, muon_lr=2e-3, adam_lr=5e-4, new=1.0, seed=1_000_000)
"""The base's last stage; what it shows is shown in this order to no arm."""
COMMON: Mapping[str, Any] = {"echo": True, "mark": ":", "visual_weight": 1.0, "semantic_weight": 1.0}
"""Of every arm's objective, unless it has its own; the mark is a word that the embedded model has."""


@dataclass(frozen=True)
class Arm:
    """What is compared."""

    objective: Mapping[str, Any]
    single: bool = False
    """A region is asked one of its questions only, whichever its hash says: what data with one query a region has."""
    scale: float = 1.0
    """Factor on the steps."""
    slots: int | None = None
    """K; None: the base's."""


def _slvr(**more: Any) -> dict[str, Any]:
    return {"kind": "slvr", "feed": "schedule", "teacher_share": 0.7, "then": "own", **more}


ARMS: dict[str, Arm] = {
    "direct": Arm({"kind": "direct"}),
    "direct-compute": Arm({"kind": "direct"}, scale=1.25),
    "pause": Arm({"kind": "pause"}),
    "text": Arm({"kind": "text"}),
    "text-single": Arm({"kind": "text"}, single=True),
    "lvr": Arm({"kind": "lvr", "feed": "schedule", "teacher_share": 0.7, "then": "own"}),
    "semantic": Arm({"kind": "semantic", "feed": "schedule", "teacher_share": 0.7, "then": "own"}),
    "slvr": Arm(_slvr()),
    "multi-encoder": Arm({"kind": "multi_encoder", "feed": "own"}),
    "slvr-teacher": Arm(_slvr(feed="teacher")),
    "slvr-own": Arm(_slvr(feed="own")),
    "slvr-late": Arm(_slvr(teacher_share=0.9)),
    "slvr-late-weights": Arm(_slvr(teacher_share=0.9, visual_weight=0.3, semantic_weight=3.0)),
    "slvr-weights": Arm(_slvr(visual_weight=0.3, semantic_weight=3.0)),
    "slvr-k4": Arm(_slvr(), slots=4),
    "slvr-bottleneck": Arm(_slvr(bottleneck=0.5)),
    "slvr-bottleneck-all": Arm(_slvr(bottleneck=0.5, bottleneck_from=0.0)),
    "semantic-late": Arm({"kind": "semantic", "feed": "schedule", "teacher_share": 0.9, "then": "own"}),
    "semantic-bottleneck": Arm(
        {"kind": "semantic", "feed": "schedule", "teacher_share": 0.7, "then": "own", "bottleneck": 0.5}
    ),
}
"""The controls, the objectives, and the remedies that were tried for latents that are not read."""


@dataclass(frozen=True, eq=False)
class _Asked:
    """What an objective has to know of a thing that is asked about."""

    box: tuple[float, float, float, float]
    facet: str
    profile_text: str
    embedding: npt.NDArray[np.float32] | None


@dataclass
class Costs:
    """What the steps of an arm took."""

    samples: int = 0
    positions: int = 0
    """Of rows, without padding, each once, whatever the feed."""
    replied: int = 0
    """Of replies, slots included."""
    seconds: float = 0.0
    """Of processor time, up to the last step's beginning."""


@dataclass(eq=False)
class ArmTeacher:
    """Turns lessons into batches of an objective."""

    teacher: Teacher
    objective: Objective
    dimension: int
    single: bool = False
    costs: Costs = field(default_factory=Costs)

    def __post_init__(self) -> None:
        self._embeddings: dict[str, npt.NDArray[np.float32]] = {}

    def batch(self, lessons: Sequence[Lesson], step: int) -> Batch:
        """What a step shows."""
        shown, dice = shown_at(lessons, step, self.teacher.settings)
        batch = self.objective.collate([self._row(lesson, dice) for lesson in shown])
        self.costs.samples += self.objective.samples(batch)
        self.costs.positions += int(batch.kept_BL.sum())
        return batch

    def _row(self, lesson: Lesson, dice: np.random.Generator) -> Row:
        things = [thing for thing in lesson.things if thing.questions]
        blocks = []
        for thing_at, question_at, wording_at in dice.random((self.teacher.settings.questions, 3)) if things else ():
            thing = things[int(thing_at * len(things))]
            at = self._own(thing) if self.single else int(question_at * len(thing.questions))
            question = thing.questions[at]
            blocks.append(self._block(thing, question, question.wordings[int(wording_at * len(question.wordings))]))
        height, width, _ = lesson.picture.shape
        pixels, grid = patches(lesson.picture[None])
        t, h, w = grid[0].tolist()
        return Row(self.teacher.prefix, tuple(blocks), (Picture(pixels, (t, h, w), (width, height)),))

    @staticmethod
    def _own(thing: Thing) -> int:
        """The only question that a region is asked in data with one query a region."""
        return int.from_bytes(sha256(f"{thing.box} {thing.text}".encode()).digest()[:4], "big") % len(thing.questions)

    def _block(self, thing: Thing, question: Question, wording: str) -> Block:
        plain = self.teacher.block(wording, question.answer)
        asked = _Asked(thing.box, question.facet, thing.text, self._embedding(thing))
        block = self.objective.block(asked, plain.reply, prompt=plain.prompt)
        self.costs.replied += len(block.reply)
        return block

    def _embedding(self, thing: Thing) -> npt.NDArray[np.float32]:
        if thing.text not in self._embeddings:
            self._embeddings[thing.text] = local_embedding(thing.profile, self.dimension).astype(np.float32)
        return self._embeddings[thing.text]


def train_base(
    folder: Path, recipe: Recipe, cache: Path, processes: int = 2, tell: Callable[[str], None] = print
) -> Path:
    """The base of all arms: it answers without latents, its statistics of visual tokens are measured.

    Args:
        folder: of the run; the checkpoint is `folder/checkpoint`.
        recipe: lessons, seed, and a factor on the steps.
        cache: where drawn lessons are kept.
        processes: that train together.
        tell: takes lines of progress.
    """
    target = folder / "checkpoint"
    if target.exists():
        return target
    drawn = kept_lessons(cache, "easy", WORLD, recipe.lessons, workers=processes)
    with together(processes, partial(_helped, folder, recipe, cache)) as group:
        made = Making(folder, recipe, *drawn, group, tell)
        made.without_latents(PLAIN)
    keep(made.model, ObjectiveConfig(kind="direct"))
    _written(folder / "plain" / "checkpoint", made.model, made.processor)
    made.model.requires_grad_(True)
    learnt = (made.learnt, made.digest)
    echo = replace(ECHO, steps=max(1, round(recipe.scale * ECHO.steps)))
    objective, _ = _taught(folder / "echo", ARMS["direct"], made.model, made.processor, learnt, echo, {}, tell)
    keep(made.model, objective.config)
    teacher = LatentTeacher(Teacher(made.processor.tokenizer, recipe.settings(PLAIN)), made.model)
    made.model.latents.set_statistics(
        region_tokens(made.model, [teacher.batch(made.learnt, step) for step in range(MEASURED_ON)])
    )
    _written(folder / "echo" / "checkpoint", made.model, made.processor)
    return _written(target, made.model, made.processor)


def _written(target: Path, model: SlvrModel, processor: Any) -> Path:
    """A checkpoint that is whole or not there."""
    fresh = target.with_name(f".{target.name}.tmp")
    model.save_pretrained(fresh)
    processor.save_pretrained(fresh)
    shutil.rmtree(target, ignore_errors=True)
    return fresh.rename(target)


def _helped(folder: Path, recipe: Recipe, cache: Path, group: Group) -> None:
    """What the other processes do."""
    drawn = kept_lessons(cache, "easy", WORLD, recipe.lessons)
    Making(folder, recipe, *drawn, group, lambda line: None).without_latents(PLAIN)


def train_arm(
    folder: Path,
    name: str,
    seed: int,
    base: Path,
    lessons: tuple[list[Lesson], str],
    scale: float = 1.0,
    rate: float = 1.0,
    tell: Callable[[str], None] = print,
) -> Path:
    """Train an arm from the base; its checkpoint, `folder/checkpoint`. The same call goes on after a stop.

    Args:
        folder: of the run.
        name: one of `ARMS`.
        seed: of what is shown, and of what is drawn within steps.
        base: the base's checkpoint.
        lessons: and their hash, from `kept_lessons`.
        scale: factor on the steps.
        rate: factor on the learning rates of `SETTINGS`.
        tell: takes lines of progress.

    Raises:
        UsageError: there is no such arm, or the folder holds another run.
    """
    if name not in ARMS:
        raise UsageError(f"arm {name!r} is none of {', '.join(ARMS)}")
    arm, target = ARMS[name], folder / "checkpoint"
    settings = replace(
        SETTINGS,
        seed=seed,
        steps=max(1, round(SETTINGS.steps * arm.scale * scale)),
        muon_lr=SETTINGS.muon_lr * rate,
        adam_lr=SETTINGS.adam_lr * rate,
    )
    model, processor = _opened(base, arm)
    depends = {"arm": asdict(arm), "base": sha256_of(base / "model.safetensors")}
    objective, costs = _taught(
        folder, arm, model, processor, lessons, settings, depends, lambda line: tell(f"{name} {seed}: {line}")
    )
    keep(model, objective.config)
    _written(target, model, processor)
    report = {"name": name, "data": lessons[1], **depends, "settings": asdict(settings), "costs": asdict(costs)}
    text = json.dumps(report | {"versions": versions()}, indent=1, sort_keys=True)
    (target / "report.json").write_text(text + "\n", encoding="utf-8")
    return target


def _taught(
    folder: Path,
    arm: Arm,
    model: SlvrModel,
    processor: Any,
    lessons: tuple[list[Lesson], str],
    settings: Settings,
    depends: dict[str, Any],
    tell: Callable[[str], None],
) -> tuple[Objective, Costs]:
    """The steps of an arm, from a model's weights as they are."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)  # of heads that are new
    objective = open_objective(checked_objective({**COMMON, **arm.objective}), model, processor.tokenizer)
    made = ArmTeacher(Teacher(processor.tokenizer, settings), objective, model.latent_config.semantic_dim, arm.single)
    (learnt, digest), clock = lessons, [time.process_time()]

    def loss(step: int) -> Tensor:
        now = time.process_time()
        made.costs.seconds += now - clock[0]
        clock[0] = now
        share, seed = step / settings.steps, settings.seed * 1_000_000 + step
        return objective.losses(model, made.batch(learnt, step), step_share=share, seed=seed).total

    both = torch.nn.ModuleDict({"slvr": model, "heads": objective.heads})
    model.model.visual.requires_grad_(False)
    run = Run(folder, both, loss, settings, {**depends, "data": digest})
    made.costs = Costs(**{"seconds": 0.0, **run.counts})  # type: ignore[arg-type]
    run.counts = vars(made.costs)
    run.train(settings.steps, tell=tell)
    model.train(False)
    return objective, made.costs


def _opened(base: Path, arm: Arm) -> tuple[SlvrModel, Any]:
    model, processor = open_checkpoint(str(base))
    if arm.slots is not None:
        config: Any = checked_config(base)
        config.slvr["visual_slots"] = arm.slots
        model = SlvrModel.from_pretrained(base, config=config)
    return model, processor
