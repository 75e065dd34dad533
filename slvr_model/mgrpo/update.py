"""Steps of the optimiser on one lot of rollouts: policy loss and losses on latents, over micro-batches, processes.

A step's loss is a sum of parts. Each part is computed and let go of by itself, and what it is divided by is of all
parts of all processes: so neither `training.micro_rows` nor the number of processes changes it, but for rounding (apart
from `bnpo`, the released code's mean, which is one of each part).

k queries, B rows of a part, T new positions
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from slvr_data.errors import RunError
from slvr_model.decoding import Decoded
from slvr_model.mgrpo.checkpointing import anew
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.losses import Totals, policy_loss
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.play import Played, advantages_of
from slvr_model.mgrpo.policy import Task, actions, selected, tasks_of
from slvr_model.mgrpo.processes import Processes, gathered
from slvr_model.mgrpo.pulls import Ask, Pulls
from slvr_model.mgrpo.query_latents import QueryLatents
from slvr_model.mgrpo.rates import set_rates
from slvr_model.mgrpo.reference import Reference
from slvr_model.mgrpo.scoring import Fed
from slvr_model.mgrpo.types import DivergedError
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Form

SUMS = {"entropy": "entropy_sum", "kl": "kl_sum", "ratio": "ratio_sum", "clip/low": "low_sum", "clip/high": "high_sum"}
"""What is logged per token, and the sum that it is made of."""


class Update:
    """Learns from lots.

    Args:
        config: of the run.
        processes: the policy, and how it is shared.
        optimizer: of what is trained.
        reference: what it is held against; None where nothing weighs.
        form: of the objective's replies.
        pictures: as they were encoded for the rollouts; unless told, they are encoded once more for a lot.
    """

    def __init__(
        self,
        config: MgrpoConfig,
        processes: Processes,
        optimizer: torch.optim.Optimizer,
        reference: Reference | None,
        form: Form,
        pictures: Pictures | None = None,
    ) -> None:
        self.config, self.processes, self.model = config, processes, processes.policy.slvr
        self.optimizer, self.reference = optimizer, reference
        self.trained = [one for group in optimizer.param_groups for one in group["params"]]
        self.pictures = pictures or Pictures(self.model)
        self.pulls = Pulls(config, processes, form, self.pictures)
        self.all, self.ranks, self.autocast = processes.all, processes.ranks, processes.accelerator.autocast
        self.fed: Fed = "given" if config.sampling.latent_noise else config.training.feed
        """Drawn latents are actions: they are fed as they were drawn."""
        self.density: Any = config.loss.latent_density

    def learn(self, step: int, played: Sequence[Played], first: QueryLatents | None) -> dict[str, float]:
        """All steps on a lot; numbers of the last one.

        Args:
            step: of the first of them, counted from 1.
            played: this process's groups.
            first: the reference's latents of their queries, where something needs them.

        Raises:
            RunError: the loss is no number.
        """
        try:
            return self._learnt(step, played, first)
        except DivergedError as error:
            raise RunError(
                f"{error}: training has diverged; lower training.learning_rate, or raise training.warmup; "
                f"{anew(self.config)}"
            ) from None

    def _learnt(self, step: int, played: Sequence[Played], first: QueryLatents | None) -> dict[str, float]:
        tasks = self._tasks(played)
        with self.processes.whole():
            self._ask_reference(tasks)
        kept, totals = self._totals(tasks, played)
        numbers: dict[str, float] = {}
        for iteration in range(self.config.training.iterations):
            asks: list[Ask] = [partial(self._policy_part, task, totals.over(self.ranks)) for task in tasks]
            pulls, told = self.pulls.parts([one.rollouts.shown for one in played], first)
            if not kept.rows and not self.config.latents.alone:
                pulls = []
            numbers = self._stepped(step + iteration, asks, pulls, played) | told
            numbers["loss"] = numbers["loss/policy"] + told.get("loss/latents", 0.0)
        self.pictures.clear()
        if self.reference is not None:
            self.reference.pictures.clear()
        return {"rows": kept.rows} | numbers

    @contextmanager
    def learning(self) -> Iterator[Any]:
        """The policy, wrapped, as it is while it learns: in training mode, for activation checkpointing, but without
        dropout, which rollouts have not either.
        """
        wrapped = self.processes.wrapped.train()
        for part in wrapped.modules():
            if isinstance(part, nn.Dropout):
                part.train(False)
        try:
            yield wrapped
        finally:
            wrapped.eval()

    # The policy loss

    def _tasks(self, played: Sequence[Played]) -> list[Task]:
        """Rows of queries with a signal."""
        held = []
        for one in played:
            number, kept_kG = one.rollouts.number, one.advantages.kept_kG
            queries = kept_kG.any(1).nonzero()[:, 0].tolist()
            if queries:
                rows = torch.tensor([i * number + g for i in queries for g in range(number)])
                gained = advantages_of(one, self.config)[rows]
                held.append((selected(one.rollouts, queries, number, self.model), gained, kept_kG.flatten()[rows]))
        return tasks_of(self.model, held, self.config.training.micro_rows)

    def _totals(self, tasks: Sequence[Task], played: Sequence[Played]) -> tuple[Totals, Totals]:
        """Of all processes: rows with a part in the loss, and those that it is divided by (`loss.denominator`)."""
        kept = [Totals.of(self._drawn(task.part.decoded), task.kept_B) for task in tasks]
        valid = [Totals.of(self._drawn(one.rollouts.decoded), _rows(one)) for one in played]
        first, every = (reduce(Totals.plus, self.all(one), Totals(0.0, 0.0)) for one in (kept, valid))
        return first, every if self.config.loss.denominator == "all" else first

    def _drawn(self, decoded: Decoded) -> Tensor:
        """Positions [B, T] that were drawn."""
        return decoded.sampled_BT | decoded.latent_BT if self.density != "off" else decoded.sampled_BT

    @torch.no_grad()
    def _ask_reference(self, tasks: Sequence[Task]) -> None:
        """The reference's log-probabilities behind the policy's latents."""
        if self.reference is None or not self.config.loss.beta:
            return
        with self.reference.weights() as model, self.autocast():
            for task in tasks:
                seen = self.reference.pictures
                task.reference_BT = actions(model, task.part, "given", self.density, seen).logprobs_BT

    def _policy_part(self, task: Task, totals: Totals, model: SlvrModel) -> tuple[Tensor, dict[str, float]]:
        """A task's part of the policy loss."""
        now = actions(model, task.part, self.fed, self.density, self.pictures)
        found = policy_loss(
            now.logprobs_BT,
            now.mask_BT,
            task.advantages,
            self.config.loss,
            totals=totals,
            longest=self.config.sampling.max_new_tokens,
            old_BT=task.old_BT,
            reference_BT=task.reference_BT,
            kept_B=task.kept_B,
        )
        if task.old_BT is None:
            task.old_BT = now.logprobs_BT.detach()
        entropy = float((now.entropy_BT * task.kept_B[:, None]).sum())
        told = {"loss_sum": float(found.loss.detach()) / self.ranks, "entropy_sum": entropy}
        return found.loss, found.numbers | told

    # One step

    def _stepped(
        self, step: int, asks: Sequence[Ask], pulls: Sequence[Ask], played: Sequence[Played]
    ) -> dict[str, float]:
        """Add up the gradients of all parts and step. Where no row has a signal and nothing pulls, nothing moves."""
        told = {"rate": set_rates(self.optimizer, step, self.config.training)}
        sums: dict[str, float] = {}
        self.optimizer.zero_grad(set_to_none=True)
        with self.learning() as wrapped:
            for name, parts in (("policy", asks), ("latents", pulls)):
                if work := self._evened(parts, played):
                    told[f"gradient/{name}"] = self._added(wrapped, work, sums)
        if len(told) == 1:
            return {"loss/policy": 0.0} | told
        total: dict[str, float] = {}
        for one in self.all([sums]):
            _add(total, one)
        return told | self._moved(step, total)

    def _added(self, wrapped: Any, work: Sequence[tuple[Ask, float]], sums: dict[str, float]) -> float:
        """Add the gradient of some parts, over all processes, to what there is; its own norm. Numbers go to `sums`."""
        before = [one.grad for one in self.trained]
        self.optimizer.zero_grad(set_to_none=True)
        for place, (ask, weight) in enumerate(work):
            with self.processes.adding(place + 1 == len(work)):
                with self.autocast():
                    loss, numbers = wrapped(ask)
                (loss * weight).backward()
            _add(sums, {name: value * weight for name, value in numbers.items()})
        norm = float(gathered(get_total_norm([one.grad for one in self.trained if one.grad is not None])))
        for one, held in zip(self.trained, before, strict=True):
            if held is not None:
                one.grad = held if one.grad is None else one.grad.add_(held)
        return norm

    def _evened(self, asks: Sequence[Ask], played: Sequence[Played]) -> list[tuple[Ask, float]]:
        """As many parts as the process with the most has; those that fill up weigh nothing."""
        most = max(self.all([len(asks)]))
        spare = [(ask, 0.0) for ask in asks[:1] or [partial(self._idle, played[0])]]
        return [*((ask, 1.0) for ask in asks), *spare * (most - len(asks))]

    def _idle(self, played: Played, model: SlvrModel) -> tuple[Tensor, dict[str, float]]:
        """A part of a process that has nothing to learn: one row, so that all take the same steps."""
        (task,) = tasks_of(
            self.model, [(selected(played.rollouts, [0], 1, self.model), torch.zeros(1), torch.ones(1).bool())], 1
        )
        return actions(model, task.part, self.fed, self.density, self.pictures).logprobs_BT.sum(), {}

    def _moved(self, step: int, sums: dict[str, float]) -> dict[str, float]:
        """Clip, check and step; means of what was added up."""
        norm = float(gathered(clip_grad_norm_(self.trained, self.config.training.clip or math.inf)))
        loss, tokens = sums.get("loss_sum", 0.0), max(sums.get("tokens", 0.0), 1.0)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise DivergedError(f"the loss at step {step} is {loss:g}, the gradient's norm {norm:g}")
        self.optimizer.step()
        told = {"loss/policy": loss, "gradient": norm}
        return told | {name: sums[key] / tokens for name, key in SUMS.items() if key in sums}


def _rows(played: Played) -> Tensor:
    """[B]: rows that have a reward."""
    return played.rewards.valid_kG.flatten().to(played.rollouts.decoded.sampled_BT.device)


def _add(sums: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value
