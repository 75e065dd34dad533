"""What is written of a model with adapters on weights in bfloat16 is the policy that was trained, all of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from slvr_model.checkpoints import SHIPPED, open_checkpoint
from slvr_model.checkpoints.precision import is_merged
from slvr_model.mgrpo.scoring import scored
from slvr_model.mgrpo.types import Rollouts
from slvr_model.modeling import SlvrModel
from slvr_model.sft.config import LoraConfig, ModelConfig, SftConfig
from slvr_model.sft.learner import Learner
from slvr_model.sft.start import open_start, prepare
from slvr_model.sft.weights import save_learner
from tests.slvr_model.mgrpo.rollout_support import generator, shown

MOVED = 1.4e-4
"""About what 500 steps of Adam at 1e-5 move a number by, as a walk of random signs along a cosine."""
CONFIG = SftConfig.model_validate(
    {
        "model": {"start": "slvr:tiny", "dtype": "bfloat16"},
        "training": {"steps": 1, "bf16": True, "lora": {"rank": 64, "alpha": 128, "vocabulary": False}},
    }
)


def policy() -> SlvrModel:
    model, _ = open_start(CONFIG.model, None, 0)
    prepare(model, ModelConfig(), CONFIG.training.lora, 0)
    return model.eval()


def logprobs(model: SlvrModel, rollouts: Rollouts) -> Tensor:
    """Of each sampled token, in float32, behind latents that the model writes itself."""
    with torch.no_grad():
        found = scored(model.float(), rollouts, feed="own", micro_rows=8)
    return found.logprobs_BT[found.sampled_BT]


def test_a_merged_checkpoint_says_what_the_policy_says(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    start = policy()
    made = generator("slvr", temperature=1.0)  # of a model that says what the start would not: small changes show
    rollouts = made.rollouts(shown(made.objective), step=0)
    moved, dice = policy(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in moved.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=dice), alpha=MOVED)
    _, processor = open_start(CONFIG.model, None, 0)
    learner = Learner(moved, made.objective)
    save_learner(learner, processor, tmp_path, learner.state_dict(), CONFIG)
    reopened, _ = open_checkpoint(str(tmp_path))
    before, after, merged = (logprobs(model, rollouts) for model in (start, moved, reopened))
    learnt = float((after - before).abs().max())
    assert learnt > 1e-3, "this much is seen in what it says"
    assert float((merged - after).abs().max()) < 0.01 * learnt


def test_what_stands_still_stays_in_bfloat16_in_the_file(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    model, (_, processor) = policy(), open_start(CONFIG.model, None, 0)
    learner = Learner(model, generator("slvr", model).objective)
    save_learner(learner, processor, tmp_path, learner.state_dict(), CONFIG)
    held = load_file(tmp_path / "model.safetensors")
    lora = CONFIG.training.lora
    assert isinstance(lora, LoraConfig)
    for name, tensor in held.items():
        adapted = "visual." not in name and any(f".{target}.weight" in name for target in lora.targets)
        wide = adapted or name.startswith("latents.")
        assert tensor.dtype == (torch.float32 if wide else torch.bfloat16), name
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"
    assert is_merged(tmp_path) and not is_merged(SHIPPED["slvr:tiny"])
    reopened, _ = open_checkpoint(str(tmp_path))
    assert {parameter.dtype for parameter in reopened.parameters()} == {torch.float32}
    maps = model.latents.state_dict()
    assert all(torch.equal(tensor, maps[name]) for name, tensor in reopened.latents.state_dict().items())
