"""Steps of the optimiser on one lot of rollouts: policy loss and losses on latents, over micro-batches, processes.

A step's loss is a sum of parts. Each part is computed and let go of by itself, and what it is divided by is of all
parts of all processes: so neither `training.micro_rows` nor the number of processes changes it, but for rounding (apart
from `bnpo`, the released code's mean, which is one of each part).

k queries, B rows of a part, T new positions, N queries of all regions, K visual slots, D width, E dimension of the
semantic vector
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from itertools import zip_longest
from typing import Any, TypeVar

import torch
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from slvr_data.errors import RunError
from slvr_model.decoding import Decoded
from slvr_model.mgrpo.checkpointing import anew
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.latent_losses import RegionLatents, latent_loss
from slvr_model.mgrpo.losses import Totals, policy_loss
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.play import Played, advantages_of
from slvr_model.mgrpo.policy import Task, actions, selected, tasks_of
from slvr_model.mgrpo.processes import Processes
from slvr_model.mgrpo.query_latents import QueryLatents, query_latents
from slvr_model.mgrpo.rates import set_rates
from slvr_model.mgrpo.reference import Reference
from slvr_model.mgrpo.scoring import Fed
from slvr_model.mgrpo.types import Shown
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Form

T = TypeVar("T")
Ask = Callable[[SlvrModel], tuple[Tensor, dict[str, float]]]
"""A part of a step's loss, with gradient, and numbers that add up over parts."""
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
        self.optimizer, self.reference, self.form = optimizer, reference, form
        self.pictures = pictures or Pictures(self.model)
        self.rank, self.ranks, self.autocast = processes.rank, processes.ranks, processes.accelerator.autocast
        self.fed: Fed = "given" if config.sampling.latent_noise else config.training.feed
        """Drawn latents are actions: they are fed as they were drawn."""
        self.density: Any = config.loss.latent_density

    def learn(self, step: int, played: Sequence[Played], first: QueryLatents | None) -> dict[str, float]:
        """All steps on a lot; numbers of the last one.

        Args:
            step: of the first of them, counted from 1.
            played: this process's groups.
            first: the reference's latents of their queries, where something needs them.
        """
        tasks = self._tasks(played)
        with self.processes.whole():
            self._ask_reference(tasks)
        kept, totals = self._totals(tasks, played)
        numbers: dict[str, float] = {}
        for iteration in range(self.config.training.iterations):
            asks: list[Ask] = [partial(self._policy_part, task, totals.over(self.ranks)) for task in tasks]
            pulls, told = self._pulls([one.rollouts.shown for one in played], first)
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

    def all(self, mine: Sequence[T]) -> list[T]:
        """What all processes have, in the order in which regions are dealt out: the first of each, the second, ..."""
        held: list[Sequence[T]] = gather_object([list(mine)])
        nothing = object()
        return [one for row in zip_longest(*held, fillvalue=nothing) for one in row if one is not nothing]  # type: ignore[misc]

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

    # Losses on latents

    def _pulls(self, shown: Sequence[Shown], first: QueryLatents | None) -> tuple[list[Ask], dict[str, float]]:
        """The losses on latents of all regions of all processes, as a gradient for each query's own latents.

        d loss / d latents is computed once, from all latents. Each part then multiplies its own, computed again with
        gradient, by it: the gradient is that of the whole, though no part ever holds all of it.
        """
        config = self.config.latents
        if not config.active:
            return [], {}
        with self.processes.whole(), torch.no_grad(), self.autocast():
            now = query_latents(self.model, shown, self.form, self.pictures)
        rows, every = self._gathered(now)
        reference = None if first is None else self._gathered(first)[1]
        leaves = [one.requires_grad_() for one in (every.visual_NKD, every.semantic_NE) if one is not None]
        terms = latent_loss(every, config, reference=reference)
        found = iter(torch.autograd.grad(terms.total, leaves, allow_unused=True))
        pair = [None if one is None else next(found) for one in (every.visual_NKD, every.semantic_NE)]
        size = max(1, self.config.training.micro_rows // max(len(one.asked) for one in shown))
        asks: list[Ask] = []
        for start in range(0, len(shown), size):
            some = range(start, min(start + size, len(shown)))
            mine = [row for row, region in zip(rows, now.region_Q.tolist(), strict=True) if region in some]
            gradients = [None if one is None else one[mine] for one in pair]
            asks.append(partial(self._pull, [shown[place] for place in some], gradients))
        told = {f"latents/{name}": value for name, value in terms.numbers().items()}
        return asks, told | {"loss/latents": float(terms.total.detach())}

    def _pull(
        self, shown: Sequence[Shown], gradients: Sequence[Tensor | None], model: SlvrModel
    ) -> tuple[Tensor, dict[str, float]]:
        """Latents of some regions' queries, times the gradients that they are to have."""
        latents = query_latents(model, shown, self.form, self.pictures)
        loss = torch.zeros((), device=latents.region_Q.device)
        for held, gradient in zip((latents.visual_QKD, latents.semantic_QE), gradients, strict=True):
            if held is not None and gradient is not None:
                loss = loss + (held.float() * gradient.to(held.device)).sum() * self.ranks
        return loss, {}

    def _gathered(self, latents: QueryLatents) -> tuple[list[int], RegionLatents]:
        """Latents of all processes in the order of regions; and which rows of them are this one's."""
        mine = []
        for place in range(int(latents.region_Q.max()) + 1):
            here = latents.region_Q == place
            held = (latents.visual_QKD, latents.semantic_QE)
            mine.append((self.rank, [None if one is None else one.detach()[here].float().cpu() for one in held]))
        rows, region, visual, semantic = list[int](), list[int](), list[Tensor](), list[Tensor]()
        for number, (rank, (visual_kKD, semantic_kE)) in enumerate(self.all(mine)):
            queries = next(len(one) for one in (visual_kKD, semantic_kE) if one is not None)
            rows += range(len(region), len(region) + queries) if rank == self.rank else ()
            region += [number] * queries
            visual += [] if visual_kKD is None else [visual_kKD]
            semantic += [] if semantic_kE is None else [semantic_kE]
        device = latents.region_Q.device
        together = (torch.cat(one).to(device) if one else None for one in (visual, semantic))
        return rows, RegionLatents(torch.tensor(region, device=device), *together)

    # One step

    def _stepped(
        self, step: int, asks: Sequence[Ask], pulls: Sequence[Ask], played: Sequence[Played]
    ) -> dict[str, float]:
        """Add up the gradients of all parts and step. Where no row has a signal and nothing pulls, nothing moves."""
        share = set_rates(self.optimizer, step, self.config.training)
        work = [*self._evened(asks, played), *self._evened(pulls, played)]
        if not work:
            return {"loss/policy": 0.0, "rate": share}
        sums: dict[str, float] = {}
        self.optimizer.zero_grad(set_to_none=True)
        with self.learning() as wrapped:
            for place, (ask, weight) in enumerate(work):
                last = place + 1 == len(work)
                with self.processes.adding(last):
                    with self.autocast():
                        loss, numbers = wrapped(ask)
                    (loss * weight).backward()
                _add(sums, {name: value * weight for name, value in numbers.items()})
        total: dict[str, float] = {}
        for one in self.all([sums]):
            _add(total, one)
        return {"rate": share} | self._moved(step, total)

    def _evened(self, asks: Sequence[Ask], played: Sequence[Played]) -> Iterable[tuple[Ask, float]]:
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
        parameters = [one for group in self.optimizer.param_groups for one in group["params"]]
        clip = self.config.training.clip
        norm = float(_full(torch.nn.utils.clip_grad_norm_(parameters, clip or math.inf)))
        loss, tokens = sums.get("loss_sum", 0.0), max(sums.get("tokens", 0.0), 1.0)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise RunError(
                f"the loss at step {step} is {loss:g}, the gradient's norm {norm:g}: lower training.learning_rate, or "
                f"raise training.warmup; {anew(self.config)}"
            )
        self.optimizer.step()
        told = {"loss/policy": loss, "gradient": norm}
        return told | {name: sums[key] / tokens for name, key in SUMS.items() if key in sums}


def _rows(played: Played) -> Tensor:
    """[B]: rows that have a reward."""
    return played.rewards.valid_kG.flatten().to(played.rollouts.decoded.sampled_BT.device)


def _full(norm: Any) -> Any:
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _add(sums: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value
