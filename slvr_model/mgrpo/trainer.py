"""The loop of stage 2: groups -> rollouts -> rewards -> advantages -> scored with gradient -> loss -> step.

A *lot* is what one step of the optimiser, or `training.iterations` of them, learns from: the rollouts of
`training.regions` groups, shared out among the processes (`play.py`, `update.py`).

Everything that is drawn is keyed by the lot's number, so that a run that was killed goes on to the same bits from
weights, optimiser and a few counts alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slvr_data.errors import RunError
from slvr_model.memory import memory
from slvr_model.mgrpo.cases import Cases
from slvr_model.mgrpo.checkpointing import Kept, anew
from slvr_model.mgrpo.composer import TermWatch
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.course import Course
from slvr_model.mgrpo.evaluation import HeldOut
from slvr_model.mgrpo.groups import GroupFeed
from slvr_model.mgrpo.play import Played, Player, together
from slvr_model.mgrpo.preflight import gated, monitored, preflight
from slvr_model.mgrpo.processes import Processes
from slvr_model.mgrpo.types import FEWER_ROWS, Evaluator
from slvr_model.mgrpo.update import Update
from slvr_model.sft.trainer import seed_of

PATIENCE = 3
"""Lots in a row without a single well-formed reply, after which the run ends."""

VERDICTS = ("yes", "no", "unknown", "called", "equal", "empty", "unreadable")
"""What is told of a judge, by its names in `Judge.tally`."""


@dataclass(eq=False)
class Parts:
    """What a trainer works with."""

    config: MgrpoConfig
    processes: Processes
    optimizer: torch.optim.Optimizer
    player: Player
    feed: GroupFeed
    held: HeldOut | None
    evaluator: Evaluator | None
    kept: Kept
    course: Course
    cases: Cases | None


class Trainer:
    """Trains a policy.

    Args:
        parts: everything that it needs.
        state: what was counted before, of a run that goes on.
    """

    def __init__(self, parts: Parts, state: dict[str, Any] | None = None) -> None:
        self.parts, self.config, self.processes = parts, parts.config, parts.processes
        self.accelerator, player = parts.processes.accelerator, parts.player
        self.update = Update(
            self.config, self.processes, parts.optimizer, player.reference, player.form, player.pictures
        )
        self.watch = TermWatch(self.config.rewards)
        self.verdicts: dict[str, int] = {}
        self.step, self.malformed = 0, 0
        self.due: list[tuple[str, float]] | None = None
        """Numbers of a step that was kept before it was evaluated, whose line the log has not."""
        if state is not None:
            self.step, self.malformed, self.due = state["step"], state["malformed"], state.get("due")
            self.watch.load_state_dict(state["watch"])

    def train(self) -> int:
        """Take all steps that are left; the number of the last.

        Raises:
            RunError: rollouts are malformed, rewards are no numbers, scoring does not repeat the rollouts, memory or
                the disk is short, or the loss is no number.
        """
        training, course = self.config.training, self.parts.course
        if self.step == 0:
            self._begin()
        elif self.due is not None:
            self._line(dict(self.due) | self.evaluate())
        while self.step < training.steps:
            number = self.step // training.iterations + 1
            torch.manual_seed(seed_of(training.seed, number, self.accelerator.process_index))  # of dropout
            with course.timed("rollouts"), self.processes.whole(), self.accelerator.autocast():
                played, first = self.parts.player.play(self.parts.feed.at(number - 1), number)
            numbers = self._told(played, number) | self._judged()
            numbers |= self._looked(played, number)
            with course.timed("learning"), memory("learning", FEWER_ROWS):
                numbers |= self.update.learn(self.step + 1, played, first)
            self.step += training.iterations
            self._keep_cases(number, played)
            self._after(numbers)
        return self.step

    def evaluate(self) -> dict[str, float]:
        """Held-out scores: the built-in ones, and those of the evaluator that was given."""
        found: dict[str, float] = {}
        with self.parts.course.timed("evaluation"):
            if self.parts.held is not None:
                with self.processes.whole(), self.accelerator.autocast():
                    scores = self.parts.held.scores(self.update.model, self.accelerator.device)
                found |= {f"eval/{name}": value for name, value in scores.items()}
            if self.parts.evaluator is not None:
                found |= self._asked(self.parts.evaluator)
        return found

    def save(self, due: dict[str, float] | None = None) -> None:
        """Write a checkpoint to go on from; `due`: numbers of its step, which is evaluated only now."""
        if self.parts.cases is not None:
            self.parts.cases.flush()
        weights, moments = self.processes.weights(), self.processes.optimizer_state(self.parts.optimizer)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            state = {"step": self.step, "malformed": self.malformed, "watch": self.watch.state_dict()}
            state["due"] = None if due is None else list(due.items())
            self.parts.kept.save(self.step, self.processes.policy, weights, moments, state)
        self.accelerator.wait_for_everyone()

    def _begin(self) -> None:
        """What is seen to before the first step."""
        with self.parts.course.timed("preflight"), self.processes.whole(), self.accelerator.autocast():
            said = preflight(self.config, self.parts.player, self.parts.feed, self.update)
        self.parts.feed.counted()  # groups of the first steps, which will account for them
        self._judged()
        if said:
            self.parts.course.say(said)
        if self.config.evaluation.every:
            self.parts.course.line(0, self.evaluate())

    def _looked(self, played: Sequence[Played], number: int) -> dict[str, float]:
        """How closely scoring repeats a lot: of the first, the last, and some between. Where no preflight has seen to
        it, the first has to pass the gate.
        """
        config = self.config
        last = config.training.steps // config.training.iterations
        if number not in (1, last) and number % config.gate.every:
            return {}
        with self.processes.whole():
            if number == 1 and not config.preflight.regions:
                self.parts.course.say(gated(config, played, self.update))
            return monitored(config, self.parts.player, played, self.update)

    def _told(self, played: Sequence[Played], number: int) -> dict[str, float]:
        """Numbers of all groups of a lot, the same in every process; what is wrong with them is said, or raised."""
        self._count()
        every = self.update.all([(one.numbers(), one.rewards) for one in played])
        for _, rewards in every:
            self.watch.see(rewards)
        for warning in self.watch.warnings():
            self.parts.course.say(f"lot {number}: {warning}")
        numbers = together([told for told, _ in every])
        self.malformed = 0 if numbers["formed"] > 0 else self.malformed + 1
        if self.malformed >= PATIENCE:
            raise RunError(
                f"no reply of the last {PATIENCE} lots is well formed ({numbers['ended']:.0%} of the last ended): "
                "raise sampling.max_new_tokens if they are cut off, set objective to what the start was taught, or "
                f"lower training.learning_rate if they were well formed before; {anew(self.config)}"
            )
        return numbers

    def _judged(self) -> dict[str, float]:
        """How many answers the judge found right, wrong or neither since this was asked last, and how many it could
        not read or did not have to be asked about, over all processes; and the seconds that it is waited for.
        """
        judge = self.parts.player.judge
        if judge is None:
            return {}
        now = {name: judge.tally[name] for name in VERDICTS}
        new = {name: now[name] - self.verdicts.get(name, 0) for name in VERDICTS}
        self.verdicts, self.parts.course.spent["judge"] = now, judge.waited
        every = self.update.all([new])
        return {f"judge/{name}": float(sum(one[name] for one in every)) for name in VERDICTS}

    def _count(self) -> None:
        """Account for the groups that all processes have asked for, in the order of the regions.

        Raises:
            RunError: more than the error budget cannot be used.
        """
        for one in self.update.all(self.parts.feed.counted()):
            self.parts.kept.accounts.add(one)

    def _keep_cases(self, number: int, played: Sequence[Played]) -> None:
        every = self.config.cases.every
        if self.parts.cases is None or not every or number % every:
            return
        for one in played:
            terms = {
                name: term.values_kG.masked_fill(~term.present_kG, math.nan) for name, term in one.rewards.terms.items()
            }
            gained_kG = one.advantages.values_kG.masked_fill(~one.advantages.kept_kG, math.nan)
            self.parts.cases.add(self.step, one.rollouts, terms, gained_kG, one.rewards.total_kG)

    def _after(self, numbers: dict[str, float]) -> None:
        """What is due behind a lot: a checkpoint, evaluation, a line. What is evaluated is kept first, so that nothing
        is lost with an evaluation that takes long or ends the run; a step that is not comes into the log before.
        """
        if self.accelerator.is_main_process:
            self.parts.kept.claim()
        training, every = self.config.training, self.config.evaluation.every
        before, last = self.step - training.iterations, self.step >= training.steps
        kept = not last and self.step // self.config.saving.every > before // self.config.saving.every
        looks = self.parts.held is not None or self.parts.evaluator is not None
        if looks and (last or (every and self.step // every > before // every)):
            if last or kept:
                self.save(numbers)
            self._line(numbers | self.evaluate())
            return
        self._line(numbers)
        if kept:
            self.save()

    def _line(self, numbers: dict[str, float]) -> None:
        self.parts.course.line(self.step, numbers)
        self.accelerator.log(numbers, step=self.step)

    def _asked(self, evaluator: Evaluator) -> dict[str, float]:
        """What an evaluator from outside says of the weights as they are; the first process asks, the others wait. One
        that fails is said; it ends a run that has not begun, and no other.

        Raises:
            RunError: it fails before the first step.
        """
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # it may have to run on the same GPU
        found: list[tuple[dict[str, float], str]] = []
        weights = self.processes.weights()
        if self.accelerator.is_main_process:
            with self.parts.kept.shown(self.step, self.processes.policy, weights) as folder:
                found = [_scores(evaluator, folder, self.step)]
        ((scores, fault),) = self.update.all(found)
        if fault and self.step == 0:
            raise RunError(fault)
        if fault:
            self.parts.course.say(f"{fault}; training goes on without its scores")
            return {"evaluator/failed": 1.0}
        return {f"evaluator/{name}": value for name, value in scores.items()}


def _scores(evaluator: Evaluator, folder: Path, step: int) -> tuple[dict[str, float], str]:
    """What an evaluator says of a checkpoint, or why it does not."""
    try:
        return {name: float(value) for name, value in evaluator(str(folder), step).items()}, ""
    except RunError as error:
        return {}, str(error)
    except Exception as error:  # code of the user's, which may raise anything
        return {}, f"the evaluator failed at step {step}: {type(error).__name__}: {error}"
