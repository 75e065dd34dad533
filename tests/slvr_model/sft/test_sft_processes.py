"""Several processes, and one that is killed: DDP and `fully_shard` over gloo, SIGKILL and --resume."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from slvr_model.sft import records
from slvr_model.sft.arguments import WRAPPED, sharding
from slvr_model.sft.config import ShardingConfig
from slvr_model.sft.dry import told
from slvr_model.sft.settings import load_config
from slvr_model.sft.shown import shown_in
from tests.inside import inside
from tests.ports import free_port
from tests.slvr_model import preloaded

ROOT = Path(__file__).parent.parent.parent.parent
TINY = ("--config", "tiny-debug")
CLOSE = 1e-5
"""Of weights that all the steps together move by up to 9e-4."""


def recipe(name: str, *arguments: object, **settings: object) -> subprocess.Popen[str]:
    """A recipe of `recipes/torchrun` as a user starts it, two processes unless told otherwise, with whom it starts."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = {"GPUS": 2, "OMP_NUM_THREADS": 1, "PATH": path, **settings}
    return subprocess.Popen(
        [ROOT / "recipes/torchrun" / name, *map(str, arguments)], env=os.environ | {k: str(v) for k, v in told.items()},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def on_two_nodes(*arguments: object) -> str:
    """What two machines say, of one process each; here they are one machine."""
    where = {"NODES": 2, "HEAD": "127.0.0.1", "PORT": free_port(), "GPUS": 1}
    nodes = [recipe("several-nodes.sh", *arguments, NODE=node, **where) for node in range(2)]
    said = [node.communicate(timeout=900)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    return "".join(said)


@contextmanager
def several(*arguments: object, processes: int = 2) -> Iterator[tuple[list[ForkServerProcess], Path]]:
    """Processes that are told what torchrun's are told, without the seconds that it needs itself, and where both say
    what they say; none outlives the block.
    """
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    meeting |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
    with tempfile.NamedTemporaryFile() as out:
        started = [
            preloaded.python(arguments, Path(out.name), meeting | dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank)))
            for rank in range(processes)
        ]
        try:
            yield started, Path(out.name)
        finally:
            for process in started:
                process.kill()
                process.join()


def apart(*arguments: object, processes: int = 2) -> str:
    """What such processes say until they end well."""
    with several(*arguments, processes=processes) as (started, out):
        for process in started:
            process.join(600)
        said = out.read_text()
        assert [process.exitcode for process in started] == [0] * processes, said
    return said


@pytest.mark.parametrize(
    ("gpus", "visible", "listed", "started"),
    [(3, "0", 2, 3), (None, "4,6,7", 2, 3), (None, None, 2, 2), (None, "", 2, 0), (None, None, 0, 0)],
)
def test_a_recipe_starts_a_process_for_each_gpu_that_it_may_use(
    gpus: int | None, visible: str | None, listed: int, started: int, tmp_path: Path
) -> None:
    """`torchrun` and `nvidia-smi` say what they were asked, and which GPUs there are."""
    lines = "".join(f"echo 'GPU {number}: H100'; echo '  MIG 1g'; " for number in range(listed))
    for name, does in (("torchrun", 'echo "$@"'), ("nvidia-smi", lines or "echo 'No devices were found' >&2; exit 6")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    told = {"PATH": f"{tmp_path}:/usr/bin:/bin"} | {"NODES": "2", "NODE": "1", "HEAD": "a"}
    given = (("GPUS", gpus), ("CUDA_VISIBLE_DEVICES", visible))
    told |= {name: str(value) for name, value in given if value is not None}
    for script, stage in product(("one-node.sh", "several-nodes.sh"), ("sft", "mgrpo")):
        done = subprocess.run(
            [ROOT / "recipes/torchrun" / script, stage, "--resume"], env=told, capture_output=True, text=True
        )
        if started:
            assert f"--nproc-per-node {started} " in done.stdout, done.stderr
            assert done.stdout.endswith(f" -m slvr_model.{stage} --resume\n")
        else:
            assert done.returncode == 2 and "no GPU is found; tell how many" in done.stderr and not done.stdout
        bare = subprocess.run([ROOT / "recipes/torchrun" / script], env=told, capture_output=True, text=True)
        assert bare.returncode != 0 and "the stage comes first: sft or mgrpo" in bare.stderr


def command(*arguments: object) -> list[str]:
    return [str(Path(sys.executable).parent / "slvr-train"), "sft", *map(str, arguments)]


def settings(scenes_set: Path, out: Path, *more: str) -> list[str]:
    told = [f"data.set={scenes_set}", f"out={out}", f"data.cache={out.parent / 'cache'}", *more]
    return [part for one in told for part in ("--set", one)]


@pytest.mark.slow
def test_fully_shard_over_two_processes_is_one_process(tmp_path: Path) -> None:
    said = apart("-m", "tests.slvr_model.sft.sharded", tmp_path)
    assert "equal: loss" in said and "added up" in said and said.count("taken:") == 2


def test_processes_that_see_different_checkpoints_do_not_go_on() -> None:
    code = (
        "import os, pathlib, sys, accelerate; from slvr_model.sft.records import agree\n"
        "accelerate.PartialState(cpu=True); agree(None); agree(pathlib.Path('run/checkpoint-4'))\n"
        "try: agree(pathlib.Path(f'run/checkpoint-{os.environ[\"RANK\"]}'))\n"
        "except Exception as error:\n"
        "    os.write(1, f'{type(error).__name__} {error}\\n'.encode())\n"  # one write: lines stay whole
        "accelerate.PartialState().destroy_process_group()"
    )
    said = [line for line in apart("-c", code).splitlines() if line.startswith("RunError")]
    assert len(said) == 2
    assert "checkpoint-0 (on 1 of 2), checkpoint-1 (on 1 of 2): the file system shows old listings" in said[0]


def cut_behind(run: Path, step: int) -> None:
    """As if a run had been killed when this checkpoint was its last."""
    shutil.rmtree(run / "checkpoint")
    for folder in run.glob("checkpoint-*"):
        if int(folder.name.rsplit("-", 1)[1]) > step:
            (folder / records.COMPLETE).unlink()


def logged(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "checkpoint" / records.LOG).read_text().splitlines()]


@pytest.mark.slow
def test_any_processes_train_what_one_trains_and_go_on_for_each_other(scenes_set: Path, tmp_path: Path) -> None:
    """One from end to end; two that are killed, and one goes on; one that is cut off, and two machines go on.

    Batches of random lengths: two of two samples are then those that one of four is.
    """
    same = (
        "objective={kind: slvr, feed: teacher}", "training.lengths=random", "training.steps=5", "saving.every=1",
        "saving.keep=9", "evaluation.samples=6", "evaluation.new_tokens=4", "data.record=true",
    )  # fmt: skip
    one = settings(scenes_set, tmp_path / "one", *same, "training.rows=4")
    inside("slvr-train", "sft", *TINY, *one)
    two = settings(scenes_set, tmp_path / "two", *same, "training.rows=2")
    process = recipe("one-node.sh", "sft", *TINY, *two)
    until = time.monotonic() + 900
    while not (tmp_path / "two/checkpoint-2" / records.COMPLETE).exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    agent = psutil.Process(process.pid)
    for one_of_them in (agent, *agent.children(recursive=True)):  # torchrun's processes are no group
        one_of_them.kill()
    said, _ = process.communicate()
    assert said.count("step 1/5: loss") == 1, "one process speaks"
    assert len(list((tmp_path / "two/samples").iterdir())) == 2 and not (tmp_path / "two/checkpoint").exists()
    said = inside("slvr-train", "sft", *TINY, *two, "--resume")
    assert "steps of 2 x 1 x 2 samples, which 1 process shows in 2 turns, from checkpoint-" in said
    assert "finished already" in inside("slvr-train", "sft", *TINY, *two, "--resume", "--set", "data.workers=0")
    shutil.copytree(tmp_path / "one", tmp_path / "more")
    cut_behind(tmp_path / "more", 2)
    more = settings(scenes_set, tmp_path / "more", *same, "training.rows=4")
    assert "which 2 processes show in 1 turn, batches cut into 2" in on_two_nodes("sft", *TINY, *more, "--resume")
    alone, lines = load_file(tmp_path / "one/checkpoint/model.safetensors"), logged(tmp_path / "one")
    shown = shown_in(tmp_path / "one")
    assert [len(ids) for ids in shown.values()] == [4] * 5 and len({one for ids in shown.values() for one in ids}) == 20
    for name, begun, now in (("two", 2, 1), ("more", 1, 2)):
        assert shown_in(tmp_path / name) == shown, "none twice, none left out"
        state = load_file(tmp_path / name / "checkpoint/model.safetensors")
        assert max(float((state[key] - alone[key]).abs().max()) for key in alone) < CLOSE, name
        for line, other in zip(lines, logged(tmp_path / name), strict=True):
            assert line.keys() == other.keys() and line["step"] == other["step"]
            for key in ("loss", "grad_norm", "learning_rate", "eval_samples"):
                assert line.get(key, 0.0) == pytest.approx(other.get(key, 0.0), rel=1e-3), (name, line["step"], key)
        facts = json.loads((tmp_path / name / "checkpoint" / records.FACTS).read_text())
        assert facts["processes"] == begun and [one["processes"] for one in facts["gone_on"]] == [now]
        assert facts["samples"] == {"seen": 20, "unusable": {}}


@pytest.mark.slow
def test_fsdp2_trains_in_bfloat16_and_goes_on_from_weights_that_are_written_once(
    scenes_set: Path, tmp_path: Path
) -> None:
    """Two processes against one, and a run that is cut off behind its second step."""
    name = "7b-debug"
    same = ("training.steps=3", "training.lengths=random", "training.questions=null", "saving.every=1", "saving.keep=9")
    options = settings(scenes_set, tmp_path / "shared", *same, "training.rows=2", "sharding.kind=fsdp2")
    script = ("-m", "tests.slvr_model.sft.fsdp_on_cpu", name)
    apart(*script, *options)
    shutil.copytree(tmp_path / "shared", tmp_path / "whole")
    cut_behind(tmp_path / "shared", 2)
    kept = {file.name for file in (tmp_path / "shared/checkpoint-2").iterdir()}
    assert {"model.safetensors", "optimizer.bin"} <= kept and "pytorch_model_fsdp.bin" not in kept
    assert "from checkpoint-2" in apart(*script, *options, "--resume")
    inside("slvr-train", "sft", "--config", name, *settings(scenes_set, tmp_path / "one", *same, "training.rows=4"))
    for line, other in zip(logged(tmp_path / "shared"), logged(tmp_path / "one"), strict=True):
        assert line.get("loss", 0.0) == pytest.approx(other.get("loss", 0.0), rel=0.02)
    states = [load_file(tmp_path / out / "checkpoint/model.safetensors") for out in ("shared", "whole")]
    assert states[0].keys() == states[1].keys() and all((one == states[1][key]).all() for key, one in states[0].items())


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_bits(scenes_set: Path, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    more = ("training.steps=8", "saving.every=2", "evaluation.every=4", "evaluation.samples=2")
    whole = settings(scenes_set, tmp_path / "whole", *more)
    inside("slvr-train", "sft", *TINY, *whole)
    killed = settings(scenes_set, tmp_path / "killed", *more)
    process = subprocess.Popen(command(*TINY, *killed), env=environment, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 600
    while not (tmp_path / "killed/checkpoint-4" / records.COMPLETE).exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "killed/checkpoint").exists()
    inside("slvr-train", "sft", *TINY, *killed, "--resume")
    for name in ("model.safetensors", records.LOG, records.FACTS):
        files = [(tmp_path / run / "checkpoint" / name).read_bytes() for run in ("whole", "killed")]
        assert files[0] == files[1], name


def test_sharing_by_fsdp2_is_what_accelerate_takes(tmp_path: Path) -> None:
    from accelerate.utils import FullyShardedDataParallelPlugin, GradientAccumulationPlugin
    from transformers import TrainingArguments

    made = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to="none",
        **sharding(ShardingConfig(kind="fsdp2"), bf16=True),
    )
    adding = GradientAccumulationPlugin(num_steps=1, **made.accelerator_config.gradient_accumulation_kwargs)
    assert adding.to_kwargs()["sync_each_batch"] is True, "gradients are not held whole between batches"
    plugin = FullyShardedDataParallelPlugin(**made.fsdp_plugin_args)
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert "FULL_STATE_DICT" in str(plugin.state_dict_type) and not plugin.cpu_ram_efficient_loading
    assert plugin.state_dict_config.rank0_only and plugin.state_dict_config.offload_to_cpu
    from slvr_model.tiny import new_tiny

    model, _ = new_tiny(0)
    plugin.set_auto_wrap_policy(model)
    kinds = {type(part).__name__ for part in model.modules()}
    assert set(WRAPPED) <= kinds, "the layers have these names in this version of transformers"


@pytest.mark.parametrize(("name", "gpus"), [("3b", "1 GPU"), ("7b", "8 GPUs"), ("7b-lora", "1 GPU"), ("tiny", "1 GPU")])
def test_a_dry_run_says_what_it_takes(name: str, gpus: str) -> None:
    said = told(load_config(name, []))
    assert re.search(rf"^ +(slvr:)?{name.removesuffix('-lora')}$", said, re.M)
    assert "tokens per step and GPU" in said and f"assumed: {gpus}, " in said

    def total(*assignments: str) -> float:
        line = re.search(r"^total, GiB +([\d.]+)$", told(load_config(name, list(assignments))), re.M)
        assert line is not None
        return float(line[1])

    assert total("training.lora={rank: 16, vocabulary: false}") <= total("training.lora={rank: 16}") <= total()
    assert total("training.rows=1") < total("training.rows=64")
    alone = ("training.lengths=grouped", "training.questions=null")
    assert total("training.lengths=shared") < total(*alone, "training.rows=64")
    assert total("training.accumulate=1") == total("training.accumulate=16"), "gradients are added up where they lie"
    fed = [total("training.checkpointing=false", f"objective.feed={feed}") for feed in ("teacher", "own", "schedule")]
    assert fed[0] < fed[1] == fed[2], "own latents keep keys and values of each call"


def test_a_dry_run_says_what_disk_and_host_must_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers(name: str, *assignments: str) -> list[float]:
        said = told(load_config(name, list(assignments)))
        return [float(one) for one in re.findall(r"^(?:disk|host).*, GiB +([\d.]+)$", said, re.M)]

    # 8.29 billion parameters and 27 million of the latents' maps in float32; Adam's moments of 7.65 billion trained
    each, most, host = numbers("7b")
    whole, moments = 4 * 8.32e9 / 2**30, 8 * 7.66e9 / 2**30
    assert each == pytest.approx(whole + moments, rel=0.01) and most == pytest.approx(3 * each + whole, rel=0.01)
    assert host == pytest.approx(8 * whole, rel=0.01)
    assert numbers("7b", "saving.keep=1")[1] == pytest.approx(most - each, abs=0.2)
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert numbers("7b")[2] == pytest.approx(host / 2, abs=0.1)
    # a third of the bytes: 6.5 billion in the layers and the vocabulary in float32, the rest in bfloat16
    lora = numbers("7b-lora")
    assert lora[0] < 0.55 * each and lora[2] == pytest.approx(4 * whole / 2, rel=0.02)
