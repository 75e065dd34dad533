"""The settings of DeepSpeed, as the public Trainer and accelerate read them; no test runs DeepSpeed itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slvr_data.errors import UsageError
from slvr_model.sft.arguments import check_deepspeed
from slvr_model.sft.settings import load_config

READ = """
import json, sys
from pathlib import Path
from slvr_model.sft.arguments import arguments
from slvr_model.sft.settings import load_config

found = []
for stage in (2, 3):
    for offload in ("true", "false"):
        sharing = f"sharding={{kind: deepspeed, stage: {stage}, offload: {offload}}}"
        config = load_config("7b", [sharing, "training.device=cpu", "training.bf16=" + sys.argv[1]])
        made = arguments(config, Path(sys.argv[2]), 3, 2)
        made.deepspeed_plugin.set_mixed_precision("bf16" if made.bf16 else "no")
        read = made.hf_deepspeed_config
        kinds = [read.is_zero2(), read.is_zero3(), read.is_offload()]
        found.append([kinds, str(read.dtype()), read.mismatches, made.deepspeed_plugin.deepspeed_config])
print(json.dumps(found))
"""


def installed(folder: Path, version: str) -> Path:
    """Where a distribution of a version lies, without what it does: the libraries ask for it before they read."""
    site = folder / version
    info = site / f"deepspeed-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: deepspeed\nVersion: {version}\n")
    (site / "deepspeed").mkdir()
    (site / "deepspeed/__init__.py").touch()
    return site


@pytest.mark.parametrize("bf16", [True, False])
def test_both_libraries_take_the_settings_and_leave_autocast_to_deepspeed(bf16: bool, tmp_path: Path) -> None:
    """Told of bfloat16, they would have DeepSpeed hold the weights in it, latents among them."""
    paths = os.pathsep.join([str(installed(tmp_path, "0.18.0")), *filter(None, sys.path)])
    command = [sys.executable, "-c", READ, str(bf16).lower(), str(tmp_path)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    forms = json.loads(done.stdout.splitlines()[-1])
    assert [one[0] for one in forms] == [[two, not two, offload] for two in (True, False) for offload in (True, False)]
    for (_, three, _), dtype, mismatches, final in forms:
        assert (dtype, mismatches) == ("torch.float32", [])
        assert not final["bf16"]["enabled"] and not final["fp16"]["enabled"]
        autocast = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
        assert final.get("torch_autocast") == (autocast if bf16 else None)
        assert final["zero_optimization"].get("stage3_gather_16bit_weights_on_model_save", False) == three
        assert final["train_batch_size"] == 2 * final["train_micro_batch_size_per_gpu"], "two batches a step"


def test_a_deepspeed_that_cannot_compute_so_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed(tmp_path, "0.16.9")))
    with pytest.raises(UsageError, match=r"deepspeed 0\.16\.9, .*pip install 'deepspeed>=0\.17\.2', or take .*fsdp2"):
        check_deepspeed(bf16=True)
    check_deepspeed(bf16=False)
    monkeypatch.syspath_prepend(str(installed(tmp_path, "0.17.2")))
    check_deepspeed(bf16=True)


def test_weights_of_two_types_are_refused() -> None:
    lora = ("training.lora={rank: 4}", "model.dtype=bfloat16", "sharding={kind: deepspeed, stage: 2}")
    with pytest.raises(UsageError, match=r"model\.dtype bfloat16 with sharding\.kind deepspeed.*float32.*or .*fsdp2"):
        load_config("7b", list(lora))
