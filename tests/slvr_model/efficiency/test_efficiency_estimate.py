"""Estimates against real models: parameters exactly, kept bytes as autograd counts them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import Qwen2_5_VLConfig

from slvr_data.errors import UsageError
from slvr_model.efficiency import activations
from slvr_model.efficiency.activations import Step
from slvr_model.efficiency.estimate import GIB, Setup, dry_run, estimate, most_rows, parameters_of, table
from slvr_model.efficiency.shapes import shape_config
from slvr_model.modeling import SlvrModel
from tests.slvr_model.support import config

ROWS, LENGTH = 2, 160


@pytest.mark.parametrize(("shape", "published"), [("3b", 3_754_622_976), ("7b", 8_292_166_656)])
def test_parameters_are_those_of_the_published_checkpoints(shape: str, published: int) -> None:
    """Half of `total_size` in model.safetensors.index.json of Qwen/Qwen2.5-VL-{3B,7B}-Instruct (bf16)."""
    held = estimate(shape_config(shape), Setup()).parameters
    assert sum(held.parts.values()) - held.parts["latents"] == published


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_those_of_a_real_model(tied: bool) -> None:
    real, made = SlvrModel(config(tied=tied)), estimate(config(tied=tied), Setup()).parameters
    assert made.total == sum(weight.numel() for weight in real.parameters())
    assert made.parts["merger"] == sum(weight.numel() for weight in real.model.visual.merger.parameters())
    for weight in real.model.visual.parameters():
        weight.requires_grad_(False)
    assert made.trained(Setup()) == sum(weight.numel() for weight in real.parameters() if weight.requires_grad)
    assert made.trained(Setup(encoder=True, merger=True)) == made.total
    assert (made.parts["projection"] == 0) == tied


def adapted(rank: int, **shape: Any) -> SlvrModel:
    peft = pytest.importorskip("peft")
    of = SlvrModel(config(**shape))
    of.requires_grad_(False)
    names = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    peft.inject_adapter_in_model(peft.LoraConfig(r=rank, target_modules=names), of)
    return of


def test_adapters_are_those_that_peft_adds() -> None:
    of = adapted(5)
    trained = sum(weight.numel() for weight in of.parameters() if weight.requires_grad)
    made = parameters_of(SlvrModel(config()), rank=5)
    assert made.adapters == trained > 0
    setup = Setup(Step(rank=5), vocabulary=False)
    assert made.trained(setup) == trained + made.parts["latents"]
    ends = made.parts["embedding"] + made.parts["projection"]
    assert made.trained(replace(setup, vocabulary=True)) == made.trained(setup) + ends


def saved(run: Any, weights: Any) -> int:
    """Bytes that autograd keeps in a forward pass, each storage once, those of weights apart."""
    skipped = {weight.untyped_storage().data_ptr() for weight in weights}
    held: dict[int, Tensor] = {}

    def pack(value: Tensor) -> Tensor:
        pointer = value.untyped_storage().data_ptr()
        if pointer not in skipped:
            held.setdefault(pointer, value)
        return value

    with saved_tensors_hooks(pack, lambda value: value):
        result = run()
    assert result.requires_grad
    return sum(value.untyped_storage().nbytes() for value in held.values())


def wide() -> Qwen2_5_VLConfig:
    """Wide enough that what is not in the formulas (cosines, positions) is small."""
    made = config()
    text: Any = made.text_config
    text.hidden_size, text.intermediate_size = 256, 704
    text.num_attention_heads, text.num_key_value_heads, made.vision_config.out_hidden_size = 8, 2, 256
    return made


STEPS = {
    "fp32": Step(ROWS, LENGTH, "float32", autocast=False),
    "bf16": Step(ROWS, LENGTH, "bfloat16", autocast=False),
    "autocast": Step(ROWS, LENGTH, "float32", autocast=True),
    "unmasked": Step(ROWS, LENGTH, "float32", autocast=False, masked=False),
    "bf16, adapters": Step(ROWS, LENGTH, "bfloat16", autocast=False, rank=4),
    "autocast, adapters": Step(ROWS, LENGTH, "float32", autocast=True, rank=4),
}


@pytest.mark.parametrize("name", STEPS)
def test_kept_bytes_are_what_autograd_keeps(name: str) -> None:
    """Within 10 %."""
    step, made = STEPS[name], wide()
    of = SlvrModel(made)
    if step.rank:
        peft = pytest.importorskip("peft")
        of.requires_grad_(False)
        names = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
        peft.inject_adapter_in_model(peft.LoraConfig(r=step.rank, target_modules=names), of)
    of.to(getattr(torch, step.weights)).train()
    text: Any = made.text_config
    inputs = torch.randn(ROWS, LENGTH, text.hidden_size, dtype=getattr(torch, step.weights), requires_grad=True)
    positions = torch.arange(LENGTH).expand(3, ROWS, LENGTH)
    seen = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().expand(ROWS, LENGTH, LENGTH)

    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=step.autocast):
            return of.run(inputs, positions, of.mask_of(seen) if step.masked else {"full_attention": None})

    measured = saved(run, of.parameters())
    if step.casts:  # copies of weights are counted apart
        measured -= 2 * sum(p.numel() for n, p in of.named_parameters() if "language_model.layers" in n and p.dim() > 1)
    assert 0.9 < activations.language(text, step) / measured < 1.1


def test_kept_bytes_of_a_trained_encoder() -> None:
    """Within 15 %; frozen, it keeps nothing."""
    made = config()
    vision: Any = made.vision_config
    vision.hidden_size, vision.intermediate_size, vision.depth, vision.window_size = 128, 336, 4, 16
    vision.num_heads, vision.fullatt_block_indexes = 4, [3]
    of = SlvrModel(made)
    patches = torch.randn(16 * 24, 48)
    measured = saved(
        lambda: of.model.visual(patches, grid_thw=torch.tensor([[1, 16, 24]])).pooler_output, of.parameters()
    )
    step = Step(1, 200, "float32", autocast=False)
    assert 0.85 < activations.pictures(vision, step, 96, encoder=True, merger=True) / measured < 1.15
    of.model.visual.requires_grad_(False)
    assert not of.model.visual(patches, grid_thw=torch.tensor([[1, 16, 24]])).pooler_output.requires_grad


def test_checkpointing_keeps_inputs_of_layers() -> None:
    step, made = STEPS["fp32"], wide()
    of = SlvrModel(made).train()
    of.model.language_model.gradient_checkpointing_enable()
    text: Any = made.text_config
    inputs = torch.randn(ROWS, LENGTH, text.hidden_size, requires_grad=True)
    positions = torch.arange(LENGTH).expand(3, ROWS, LENGTH)
    measured = saved(lambda: of.run(inputs, positions, {"full_attention": None}), of.parameters())
    checkpointed = replace(step, checkpointing=True)
    between = activations.language(text, checkpointed) - step.tokens * activations.per_layer(text, step)
    assert 0.9 < between / measured < 1.1
    assert activations.language(text, checkpointed) < activations.language(text, step)


def test_sharding_divides_and_gathers() -> None:
    made = shape_config("3b")
    step = Step(checkpointing=True)
    one, ddp, sharded = (
        estimate(made, Setup(step, gpus=gpus, shard=shard)) for gpus, shard in ((1, False), (8, False), (8, True))
    )
    assert (ddp.weights, ddp.optimiser) == (one.weights, one.optimiser)
    assert ddp.copies - one.copies == one.gradients  # its buckets
    for field in ("weights", "gradients", "optimiser"):
        assert getattr(sharded, field) == getattr(one, field) // 8
    assert 0 < sharded.copies < one.weights / 4 and sharded.language == one.language
    # by hand: two layers and what lies outside of them in bf16; the gradients of one layer, in bf16 and to be summed in
    # fp32, and of what is trained outside, which is summed in fp32 when activations have gone
    parts = one.parameters.parts
    layer, outside = parts["layers"] // 36, parts["embedding"] + parts["projection"] + parts["latents"]
    assert sharded.copies == 2 * (outside + parts["merger"] + 2 * layer) + 2 * outside + 6 * layer
    small = estimate(made, Setup(Step(1, 600, checkpointing=True), gpus=8, shard=True))
    kept = small.weights + small.gradients + small.optimiser + small.copies
    assert small.last == 4 * outside and small.total == kept + max(small.last, small.language + small.vocabulary)
    assert (one.last, estimate(made, Setup(step, gpus=8, shard=True, accumulation=16)).total) == (0, sharded.total)
    # by hand: 16 bytes of a trained parameter, 4 of a frozen one
    trained = one.parameters.trained(one.setup)
    assert one.weights + one.gradients + one.optimiser == 16 * trained + 4 * (one.parameters.total - trained)


def test_own_latents_keep_keys_and_values_of_each_call() -> None:
    made, step = shape_config("7b"), Step(1, 1184)
    once, own = (estimate(made, Setup(step, calls=calls)) for calls in (0, 6))
    assert own.language - once.language == 6 * 2 * 28 * 3584 * 2 * 1184  # 2.65 GiB


def test_tokens_and_rows_that_fit() -> None:
    made, setup = (
        shape_config("7b"),
        Setup(Step(4, 2048, rank=16, weights="bfloat16", checkpointing=True), accumulation=3),
    )
    made_of = estimate(made, setup)
    assert made_of.tokens == 4 * 2048 * 3
    most = most_rows(made, setup, 80)
    assert most > 4
    for rows, fits in ((most, True), (most + 1, False)):
        assert (estimate(made, replace(setup, step=replace(setup.step, rows=rows))).total <= 80 * GIB) == fits
    assert most_rows(made, setup, 10) == 0


def test_the_table_says_what_the_dataclass_says() -> None:
    estimates = dry_run(Setup())
    told = table(estimates)
    for one in estimates:
        assert f"{one.total / GIB:.2f}" in told and f"{one.tokens:,}" in told
    assert [len(line) for line in told.splitlines()] == [26 + 12 * 2] * len(told.splitlines())


def test_wrong_setups_are_named() -> None:
    with pytest.raises(UsageError, match=r'shape "72b": 3b, 7b are known'):
        dry_run(Setup(), ("72b",))
    with pytest.raises(UsageError, match='weights "int8": float32, bfloat16'):
        Step(weights="int8")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="0 rows of 1024"):
        Step(rows=0)
    with pytest.raises(UsageError, match="2000 visual tokens in rows of 1024"):
        Setup(visual=2000)
