"""Two processes over gloo learn what one learns: the same groups, rollouts, losses and, but for rounding, weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from slvr_model.mgrpo.checkpointing import OPTIMIZER
from slvr_model.sft import records
from tests.slvr_model.sft.test_sft_processes import launched

CLOSE = 1e-5


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(scenes_set: Path, tmp_path: Path) -> None:
    """Each with all weights, or with a part of what is trained."""
    same = (
        f"data.set={scenes_set}", f"data.cache={tmp_path / 'cache'}", "training.steps=2", "training.regions=4",
        "sampling.temperature=1.5", "evaluation.regions=3", "saving.every=1", "training.micro_rows=6",
    )  # fmt: skip
    runs = {"one": (1, "none"), "two": (2, "none"), "shared": (2, "fsdp2")}
    for out, (processes, kind) in runs.items():
        settings = (*same, f"out={tmp_path / out}", f"sharding.kind={kind}")
        told = [part for one in settings for part in ("--set", one)]
        said = launched(
            "-m", "slvr_model.mgrpo", "--config", "mgrpo-tiny-debug", "--init", "slvr:tiny", *told, processes=processes
        )
        assert said.count("step 2/2: reward") == 1, "one process speaks"
    lines, states = {}, {}
    for out in runs:
        final = tmp_path / out / "checkpoint"
        lines[out] = [json.loads(line) for line in (final / records.LOG).read_text().splitlines()]
        states[out] = load_file(final / "model.safetensors")
    assert any(line["rows"] > 0 for line in lines["one"]), "something was learnt"
    for out in ("two", "shared"):
        for one, two in zip(lines["one"], lines[out], strict=True):
            assert one.keys() == two.keys()
            for name, value in one.items():
                assert two[name] == pytest.approx(value, rel=1e-3, abs=CLOSE), (out, one["step"], name)
        apart = [float((states["one"][name] - states[out][name]).abs().max()) for name in states["one"]]
        assert max(apart) < CLOSE, out
    moments = [torch.load(tmp_path / out / "checkpoint-1" / OPTIMIZER, weights_only=True) for out in ("one", "shared")]
    whole, parted = ({n: v["exp_avg"] for n, v in one["state"].items()} for one in moments)
    assert whole.keys() == parted.keys() and all(whole[n].shape == parted[n].shape for n in whole)
    assert max(float((whole[n] - parted[n]).abs().max()) for n in whole) < CLOSE
    shutil.rmtree(tmp_path / "shared" / "checkpoint")
    again = launched(
        "-m", "slvr_model.mgrpo", "--config", "mgrpo-tiny-debug", "--init", "slvr:tiny", *told, "--resume", processes=2
    )
    assert "from checkpoint-1" in again
    resumed = load_file(tmp_path / "shared" / "checkpoint" / "model.safetensors")
    assert max(float((resumed[name] - states["shared"][name]).abs().max()) for name in resumed) < CLOSE
