"""The reward of rollouts: weighted terms, gates, and what happens where a term cannot be told.

    rewards = composed(facts, config)            # facts: rewards/facts.py; config: RewardConfig
    rewards.total_kG, rewards.valid_kG           # to advantages.advantages
    watch = TermWatch(config); watch.see(rewards); watch.warnings(); watch.numbers()

With weights w, gates b and terms r (`rewards/`):

    R_ig = cost factor_ig * sum over terms of  w * r_ig * [b_ig > 0]

With `joint` (the released code) terms are first put together over the queries, rollout g of one standing for g of all:
the answer by `query_weights`, others by their mean; gates see these, and R_g is the same for all queries.

k queries, G rollouts
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slvr_data.errors import RunError, UsageError
from slvr_model.mgrpo.rewards.all_right import all_right
from slvr_model.mgrpo.rewards.answer import answer, right_kG
from slvr_model.mgrpo.rewards.consistency import consistency
from slvr_model.mgrpo.rewards.cost_parity import cost_factors
from slvr_model.mgrpo.rewards.facts import Facts, Term
from slvr_model.mgrpo.rewards.format import formed
from slvr_model.mgrpo.rewards.stability import stability
from slvr_model.mgrpo.settings.rewards import RewardConfig

ROUNDING = 1e-5
"""How far a value may be outside its range."""
SAME = 1e-6
"""Values that differ by no more are the same."""


@dataclass(frozen=True, eq=False)
class Rewards:
    """What the rollouts of a group earn."""

    total_kG: Tensor
    """NaN where a rollout is left out."""
    valid_kG: Tensor
    """False where a rollout is left out, because a term cannot be told (`missing: drop`)."""
    terms: Mapping[str, Term]
    """By name, not weighted, not gated; with `joint` the same for all queries."""
    right_kG: Tensor
    """Rollouts whose answer is right; of each query, also with `joint`."""

    def numbers(self) -> dict[str, float]:
        """To log: means of each term and of the whole, and the variance of each among a query's rollouts (mean over
        queries); the share of right answers, and that of numbers g at which all queries are answered rightly.
        """
        told = {"reward/right": float(self.right_kG.float().mean())}
        told["reward/all_right_share"] = float(self.right_kG.all(0).float().mean())
        told["reward/left_out"] = float((~self.valid_kG).float().mean())
        named = {**self.terms, "total": Term(self.total_kG, self.valid_kG)}
        for name, term in named.items():
            values = term.values_kG[term.present_kG]
            if len(values):
                told[f"reward/{name}"] = float(values.mean())
                told[f"reward/{name}/variance"] = float(_variance(term))
        return told


def composed(facts: Facts, config: RewardConfig) -> Rewards:
    """The rewards of a group.

    Raises:
        UsageError: the configuration does not fit the group: one query with a term that compares several, weights for
            another number of queries, costs that are missing.
        RunError: a term is NaN or outside its range; or cannot be told, and `missing` is "error".
    """
    correct = answer(facts, config.answer)
    terms: dict[str, Term] = {name: _term(name, facts, config, correct) for name in config.needed()}
    for name, term in terms.items():
        _check(name, term, config, facts.queries)
    if config.joint:
        terms = {name: _joined(name, term, config) for name, term in terms.items()}
    total_kG, valid_kG = _total(terms, config)
    if config.cost_parity:
        costs_kG = facts.costs_kG
        if config.joint and costs_kG is not None:
            costs_kG = costs_kG.sum(0).expand_as(costs_kG)
        total_kG = total_kG * cost_factors(total_kG, valid_kG, costs_kG, config.cost_parity)
    total_kG = total_kG.masked_fill(~valid_kG, torch.nan)
    return Rewards(total_kG, valid_kG, terms, right_kG(correct, config.answer))


def _term(name: str, facts: Facts, config: RewardConfig, correct: Term) -> Term:
    if name == "answer":
        return correct
    if name == "format":
        return formed(facts)
    if name == "all_right":
        gated = config.gates.get("answer") == "format"
        return all_right(_gated(correct, formed(facts)) if gated else correct, config.all_right)
    return consistency(facts, config.consistency) if name == "consistency" else stability(facts, config.stability)


def _check(name: str, term: Term, config: RewardConfig, queries: int) -> None:
    allowed, values = getattr(config, name).range(queries), term.values_kG
    outside = ~((values >= allowed.low - ROUNDING) & (values <= allowed.high + ROUNDING)) & term.present_kG
    if bool(outside.any()):
        query, number = (int(one) for one in outside.nonzero()[0])
        raise RunError(
            f"reward {name} of query {query}, rollout {number} is {float(values[query, number]):g}, but it is "
            f"{allowed} by definition: latents are not finite, or a term is computed wrongly"
        )


def _joined(name: str, term: Term, config: RewardConfig) -> Term:
    """A term of all queries together, the same for each of them; missing where it is for one."""
    queries = len(term.values_kG)
    weights = config.answer.query_weights if name == "answer" else None
    if weights is not None and len(weights) != queries:
        raise UsageError(
            f"rewards.answer.query_weights has {len(weights)} weights, a region {queries} queries: give one for each"
        )
    weight_k = torch.tensor(weights) if weights is not None else torch.full((queries,), 1 / queries)
    joint_G = weight_k @ term.values_kG
    return Term.of(joint_G.expand(queries, -1), term.present_kG.all(0).expand(queries, -1))


def _gated(term: Term, gate: Term) -> Term:
    return Term.of(term.values_kG * (gate.values_kG > 0), term.present_kG & gate.present_kG)


def _total(terms: Mapping[str, Term], config: RewardConfig) -> tuple[Tensor, Tensor]:
    """The weighted sum, and for which rollouts there is one."""
    weights, earned = config.weights(), {}
    for name in weights:
        gate = config.gates.get(name)
        earned[name] = _gated(terms[name], terms[gate]) if gate else terms[name]
        if config.missing == "error" and not bool(earned[name].present_kG.all()):
            count = int((~earned[name].present_kG).sum())
            raise RunError(
                f"reward {name} cannot be told of {count} of {earned[name].present_kG.numel()} rollouts: set its "
                "weight to 0, or say with rewards.missing what is to happen (zero, redistribute, drop)"
            )
    total_kG = torch.stack([weights[name] * term.values_kG for name, term in earned.items()]).sum(0)
    present_NkG = torch.stack([term.present_kG for term in earned.values()])
    if config.missing == "zero":
        return total_kG, torch.ones_like(present_NkG[0])
    if config.missing == "redistribute":
        weight_N = torch.tensor([weights[name] for name in earned])
        told_kG = torch.einsum("n,nkg->kg", weight_N, present_NkG.float())
        return total_kG * weight_N.sum() / told_kG.clamp_min(1e-9), told_kG > 0
    return total_kG, present_NkG.all(0)


def _variance(term: Term) -> Tensor:
    """Of a term among a query's rollouts, mean over queries."""
    count_k = term.present_kG.sum(1)
    values_kG = term.values_kG.masked_fill(~term.present_kG, 0.0)
    mean_k1 = (values_kG.sum(1) / count_k.clamp_min(1))[:, None]
    square_kG = (values_kG - mean_k1).square().masked_fill(~term.present_kG, 0.0)
    return (square_kG.sum(1) / count_k.clamp_min(1)).sum() / (count_k > 0).sum().clamp_min(1)


def _constant(term: Term) -> bool:
    """Whether a term is the same for all rollouts of each query."""
    high_kG = term.values_kG.masked_fill(~term.present_kG, -torch.inf)
    low_kG = term.values_kG.masked_fill(~term.present_kG, torch.inf)
    return bool((high_kG.amax(1) - low_kG.amin(1) <= SAME).all())


class TermWatch:
    """Counts in how many groups each weighted term is constant within queries: such a term moves no advantage."""

    def __init__(self, config: RewardConfig) -> None:
        self.config, self.groups = config, 0
        self.constant = dict.fromkeys(config.weights(), 0)
        self.told: list[str] = []

    def see(self, rewards: Rewards) -> None:
        """A group."""
        self.groups += 1
        for name, term in rewards.terms.items():
            if name in self.constant:
                self.constant[name] += _constant(term)

    def numbers(self) -> dict[str, float]:
        """To log: the share of groups in which each term is constant."""
        return {f"reward/{name}/constant": count / max(self.groups, 1) for name, count in self.constant.items()}

    def warnings(self) -> list[str]:
        """Sentences about terms that do nothing; each term is told once."""
        if self.groups < self.config.constant_after:
            return []
        found = []
        for name, count in self.constant.items():
            if count >= self.config.constant_share * self.groups and name not in self.told:
                self.told.append(name)
                found.append(
                    f"reward {name} is the same for all rollouts of a query in {count} of {self.groups} groups: it "
                    f"drops out of the advantage there{_CURES.get(name, '')}"
                )
        return found

    def state_dict(self) -> dict[str, Any]:
        """For a run that goes on."""
        return {"groups": self.groups, "constant": dict(self.constant), "told": list(self.told)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What `state_dict` gave."""
        self.groups, self.constant, self.told = state["groups"], dict(state["constant"]), list(state["told"])


_LATENTS = (
    ". It is computed from latents, which follow from the question: latents.together and latents.stability are losses "
    "that act on them, and sampling.latent_noise makes them differ"
)
_CURES = {
    "format": ". Where all replies are whole that is as it should be",
    "consistency": _LATENTS,
    "stability": _LATENTS,
    "answer": ". Take easier or harder questions, a higher sampling.temperature, or more rollouts",
    "all_right": ". Take easier or harder questions, a higher sampling.temperature, or more rollouts",
}
