"""What happens besides training: a line or a bar for the person who waits, the log, whole checkpoints."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from slvr_data.errors import RunError
from slvr_data.files import disk_errors
from slvr_model.data import Accounts
from slvr_model.sft import records
from slvr_model.sft.config import SftConfig

HIDDEN = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss", "epoch")
"""Of the trainer's numbers, those that depend on the clock or say what stands elsewhere."""
_SHOWN = ("loss", "answer", "visual", "semantic", "visual_r2", "eval_accuracy", "eval_teacher_accuracy", "eval_gap")


class Course(TrainerCallback):
    """Shows where the run is, with the time left, and writes `log.jsonl`."""

    def __init__(self, out: Path, first: bool) -> None:
        self.log, self.first = out / records.LOG, first
        self.terminal = first and sys.stderr.isatty()
        self.began = time.monotonic()
        self.from_step = 0
        self._bar: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The clock starts."""
        self.began, self.from_step = time.monotonic(), state.global_step
        if self.terminal:
            from rich.console import Console
            from rich.progress import BarColumn, Progress

            self._bar = Progress(
                "{task.description}", BarColumn(), "{task.completed}/{task.total}", "{task.fields[left]}",
                "{task.fields[note]}", console=Console(stderr=True),
            )  # fmt: skip
            self._task = self._bar.add_task("steps", total=state.max_steps, left="", note="")
            self._bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A step is done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=state.global_step, left=self._left(state))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """A line of the log."""
        kept = {name: value for name, value in (logs or {}).items() if name not in HIDDEN}
        if not self.first or not kept:
            return
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": state.global_step, **kept}) + "\n")
        note = ", ".join(f"{name} {kept[name]:.4g}" for name in _SHOWN if name in kept)
        if self._bar is not None:
            self._bar.update(self._task, note=note)
        else:
            left = self._left(state)
            print(
                f"step {state.global_step}/{state.max_steps}: {note}" + (f", {left}" if left else ""),
                file=sys.stderr,
                flush=True,
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The bar goes."""
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _left(self, state: TrainerState) -> str:
        done = state.global_step - self.from_step
        if done <= 0 or state.global_step >= state.max_steps:
            return ""
        return f"{_time((time.monotonic() - self.began) / done * (state.max_steps - state.global_step))} left"


class Keeping(TrainerCallback):
    """Makes checkpoints whole: records beside them, a mark at the end, old ones removed after that.

    The folder itself is taken with the first step: what ends a run before leaves it free for the corrected command.
    """

    def __init__(self, config: SftConfig, out: Path, facts: dict[str, Any], accounts: Accounts) -> None:
        self.config, self.out, self.facts, self.accounts = config, out, facts, accounts

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A step is done."""
        if state.is_world_process_zero and not (self.out / records.CONFIG).exists():
            with disk_errors(f"writing {self.out}"):
                records.claim(self.out, self.config, self.facts)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A checkpoint was written, by all processes."""
        if args.world_size > 1:
            torch.distributed.barrier()
        if not state.is_world_process_zero:
            return
        folder = self.out / f"checkpoint-{state.global_step}"
        if not folder.is_dir():
            raise RunError(f"{folder} was to be written and is not there")
        records.write_records(folder, self.config, self.facts, self.out / records.LOG)
        records.mark_complete(folder, state.global_step, self.accounts)
        records.prune(self.out, self.config.saving.keep)


def _time(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes) % 60} min"
    return f"{int(minutes)} min {int(seconds) % 60} s" if minutes >= 1 else f"{seconds:.0f} s"
