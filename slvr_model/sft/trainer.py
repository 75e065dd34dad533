"""The public `Trainer` with our loss, our order of batches and our checkpoints; everything else is its own.

How samples weigh: an optimizer step divides by all samples of its batches on all processes, so that batches of unequal
numbers (packed rows, last batches) do not matter.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import save_fsdp_optimizer  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import ProgressCallback, Trainer, TrainingArguments
from transformers.trainer import SCHEDULER_NAME
from transformers.trainer_callback import PrinterCallback

from slvr_data.errors import RunError
from slvr_model.data import Accounts, Unusable
from slvr_model.memory import SIGNS
from slvr_model.sft.arguments import precision
from slvr_model.sft.config import SftConfig
from slvr_model.sft.dealing import Deal
from slvr_model.sft.examine import Examiner, cut_off
from slvr_model.sft.learner import Learner
from slvr_model.sft.rates import optimizer_of
from slvr_model.sft.shown import Record
from slvr_model.sft.weights import load_learner, load_shared, save_learner

Fault = tuple[str, str, str]
"""(record, reason, evidence) of a sample that could not be used."""
CURE = (
    "lower training.rows (and raise training.accumulate), training.packed_positions or model.max_pixels, set "
    "training.checkpointing or training.lora, or share the model (sharding.kind fsdp2)"
)


class SftTrainer(Trainer):
    """Trains a `Learner`.

    Args:
        learner: the model with its objective.
        args: from `arguments`.
        config: the whole configuration.
        dataset: rows, map-style with `order`, or a stream of batches.
        order: the batch sampler of this process; None for a stream.
        deal: what this process has of the batches.
        collate: shown rows -> inputs.
        examiner: evaluates; None: nothing is held out.
        accounts: of unusable samples, those of all processes.
        processor: saved with the model.
        record: keeps which samples this process shows.
        callbacks: as the public one's.
    """

    def __init__(
        self,
        learner: Learner,
        args: TrainingArguments,
        config: SftConfig,
        *,
        dataset: Any,
        order: Any,
        deal: Deal,
        collate: Any,
        examiner: Examiner | None,
        accounts: Accounts,
        processor: Any,
        record: Record | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        self.config, self.order, self.examiner = config, order, examiner
        self.deal, self.record = deal, record
        self.accounts, self.processor = accounts, processor
        self.loss_is_scaled_for_ga = True
        self._parts: dict[str, Tensor] = {}
        self._counts: Counter[str] = Counter()
        self._at, self._warned, self._gathers = (-1, 0), False, False
        held = None if examiner is None else examiner.samples
        super().__init__(
            model=learner, args=args, data_collator=collate, train_dataset=dataset, eval_dataset=held,
            callbacks=list(callbacks),
        )  # fmt: skip
        if self.is_fsdp_enabled and args.bf16:
            self.accelerator.state.fsdp_plugin.mixed_precision_policy = precision()
        for kind in (PrinterCallback, ProgressCallback):
            self.remove_callback(kind)

    @property
    def learner(self) -> Learner:
        """The module itself, without what wraps it."""
        unwrapped: Learner = self.accelerator.unwrap_model(self.model)
        return unwrapped

    def computing(self) -> torch.autocast:
        """In bfloat16 where that is told, which accelerate leaves out under FSDP2 and with DeepSpeed."""
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.config.training.bf16)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of this process in their planned order; nothing is dealt out or moved by accelerate."""
        options: dict[str, Any] = {
            "collate_fn": self.data_collator,
            "num_workers": self.args.dataloader_num_workers,
            "pin_memory": False,  # a batch moves whole, by `Batch.to`
        }
        dataset: Any = self.train_dataset
        if isinstance(dataset, IterableDataset):
            return DataLoader(dataset, batch_size=None, **options)
        return DataLoader(dataset, batch_sampler=self.order, **options)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """See `rates.optimizer_of`."""
        if self.optimizer is None:
            trained: Any = self.model if model is None else model
            self.optimizer = optimizer_of(trained, self.config.training)
        return self.optimizer

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if not inputs["idle"]:
            self._note({name: torch.tensor(float(inputs[name])) for name in ("processed", "emitted")}, 1.0)
        return {"batch": inputs["batch"].to(self.args.device), "idle": inputs["idle"]}

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor:
        """Samples of all batches of this step, on all processes, which are accounted for here.

        Raises:
            RunError: more than the error budget cannot be used.
        """
        learnt = [inputs for inputs in batch_samples if not inputs["idle"]]
        samples = sum(self.learner.objective.samples(inputs["batch"]) for inputs in learnt)
        faults = [list(inputs["faults"]) for inputs in batch_samples]
        if self.record is not None:
            ids = [one for inputs in learnt for one in inputs["query_ids"]]
            self.record.add(self.state.global_step + 1, ids)
        mine = [float(samples), float(sum(inputs["seen"] for inputs in learnt)), float(sum(map(len, faults)))]
        told = torch.tensor(mine, device=device)
        if self.args.world_size > 1:
            told = self.accelerator.gather(told[None]).sum(0)
            faults = self._of_all(faults) if told[2] else []
        self.accounts.seen += int(told[1])
        for record, reason, evidence in (fault for batch in faults for fault in batch):
            self.accounts.count(record, Unusable(reason, evidence))
        return told[0]

    def _of_all(self, faults: list[list[Fault]]) -> list[list[Fault]]:
        """What batches of all processes could not use, in the order of the step."""
        every: list[list[list[Fault]]] = [[] for _ in range(self.args.world_size)]
        torch.distributed.all_gather_object(every, faults)
        return [batch for turn in zip(*every, strict=True) for batch in turn]

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One batch, forward and backward.

        Raises:
            RunError: memory is short (with what to lower).
        """
        try:
            return super().training_step(model, inputs, num_items_in_batch)
        except (RunError, RuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in SIGNS):
                raise
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            first = (str(error.__cause__ or error).strip() or "allocation failed").splitlines()[0]
            raise RunError(f"out of memory at step {self.state.global_step + 1}: {CURE} ({first})") from error

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective's loss, divided by the samples of the whole step."""
        objective, batch = self.learner.objective, inputs["batch"]
        samples = None
        if num_items_in_batch is not None:
            samples = float(num_items_in_batch) / max(1, self.args.world_size)
        done = self.state.global_step
        self._at = (done, self._at[1] + 1 if self._at[0] == done else 0)
        seed = seed_of(self.args.seed, done, *self.deal.place(self._at[1]))
        torch.manual_seed(seed)  # of dropout: a step depends on the weights and its number alone
        share = done / max(1, self.state.max_steps)
        with self.computing():
            loss, parts, numbers = model(batch, share, seed, samples)
        if inputs["idle"]:
            return (loss * 0, parts) if return_outputs else loss * 0
        held = objective.samples(batch)
        self._note(parts, 1.0 if samples is None else samples / max(held, 1))
        self._note(numbers, 1.0)
        return (loss, parts) if return_outputs else loss

    def _note(self, numbers: Mapping[str, Tensor], scale: float) -> None:
        """Add a batch's numbers up for the log; losses, divided by the step's samples, are told per sample."""
        for name, value in numbers.items():
            self._parts[name] = self._parts.get(name, torch.zeros_like(value)) + value * scale
            self._counts[name] += 1

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Lines of the log: the loss with its parts, as means since the last line over all processes.

        Raises:
            RunError: the loss is not a finite number.
        """
        if "loss" in logs:
            logs |= self._means()
            if not math.isfinite(logs["loss"]):
                raise RunError(
                    f"the loss at step {self.state.global_step} is {logs['loss']}: lower training.learning_rate, or "
                    "raise training.warmup; the last checkpoint is kept"
                )
        super().log(logs, start_time)

    def _means(self) -> dict[str, float]:
        mine = {name: (float(value), self._counts[name]) for name, value in self._parts.items()}
        every = [mine]
        if self.args.world_size > 1:
            every = [{} for _ in range(self.args.world_size)]
            torch.distributed.all_gather_object(every, mine)
        self._parts, self._counts = {}, Counter()
        sums: dict[str, tuple[float, int]] = {}
        for one in every:
            for name, (value, number) in one.items():
                total, count = sums.get(name, (0.0, 0))
                sums[name] = total + value, count + number
        return {name: total / count for name, (total, count) in sorted(sums.items())}

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """Accuracy on what is held out, own latents and targets; see `Examiner`."""
        if self.examiner is None:
            return {}
        model: Any = self.model
        if self.is_fsdp_enabled and not self._gathers:
            self._gathers = True  # each call would wrap what the last one wrapped
            for method in ("written", "targets", "hidden"):  # as `forward`, they need weights that are gathered
                torch.distributed.fsdp.register_fsdp_forward_method(model, method)
        with self.computing():
            found = self.examiner.accuracy(model, self.args.device)
        if found["ended"] < 1 and not self._warned and self.args.process_index == 0:
            self._warned = True  # a model that has learnt little may never end its replies
            print(cut_off(found["ended"], self.config.evaluation), file=sys.stderr, flush=True)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """An SLVR checkpoint, and beside it what a resumed run needs besides."""
        if self.args.should_save:
            state = self.learner.state_dict() if state_dict is None else state_dict
            save_learner(
                self.learner, self.processor, Path(output_dir or self.args.output_dir or ""), state, self.config
            )

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """As the public one's; under FSDP without a second copy of the weights, which `_save` has written."""
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        plugin = self.accelerator.state.fsdp_plugin
        save_fsdp_optimizer(plugin, self.accelerator, self.optimizer, self.model, output_dir)
        if self.args.should_save and self.lr_scheduler is not None:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if self.is_fsdp_enabled:
            shared: Any = self.model if model is None else model
            load_shared(shared, Path(resume_from_checkpoint), self.config)
        else:
            load_learner(self.learner, Path(resume_from_checkpoint), self.config)


def seed_of(*numbers: int) -> int:
    """A seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
