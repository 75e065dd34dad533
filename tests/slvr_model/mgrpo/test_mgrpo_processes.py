"""Two processes over gloo learn what one learns: the same groups, rollouts, losses and, but for rounding, weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from slvr_model.sft import records
from tests.slvr_model.sft.test_sft_processes import launched

CLOSE = 1e-5


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(scenes_set: Path, tmp_path: Path) -> None:
    same = (
        f"data.set={scenes_set}", f"data.cache={tmp_path / 'cache'}", "training.steps=2", "training.regions=4",
        "sampling.temperature=1.5", "evaluation.regions=3", "saving.every=9", "training.micro_rows=6",
    )  # fmt: skip
    for processes, out in ((1, "one"), (2, "two")):
        told = [part for one in (*same, f"out={tmp_path / out}") for part in ("--set", one)]
        said = launched(
            "-m", "slvr_model.mgrpo", "--config", "mgrpo-tiny-debug", "--init", "slvr:tiny", *told, processes=processes
        )
        assert said.count("step 2/2: reward") == 1, "one process speaks"
    lines = [
        [json.loads(line) for line in (tmp_path / run / "checkpoint" / records.LOG).read_text().splitlines()]
        for run in ("one", "two")
    ]
    assert any(line["rows"] > 0 for line in lines[0]), "something was learnt"
    for one, two in zip(*lines, strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert two[name] == pytest.approx(value, rel=1e-3, abs=CLOSE), (one["step"], name)
    states = [load_file(tmp_path / run / "checkpoint/model.safetensors") for run in ("one", "two")]
    assert max(float((states[0][name] - states[1][name]).abs().max()) for name in states[0]) < CLOSE
