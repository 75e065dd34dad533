"""Groups are asked, answered and rewarded: what a step learns from.

    reference's latents, where a term needs them -> rollouts -> judge, while others are written -> rewards, advantages

k queries, G rollouts, B = k * G rows of a group, T new positions
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from slvr_data.errors import RunError
from slvr_model.latents import Latents
from slvr_model.mgrpo.advantages import Advantages, advantages, routed
from slvr_model.mgrpo.composer import Rewards, composed
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.generate import InProcess
from slvr_model.mgrpo.judging import Answered, Handle, Judge
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.query_latents import QueryLatents, query_latents
from slvr_model.mgrpo.reference import Reference
from slvr_model.mgrpo.replies import openings, slots
from slvr_model.mgrpo.rewards.facts import Facts, costs_of, facts_of
from slvr_model.mgrpo.settings.rewards import RewardConfig
from slvr_model.mgrpo.types import Generator, Rollouts, Shown
from slvr_model.objectives.base import Form
from slvr_model.prompts import question_text
from slvr_model.tokens import LatentTokens

Rewarder = Callable[[Facts, RewardConfig], Rewards]
SAID = {"yes": True, "no": False}
"""Verdicts of a judge; any other is none."""


@dataclass(frozen=True, eq=False)
class Played:
    """A group with its rollouts, and what they earned."""

    rollouts: Rollouts
    rewards: Rewards
    advantages: Advantages

    def numbers(self) -> dict[str, float]:
        """To log."""
        decoded = self.rollouts.decoded
        length_B = decoded.sampled_BT.sum(1).double()
        return {
            **self.rewards.numbers(),
            **self.advantages.numbers(),
            "formed": sum(self.rollouts.formed) / len(self.rollouts.formed),
            "ended": float(decoded.finished_B.double().mean()),
            "length/mean": float(length_B.mean()),
            "length/most": float(length_B.max()),
        }


class Player:
    """Rolls out and rewards the groups of this process.

    Args:
        config: of the run.
        generator: where rollouts come from.
        form: of the objective's replies.
        tokens: of latents.
        reference: of the run; None where nothing needs it.
        judge: where a reward asks one.
        rewarder: facts of a group -> what it earns.
        pictures: the generator's, where it encodes in this process.
    """

    def __init__(
        self,
        config: MgrpoConfig,
        generator: Generator,
        form: Form,
        tokens: LatentTokens,
        reference: Reference | None,
        judge: Judge | None = None,
        rewarder: Rewarder = composed,
        pictures: Pictures | None = None,
    ) -> None:
        self.config, self.generator, self.form, self.tokens = config, generator, form, tokens
        self.reference, self.judge, self.rewarder, self.pictures = reference, judge, rewarder, pictures

    def play(self, shown: Sequence[Shown], number: int) -> tuple[list[Played], QueryLatents | None]:
        """The groups of a lot; and the reference's latents, where something needs them.

        Args:
            shown: this process's groups.
            number: of the lot, from 1; 0 is the preflight's.

        Raises:
            RunError: a reward is no number, or cannot be told; the region is named.
        """
        for held in (self.pictures, None if self.reference is None else self.reference.pictures):
            if held is not None:
                held.clear()
        first = self._first_latents(shown)
        rollouts, waiting = list[Rollouts](), list[tuple[list[int], Handle] | None]()
        for some in [[one] for one in shown] if self.judge else [list(shown)]:
            written = self._written(some, number)
            rollouts += written
            waiting += [self._submitted(one) for one in written]
        return [
            self._rewarded(one, judged, _of_region(first, place), number)
            for place, (one, judged) in enumerate(zip(rollouts, waiting, strict=True))
        ], first

    def _first_latents(self, shown: Sequence[Shown]) -> QueryLatents | None:
        config = self.config
        if not config.latents.needs_reference and "stability" not in config.rewards.needed():
            return None
        assert self.reference is not None, "a reference is kept where something needs it"
        with self.reference.weights() as model, torch.no_grad():
            return query_latents(model, shown, self.form, self.reference.pictures)

    def _written(self, shown: Sequence[Shown], number: int) -> list[Rollouts]:
        if isinstance(self.generator, InProcess):
            return self.generator.many(shown, step=number)
        return [self.generator.rollouts(one, step=number) for one in shown]

    def _submitted(self, rollouts: Rollouts) -> tuple[list[int], Handle] | None:
        """The rows that are judged, on their way."""
        if self.judge is None:
            return None
        shown, number, config = rollouts.shown, rollouts.number, self.config.rewards.answer
        rows = [
            row
            for row in range(len(rollouts.answers))
            if not (shown.lettered[row // number] and config.lettered == "letter")
        ]
        asked = [
            Answered(
                _put(shown, row // number),
                shown.answers[row // number],
                rollouts.answers[row] if rollouts.formed[row] else "",
                shown.group.samples[row // number].query_id,
            )
            for row in rows
        ]
        return rows, self.judge.submit(asked)

    def _rewarded(
        self, rollouts: Rollouts, waiting: tuple[list[int], Handle] | None, first: Latents | None, number: int
    ) -> Played:
        judged: list[bool | None] | None = None
        if waiting is not None:
            judged = [None] * len(rollouts.answers)
            for row, verdict in zip(waiting[0], waiting[1].results(), strict=True):
                judged[row] = SAID.get(verdict)
        try:
            facts = facts_of(opened(rollouts, self.tokens), costs_kG=costs_of(rollouts), judged=judged, reference=first)
            rewards = self.rewarder(facts, self.config.rewards)
            gained = advantages(rewards.total_kG, self.config.advantages, valid_kG=rewards.valid_kG)
        except RunError as error:
            raise RunError(f"lot {number}, region {rollouts.shown.group.region_id}: {error}") from None
        return Played(rollouts, rewards, gained)


def _put(shown: Shown, query: int) -> str:
    """A question as a judge is to read it: with its choices, where the right answer is a letter of theirs."""
    sample = shown.group.samples[query]
    return question_text(sample.question, sample.choices if shown.lettered[query] else ())


def opened(rollouts: Rollouts, tokens: LatentTokens) -> Rollouts:
    """Rollouts with the latents that they open with alone: a reply may sample the start of another span later."""
    decoded = rollouts.decoded
    if not bool(decoded.latent_BT.any()):
        return rollouts
    found = openings(decoded, decoded.latents, tokens)
    visual_BT, semantic_BT = slots(decoded, tokens)
    visual_BT &= visual_BT.cumsum(1) <= (0 if found.visual_TD is None else found.visual_TD.shape[1])
    semantic_BT &= semantic_BT.cumsum(1) <= (found.semantic_SE is not None)
    visual_TD = None if found.visual_TD is None else found.visual_TD.flatten(0, 1)
    held = replace(decoded, latent_BT=visual_BT | semantic_BT, latents=Latents(visual_TD, found.semantic_SE))
    return replace(rollouts, decoded=held)


def advantages_of(played: Played, config: MgrpoConfig) -> Tensor:
    """What a group's rows are better by: [B]; or [B, T] where latents have an advantage of their own.

    A region was *seen* by a wrong answer where its other queries are answered rightly at least every other time.
    """
    values_B, routing = played.advantages.values_kG.flatten(), config.advantages.routing
    if routing is None:
        return values_B
    right_kG, decoded = played.rewards.right_kG, played.rollouts.decoded
    mean_k, queries = right_kG.float().mean(1), len(right_kG)
    others_k = (mean_k.sum() - mean_k) / max(1, queries - 1)
    seen_B = (others_k >= 0.5).repeat_interleave(played.rollouts.number)
    latent_BT = decoded.latent_BT.cpu()
    return routed(values_B, latent_BT, ~right_kG.flatten(), seen_B, routing)


def _of_region(latents: QueryLatents | None, place: int) -> Latents | None:
    """The latents of one region's queries, flat."""
    if latents is None:
        return None
    mine = latents.region_Q == place
    visual = None if latents.visual_QKD is None else latents.visual_QKD[mine].flatten(0, 1)
    return Latents(visual, None if latents.semantic_QE is None else latents.semantic_QE[mine])


def together(numbers: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over the groups that have it; of "most", the largest."""
    found: dict[str, Any] = {}
    for one in numbers:
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return {name: max(v) if name.endswith("/most") else sum(v) / len(v) for name, v in found.items()}
