"""The script that times stage 2 beside TRL's GRPOTrainer: prompts alike, replies of one length, every column."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from tests.perf.test_perf_whole import ended, start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed: pip install '.[dev]' in a clone"),
]
OPTIONS = ("--steps", 1, "--warmup", 1, "--ways", "ours", "trl")


def table(said: str) -> dict[str, list[str]]:
    """Cells of each way."""
    return {name: cells for name, *cells in map(str.split, said.splitlines()[-2:])}


def check(said: str) -> None:
    """Of 8 rollouts a step, rates and ratios fit together; all of them have 24 positions behind prompts alike."""
    assert "2 regions x 2 questions x 2 replies of 24 positions a step, 64 visual tokens a picture, 4 rows" in said
    found = table(said)
    assert set(found) == {"trl", "ours"}
    for name, cells in found.items():
        rolling, writing, learning = (float(cells[at]) for at in (0, 2, 4))
        assert writing >= rolling > learning > 0
        assert 8 / rolling + float(cells[6]) == pytest.approx(8 / learning, rel=0.01)
        for at in (0, 2, 4):
            ratio = float(cells[at]) / float(found["trl"][at])
            assert float(cells[at + 1]) == pytest.approx(ratio, rel=0.01, abs=0.01), name
        assert cells[-1] == "24" and cells[-2] == found["trl"][-2]
        assert int(cells[-2]) > 64 + 16


def test_rollouts_beside_trl_on_a_cpu() -> None:
    said = ended(start("gpu_mgrpo.py", "--shape", "tiny", "--device", "cpu", *OPTIONS))
    assert said.startswith("tiny, recipe mgrpo-3b-debug: adapters of rank 4 on weights in bfloat16, bf16 autocast\n")
    check(said)
    assert all(cells[-3] == "-" for cells in table(said).values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_rollouts_beside_trl_on_a_gpu() -> None:
    said = ended(start("gpu_mgrpo.py", "--shape", "tiny", *OPTIONS))
    check(said)
    assert all(float(cells[-3]) > 0 for cells in table(said).values())
