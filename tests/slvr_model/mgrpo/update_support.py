"""A lot of the talkative model's rollouts, and what learns from it: no data set, no files."""

from __future__ import annotations

import copy
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState  # type: ignore[import-untyped]
from torch import Tensor

from slvr_model.mgrpo.composer import Rewards
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.generate import InProcess
from slvr_model.mgrpo.judging import Judge
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.play import Player, Rewarder
from slvr_model.mgrpo.policy import Policy
from slvr_model.mgrpo.processes import Processes
from slvr_model.mgrpo.rates import optimizer_of
from slvr_model.mgrpo.reference import Copied
from slvr_model.mgrpo.rewards.facts import Facts, Term
from slvr_model.mgrpo.settings.rewards import RewardConfig
from slvr_model.mgrpo.types import Shown
from slvr_model.mgrpo.update import Update
from slvr_model.modeling import SlvrModel
from tests.slvr_model.mgrpo.rollout_support import SEED, shown, talkative
from tests.slvr_model.objectives.objective_support import opened, tiny

NO_PULL = {"together": 0.0, "apart": 0.0, "stability": 0.0}


def configured(kind: str = "slvr", **sections: Any) -> MgrpoConfig:
    """Of one step, without warm-up; sections are merged into small settings."""
    tree: dict[str, Any] = {
        "objective": {"kind": kind, "feed": "own"},
        "sampling": {"rollouts": 4, "temperature": 1.3, "max_new_tokens": 16},
        "training": {"steps": 1, "regions": 2, "micro_rows": 64, "warmup": 0.0, "learning_rate": 1e-3, "clip": 0.0},
        "rewards": {"format": {"weight": 0.0}, "all_right": {"weight": 0.0}},
    }
    for name, section in sections.items():
        tree[name] = tree.get(name, {}) | section
    return MgrpoConfig.model_validate(tree)


def earned(values_kG: Tensor) -> Rewards:
    """Rewards of one term, the answer."""
    term = Term.of(values_kG)
    return Rewards(term.values_kG, term.present_kG, {"answer": term}, values_kG >= 1)


def rigged(facts: Facts, config: RewardConfig) -> Rewards:
    """Longer answers earn more, up to 1: differs within most queries."""
    return earned(facts.table([min(1.0, len(given) / 20) for given in facts.given]))


class Bench:
    """A trainer's parts for one model, without its loop."""

    def __init__(
        self,
        config: MgrpoConfig,
        rewarder: Rewarder = rigged,
        model: SlvrModel | None = None,
        *,
        judge: Judge | None = None,
        other: SlvrModel | None = None,
    ) -> None:
        """`other`: the reference, in place of the model as it is."""
        self.config = config
        self.model = copy.deepcopy(talkative()) if model is None else model
        for parameter in self.model.model.visual.parameters():
            parameter.requires_grad_(False)
        objective = opened(config.objective.kind, self.model)
        self.shown: list[Shown] = [shown(objective), shown(objective, 3, 2, region="other")]
        seen, tokenizer = Pictures(self.model), tiny()[1].tokenizer
        self.generator = InProcess(self.model, objective, tokenizer, config.sampling, SEED, seen)
        reference = None
        if config.needs_reference:
            reference = Copied(other) if other else Copied(copy.deepcopy(self.model), seen)
        tokens = self.model.latent_config.tokens
        self.player = Player(config, self.generator, objective.form, tokens, reference, judge, rewarder, seen)
        policy = Policy(self.model)
        self.optimizer = optimizer_of(policy, config.training)
        AcceleratorState._reset_state()  # of an earlier run of this process, which may have computed in bfloat16
        processes = Processes(Accelerator(cpu=True), policy, config.sharding)
        self.update = Update(config, processes, self.optimizer, reference, objective.form, seen)

    def learnt(self, number: int = 1) -> dict[str, float]:
        """The numbers of a lot that was played and learnt."""
        played, first = self.player.play(self.shown, number)
        return self.update.learn(1, played, first)

    def gradients(self) -> dict[str, Tensor]:
        """Of the last step."""
        return {name: one.grad for name, one in self.model.named_parameters() if one.grad is not None}


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of two sets of gradients, as a share of the largest gradient."""
    assert one.keys() == other.keys()
    size = max(float(value.abs().max()) for value in one.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / size


def weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of all tensors."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
