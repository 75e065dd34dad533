"""Two processes over gloo learn what one learns: the same groups, rollouts, losses and, but for rounding, weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from slvr_model.mgrpo.cases import read_cases
from slvr_model.mgrpo.checkpointing import OPTIMIZER
from slvr_model.sft import records
from tests.inside import inside
from tests.slvr_model.sft.test_sft_processes import apart, cut_behind, on_one_node

CLOSE = 1e-5


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(scenes_set: Path, tmp_path: Path) -> None:
    """Each with all weights, or with a part of what is trained; and one goes on with what two began."""
    same = (
        f"data.set={scenes_set}", f"data.cache={tmp_path / 'cache'}", "training.steps=2", "training.regions=4",
        "sampling.temperature=1.5", "evaluation.regions=3", "saving.every=1", "training.micro_rows=6",
    )  # fmt: skip
    start: dict[str, tuple[Callable[..., str], tuple[str, ...], str]] = {
        "one": (inside, ("slvr-train", "mgrpo"), "none"),
        "two": (on_one_node, ("mgrpo",), "none"),
        "shared": (apart, ("-m", "slvr_model.mgrpo"), "fsdp2"),
    }
    for out, (begin, what, kind) in start.items():
        settings = (*same, f"out={tmp_path / out}", f"sharding.kind={kind}")
        told = [part for one in settings for part in ("--set", one)]
        said = begin(*what, "--config", "mgrpo-tiny-debug", "--init", "slvr:tiny", *told)
        assert said.count("step 2/2: reward") == 1, "one process speaks"
    lines, states = {}, {}
    for out in start:
        final = tmp_path / out / "checkpoint"
        lines[out] = [json.loads(line) for line in (final / records.LOG).read_text().splitlines()]
        states[out] = load_file(final / "model.safetensors")
    assert any(line["rows"] > 0 for line in lines["one"]), "something was learnt"
    for out in ("two", "shared"):
        for one, two in zip(lines["one"], lines[out], strict=True):
            assert one.keys() == two.keys()
            for name, value in one.items():
                assert two[name] == pytest.approx(value, rel=1e-3, abs=CLOSE), (out, one["step"], name)
        distances = [float((states["one"][name] - states[out][name]).abs().max()) for name in states["one"]]
        assert max(distances) < CLOSE, out
    moments = [torch.load(tmp_path / out / "checkpoint-1" / OPTIMIZER, weights_only=True) for out in ("one", "shared")]
    whole, parted = ({n: v["exp_avg"] for n, v in one["state"].items()} for one in moments)
    assert whole.keys() == parted.keys() and all(whole[n].shape == parted[n].shape for n in whole)
    assert max(float((whole[n] - parted[n]).abs().max()) for n in whole) < CLOSE
    shutil.rmtree(tmp_path / "shared" / "checkpoint")
    again = apart("-m", "slvr_model.mgrpo", "--config", "mgrpo-tiny-debug", "--init", "slvr:tiny", *told, "--resume")
    assert "from checkpoint-1" in again
    resumed = load_file(tmp_path / "shared" / "checkpoint" / "model.safetensors")
    assert max(float((resumed[name] - states["shared"][name]).abs().max()) for name in resumed) < CLOSE
    shutil.copytree(tmp_path / "two", tmp_path / "fewer")
    cut_behind(tmp_path / "fewer", 1)
    told = [part for one in (*same, f"out={tmp_path / 'fewer'}") for part in ("--set", one)]
    inside("slvr-train", "mgrpo", "--config", "mgrpo-tiny-debug", "--init", "slvr:tiny", *told, "--resume")
    final = load_file(tmp_path / "fewer" / "checkpoint" / "model.safetensors")
    assert max(float((final[name] - states["two"][name]).abs().max()) for name in final) < CLOSE
    assert rollouts_of(tmp_path / "fewer") == rollouts_of(tmp_path / "two") == rollouts_of(tmp_path / "one")
    facts = json.loads((tmp_path / "fewer/checkpoint/mgrpo.json").read_text())
    assert (facts["processes"], facts["gone_on"]) == (2, [{"from_step": 1, "processes": 1}])
    one = json.loads((tmp_path / "one/checkpoint/mgrpo.json").read_text())
    assert facts["regions"] == one["regions"] == {"seen": 8, "unusable": {}}, "those of all processes, each once"


def rollouts_of(run: Path) -> list[tuple[Any, ...]]:
    """What was asked and answered, in whatever order processes kept it."""
    names = ("step", "query_id", "question", "rollout", "reply")
    return sorted(tuple(row[name] for name in names) for part in read_cases(run, names) for row in part.to_pylist())
