"""Which parameters step at which rate: of adapters, of the vocabulary beside them, of latents."""

from __future__ import annotations

import copy

import pytest

from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.sft.config import ModelConfig, TrainingConfig
from slvr_model.sft.learner import Learner
from slvr_model.sft.rates import optimizer_of
from slvr_model.sft.settings import load_config
from slvr_model.sft.start import prepare
from slvr_model.tiny import tiny_processor
from tests.slvr_model.support import model

pytest.importorskip("peft")


def rates_of(training: TrainingConfig) -> dict[str, float]:
    """Parameter -> its rate."""
    made = copy.deepcopy(model())
    prepare(made, ModelConfig(), training.lora, 0)
    learner = Learner(made, open_objective(ObjectiveConfig(kind="slvr"), made, tiny_processor().tokenizer))
    names = {id(parameter): name for name, parameter in learner.named_parameters()}
    groups = optimizer_of(learner, training).param_groups
    found = {names[id(one)]: group["lr"] for group in groups for one in group["params"]}
    assert found.keys() == {name for name, one in learner.named_parameters() if one.requires_grad}
    return found


@pytest.mark.parametrize("words", [1e-5, None])
def test_the_vocabulary_beside_adapters_has_a_rate_of_its_own_where_told(words: float | None) -> None:
    training = load_config("7b-lora", []).training
    assert training.lora is not None and training.lora.vocabulary_rate == load_config("7b", []).training.learning_rate
    lora = training.lora.model_copy(update={"vocabulary_rate": words})
    found = rates_of(training.model_copy(update={"lora": lora, "latent_rate": 3e-4}))
    assert {rate for name, rate in found.items() if ".lora_" in name} == {training.learning_rate}
    ends = [rate for name, rate in found.items() if name.endswith(("embed_tokens.weight", "lm_head.weight"))]
    assert ends and set(ends) == {words or training.learning_rate}
    assert {rate for name, rate in found.items() if ".latents." in name} == {3e-4}


def test_without_adapters_all_but_latents_have_one_rate() -> None:
    found = rates_of(TrainingConfig(steps=1, learning_rate=2e-5, latent_rate=3e-4))
    assert {rate for name, rate in found.items() if ".latents." not in name} == {2e-5}
