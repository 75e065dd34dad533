"""Tensors of what is trained, to a checkpoint and back: bit by bit, whatever was merged or shared out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

from slvr_data.errors import RunError
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.kept import keep
from slvr_model.sft.config import SftConfig
from slvr_model.sft.learner import Learner
from slvr_model.sft.start import plain_state

EXTRA = "trained.safetensors"
"""What a checkpoint holds besides an SLVR checkpoint: heads of the objective, and adapters before they are merged."""


def save_learner(learner: Learner, processor: Any, folder: Path, state: dict[str, Tensor], config: SftConfig) -> None:
    """Write a learner's tensors as an SLVR checkpoint with adapters merged, and what that does not hold beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    ours = {name.removeprefix("slvr."): value for name, value in state.items() if name.startswith("slvr.")}
    lora = config.training.lora
    plain = plain_state(ours, lora.alpha / lora.rank) if lora else ours
    keep(learner.slvr, config.objective)
    learner.slvr.save_pretrained(folder, state_dict=plain)
    _name_widest(learner.slvr, plain, folder)
    processor.save_pretrained(folder)
    trained = {name for name, parameter in learner.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in learner.named_buffers()}
    extra = {
        name: value.detach().cpu().contiguous()
        for name, value in state.items()
        if not name.startswith("slvr.") or (lora and name in trained | buffers)
    }
    if extra:
        save_file(extra, folder / EXTRA)


def _name_widest(slvr: SlvrModel, state: dict[str, Tensor], folder: Path) -> None:
    """Let config.json name the widest type of the tensors in the file: a reader holds all in the one that it names."""
    widest = max((value.dtype for value in state.values() if value.is_floating_point()), key=lambda one: one.itemsize)
    name = str(widest).removeprefix("torch.")
    if slvr.config.dtype != name:
        slvr.config.dtype = name
        slvr.config.save_pretrained(folder)


def load_learner(learner: nn.Module, folder: Path, config: SftConfig) -> None:
    """Take the tensors of a checkpoint by `save_learner`, bit by bit.

    Raises:
        RunError: it lacks some of them.
    """
    state = _saved(learner, folder, config)
    learner.load_state_dict(state, strict=False)


def load_shared(learner: nn.Module, folder: Path, config: SftConfig) -> None:
    """As `load_learner`, into a learner that `fully_shard` has shared out: the first process reads, all take part.

    Raises:
        RunError: it lacks some of them.
    """
    state: dict[str, Any] = dict(_saved(learner, folder, config)) if torch.distributed.get_rank() == 0 else {}
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=config.training.lora is None)
    set_model_state_dict(learner, state, options=options)


def _saved(learner: nn.Module, folder: Path, config: SftConfig) -> dict[str, Tensor]:
    """What a checkpoint holds of a learner, by the learner's names: all that is trained."""
    state: dict[str, Tensor] = load_file(folder / EXTRA) if (folder / EXTRA).exists() else {}
    if not config.training.lora:
        saved = SlvrModel.from_pretrained(folder)
        state |= {f"slvr.{name}": value for name, value in saved.state_dict().items()}
    wanted = {name for name, parameter in learner.named_parameters() if parameter.requires_grad}
    lost, unknown = sorted(wanted - state.keys()), sorted(state.keys() - learner.state_dict().keys())
    if lost or unknown:
        raise RunError(f"{folder} does not fit the configuration: {', '.join((lost or unknown)[:4])}")
    return state
