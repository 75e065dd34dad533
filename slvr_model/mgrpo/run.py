"""`slvr-train mgrpo`: a run from its configuration to a checkpoint, begun or gone on with."""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs  # type: ignore[import-untyped]
from accelerate.state import AcceleratorState  # type: ignore[import-untyped]
from accelerate.tracking import (  # type: ignore[import-untyped]
    GeneralTracker,
    TensorBoardTracker,
    TrackioTracker,
)
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from torch import distributed
from transformers.utils import logging as reports

from slvr_data.errors import UsageError
from slvr_model.data import Accounts
from slvr_model.mgrpo import checkpointing
from slvr_model.mgrpo.cases import FOLDER, Cases
from slvr_model.mgrpo.checkpointing import FINAL, STAGE, Kept
from slvr_model.mgrpo.composer import composed
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.course import Course
from slvr_model.mgrpo.evaluation import HeldOut, evaluator_of
from slvr_model.mgrpo.feeding import Feeds, check_init, check_layout, data_facts, held_facts, open_feeds
from slvr_model.mgrpo.generate import InProcess
from slvr_model.mgrpo.judging import Judge
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.play import Player, Rewarder
from slvr_model.mgrpo.policy import Policy
from slvr_model.mgrpo.processes import Processes
from slvr_model.mgrpo.rates import optimizer_of
from slvr_model.mgrpo.reference import Reference, reference_of
from slvr_model.mgrpo.trainer import Parts, Trainer
from slvr_model.mgrpo.types import Evaluator
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective, open_objective
from slvr_model.sample_rows import SampleRows
from slvr_model.sft import records
from slvr_model.sft.arguments import check_reports, world
from slvr_model.sft.config import ModelConfig
from slvr_model.sft.start import checkpoint_layers, folder_of, open_start, prepare, sizes

WAITING = timedelta(hours=2)
"""How long processes wait for each other, beyond `judge.pause`: for as long as one evaluates."""


def train_mgrpo(
    config: MgrpoConfig,
    init: str,
    resume: bool = False,
    *,
    evaluator: Evaluator | None = None,
    rewarder: Rewarder = composed,
) -> Path:
    """Train; the folder of the finished checkpoint.

    Args:
        config: of the run.
        init: the checkpoint of stage 1 to start from.
        resume: go on with the run that the folder holds.
        evaluator: held-out scores from outside, in place of `evaluation.evaluator`.
        rewarder: what rollouts earn, in place of `composer.composed`.

    Raises:
        UsageError: the configuration does not fit data, start, machine, or the run that the folder holds.
        RunError: see `Trainer.train`.
    """
    reports.set_verbosity(logging.ERROR)
    out = config.out
    if out is None:
        raise UsageError("out is missing: name the run's folder with --set out=DIR")
    check_init(init)
    if config.model.reference is not None:
        check_init(config.model.reference, "model.reference")
    config = config.model_copy(update={"model": config.model.model_copy(update={"init": init})})
    _check(config)
    facts = {
        "data": data_facts(config.data),
        "start": {"name": init, "files": records.start_hashes(folder_of(init))},
        "versions": records.versions(),
        **held_facts(config),
    }
    if config.model.reference is not None:
        facts["reference"] = records.start_hashes(folder_of(config.model.reference))
    run = _Run(config, out, init, facts, evaluator, rewarder)
    return run.train(resume)


class _Run:
    """What a run is made of."""

    def __init__(
        self,
        config: MgrpoConfig,
        out: Path,
        start: str,
        facts: dict[str, Any],
        evaluator: Evaluator | None,
        rewarder: Rewarder,
    ) -> None:
        self.config, self.out, self.start = config, out, start
        self.accelerator = accelerator_of(config)
        self.first, self.rank = self.accelerator.is_main_process, self.accelerator.process_index
        self.facts = facts | {"processes": self.accelerator.num_processes}
        self.evaluator = evaluator or evaluator_of(config.evaluation.evaluator, out / checkpointing.EVALUATIONS)
        self.rewarder, self.accounts = rewarder, Accounts(config.data.error_budget)

    def train(self, resume: bool) -> Path:
        """The whole run."""
        final = self.out / FINAL
        self.facts, before = checkpointing.begun_in(self.out, self.config, self.facts, resume)
        if resume and (final / f"{STAGE}.json").exists():
            self._say(f"finished already: {final}")
            return final
        records.agree(before)
        if self.first:
            checkpointing.begin(self.out)
        self.accelerator.wait_for_everyone()
        self._report()
        judge = self._judge()
        try:
            trainer = self._trainer(before, judge)
            return self._trained(trainer)
        finally:
            if judge is not None:
                judge.close()

    def _trained(self, trainer: Trainer) -> Path:
        parts = trainer.parts
        try:
            step = trainer.train()
            if parts.cases is not None:
                parts.cases.flush()
            final = self.out / FINAL
            self.accelerator.wait_for_everyone()
            weights = parts.processes.weights()
            if self.first:
                parts.kept.finish(step, parts.processes.policy, weights)
            self.accelerator.wait_for_everyone()
            if self.accounts.unusable:
                parts.course.say(f"unusable groups: {self.accounts.report()}")
            parts.course.say(f"finished: {final}")
            return final
        finally:
            parts.course.close(trainer.step)
            self.accelerator.end_training()

    def _trainer(self, before: Path | None, judge: Judge | None) -> Trainer:
        """The trainer, before its first step or behind the last that was kept."""
        config, device = self.config, self.accelerator.device
        model, processor = open_start(config.model.opened(self.start), None, config.training.seed)
        check_layout(config.objective, model, self.start)
        objective = open_objective(config.objective, model, processor.tokenizer)
        pictures = Pictures(model)
        reference = self._prepared(model, pictures)
        policy = Policy(model).to(device)
        trained, every = sizes(policy)
        moments, state = None, None
        if before is not None:
            moments, state = checkpointing.restore(before, policy, config)
            records.restore_accounts(before, self.accounts)
        processes = Processes(self.accelerator, policy, config.sharding)
        optimizer = optimizer_of(policy, config.training)
        if moments is not None:
            processes.restore_optimizer(optimizer, moments)
        rows, steps = SampleRows(processor, model.layout), config.training.steps
        feeds = open_feeds(config, self.out, rows, objective, self.rank, self.accelerator.num_processes)
        begun = "" if before is None else f", from {before.name}"
        self._say(f"{self._asked(feeds)}; {trained:,} of {every:,} parameters are trained; {steps:,} steps{begun}")
        generator = InProcess(model, objective, processor.tokenizer, config.sampling, config.training.seed, pictures)
        tokens, done = model.latent_config.tokens, 0 if state is None else state["step"]
        parts = Parts(
            config,
            processes,
            optimizer,
            Player(config, generator, objective.form, tokens, reference, judge, self.rewarder, pictures),
            feeds.learning,
            self._held(feeds.held, objective, processor.tokenizer),
            self.evaluator,
            Kept(config, self.out, self.facts, self.accounts, processor),
            Course(self.out, steps, done, self.first, config.logging.every),
            self._cases(processor.tokenizer),
        )
        return Trainer(parts, state)

    def _asked(self, feeds: Feeds) -> str:
        """How many groups all processes have."""
        unasked, held = Accounts(self.config.data.error_budget), 0
        for one, number in gather_object([(feeds.unasked, len(feeds.held))]):
            unasked.add(one)
            held += number
        return f"{feeds.summary(unasked)}; {held} held out"

    def _prepared(self, model: SlvrModel, pictures: Pictures) -> Reference | None:
        """The model made ready to be trained, and the reference that it is held against."""
        config, device, name = self.config, self.accelerator.device, self.config.model.reference
        reference, other = None, None
        prepare(model, ModelConfig(), config.training.lora, config.training.seed)
        model.to(device)
        if config.needs_reference:
            if name is not None:
                other, _ = open_start(config.model.opened(name), None, config.training.seed)
                other.to(device)
            lora = config.training.lora is not None
            reference = reference_of(model, lora=lora, other=other, name=name or "", pictures=pictures)
        if config.training.checkpointing:
            checkpoint_layers(model)
        return reference

    def _held(self, shown: Any, objective: Objective, tokenizer: Any) -> HeldOut | None:
        if self.config.evaluation.regions == 0:
            return None
        return HeldOut(shown, objective, tokenizer, self.config.evaluation.rows, self.config.sampling.max_new_tokens)

    def _cases(self, tokenizer: Any) -> Cases | None:
        config = self.config.cases
        if not config.every:
            return None
        ranks = self.accelerator.num_processes
        return Cases(self.out / FOLDER, tokenizer, steps=config.steps, rank=self.rank, ranks=ranks)

    def _report(self) -> None:
        """Begin to report; not before the folder is known to be this run's."""
        config, trackers = self.config.logging, list[GeneralTracker]()
        if "tensorboard" in config.report:
            trackers.append(TensorBoardTracker("tensorboard", self.out))  # where stage 1 has its events too
        if "trackio" in config.report:
            trackers.append(TrackioTracker(config.project, name=config.name or self.out.name))
        self.accelerator.log_with = trackers
        self.accelerator.init_trackers(config.project)

    def _judge(self) -> Judge | None:
        if not self.config.rewards.asks_judge:
            return None
        kept = self.out / f"judge-{self.rank}"
        others = [folder for folder in sorted(self.out.glob("judge-*")) if folder != kept]
        return Judge(self.config.judge, kept, self._say, others)

    def _say(self, text: str) -> None:
        if self.first:
            print(text, file=sys.stderr, flush=True)


def _check(config: MgrpoConfig) -> None:
    """What no section can see by itself."""
    check_reports(config.logging)
    if config.advantages.routing is not None and config.loss.latent_density == "off":
        raise UsageError(
            "advantages.routing gives latents an advantage of their own, but they have no part in the policy loss: set "
            "loss.latent_density to mean, and sampling.latent_noise above 0"
        )
    if config.sharding.offload and _on_cpu(config):
        raise UsageError("sharding.offload takes off a GPU what is not in use, but no GPU is used: set it to false")
    if config.sharding.kind != "none" and world()[1] < 2:
        raise UsageError(f"sharding.kind {config.sharding.kind} needs several processes: torchrun --nproc-per-node N")


def _on_cpu(config: MgrpoConfig) -> bool:
    return config.training.device == "cpu" or not torch.cuda.is_available()


def accelerator_of(config: MgrpoConfig) -> Accelerator:
    """Processes, device and number format of this launch."""
    cpu, waiting = _on_cpu(config), WAITING + timedelta(seconds=config.judge.pause)
    AcceleratorState._reset_state()  # of an earlier run of this process, which may have had other settings
    if config.sharding.offload and not cpu and world()[1] > 1 and not distributed.is_initialized():
        # what lies in the host's memory is summed there: accelerate would open a group of GPUs alone
        distributed.init_process_group("cuda:nccl,cpu:gloo", timeout=waiting)
    return Accelerator(
        cpu=cpu,
        mixed_precision="bf16" if config.training.bf16 else "no",
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=waiting),
        ],
    )
