"""Two processes over gloo learn what one learns: the same groups, rollouts, losses and, but for rounding, weights.

So do those that go on with what two began, of which nothing is left but the disk.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from slvr_model.checkpoints import SHIPPED
from slvr_model.mgrpo.cases import read_cases
from slvr_model.mgrpo.checkpointing import OPTIMIZER
from slvr_model.sft import records
from tests.builds import wait_for
from tests.inside import inside
from tests.slvr_model.sft.test_sft_processes import apart, logged, several

CLOSE, ROUNDING = 1e-5, 1e-4
START = ("--config", "mgrpo-tiny-debug", "--init", "slvr:tiny")
SETTINGS = ("sampling.temperature=1.5", "evaluation.regions=3", "saving.every=1")
HOLDING = """
import json, pathlib, sys, time

step, here = int(sys.argv[2]), pathlib.Path(__file__).parent
if step == 2 and (here / "hold").exists():
    (here / "held").touch()
    while (here / "hold").exists():
        time.sleep(0.02)
print(json.dumps({"step": step}))
"""
"""An evaluator that holds a run behind its second step for as long as a file lies beside it."""


def told(scenes_set: Path, out: Path, *more: str) -> list[str]:
    """Options of a run."""
    settings = (f"data.set={scenes_set}", f"data.cache={out.parent / 'cache'}", f"out={out}", *SETTINGS, *more)
    return [*START, *(part for one in settings for part in ("--set", one))]


def assert_learnt_alike(run: Path, one: Path) -> None:
    """The same log and weights, but for rounding, from the same rollouts, each once."""
    lines = logged(one)
    assert any(line.get("rows", 0) > 0 for line in lines), "something was learnt"
    for line, other in zip(lines, logged(run), strict=True):
        assert line.keys() == other.keys()
        for name, value in line.items():
            near = ROUNDING if name.startswith("drift/") else CLOSE  # nothing but rounding stands there
            assert other[name] == pytest.approx(value, rel=1e-3, abs=near), (run.name, line["step"], name)
    assert_same_way(run, one)
    assert rollouts_of(run) == rollouts_of(one), run.name


def assert_same_way(run: Path, one: Path) -> None:
    """Each weight tensor lies apart by a twentieth of the way from its start at most; what is not trained lies there.

    Rounding is some hundredth of that. It is no small share of the way of single weights: Adam makes whole steps of
    gradients that are nothing else.
    """
    start = load_file(SHIPPED["slvr:tiny"] / "model.safetensors")
    mine, theirs = (load_file(folder / "checkpoint" / "model.safetensors") for folder in (run, one))
    assert mine.keys() == theirs.keys() == start.keys()
    for name, there in theirs.items():
        assert float((mine[name] - there).norm()) <= 0.05 * float((there - start[name]).norm()), (run.name, name)


def rollouts_of(run: Path) -> list[tuple[Any, ...]]:
    """What was asked and answered, in whatever order processes kept it."""
    names = ("step", "query_id", "question", "rollout", "reply")
    return sorted(tuple(row[name] for name in names) for part in read_cases(run, names) for row in part.to_pylist())


def begun(scenes_set: Path, out: Path, kind: str) -> list[str]:
    """Options of a run of two steps, whose processes share out what they train in this way."""
    size = ("training.steps=2", "training.regions=4", "training.micro_rows=16")
    return told(scenes_set, out, *size, f"sharding.kind={kind}")


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(scenes_set: Path, tmp_path: Path) -> None:
    """Each with all weights, or with a part of what is trained; and the latter go on with what they began."""
    said = {"one": inside("slvr-train", "mgrpo", *begun(scenes_set, tmp_path / "one", "none"))}
    for out, kind in (("two", "none"), ("shared", "fsdp2")):
        options = begun(scenes_set, tmp_path / out, kind)
        said[out] = apart("-m", "slvr_model.mgrpo", *options)
    assert [one.count("step 2/2: reward") for one in said.values()] == [1] * 3, "one process speaks"
    for out in ("two", "shared"):
        assert_learnt_alike(tmp_path / out, tmp_path / "one")
    moments = [torch.load(tmp_path / out / "checkpoint-1" / OPTIMIZER, weights_only=True) for out in ("one", "shared")]
    whole, parted = ({n: v["exp_avg"] for n, v in one["state"].items()} for one in moments)
    assert whole.keys() == parted.keys() and all(whole[n].shape == parted[n].shape for n in whole)
    assert max(float((whole[n] - parted[n]).abs().max()) for n in whole) < CLOSE
    for gone in ("checkpoint", "checkpoint-2"):
        shutil.rmtree(tmp_path / "shared" / gone)
    assert "from checkpoint-1" in apart("-m", "slvr_model.mgrpo", *options, "--resume")
    assert_learnt_alike(tmp_path / "shared", tmp_path / "one")


@pytest.mark.slow
def test_one_or_two_go_on_with_what_two_that_were_killed_began(scenes_set: Path, tmp_path: Path) -> None:
    """One waits for an evaluator then, the other for it; the second step is kept, and neither evaluated nor logged."""
    script = tmp_path / "holding.py"
    script.write_text(HOLDING)
    command = f"{shlex.join((sys.executable, str(script)))} {{checkpoint}} {{step}}"
    more = ("training.steps=3", "evaluation.every=2", f"evaluation.evaluator={command}")
    inside("slvr-train", "mgrpo", *told(scenes_set, tmp_path / "one", *more))
    (tmp_path / "hold").touch()
    with several("-m", "slvr_model.mgrpo", *told(scenes_set, tmp_path / "two", *more)) as (both, _):
        wait_for(lambda: (tmp_path / "held").exists() or any(each.exitcode is not None for each in both), 600)
        for each in both:
            each.kill()
        for each in both:
            each.join(60)
        assert [each.exitcode for each in both] == [-signal.SIGKILL] * 2
    (tmp_path / "hold").unlink()
    assert [folder.name for folder in records.checkpoints(tmp_path / "two")] == ["checkpoint-1", "checkpoint-2"]
    assert len((tmp_path / "two/checkpoint-2" / records.LOG).read_text().splitlines()) == 2, "of steps 0 and 1"
    shutil.copytree(tmp_path / "two", tmp_path / "fewer")
    said = {
        "fewer": inside("slvr-train", "mgrpo", *told(scenes_set, tmp_path / "fewer", *more), "--resume"),
        "two": apart("-m", "slvr_model.mgrpo", *told(scenes_set, tmp_path / "two", *more), "--resume"),
    }
    one = json.loads((tmp_path / "one/checkpoint/mgrpo.json").read_text())
    for name, gone_on in (("fewer", [{"from_step": 2, "processes": 1}]), ("two", None)):
        assert "3 steps, from checkpoint-2\n" in said[name] and said[name].count("step 3/3: reward") == 1
        assert_learnt_alike(tmp_path / name, tmp_path / "one")
        facts = json.loads((tmp_path / name / "checkpoint/mgrpo.json").read_text())
        assert (facts["processes"], facts.get("gone_on")) == (2, gone_on)
        assert facts["regions"] == one["regions"] == {"seen": 6, "unusable": {}}, "those of all processes, each once"
        assert not list((tmp_path / name).glob("*evaluated*")), "what was shown to the evaluator is gone"
