"""Where numbers go besides the log: events in the run's own folder, a project under the run's name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from slvr_data.errors import UsageError
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.run import accelerator_of, train_mgrpo

QUICK = ("training.steps=1", "preflight.regions=1", "evaluation.regions=0", "cases.every=0")
TRACKIO = """
import json, pathlib

class Run:
    def __init__(self, told):
        self.told = told
    def log(self, values, **_):
        self.told["logged"] = sorted(values)
    def finish(self):
        pathlib.Path(FILE).write_text(json.dumps(self.told))

def init(**told):
    return Run(told)
"""
"""What is called of trackio, which is an option and needs no server: what it was told goes to a file."""


def test_reports_are_the_runs_own(
    set_up: Callable[..., MgrpoConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "stand-in").mkdir()
    (tmp_path / "stand-in/trackio.py").write_text(f"FILE = {str(tmp_path / 'told.json')!r}\n{TRACKIO}")
    monkeypatch.syspath_prepend(str(tmp_path / "stand-in"))
    real = sys.modules.pop("trackio", None)
    config = set_up(*QUICK, "logging.report=[tensorboard, trackio]", "logging.project=here", "logging.name=first")
    assert config.out is not None
    try:
        train_mgrpo(config, "slvr:tiny")
    finally:  # no later test may find the stand-in
        del sys.modules["trackio"]
        if real is not None:
            sys.modules["trackio"] = real
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["project"], told["name"]) == ("here", "first") and "reward/total" in told["logged"]
    assert sorted(one.name for one in config.out.iterdir() if one.is_dir()) == ["checkpoint", "tensorboard"]
    events = EventAccumulator(str(config.out / "tensorboard")).Reload()
    (line,) = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    (written,) = events.Scalars("reward/total")
    assert written.step == 1 and written.value == pytest.approx(line["reward/total"])


def test_a_run_that_is_refused_writes_into_nobodys_folder(set_up: Callable[..., MgrpoConfig]) -> None:
    config = set_up(*QUICK, "logging.report=[tensorboard]")
    assert config.out is not None
    config.out.mkdir()
    (config.out / "sft.yaml").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"holds a run of stage 1 \(sft\.yaml\)"):
        train_mgrpo(config, "slvr:tiny")
    assert [one.name for one in config.out.iterdir()] == ["sft.yaml"]


def test_a_reference_that_is_none_is_named_as_such_before_anything_is_made(set_up: Callable[..., MgrpoConfig]) -> None:
    config = set_up(*QUICK, "model.reference=new:public")
    with pytest.raises(UsageError, match=r"model\.reference new:public has no latents yet"):
        train_mgrpo(config, "slvr:tiny")
    assert config.out is not None and not config.out.exists()


def test_processes_wait_for_one_that_waits_for_its_judge(set_up: Callable[..., MgrpoConfig]) -> None:
    """Else a judge that comes back within `judge.pause` would find their group dissolved."""
    waiting = accelerator_of(set_up("judge.pause=90000")).init_handler.timeout
    assert waiting > timedelta(seconds=90000)


def test_nothing_is_taken_off_a_gpu_where_there_is_none(set_up: Callable[..., MgrpoConfig]) -> None:
    config = set_up(*QUICK, "sharding={kind: fsdp2, offload: true}", "training.device=cpu")
    with pytest.raises(UsageError, match=r"sharding\.offload takes off a GPU what is not in use, but no GPU is used"):
        train_mgrpo(config, "slvr:tiny")
