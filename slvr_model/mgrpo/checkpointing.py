"""Checkpoints of a run: whole or not there, and enough in them to go on to the same bits.

    RUN/checkpoint-N/   an SLVR checkpoint, what LoRA needs besides, the optimiser, what was counted, records, the log
    RUN/checkpoint/     the finished model with its records

Draws are keyed by (seed, round, region, query, rollout) and rates are functions of the step, so neither has a state.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from torch import Tensor

from slvr_data.errors import RunError, UsageError
from slvr_data.files import disk_errors, remove_leftovers, write_atomic
from slvr_model.data import Accounts
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.sft import records
from slvr_model.sft.weights import EXTRA, load_learner, save_learner

STAGE, FINAL = "mgrpo", "checkpoint"
OPTIMIZER, STATE = "optimizer.pt", "state.json"
FREE = (
    "out", "cases", "logging", "saving", "evaluation.every", "evaluation.evaluator", "evaluation.rows", "data.set",
    "data.cache", "data.pictures", "training.device", "judge.base_urls", "judge.api_key_env", "judge.timeout",
    "judge.pause", "judge.max_concurrency", "judge.scratch", "judge.max_tokens", "judge.attempts", "judge.unreadable",
    "preflight", "gate", "sharding.offload",
)  # fmt: skip
"""Settings that a resumed run may change: they decide no weight, or are what a message asks to change."""
ROUNDING = "training.micro_rows"
"""One more, but where the loss is a mean of each part: else it changes weights by rounding alone."""
EVALUATIONS = "evaluations"
"""The folder in which commands that evaluate have theirs, `step-N`."""


@dataclass(frozen=True, eq=False)
class Kept:
    """What a checkpoint is written from."""

    config: MgrpoConfig
    out: Path
    facts: Mapping[str, Any]
    accounts: Accounts
    processor: Any

    def claim(self) -> None:
        """Take the run's folder: what ends a run before its first step leaves it free for the corrected command."""
        if not (self.out / f"{STAGE}.yaml").exists():
            with disk_errors(f"writing {self.out}"):
                records.claim(self.out, self.config, dict(self.facts), STAGE)

    def save(
        self, step: int, policy: Any, weights: dict[str, Tensor], optimizer: Mapping[str, Any], state: Mapping[str, Any]
    ) -> Path:
        """Write `checkpoint-N`, then let go of the oldest.

        Args:
            step: N.
            policy: the unwrapped module, for the names of what is trained.
            weights: all of it, as `state_dict` has it.
            optimizer: its state.
            state: what was counted until now.
        """
        folder = self.out / f"checkpoint-{step}"
        fresh = self.out / f".checkpoint-{step}.tmp"
        with disk_errors(f"writing {folder}"):
            shutil.rmtree(fresh, ignore_errors=True)
            save_learner(policy, self.processor, fresh, weights, cast(Any, self.config))
            torch.save(dict(optimizer), fresh / OPTIMIZER)
            write_atomic(fresh / STATE, json.dumps(dict(state), sort_keys=True).encode())
            records.write_records(fresh, self.config, dict(self.facts), self.out / records.LOG, STAGE)
            records.mark_complete(fresh, step, self.accounts)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
            records.prune(self.out, self.config.saving.keep)
        return folder

    def finish(self, step: int, policy: Any, weights: dict[str, Tensor], name: str = FINAL) -> Path:
        """Write a folder with the model and its records alone; it appears as a whole."""
        final, fresh = self.out / name, self.out / f".{name}.tmp"
        with disk_errors(f"writing {final}"):
            shutil.rmtree(fresh, ignore_errors=True)
            save_learner(policy, self.processor, fresh, weights, cast(Any, self.config))
            (fresh / EXTRA).unlink(missing_ok=True)
            counted = {"seen": self.accounts.seen, "unusable": dict(self.accounts.unusable)}
            facts = dict(self.facts) | {"steps": step, "regions": counted}
            records.write_records(fresh, self.config, facts, self.out / records.LOG, STAGE)
            shutil.rmtree(final, ignore_errors=True)
            fresh.rename(final)
        return final

    @contextmanager
    def shown(self, step: int, policy: Any, weights: dict[str, Tensor]) -> Iterator[Path]:
        """A folder with the model as it is, for as long as the block lasts."""
        folder = self.finish(step, policy, weights, "evaluated")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def restore(folder: Path, policy: Any, config: MgrpoConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the weights of a checkpoint, bit by bit; its optimiser's state, and what was counted.

    Raises:
        RunError: a file of it cannot be read, or does not fit.
    """
    try:
        load_learner(policy, folder, cast(Any, config))
        moments: dict[str, Any] = torch.load(folder / OPTIMIZER, weights_only=True, map_location="cpu")
        state: dict[str, Any] = json.loads((folder / STATE).read_bytes())
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, UnpicklingError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RunError(f"{folder} cannot be gone on from ({why}): remove it, and an older one is taken") from None
    return moments, state


def begun_in(out: Path, config: MgrpoConfig, facts: dict[str, Any], resume: bool) -> tuple[dict[str, Any], Path | None]:
    """The facts of the run, and the checkpoint to go on from; None: begin. Nothing is written.

    Raises:
        UsageError: the folder holds a run and `resume` was not asked for, or it is another run, or what no run left.
    """
    if not (out / f"{STAGE}.yaml").exists():
        records.check_free(out)
        return facts, None
    if not resume:
        raise UsageError(f"{out} holds a run: --resume goes on with it; or give another out")
    free = FREE if config.loss.aggregation == "bnpo" else (*FREE, ROUNDING)
    known = records.check_same(out, config, facts, STAGE, free)
    before = next(reversed(records.checkpoints(out)), None)
    return records.gone_on(known, facts, before, STAGE), before


def anew(config: MgrpoConfig) -> str:
    """How to learn with settings that a run cannot be gone on with, from what it has learnt; half a sentence."""
    last = None if config.out is None else next(reversed(records.checkpoints(config.out)), None)
    if last is None:
        return "nothing is kept of this run yet: begin it again"
    told = f"no --resume takes that: begin another run with --init {last} and another out"
    if not config.needs_reference:
        return told
    if config.training.lora is not None:
        return f"{told} (its reference is then that checkpoint)"
    return f"{told}, and with model.reference={config.model.reference or config.model.init} for the same reference"


def begin(out: Path) -> None:
    """Make the run's folder, or take it back to its last whole checkpoint. One process does, when all have looked."""
    with disk_errors(f"writing {out}"):
        if (out / f"{STAGE}.yaml").exists():
            remove_leftovers(out)
            records.tidy(out)
        else:
            records.begin(out)
        _forget_evaluations(out)


def _forget_evaluations(out: Path) -> None:
    """Remove what was evaluated from the step on from which the run goes on: it may be of other weights."""
    whole = records.checkpoints(out)
    first = _number(whole[-1]) if whole else 0
    for folder in (out / EVALUATIONS).glob("step-*"):
        if _number(folder) >= first:
            shutil.rmtree(folder)


def _number(folder: Path) -> int:
    return int(folder.name.rsplit("-", 1)[1])
