"""The script that times stage 1 beside TRL's SFTTrainer: both learn the same, and every column is told."""

from __future__ import annotations

import argparse
import re
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from tests.perf.test_perf_gpu import script
from tests.perf.test_perf_whole import ended, start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed: pip install '.[dev]' in a clone"),
]
COLUMNS = ("s/step", "samples/s", "tokens/s", "tokens/sample", "TFLOP/s", "MFU", "GiB", "x trl", "first loss")


def table(said: str) -> dict[str, dict[str, float | None]]:
    """By way and column; None for "-"."""
    heads, *lines = said[said.index("s/step") :].splitlines()
    assert tuple(re.split(r"\s{2,}| (?=tokens/sample|TFLOP)", heads)) == COLUMNS
    rows = [line.split() for line in lines if line]
    numbers = [[None if cell == "-" else float(cell.strip("%").replace(",", "")) for cell in row[1:]] for row in rows]
    return {row[0]: dict(zip(COLUMNS, found, strict=True)) for row, found in zip(rows, numbers, strict=True)}


def check(said: str) -> dict[str, dict[str, float | None]]:
    """Of rows that are equal, both trainers have the same loss."""
    found: Any = table(said)
    assert set(found) == {"trl", "direct", "shared"} and found["trl"]["x trl"] == 1
    assert found["direct"]["first loss"] == pytest.approx(found["trl"]["first loss"], abs=0.01)
    assert found["direct"]["tokens/sample"] == found["trl"]["tokens/sample"] > 64
    assert found["shared"]["tokens/sample"] < found["direct"]["tokens/sample"]
    for line in found.values():
        assert line["tokens/s"] == pytest.approx(line["samples/s"] * line["tokens/sample"], rel=0.02)
    return found


def test_steps_beside_trl_on_a_cpu() -> None:
    options = ("--steps", 1, "--warmup", 1, "--ways", "direct", "shared", "trl", "--peak", 0.0001)
    said = ended(start("gpu_sft.py", "--shape", "tiny", "--device", "cpu", *options))
    assert said.startswith("tiny, recipe 3b-debug: all of the language model trained, bf16 autocast, checkpointing\n")
    for line in check(said).values():
        assert line["GiB"] is None and line["MFU"] is not None and line["MFU"] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_steps_beside_trl_on_a_gpu() -> None:
    options = ("--steps", 1, "--warmup", 1, "--ways", "direct", "shared", "trl", "--peak", 100, "--workers", 0)
    for line in check(ended(start("gpu_sft.py", "--shape", "tiny", *options))).values():
        assert line["GiB"] is not None and line["MFU"] is not None


def test_adapters_are_the_same_for_both() -> None:
    sft = script("gpu_sft")
    given = argparse.Namespace(shape="tiny", recipe="7b-lora-debug", side=4, steps=2, warmup=1, device="cpu")
    vars(given).update(rows=2, accumulate=2, workers=0)
    mine, theirs = sft.ours(given, "direct"), sft.theirs(given)
    assert mine["loss"] == pytest.approx(theirs["loss"], abs=0.01)
    assert mine["work"] == theirs["work"] and mine["flops"] == theirs["flops"] > 0
    assert theirs["latents"] == 0 and mine["trained"] == theirs["trained"] + mine["latents"]
