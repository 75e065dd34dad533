"""With latents off and one query: advantages, loss, KL and gradients are those of TRL's `GRPOTrainer`.

TRL's own code runs: its trainer samples from a tiny random text model made here, rewards, and computes its loss. Ours
gets the same ids and rewards, and log-probabilities from plain logits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from slvr_model.mgrpo.advantages import advantages
from slvr_model.mgrpo.losses import Totals, k3, policy_loss
from slvr_model.mgrpo.settings import AdvantageConfig, LossConfig

pytestmark = [
    pytest.mark.slow,  # importing trl alone takes several seconds, and only who runs this does
    pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed: pip install '.[dev]' in a clone"),
]

QUERIES, ROLLOUTS, LONGEST, BETA, TEMPERATURE = 3, 4, 7, 0.3, 0.9
PROMPTS = ["a b c", "d a", "b b c d e"]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def tokenizer() -> PreTrainedTokenizerFast:
    words = ["<pad>", "<end>", "<unk>", *"abcdefghijklm"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random text model of two layers, with larger weights than usual, so that rows differ."""
    torch.manual_seed(0)
    words = tokenizer()
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.3,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
    )
    made = tmp_path_factory.mktemp("text")
    Qwen2ForCausalLM(config).save_pretrained(made)
    words.save_pretrained(made)
    return made


def words_of_one_kind(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """A reward with many values, ties among them."""
    return [float(sum(number % 3 == 0 for number in ids)) - 0.25 * (len(ids) == LONGEST) for ids in completion_ids]


class Theirs:
    """TRL's trainer, and what it made of one batch."""

    def __init__(self, folder: Path, out: Path, **settings: Any) -> None:
        from trl import GRPOConfig, GRPOTrainer

        self.rewards: list[float] = []

        def reward(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
            self.rewards = words_of_one_kind(completion_ids)
            return self.rewards

        config = GRPOConfig(
            str(out),
            use_cpu=True,
            bf16=False,
            report_to=[],
            seed=1,
            per_device_train_batch_size=QUERIES * ROLLOUTS,
            num_generations=ROLLOUTS,
            max_completion_length=LONGEST,
            temperature=TEMPERATURE,
            beta=BETA,
            top_k=0,
            mask_truncated_completions=False,
            **settings,
        )
        data = Dataset.from_dict({"prompt": PROMPTS})
        model = Qwen2ForCausalLM.from_pretrained(folder)
        self.trainer = GRPOTrainer(model, reward, config, data, processing_class=tokenizer())
        self.trainer.current_gradient_accumulation_steps = 1
        torch.manual_seed(2)
        with torch.no_grad():  # away from the reference
            for parameter in self.trainer.model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        rows = [{"prompt": prompt} for prompt in PROMPTS for _ in range(ROLLOUTS)]
        self.trainer.model.train()
        self.inputs = self.trainer._generate_and_score_completions(rows)

    def loss(self, old_BT: Tensor | None) -> Tensor:
        """TRL's loss; its gradients stay in the model."""
        inputs = dict(self.inputs)
        if old_BT is not None:
            inputs["old_per_token_logps"] = old_BT
        self.trainer.model.zero_grad()
        loss = self.trainer._compute_loss(self.trainer.model, inputs)
        loss.backward()
        return loss.detach()

    def gradients(self) -> dict[str, Tensor]:
        return {name: one.grad.clone() for name, one in self.trainer.model.named_parameters()}


def ours(folder: Path, weights: dict[str, Tensor] | None = None) -> Qwen2ForCausalLM:
    model = Qwen2ForCausalLM.from_pretrained(folder).train()
    if weights is not None:
        model.load_state_dict(weights)
    return model


def logprobs(model: Qwen2ForCausalLM, inputs: dict[str, Tensor]) -> Tensor:
    """[B, T] of the completions, from plain logits."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    seen = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    length = inputs["completion_ids"].shape[1]
    logits = model(input_ids=ids, attention_mask=seen).logits[:, -length - 1 : -1] / TEMPERATURE
    return logits.log_softmax(-1).gather(-1, inputs["completion_ids"][..., None])[..., 0]


@pytest.fixture(scope="module")
def theirs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Theirs]:
    def made(**settings: Any) -> Theirs:
        return Theirs(folder, tmp_path_factory.mktemp("out"), **settings)

    return made


FORMS: dict[str, tuple[dict[str, Any], AdvantageConfig, LossConfig]] = {
    "grpo": (
        {"loss_type": "grpo", "scale_rewards": "group"},
        AdvantageConfig(normalise="zscore", drop=False),
        LossConfig(aggregation="grpo", beta=BETA),
    ),
    "bnpo": (
        {"loss_type": "bnpo", "scale_rewards": "none", "use_bias_correction_kl": False},
        AdvantageConfig(normalise="mean_only", drop=False),
        LossConfig(aggregation="bnpo", beta=BETA, kl_gradient="plain"),
    ),
    "dapo": (
        {"loss_type": "dapo", "scale_rewards": "none", "epsilon_high": 0.28},
        AdvantageConfig(normalise="mean_only", drop=False),
        LossConfig(aggregation="dapo", beta=BETA, clip_high=0.28),
    ),
    "dr_grpo": (
        {"loss_type": "dr_grpo", "scale_rewards": "none", "delta": 1.5},
        AdvantageConfig(normalise="mean_only", drop=False),
        LossConfig(aggregation="dr_grpo", beta=BETA, clip_both=1.5),
    ),
    "gspo": (
        {"loss_type": "grpo", "scale_rewards": "group", "importance_sampling_level": "sequence"},
        AdvantageConfig(normalise="zscore", drop=False),
        LossConfig(aggregation="grpo", beta=BETA, ratio="sequence"),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("moved", [False, True], ids=["first pass", "later pass"])
def test_advantages_loss_kl_and_gradients_are_those_of_trl(
    folder: Path, theirs: Callable[..., Theirs], form: str, moved: bool
) -> None:
    settings, advantage_config, loss_config = FORMS[form]
    trl = theirs(**settings)
    inputs, mask_BT = trl.inputs, trl.inputs["completion_mask"].bool()
    rewards_kG = torch.tensor(trl.rewards).view(QUERIES, ROLLOUTS)
    assert len(rewards_kG.unique()) > 2, "else nothing is compared"

    groups = [advantages(row_G[None], advantage_config) for row_G in rewards_kG]  # one query each
    advantages_B = torch.cat([group.values_kG.flatten() for group in groups])
    torch.testing.assert_close(advantages_B, inputs["advantages"], **TOLERANCE)
    assert all(group.kept_kG.all() for group in groups)

    model = ours(folder, copy.deepcopy(trl.trainer.model.state_dict()))
    with torch.no_grad():
        reference_BT = logprobs(ours(folder), inputs)
    torch.testing.assert_close(reference_BT[mask_BT], inputs["ref_per_token_logps"][mask_BT], **TOLERANCE)
    now_BT = logprobs(model, inputs)
    old_BT = None
    if moved:  # ratios on both sides of the clip
        torch.manual_seed(3)
        old_BT = now_BT.detach() + 0.4 * torch.randn_like(now_BT)
    wanted = trl.loss(old_BT)
    part = policy_loss(
        now_BT,
        mask_BT,
        advantages_B,
        loss_config,
        totals=Totals.of(mask_BT),
        longest=LONGEST,
        old_BT=old_BT,
        reference_BT=reference_BT,
    )
    part.loss.backward()
    torch.testing.assert_close(part.loss.detach(), wanted, **TOLERANCE)
    if moved and form != "gspo":
        assert part.numbers["low_sum"] > 0
        assert part.numbers["high_sum"] > 0

    kl = part.numbers["kl_sum"] / part.numbers["tokens"]
    assert kl > 1e-3
    assert kl == pytest.approx(trl.trainer._metrics["train"]["kl"][-1], abs=1e-5)
    if not moved:
        assert float(k3(now_BT.detach(), reference_BT)[mask_BT].mean()) == pytest.approx(kl, abs=1e-5)

    gradients = trl.gradients()
    assert max(float(one.abs().max()) for one in gradients.values()) > 1e-3
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name], msg=lambda text, at=name: f"{at}: {text}", **TOLERANCE
        )
