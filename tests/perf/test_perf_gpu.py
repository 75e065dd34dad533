"""What the scripts about GPUs count and refuse: operations as torch counts them, peaks by name, what cannot be run."""

from __future__ import annotations

import importlib
import json
import logging
import re
import sys
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from slvr_data.errors import UsageError
from slvr_model.batches import Batch, collate
from slvr_model.modeling import SlvrModel
from slvr_model.rows import Block, Picture, Row
from slvr_model.sft.config import LoraConfig, ModelConfig
from slvr_model.sft.start import prepare
from slvr_model.tiny import new_tiny
from tests.perf.test_perf_whole import ROOT

GRIDS = [(20, 36), (16, 16)]
"""Patches; windows are 16 x 16, so that those of the first picture are cut off at its edges."""


def script(name: str) -> ModuleType:
    """A module of perf/, with its neighbours."""
    folder = str(ROOT / "perf")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def given(model: SlvrModel) -> Batch:
    """Two rows of unequal length with a picture each."""
    layout, rows = model.layout, []
    for number, (high, wide) in enumerate(GRIDS):
        picture = Picture(torch.randn(high * wide, layout.patch_values), (1, high, wide), (8.0, 8.0))
        block = Block((20, 21, 22, 23 + number), (30, 31, 32))
        rows.append(Row((3, layout.image_token, 4), (block,), (picture,)))
    return collate(rows, layout)


def counted(model: SlvrModel, batch: Batch) -> int:
    """As torch counts the multiplications of a step; eager attention, so that none hides in a kernel."""
    wanted = batch.labels_BL[:, 1:]
    with FlopCounterMode(display=False) as counter:
        ahead = functional.pad(wanted >= 0, (0, 1))
        out = model.latent_forward(batch, "pause", logits_at=ahead)
        assert out.logits_NV is not None
        functional.cross_entropy(out.logits_NV, wanted[wanted >= 0]).backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("rank", [0, 8])
@pytest.mark.parametrize("windows", ["full", "some"])
def test_operations_are_those_that_torch_counts(rank: int, windows: str) -> None:
    flops = script("flops")
    model, _ = new_tiny(0)
    config: Any = model.config
    if windows == "some":
        config.vision_config.fullatt_block_indexes = model.model.visual.fullatt_block_indexes = [1]
    model.set_attn_implementation("eager")
    prepare(model, ModelConfig(), LoraConfig(rank=rank) if rank else None, 0)
    batch = given(model)
    work = flops.Work.of(batch)
    lengths = batch.kept_BL.sum(1).tolist()
    assert work.positions == sum(lengths) and work.grids == tuple(GRIDS)
    assert work.pairs == sum(length * (length + 1) // 2 for length in lengths)
    assert work.labels == 6
    square = flops.Work(
        batch.ids_BL.numel(), batch.ids_BL.shape[1] ** 2 * 2, work.labels, work.grids
    )  # as torch has it
    assert counted(model, batch) == pytest.approx(flops.model_flops(config, square, rank), rel=0.01)


def test_blocks_behind_one_picture_do_not_see_each_other() -> None:
    flops = script("flops")
    model, _ = new_tiny(0)
    alone = given(model)
    picture = Picture(torch.randn(64, model.layout.patch_values), (1, 8, 8), (8.0, 8.0))
    row = Row((3, model.layout.image_token, 4), (Block((20,), (30, 31)), Block((21, 22), (30, 31))), (picture,))
    work = flops.Work.of(collate([row], model.layout))
    assert work.positions == 18 + 3 + 4
    assert work.pairs == 18 * 19 // 2 + (3 * 18 + 6) + (4 * 18 + 10)
    assert flops.Work.of(alone).plus(work).labels == 6 + 4


def test_peaks_are_those_of_known_devices_or_told() -> None:
    peak_of = script("gpu").peak_of
    assert peak_of("NVIDIA H100 80GB HBM3") == peak_of("NVIDIA H200") == 989
    assert peak_of("NVIDIA A100-SXM4-80GB") == peak_of("NVIDIA A100-PCIE-40GB") == 312
    assert peak_of("NVIDIA L4", 121.0) == 121 and peak_of("NVIDIA H100 PCIe", 756.0) == 756
    for name in ("NVIDIA L4", "NVIDIA H100 PCIe", "NVIDIA H200 NVL", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"):
        with pytest.raises(UsageError, match=f"{name}.*--peak"):
            peak_of(name)
    with pytest.raises(UsageError, match="--peak 0"):
        peak_of("NVIDIA H100 80GB HBM3", 0.0)


def test_a_way_that_does_not_fit_is_told_and_other_errors_are_raised(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(error: Exception) -> dict[str, Any]:
        raise error

    tell = script("gpu").tell
    try:
        for error in (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()):
            tell(partial(fails, error))
            assert json.loads(capsys.readouterr().out) == {"failed": "out of memory"}
        with pytest.raises(RuntimeError, match="another"):
            tell(partial(fails, RuntimeError("another")))
    finally:
        logging.disable(logging.NOTSET)
    line = script("gpu_sft").told("trl", {"failed": "out of memory"}, None, 989.0)
    assert line.split(maxsplit=1) == ["trl", "out of memory: lower --rows"]


@pytest.mark.parametrize("name", ["3b", "7b"])
def test_public_shapes_keep_their_size_with_the_words_of_the_small_one(name: str) -> None:
    gpu, shapes = script("gpu"), importlib.import_module("slvr_model.efficiency.shapes")
    config, processor = gpu.shape_of(name)
    model = shapes.without_weights(config)
    published = shapes.without_weights(shapes.shape_config(name, gpu.SLOTS))
    assert [one.shape for one in model.parameters()] == [one.shape for one in published.parameters()]
    (sample,) = gpu.samples(config, 1, 1, 4, 5, 2)
    rows = importlib.import_module("slvr_model.sample_rows").SampleRows(processor, model.layout)
    batch = collate([rows.row(sample)], model.layout)
    assert int(batch.kinds().sum()) == 16 and batch.grids_N3 is not None and batch.grids_N3.tolist() == [[1, 8, 8]]
    assert len(sample.question.split()) == len(processor.tokenizer(sample.question, add_special_tokens=False).input_ids)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("gpu_sft", "--shape 7b", "--shape 7b needs a CUDA device, and none is used; on a CPU take --shape tiny"),
        ("gpu_mgrpo", "--shape tiny --device cuda", "--device cuda: torch sees no CUDA device"),
        ("gpu_mgrpo", "--shape tiny --micro-rows 3", "8 rows of a step .* TRL needs a multiple; give --micro-rows"),
        ("gpu_mgrpo", "--shape tiny --recipe mgrpo-tiny", "mgrpo-tiny trains more than adapters"),
        ("gpu_mgrpo", "--shape tiny --queries 1", "--queries 1: .* at least 2"),
        ("gpu_sft", "--shape tiny --recipe 7b", "--recipe 7b shares the model .*: take .*7b-lora"),
        ("gpu_sft", "--shape tiny --warmup 0", "--warmup 0: at least 1"),
        ("gpu_sft", "--shape tiny --rows 0", "training.rows"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    name: str, options: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"perf/{name}.py", *options.split()])
    with pytest.raises(SystemExit) as found:
        script("gpu").ended(script(name).main)
    out, errors = capsys.readouterr()
    assert (found.value.code, out) == (2, "")
    assert re.match(f"{name}.py: .*{said}", errors) and len(errors.splitlines()) == 1
