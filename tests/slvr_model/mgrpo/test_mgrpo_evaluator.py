"""An evaluator that fails ends no run that has begun; one that is killed with the run is asked again."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slvr_data.errors import RunError, UsageError
from slvr_model.mgrpo.checkpointing import EVALUATIONS, FINAL, FREE, ROUNDING, anew, begin
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.run import train_mgrpo
from slvr_model.sft import records

SetUp = Callable[..., MgrpoConfig]
START = "slvr:tiny"
QUICK = ("preflight.regions=0", "evaluation.regions=0", "cases.every=0", "training.regions=2", "saving.every=1")
ONCE = """
import json, pathlib, sys
out = pathlib.Path(sys.argv[1])
if out.exists():
    sys.exit(f"{out} holds a run")
out.mkdir(parents=True)
print(json.dumps({"both": 0.5}))
"""
"""Refuses a folder that is there, as `slvr-bench run` does one with answers of other weights."""


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / records.LOG).read_text().splitlines()]


def test_a_failing_evaluator_is_said_and_loses_nothing(set_up: SetUp, capfd: pytest.CaptureFixture[str]) -> None:
    """It fails at the last step, with an error that nobody foresaw."""
    config = set_up(*QUICK, "training.steps=2", "evaluation.every=1")
    assert config.out is not None
    out = config.out

    def failing(checkpoint: str, step: int) -> dict[str, float]:
        assert not step or (out / f"checkpoint-{step}" / records.COMPLETE).exists(), "kept before it is evaluated"
        if step == 2:
            raise ValueError("GPU 0 is full")
        return {"both": 0.25}

    final = train_mgrpo(config, START, evaluator=failing)
    said = "the evaluator failed at step 2: ValueError: GPU 0 is full; training goes on without its scores"
    assert said in capfd.readouterr().err
    told = lines(final)
    assert [one.get("evaluator/both") for one in told] == [0.25, 0.25, None] and told[2]["evaluator/failed"] == 1


def test_a_failing_evaluator_ends_a_run_that_has_not_begun(set_up: SetUp) -> None:
    command = f"{shlex.quote(sys.executable)} -c 1/0 {{checkpoint}}"
    config = set_up(*QUICK, "evaluation.every=1", f"evaluation.evaluator={command}")
    with pytest.raises(RunError, match=r"the evaluator failed at step 0 .*ZeroDivisionError"):
        train_mgrpo(config, START)
    assert config.out is not None and not (config.out / "mgrpo.yaml").exists()


def test_a_step_that_is_done_again_is_evaluated_again(set_up: SetUp, tmp_path: Path) -> None:
    """Killed while it was evaluated: the folder of that evaluation lies there, and is of weights that are gone."""
    (tmp_path / "once.py").write_text(ONCE)
    command = f"{shlex.join((sys.executable, str(tmp_path / 'once.py')))} {{out}} {{checkpoint}}"
    settings = (*QUICK, "training.steps=2", "evaluation.every=1", f"evaluation.evaluator={command}")
    config = set_up(*settings)
    assert config.out is not None
    stale = config.out / EVALUATIONS / "step-0"
    stale.mkdir(parents=True)  # of a run with another start, that ended before its first step
    whole = train_mgrpo(config, START)
    killed = config.out.with_name("killed")
    shutil.copytree(config.out, killed)
    shutil.rmtree(killed / FINAL)
    final = train_mgrpo(set_up(*settings, out="killed"), START, resume=True)
    for name in (records.LOG, "model.safetensors"):
        assert (final / name).read_bytes() == (whole / name).read_bytes(), name
    assert [one["evaluator/both"] for one in lines(final)] == [0.5] * 3
    assert sorted(folder.name for folder in (killed / EVALUATIONS).iterdir()) == ["step-0", "step-1", "step-2"]
    begin(killed)
    assert sorted(folder.name for folder in (killed / EVALUATIONS).iterdir()) == ["step-0", "step-1"]


def test_what_messages_ask_to_change_may_be_changed(set_up: SetUp) -> None:
    """Out of memory, a judge that says nothing, and a gate that is too narrow: the run goes on with other settings."""
    for name in ("judge.max_tokens", "judge.unreadable", "judge.attempts", "preflight", "gate", "sharding.offload"):
        assert name in FREE
    config = set_up(*QUICK, "training.steps=1")
    train_mgrpo(config, START)
    assert config.out is not None
    shutil.rmtree(config.out / FINAL)
    changed = ("judge.max_tokens=512", "gate.every=7", "preflight.formed=0.1", f"{ROUNDING}=3")
    train_mgrpo(set_up(*QUICK, "training.steps=1", *changed), START, resume=True)
    shutil.rmtree(config.out / FINAL)
    mean = (*QUICK, "training.steps=1", "loss.aggregation=bnpo")
    other = set_up(*mean, out="other")
    assert other.out is not None
    train_mgrpo(other, START)
    shutil.rmtree(other.out / FINAL)
    with pytest.raises(UsageError, match=r"training\.micro_rows was \d+ and is 3"):
        train_mgrpo(set_up(*mean, f"{ROUNDING}=3", out="other"), START, resume=True)


def test_a_rate_that_is_too_high_is_lowered_in_another_run(set_up: SetUp) -> None:
    config = set_up("loss.beta=0.1", "model.init=slvr:tiny")
    assert config.out is not None and anew(config) == "nothing is kept of this run yet: begin it again"
    for step in (4, 12):
        (config.out / f"checkpoint-{step}").mkdir(parents=True)
        (config.out / f"checkpoint-{step}" / records.COMPLETE).touch()
    told = anew(config)
    assert f"--init {config.out / 'checkpoint-12'} and another out" in told and "model.reference=slvr:tiny" in told
    lora = set_up("loss.beta=0.1", "training.lora={rank: 2}")
    assert anew(lora).endswith("(its reference is then that checkpoint)")
