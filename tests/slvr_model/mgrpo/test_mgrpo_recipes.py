"""Each recipe's debug twin runs from a start to a checkpoint; the large ones' with adapters and in bfloat16."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from slvr_model.checkpoints import open_checkpoint
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.run import train_mgrpo
from slvr_model.sft.settings import load_config
from tests.slvr_model.mgrpo.test_pairs import write_pairs

SetUp = Callable[..., MgrpoConfig]


def lines(config: MgrpoConfig) -> list[dict[str, float]]:
    assert config.out is not None
    return [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["mgrpo-3b-debug", "mgrpo-7b-debug"])
def test_the_twins_of_the_large_recipes_run(set_up: SetUp, name: str) -> None:
    config = set_up(name=name)
    final = train_mgrpo(config, "slvr:tiny")
    model, _ = open_checkpoint(str(final))
    assert not [key for key, _ in model.named_parameters() if "lora" in key], "adapters are merged"
    told = [line for line in lines(config) if "loss" in line]
    assert [line["step"] for line in told] == [1, 2]
    assert all(line["formed"] == 1 and line["latents/rank/semantic"] > 0 for line in told)
    assert 0 <= told[-1]["eval/all_right"] <= told[-1]["eval/accuracy"] <= 1
    assert load_config(str(final / "mgrpo.yaml"), [], "mgrpo").model.init == "slvr:tiny"


def test_a_file_of_pairs_is_learnt_by_the_released_form(set_up: SetUp, tmp_path: Path) -> None:
    config = set_up(
        f"data.set={write_pairs(tmp_path / 'pairs', 6)}",
        "data.most=2",
        "preset=released",
        "rewards.answer.kind=contained",
        "training.steps=1",
        "sampling.rollouts=2",
    )
    train_mgrpo(config, "slvr:tiny")
    (told,) = [line for line in lines(config) if "loss" in line]
    assert told["reward/stability"] == 0, "a margin of 15 on distances of 2 at most"
    assert -0.02 <= told["reward/consistency"] <= 0
    assert not any(name.startswith("latents/") for name in told) and told["eval/groups"] == 2
