"""A whole run: each recipe's twin to a checkpoint; resumed to the same bits; what ends it is one sentence."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from slvr_data.errors import RunError, UsageError
from slvr_data.files import sha256_of
from slvr_model.checkpoints import open_checkpoint
from slvr_model.sft import records
from slvr_model.sft import run as runs
from slvr_model.sft.config import SftConfig
from slvr_model.sft.dealing import Deal
from slvr_model.sft.learner import Learner
from slvr_model.sft.run import train_sft
from slvr_model.sft.shown import Record, shown_in
from slvr_model.tiny import new_plain, new_tiny

Configured = Callable[..., SftConfig]
SHORT = ("training.steps=2", "evaluation.samples=0", "saving.every=9")
MISSING = r"logging\.report trackio: it is missing; pip install '\.\[track\]' in a clone"
TRACKIO = [] if importlib.util.find_spec("trackio") else [(("logging.report=[trackio]",), MISSING)]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / records.LOG).read_text().splitlines()]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["tiny-debug", pytest.param("3b-debug", marks=SLOW), pytest.param("7b-debug", marks=SLOW), "7b-lora-debug"]
)
def test_each_twin_trains_to_a_checkpoint_with_its_records(
    name: str, configured: Configured, scenes_set: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configured(name=name)
    final = train_sft(config)
    model, _ = open_checkpoint(str(final))
    started = new_tiny(0)[0] if name == "tiny-debug" else new_plain(0)
    before, after = started.state_dict(), model.state_dict()
    still = [key for key in before if key.startswith("model.visual.")]
    held = getattr(torch, config.model.dtype)
    stands = [torch.equal(before[key].to(held), after[key].to(held)) for key in still]
    assert still and all(stands), "the vision tower stands still"
    moved = "model.language_model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(before[moved], after[moved])
    assert float(model.latents.visual_std_D.std()) > 0, "statistics were measured"
    assert yaml.safe_load((final / records.CONFIG).read_text())["training"]["steps"] == config.training.steps
    facts = json.loads((final / records.FACTS).read_text())
    assert facts["data"]["manifest"] == sha256_of(scenes_set / "manifest.json")
    assert facts["versions"]["torch"] and facts["steps"] == config.training.steps
    assert model.latent_config.embedding == "local-hash-1:256", "what it was taught with"
    assert facts["statistics"]["pictures"] > 8 < facts["statistics"]["regions"]
    assert facts["apart"] == {"samples": config.evaluation.samples, "by": "hash"}
    told = lines(final)
    losses = [line for line in told if "loss" in line]
    assert [line["step"] for line in losses] == list(range(1, (config.training.steps or 0) + 1))
    visual, semantic = config.objective.visual_weight, config.objective.semantic_weight
    for line in losses:
        parts = line["answer"] + visual * line["visual"] + semantic * line["semantic"]
        assert line["loss"] == pytest.approx(parts, rel=1e-3), "what is logged adds up to the loss"
        assert line["processed"] > line["emitted"] > 0
    assert told[-1]["eval_samples"] == 4 and told[-1]["eval_gap"] == pytest.approx(
        told[-1]["eval_teacher_accuracy"] - told[-1]["eval_accuracy"]
    )
    said = capfd.readouterr().err
    assert f"step 1/{config.training.steps}: loss " in said and " left" in said and f"finished: {final}" in said
    with pytest.raises(UsageError, match="holds a run: --resume goes on with it"):
        train_sft(config)
    assert train_sft(config, resume=True) == final


@pytest.mark.parametrize(
    "assignments",
    [
        pytest.param(("objective={kind: direct}", "training.lengths=packed", "training.accumulate=2"), marks=SLOW),
        pytest.param(
            ("objective={kind: text}", "data.access=streamed", "data.buffer=8", "training.lengths=random"), marks=SLOW
        ),
        ("objective={kind: slvr, feed: own, bottleneck: 0.5, echo: true}", "training.lora={rank: 2}"),
    ],
    ids=["direct-packed", "text-streamed", "own-lora"],
)
def test_other_settings_train_too(assignments: tuple[str, ...], configured: Configured) -> None:
    streamed = "data.access=streamed" in assignments
    final = train_sft(configured(*SHORT, *assignments, *(["data.held_out=test"] if streamed else [])))
    model, processor = open_checkpoint(str(final))
    assert len(lines(final)) == 2 and model.latent_config and processor.tokenizer
    assert not (final / "trained.safetensors").exists()


def test_a_start_without_latents_is_told_what_it_is_taught_with(configured: Configured) -> None:
    model, _ = open_checkpoint(str(train_sft(configured(*SHORT, "model.start=new:public", "model.statistics=8"))))
    assert model.latent_config.embedding == "local-hash-1:256" and model.latent_config.semantic_dim == 256


def test_a_run_goes_on_to_the_same_bits(configured: Configured) -> None:
    """As if it had been killed behind its first checkpoint; the real kill is a slow test."""
    settings = (
        "training.lora={rank: 2, dropout: 0.1}", "evaluation.samples=2", "evaluation.every=2",
        "training.lengths=shared", "training.rows=4", "objective.echo=true", "data.lettered=0.2",
    )  # fmt: skip
    whole = configured(*settings)
    final = train_sft(whole)
    assert whole.out is not None
    cut = whole.out.with_name("cut")
    shutil.copytree(whole.out, cut)
    shutil.rmtree(cut / "checkpoint")
    (cut / "checkpoint-4" / records.COMPLETE).unlink()
    with pytest.raises(UsageError, match=r"what it holds out of the split that it learns was chosen otherwise"):
        train_sft(configured(*settings, "evaluation.samples=3", out="cut"), resume=True)
    with pytest.raises(UsageError, match=r"training\.learning_rate was 0\.0003 and is 0\.1"):
        train_sft(configured(*settings, "training.learning_rate=0.1", out="cut"), resume=True)
    again = train_sft(configured(*settings, "logging.every=1", out="cut"), resume=True)
    for name in ("model.safetensors", records.LOG, records.FACTS):
        assert (again / name).read_bytes() == (final / name).read_bytes(), name
    assert 0 <= lines(final)[-1]["eval_hidden_accuracy"] <= 1


def test_missing_parts_are_said(configured: Configured, tmp_path: Path) -> None:
    for assignments, says in (
        (("out=null",), r"out is missing.*--set out=DIR"),
        (("data.set=null",), r"data\.set is missing"),
        ((f"data.set={tmp_path}",), "holds no published set"),
        *TRACKIO,
        (("sharding.kind=fsdp2",), "fsdp2 needs GPUs"),
        (("sharding.kind=deepspeed",), "deepspeed: it is missing|needs GPUs"),
        (("data.error_budget=0", "data.positions=60"), r"samples in a row cannot be used|cannot be used, more than"),
        (("data.positions=16", "data.workers=1"), r"^20 samples in a row cannot be used; the last: query [^\n]*$"),
    ):
        with pytest.raises((UsageError, RunError), match=says):
            train_sft(configured(*SHORT, *assignments, out=f"run-{len(says)}"))


def test_what_a_launch_lacks_is_said_before_anything_is_read(configured: Configured, tmp_path: Path) -> None:
    config = configured("sharding.kind=fsdp2", f"data.set={tmp_path / 'nowhere'}", "model.start=/nowhere/at/all")
    with pytest.raises(UsageError, match="fsdp2 needs GPUs"):
        train_sft(config)
    assert config.out is not None and not config.out.exists()


def test_short_memory_says_what_to_lower(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(Learner, "forward", full)
    for rows in (4, 1):  # the folder is free for the corrected command
        with pytest.raises(RunError, match=r"out of memory at step 1: lower training\.rows.*20\.00 GiB"):
            train_sft(configured(*SHORT, f"training.rows={rows}"))


def test_a_folder_that_is_not_its_own_is_left_alone(configured: Configured) -> None:
    says = r"holds (samples/mine|log\.jsonl|checkpoint,|a run of stage 2).*another out"
    for number, name in enumerate(("samples/mine.jsonl", "log.jsonl", "checkpoint/model", "mgrpo.yaml")):
        config = configured(*SHORT, out=f"taken-{number}")
        assert config.out is not None
        file = config.out / name
        file.parent.mkdir(parents=True)
        file.write_text('{"not": "ours"}\n')
        with pytest.raises(UsageError, match=says):
            train_sft(config)
        assert [one for one in config.out.rglob("*") if one.is_file()] == [file]
        assert file.read_text() == '{"not": "ours"}\n'


def test_what_a_run_left_before_its_first_step_goes(tmp_path: Path, configured: Configured) -> None:
    out = tmp_path / "left"
    records.check_free(out)
    records.begin(out)
    Record(out, 0).add(1, ["q"])
    (out / records.LOG).write_text('{"step": 0}\n')
    records.check_free(out)
    records.begin(out)
    assert not (out / records.LOG).exists() and shown_in(out) == {}
    records.claim(out, configured(), {"statistics": {"regions": 9}})
    assert records.check_same(out, configured(), {}) == {"statistics": {"regions": 9}}
    with pytest.raises(UsageError, match=r"holds another run: what it holds out .* was chosen otherwise"):
        records.check_same(out, configured(), {"apart": {"samples": 4, "by": "hash"}})  # it was begun before that
    with pytest.raises(UsageError, match="holds a run of stage 1"):
        records.check_free(out)


class Idler(Deal):
    """Has an idle turn behind each that shows something."""

    @property
    def each(self) -> int:
        return 2 * super().each

    def parts(self) -> Any:
        for number in range(self.batches):
            yield from ((number, 0), None)

    @property
    def total(self) -> int:
        return 2 * super().total


def test_idle_turns_teach_nothing(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = train_sft(configured(*SHORT))
    monkeypatch.setattr(runs, "Deal", Idler)
    idle = train_sft(configured(*SHORT, "data.record=true", out="idle"))
    assert load_file(idle / "model.safetensors").keys() == load_file(busy / "model.safetensors").keys()
    assert (idle / "model.safetensors").read_bytes() == (busy / "model.safetensors").read_bytes()
    for one, other in zip(lines(busy), lines(idle), strict=True):
        assert (one["loss"], one["grad_norm"]) == pytest.approx((other["loss"], other["grad_norm"]), rel=1e-6)
    assert [len(ids) for ids in shown_in(idle.parent).values()] == [configured().training.rows] * 2


def test_a_loss_that_is_no_number_ends_the_run(configured: Configured) -> None:
    with pytest.raises(RunError, match=r"the loss at step \d is (nan|inf): lower training\.learning_rate"):
        train_sft(configured("training.learning_rate=1e30", "training.clip=0", "training.warmup=0", *SHORT[1:]))


@SLOW
def test_tensorboard_gets_the_numbers(configured: Configured) -> None:
    config = configured(*SHORT, "objective={kind: direct}", "logging.report=[tensorboard]")
    train_sft(config)
    assert config.out is not None and list((config.out / "tensorboard").rglob("events.out.*"))
