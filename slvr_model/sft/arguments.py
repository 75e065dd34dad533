"""A configuration as the public `Trainer` takes it, with the settings of FSDP2 and DeepSpeed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import compare_versions  # type: ignore[import-untyped]
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import TrainingArguments

from slvr_data.errors import UsageError
from slvr_model.sft.config import LoggingConfig, SftConfig, ShardingConfig

WRAPPED = ["Qwen2_5_VLDecoderLayer", "Qwen2_5_VLVisionBlock"]
"""Modules that are gathered and let go as one."""
AUTOCAST_SINCE = "0.17.2"
"""Of DeepSpeed: `torch_autocast` works together with ZeRO."""
WAITING = 7200
"""Seconds for which processes wait for each other: one writes a checkpoint while the others have nothing to do."""


def world() -> tuple[int, int]:
    """(rank, processes) of this launch, as torchrun and accelerate tell it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def on_cpu(config: SftConfig) -> bool:
    """Whether the run uses no GPU."""
    return config.training.device == "cpu" or not torch.cuda.is_available()


def arguments(config: SftConfig, out: Path, steps: int, accumulate: int) -> TrainingArguments:
    """The arguments of a run of `steps` optimizer steps of `accumulate` batches of this process."""
    training, cpu = config.training, on_cpu(config)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard")
    made = TrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        num_train_epochs=1,
        per_device_train_batch_size=training.rows,
        per_device_eval_batch_size=config.evaluation.rows,
        gradient_accumulation_steps=accumulate,
        learning_rate=training.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(training.schedule, training.schedule),
        warmup_steps=round(training.warmup * steps),
        weight_decay=training.weight_decay,
        max_grad_norm=training.clip,
        bf16=training.bf16 and config.sharding.kind != "deepspeed",  # which has its own way (`deepspeed`)
        seed=training.seed,
        use_cpu=cpu,
        ddp_backend="gloo" if cpu and world()[1] > 1 else None,
        ddp_find_unused_parameters=True,
        ddp_timeout=WAITING,
        logging_steps=config.logging.every,
        logging_nan_inf_filter=False,
        report_to=list(config.logging.report) or "none",
        run_name=config.logging.name or out.name,
        project=config.logging.project,
        eval_strategy="steps" if config.evaluation.every and config.evaluation.samples else "no",
        eval_steps=config.evaluation.every,
        save_steps=config.saving.every,
        dataloader_num_workers=config.data.workers,
        dataloader_pin_memory=not cpu,
        remove_unused_columns=False,
        disable_tqdm=True,
        log_level="error",
        **sharding(config.sharding, training.bf16),
    )
    made._n_gpu = min(made.n_gpu, 1)  # several without torchrun would be DataParallel: a batch cannot be cut up
    return made


def sharding(config: ShardingConfig, bf16: bool) -> dict[str, Any]:
    """The arguments that share the model between processes."""
    if config.kind == "fsdp2":
        # else each GPU would hold all gradients of a step whole until its last batch
        each = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
        return {"fsdp": True, "fsdp_config": fsdp2(config), "accelerator_config": each}
    if config.kind == "deepspeed":
        return {"deepspeed": deepspeed(config, bf16)}
    return {}


def fsdp2(config: ShardingConfig) -> dict[str, Any]:
    """The `fully_shard` of torch through accelerate: one unit per layer, checkpoints with all weights."""
    return {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": list(WRAPPED),
        "reshard_after_forward": True,
        "state_dict_type": "FULL_STATE_DICT",
        "cpu_ram_efficient_loading": False,
        "cpu_offload": config.offload,
        "activation_checkpointing": False,
    }


def precision() -> MixedPrecisionPolicy:
    """Of FSDP2 with `training.bf16`: weights are gathered in bfloat16; gradients are summed over processes and batches
    in float32, and outputs (losses) stay what they are, where accelerate would have all three in bfloat16.
    """
    return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)


def deepspeed(config: ShardingConfig, bf16: bool) -> dict[str, Any]:
    """ZeRO; "auto" is filled in from the other arguments.

    Weights stay float32, and autocast computes with them in bfloat16, as everywhere else. DeepSpeed's `bf16` would hold
    all of them in bfloat16, latents and checkpoints as well, and before 0.19.2 also statistics and rotary frequencies.
    Without "safe modules" gradients are summed, and weights gathered, in float32.
    """
    zero: dict[str, Any] = {
        "stage": config.stage,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_scatter": True,
    }
    if config.stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if config.offload:
        parts = ("optimizer", "param") if config.stage == 3 else ("optimizer",)
        zero |= {f"offload_{part}": {"device": "cpu", "pin_memory": True} for part in parts}
    autocast = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": list[str]()}
    return {
        "bf16": {"enabled": False},
        **({"torch_autocast": autocast} if bf16 else {}),
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "gradient_clipping": "auto",
    }


def check_deepspeed(bf16: bool) -> None:
    """Raises UsageError where DeepSpeed is missing, or too old to compute in bfloat16 from float32."""
    if importlib.util.find_spec("deepspeed") is None:
        raise UsageError("sharding.kind deepspeed: it is missing; pip install deepspeed, or take fsdp2")
    if bf16 and compare_versions("deepspeed", "<", AUTOCAST_SINCE):
        raise UsageError(
            f"training.bf16 with deepspeed {importlib.metadata.version('deepspeed')}, which cannot compute so from "
            f"weights in float32: pip install 'deepspeed>={AUTOCAST_SINCE}', or take sharding.kind fsdp2"
        )


def check_reports(config: LoggingConfig) -> None:
    """Raises UsageError where a package to report to is missing."""
    for package in config.report:
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"logging.report {package}: it is missing; pip install '.[track]' in a clone")


def check(config: SftConfig) -> None:
    """Whether this machine and this launch have what the configuration needs: to be asked before anything is loaded.

    Raises:
        UsageError: a package or a launch that the configuration needs is missing.
    """
    check_reports(config.logging)
    kind = config.sharding.kind
    if kind == "none":
        return
    if kind == "deepspeed":
        check_deepspeed(config.training.bf16)
    if on_cpu(config):
        raise UsageError(f"sharding.kind {kind} needs GPUs: on CPUs take none, which is DDP")
    if world()[1] < 2:
        raise UsageError(
            f"sharding.kind {kind} needs several processes: start with torchrun --nproc-per-node N "
            "-m slvr_model.sft, or recipes/torchrun/one-node.sh sft"
        )
