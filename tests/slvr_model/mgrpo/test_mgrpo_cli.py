"""`slvr-train mgrpo`: options, one line for what a user can meet, and what a run would take."""

from __future__ import annotations

from pathlib import Path

import pytest

from slvr_data.errors import UsageError
from slvr_model.efficiency.estimate import GIB
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.dry import told
from slvr_model.sft.settings import load_config
from tests.slvr_model.test_train_cli import WITHOUT, trained


def test_both_kinds_of_configurations_are_listed_and_shown_without_torch() -> None:
    listed = trained("configs", script=WITHOUT)
    assert "mgrpo-7b-debug " in listed and "\n7b-debug " in listed
    assert "latent_noise: 0.0" in trained("show", "mgrpo-7b", script=WITHOUT)


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    said = trained("mgrpo", "--config", "mgrpo-tiny", code=2, script=WITHOUT)
    assert said.count("\n") == 1 and "--init is missing: name a checkpoint of stage 1" in said
    said = trained("mgrpo", "--config", "mgrpo-tiny", "--init", "slvr:tiny", code=2, script=WITHOUT)
    assert said == "slvr-train: torch and transformers is missing: pip install '.[train]' in a clone\n"


def numbers(*assignments: str, name: str = "mgrpo-7b", init: str = "Qwen/Qwen2.5-VL-7B-Instruct") -> dict[str, float]:
    config: MgrpoConfig = load_config(name, list(assignments), "mgrpo")
    lines = told(config, init).splitlines()[1:-1]
    return {line[:34].strip(): float(line[34:].replace(",", "")) for line in lines}


def test_a_dry_run_tells_what_rollouts_scoring_and_optimiser_take() -> None:
    found = numbers("training.regions=2", "data.most=2", "sampling={rollouts: 4, max_new_tokens: 40}")
    assert found["rollouts per lot and GPU"] == 2 * 2 * 4
    # keys and values: 28 layers, 4 heads of 128, bfloat16; and 12 bytes of sampling for each of 152,064 words
    places = 1024 + 32 + 64 + 40
    cache = 16 * (28 * 2 * 4 * 128 * 2 * places + 12 * 152_064)
    assert found["rollouts, GiB"] == pytest.approx(cache / GIB, abs=0.006)
    assert found["reference, GiB"] == 0  # adapters are taken off
    assert found["optimiser, GiB"] == pytest.approx(2 * found["gradients, GiB"], abs=0.011)
    fixed = sum(found[f"{part}, GiB"] for part in ("weights", "gradients", "optimiser", "copies", "reference"))
    largest = max(found["rollouts, GiB"], found["scoring, GiB"])
    assert found["peak, GiB"] == pytest.approx(fixed + largest, abs=0.03)
    # 5 latents once per query, and behind them 16 replies
    assert found["positions written, at most"] == 2 * 2 * 5 + 16 * (40 - 5)


def test_what_costs_memory_or_work_shows_in_a_dry_run() -> None:
    lora = numbers()
    alone = ("training.lora=null", "model.dtype=float32")
    full = numbers(*alone)
    assert full["reference, GiB"] == full["weights, GiB"] and full["optimiser, GiB"] > 20 * lora["optimiser, GiB"]
    assert numbers(*alone, "model.reference=null", "loss.beta=0",
                   "latents={together: 0, apart: 0, stability: 0}")["reference, GiB"] == 0  # fmt: skip
    assert numbers("training.micro_rows=24")["scoring, GiB"] > lora["scoring, GiB"]
    alone_scored = "latents={together: 0, apart: 0, stability: 0}"  # else it is their losses that take the most
    given, lora = numbers("training.feed=given", alone_scored), numbers(alone_scored)
    assert given["scoring, GiB"] < lora["scoring, GiB"]
    # a beginning and what stands behind it, for the policy and for the reference; 1 + 5 more for own latents
    assert given["in calls of the language model"] * 10 == lora["in calls of the language model"] * 4
    kept = numbers("training.feed=given", "training.checkpointing=true", alone_scored)
    assert kept["scoring, GiB"] < 0.4 * given["scoring, GiB"]
    shared = numbers("sharding.kind=fsdp2", *alone)
    assert shared["optimiser, GiB"] == pytest.approx(full["optimiser, GiB"] / 8, abs=0.01)
    assert shared["weights, GiB"] > full["weights, GiB"]
    aside = full["gradients, GiB"] * 7 / 8  # what others hold of the gradient that waits for that of latents
    assert full["scoring, GiB"] - shared["scoring, GiB"] == pytest.approx(aside, abs=0.02)


def test_the_recipes_fit_their_gpus_by_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert numbers(name="mgrpo-3b", init="Qwen/Qwen2.5-VL-3B-Instruct")["peak, GiB"] < 74
    monkeypatch.setenv("WORLD_SIZE", "8")
    found = numbers()
    assert found["regions per lot and GPU"] == 4 and found["peak, GiB"] < 74
    # 6.5 of 8.3 billion parameters have adapters and are written in float32; 0.19 are trained
    assert found["disk per checkpoint, GiB"] == pytest.approx((4 * 6.56 + 2 * 1.77 + 12 * 0.19) * 1e9 / 2**30, rel=0.02)


def test_a_dry_run_of_no_checkpoint_says_so() -> None:
    with pytest.raises(UsageError, match="nowhere"):
        numbers(init="/nowhere/at/all")
