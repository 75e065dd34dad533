"""Several processes, and one that is killed: DDP and `fully_shard` over gloo, SIGKILL and --resume."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from safetensors.torch import load_file

from slvr_model.sft import records
from slvr_model.sft.arguments import WRAPPED, deepspeed, fsdp2
from slvr_model.sft.config import ShardingConfig
from slvr_model.sft.dry import told
from slvr_model.sft.settings import load_config

ROOT = Path(__file__).parent.parent.parent.parent
TINY = ("--config", "tiny-debug")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def launched(*arguments: object, processes: int = 2) -> str:
    """What torchrun's processes say."""
    launch = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--master-addr=127.0.0.1"]
    done = subprocess.run(
        [sys.executable, *launch, f"--master-port={free_port()}", *map(str, arguments)],
        capture_output=True, text=True, timeout=600, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def command(*arguments: object) -> list[str]:
    return [str(Path(sys.executable).parent / "slvr-train"), "sft", *map(str, arguments)]


def settings(scenes_set: Path, out: Path, *more: str) -> list[str]:
    told = [f"data.set={scenes_set}", f"out={out}", f"data.cache={out.parent / 'cache'}", *more]
    return [part for one in told for part in ("--set", one)]


@pytest.mark.slow
def test_fully_shard_over_two_processes_is_one_process() -> None:
    assert "equal: loss" in launched("-m", "tests.slvr_model.sft.sharded")


@pytest.mark.slow
def test_two_processes_train_what_one_trains(scenes_set: Path, tmp_path: Path) -> None:
    same = ("objective={kind: slvr, feed: teacher}", "training.lengths=random", "training.steps=3")
    two = settings(scenes_set, tmp_path / "two", *same, "training.rows=2", "evaluation.samples=6")
    said = launched("-m", "slvr_model.sft", *TINY, *two)
    assert said.count("step 3/3: loss") == 1, "one process speaks"
    one = settings(scenes_set, tmp_path / "one", *same, "training.rows=4", "evaluation.samples=6")
    subprocess.run(command(*TINY, *one), check=True, timeout=600, env=os.environ | {"OMP_NUM_THREADS": "1"})
    states = [load_file(tmp_path / name / "checkpoint/model.safetensors") for name in ("one", "two")]
    assert max(float((states[0][name] - states[1][name]).abs().max()) for name in states[0]) < 1e-3
    first = [(tmp_path / name / "checkpoint" / records.LOG).read_text().splitlines()[0] for name in ("one", "two")]
    losses = [float(line.split('"loss": ')[1].split(",")[0]) for line in first]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert torch.load(tmp_path / "two/checkpoint-3/rng_state_1.pth", weights_only=False)
    refused = subprocess.run(
        command(*TINY, *two, "--resume", "--set", "data.workers=0"), capture_output=True, text=True, timeout=600
    )
    assert "finished already" in refused.stderr


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_bits(scenes_set: Path, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    more = ("training.steps=8", "saving.every=2", "evaluation.every=4", "evaluation.samples=2")
    whole = settings(scenes_set, tmp_path / "whole", *more)
    subprocess.run(command(*TINY, *whole), check=True, timeout=600, env=environment)
    killed = settings(scenes_set, tmp_path / "killed", *more)
    process = subprocess.Popen(command(*TINY, *killed), env=environment, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 600
    while not (tmp_path / "killed/checkpoint-4" / records.COMPLETE).exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "killed/checkpoint").exists()
    subprocess.run(command(*TINY, *killed, "--resume"), check=True, timeout=600, env=environment)
    for name in ("model.safetensors", records.LOG, records.FACTS):
        files = [(tmp_path / run / "checkpoint" / name).read_bytes() for run in ("whole", "killed")]
        assert files[0] == files[1], name


def test_sharing_by_fsdp2_is_what_accelerate_takes(tmp_path: Path) -> None:
    from accelerate.utils import FullyShardedDataParallelPlugin
    from transformers import TrainingArguments

    made = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to="none",
        fsdp=True,
        fsdp_config=fsdp2(ShardingConfig(kind="fsdp2")),
    )
    plugin = FullyShardedDataParallelPlugin(**made.fsdp_plugin_args)
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert "FULL_STATE_DICT" in str(plugin.state_dict_type) and not plugin.cpu_ram_efficient_loading
    from slvr_model.tiny import new_tiny

    model, _ = new_tiny(0)
    plugin.set_auto_wrap_policy(model)
    kinds = {type(part).__name__ for part in model.modules()}
    assert set(WRAPPED) <= kinds, "the layers have these names in this version of transformers"


@pytest.mark.parametrize(("stage", "offload"), [(2, False), (2, True), (3, False), (3, True)])
def test_sharing_by_deepspeed_is_what_accelerate_takes(stage: int, offload: bool) -> None:
    config = ShardingConfig.model_validate({"kind": "deepspeed", "stage": stage, "offload": offload})
    read = HfDeepSpeedConfig(deepspeed(config, bf16=True))
    assert (read.is_zero2(), read.is_zero3(), read.is_offload()) == (stage == 2, stage == 3, offload)
    assert read.get_value("bf16.enabled") is True
    assert bool(read.get_value("zero_optimization.stage3_gather_16bit_weights_on_model_save")) == (stage == 3)


@pytest.mark.parametrize(("name", "gpus"), [("3b", "1 GPU"), ("7b", "8 GPUs"), ("tiny", "1 GPU")])
def test_a_dry_run_says_what_it_takes(name: str, gpus: str) -> None:
    said = told(load_config(name, []))
    assert re.search(rf"^ +(slvr:)?{name}$", said, re.M)
    assert "tokens per step and GPU" in said and f"assumed: {gpus}, " in said

    def total(*assignments: str) -> float:
        line = re.search(r"^total, GiB +([\d.]+)$", told(load_config(name, list(assignments))), re.M)
        assert line is not None
        return float(line[1])

    assert total("training.lora={rank: 16, vocabulary: false}") <= total("training.lora={rank: 16}") <= total()
    assert total("training.rows=1") < total("training.rows=32")
    assert total("training.lengths=shared") < total()
