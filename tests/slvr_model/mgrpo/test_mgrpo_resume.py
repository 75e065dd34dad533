"""A run that is cut off, or killed, goes on to the same bits; its checkpoints are whole or not there."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from slvr_data.errors import RunError, UsageError
from slvr_model.checkpoints import open_checkpoint
from slvr_model.mgrpo.checkpointing import FINAL, OPTIMIZER, STATE
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.run import train_mgrpo
from slvr_model.sft import records
from tests.builds import wait_for
from tests.inside import inside
from tests.slvr_model import preloaded

SetUp = Callable[..., MgrpoConfig]
START = "slvr:tiny"
SAME = ("model.safetensors", records.LOG, "mgrpo.json")


def test_a_run_goes_on_to_the_same_bits(set_up: SetUp, capfd: pytest.CaptureFixture[str]) -> None:
    """As if it had been killed behind its first checkpoint; the real kill is a slow test."""
    settings = (
        "training.steps=3", "training.lora={rank: 2, dropout: 0.1}", "evaluation.every=2", "sampling.temperature=1.5",
        "preflight.regions=1", "saving.keep=3",
    )  # fmt: skip
    asked: list[tuple[str, int]] = []

    def evaluator(checkpoint: str, step: int) -> dict[str, float]:
        model, _ = open_checkpoint(checkpoint)
        asked.append((type(model).__name__, step))
        return {"both": step / 4}

    whole = set_up(*settings)
    final = train_mgrpo(whole, START, evaluator=evaluator)
    assert whole.out is not None and asked == [("SlvrModel", step) for step in (0, 2, 3)]
    assert not (whole.out / records.BEGUN).exists(), "the folder is taken with the first step"
    regions = json.loads((final / "mgrpo.json").read_text())["regions"]
    assert regions == {"seen": 3 * whole.training.regions, "unusable": {}}, "those of the preflight are not others"
    lines = [json.loads(line) for line in (final / records.LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert all("advantage/mixed" in line and "reward/total" in line for line in lines[1:])
    looks = [{"kl/free", "drift/largest"} <= line.keys() for line in lines]
    assert looks == [False, True, False, True], "of the first lot, the last, and each of gate.every"
    assert lines[0]["eval/groups"] == 2 and lines[3]["evaluator/both"] == 0.75
    said = capfd.readouterr().err
    assert "preflight: " in said and "step 1/3: reward " in said and " left" in said and f"finished: {final}" in said
    assert json.loads((whole.out / "run.json").read_text())["to_step"] == 3
    assert list((whole.out / "cases").glob("*.parquet"))
    cut = whole.out.with_name("cut")
    shutil.copytree(whole.out, cut)
    shutil.rmtree(cut / FINAL)
    for number in (2, 3):
        (cut / f"checkpoint-{number}" / records.COMPLETE).unlink()
    (cut / ".checkpoint-3.tmp").mkdir()
    with pytest.raises(UsageError, match=r"training\.learning_rate was 3e-05 and is 0\.1"):
        train_mgrpo(set_up(*settings, "training.learning_rate=0.1", out="cut"), START, resume=True)
    with pytest.raises(UsageError, match="holds a run: --resume goes on with it"):
        train_mgrpo(set_up(*settings, out="cut"), START)
    again = train_mgrpo(set_up(*settings, "logging.every=1", out="cut"), START, True, evaluator=evaluator)
    for name in SAME:
        assert (again / name).read_bytes() == (final / name).read_bytes(), name
    cases = [sorted((folder / "cases").glob("*.parquet")) for folder in (whole.out, cut)]
    assert [one.read_bytes() for one in cases[0]] == [one.read_bytes() for one in cases[1]]
    assert not (cut / ".checkpoint-3.tmp").exists() and not (cut / "evaluated").exists()
    assert train_mgrpo(whole, START, resume=True) == final and len(asked) == 5, "what is finished stays"


def test_a_folder_that_is_not_its_own_is_left_alone(set_up: SetUp) -> None:
    """That of stage 1, and one with cases that no run of it left."""
    for name, says in (("sft.yaml", r"holds a run of stage 1 \(sft\.yaml\)"), ("cases/0.parquet", r"holds cases/0\.p")):
        config = set_up(out=f"taken-{len(name)}")
        assert config.out is not None
        kept = {config.out / name: b"mine", config.out / records.LOG: b'{"step": 1}\n'}
        for file, content in kept.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        if "cases" in name:
            (config.out / records.LOG).unlink()
            del kept[config.out / records.LOG]
        for resume in (False, True):
            with pytest.raises(UsageError, match=says):
                train_mgrpo(config, START, resume)
        assert {file: file.read_bytes() for file in config.out.rglob("*") if file.is_file()} == kept


def test_a_damaged_checkpoint_is_said(set_up: SetUp) -> None:
    config = set_up("training.steps=2", "preflight.regions=0", "evaluation.regions=0", "cases.every=0")
    final = train_mgrpo(config, START)
    shutil.rmtree(final)
    assert config.out is not None
    (config.out / "checkpoint-1" / OPTIMIZER).write_bytes(b"")
    with pytest.raises(RunError, match=r"checkpoint-1 cannot be gone on from .*: remove it"):
        train_mgrpo(config, START, resume=True)
    assert (config.out / "checkpoint-1" / STATE).exists()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_bits(scenes_set: Path, tmp_path: Path) -> None:
    def told(out: str) -> list[str]:
        settings = (
            f"data.set={scenes_set}", f"out={tmp_path / out}", f"data.cache={tmp_path / 'cache'}", "training.steps=6",
            "training.iterations=2", "sampling.temperature=1.5", "saving.every=2",
        )  # fmt: skip
        start = ["mgrpo", "--config", "mgrpo-tiny-debug", "--init", START]
        return [*start, *(part for one in settings for part in ("--set", one))]

    inside("slvr-train", *told("whole"))
    process = preloaded.python(("-m", "slvr_model.mgrpo", *told("killed")[1:]), tmp_path / "said")
    done = tmp_path / "killed/checkpoint-2" / records.COMPLETE
    wait_for(lambda: process.exitcode is not None or done.exists(), 900)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL and done.exists() and not (tmp_path / "killed" / FINAL).exists()
    inside("slvr-train", *told("killed"), "--resume")
    for name in SAME:
        files = [(tmp_path / run / FINAL / name).read_bytes() for run in ("whole", "killed")]
        assert files[0] == files[1], name
