"""`slvr-train sft`: a run from its configuration to a checkpoint, begun or gone on with."""

from __future__ import annotations

import logging
import math
import shutil
import sys
from pathlib import Path
from typing import Any

from transformers.utils import logging as reports

from slvr_data.errors import RunError, UsageError
from slvr_data.files import disk_errors
from slvr_data.remote.reading import digest_of
from slvr_data.shards import files_of
from slvr_model.data import Accounts, SlvSamples
from slvr_model.efficiency.lengths import Plan
from slvr_model.efficiency.shared import SharedPlan
from slvr_model.latents import LatentConfig, note_embedding
from slvr_model.loading import checked_config
from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import SEMANTIC
from slvr_model.sample_rows import SampleRows
from slvr_model.sft import records
from slvr_model.sft.arguments import arguments, check, world
from slvr_model.sft.callbacks import Course, Keeping
from slvr_model.sft.collate import Collator
from slvr_model.sft.config import SftConfig
from slvr_model.sft.dealing import Deal
from slvr_model.sft.examine import Examiner
from slvr_model.sft.held import Stream, held_of, held_out
from slvr_model.sft.learner import Learner
from slvr_model.sft.mapped import mapped
from slvr_model.sft.measured import measured, to_measure
from slvr_model.sft.order import PlannedBatches, batches_of, plan_of, together_of
from slvr_model.sft.samples import RowMaker, ShownSamples, StreamedBatches
from slvr_model.sft.shown import Record
from slvr_model.sft.spread import streamed
from slvr_model.sft.start import (
    NEW,
    checkpoint_layers,
    folder_of,
    is_public,
    open_start,
    prepare,
    sizes,
)
from slvr_model.sft.trainer import SftTrainer
from slvr_model.sft.weights import EXTRA

ROWS = ("packed", "shared")
"""Lengths (`training.lengths`) that put several samples into a row."""
FINAL = "checkpoint"
"""Folder of the finished model, in the run's."""


def train_sft(config: SftConfig, resume: bool = False) -> Path:
    """Train; the folder of the finished checkpoint.

    Raises:
        UsageError: the configuration does not fit data, start, machine, or the run that the folder holds.
        RunError: too many samples are unusable, memory or the disk is short, or the loss is no number.
    """
    out, data = _checked(config)
    rank, ranks = world()
    reports.set_verbosity(logging.ERROR)
    if (out / FINAL / records.FACTS).exists() and resume:
        _say(rank, f"finished already: {out / FINAL}")
        return out / FINAL
    learning, held = _open_sets(config, data)
    facts = {
        "data": {"manifest": digest_of(data / "manifest.json"), "split": config.data.split},
        "start": {"name": config.model.start, "files": records.start_hashes(folder_of(config.model.start))},
        "versions": records.versions(),
        "processes": ranks,
    }
    if config.data.held_out == config.data.split and config.evaluation.samples:
        facts["apart"] = {"samples": config.evaluation.samples, "by": "hash"}
    facts, before = _prepare_folder(out, config, facts, resume, rank)
    run = _Run(config, out, learning, held, facts)
    trainer = run.trainer(before)
    records.agree(before)
    _say(rank, run.summary(before))
    try:
        trainer.train(resume_from_checkpoint=None if before is None else str(before))
        if not config.evaluation.every or trainer.state.global_step % config.evaluation.every:
            trainer.evaluate()
        return run.finish(trainer)
    except RunError as error:
        raise _plain(error) from error
    finally:
        run.course.close()


def _checked(config: SftConfig) -> tuple[Path, Path]:
    if config.out is None:
        raise UsageError("out is missing: name the run's folder with --set out=DIR")
    if config.data.set is None:
        raise UsageError("data.set is missing: name a published SLV-Set with --set data.set=DIR")
    check(config)
    return config.out, config.data.set


def _open_sets(config: SftConfig, folder: Path) -> tuple[SlvSamples, SlvSamples | None]:
    """What is learnt and what is held out, with embeddings where the objective needs them."""
    dimension = None
    needed = config.objective.kind in SEMANTIC
    if needed and not is_public(config.model.start) and config.model.start not in NEW:
        name = folder_of(config.model.start) or config.model.start
        latents = LatentConfig.of(checked_config(name))
        dimension = latents.target_dim or latents.semantic_dim or None
    budget = config.data.error_budget
    made = SlvSamples(folder, config.data.split, embeddings=needed, dimension=dimension, budget=budget)
    if config.evaluation.samples == 0 or config.data.held_out == config.data.split:
        return made, None
    if not files_of(made.manifest.files, "multiquery", config.data.held_out):
        raise UsageError(
            f"{folder} has no questions of split {config.data.held_out!r} to evaluate on: set data.held_out=train to "
            "hold out some of what would be learnt, or evaluation.samples=0"
        )
    return made, SlvSamples(folder, config.data.held_out, embeddings=needed, dimension=dimension, budget=budget)


def _prepare_folder(
    out: Path, config: SftConfig, facts: dict[str, Any], resume: bool, rank: int
) -> tuple[dict[str, Any], Path | None]:
    """Make the run's folder ready: the facts of the run, and the checkpoint to go on from."""
    begun, before = (out / records.CONFIG).exists(), None
    if begun and not resume:
        raise UsageError(f"{out} holds a run: --resume goes on with it; or give another out")
    if begun:
        known = records.check_same(out, config, facts)
        before = next(reversed(records.checkpoints(out)), None)
        if config.sharding.kind == "deepspeed":
            _check_parts(known, facts)
        kept = {name: known[name] for name in ("statistics",) if name in known}
        facts = records.gone_on(known, facts, before) | kept
    else:
        records.check_free(out)
    if rank == 0:
        with disk_errors(f"writing {out}"):
            if begun:
                records.tidy(out)
            else:
                records.begin(out)
    return facts, before


def _check_parts(known: dict[str, Any], facts: dict[str, Any]) -> None:
    """DeepSpeed keeps a part of the optimiser for each process."""
    if known["processes"] != facts["processes"]:
        raise UsageError(
            f"sharding.kind deepspeed goes on with as many processes as it was begun with: {known['processes']}, not "
            f"{facts['processes']}; other numbers go with fsdp2 and none"
        )


class _Run:
    """What a run is made of."""

    def __init__(
        self, config: SftConfig, out: Path, learning: SlvSamples, held: SlvSamples | None, facts: dict[str, Any]
    ) -> None:
        self.config, self.out, self.facts = config, out, facts
        self.rank, self.ranks = world()
        self.begun: int = facts["processes"]
        self.model, self.processor = open_start(config.model, _dimension(learning), config.training.seed)
        if learning.embeddings:
            note_embedding(self.model.config, str(learning.embedding_model.get("model", "")))
        objective = open_objective(config.objective, self.model, self.processor.tokenizer)
        prepare(self.model, config.model, config.training.lora, config.training.seed)
        if config.training.checkpointing:
            checkpoint_layers(self.model)
        self.learner = Learner(self.model, objective)
        rows = SampleRows(self.processor, self.model.layout)
        self.maker = RowMaker(rows, objective, config.data, config.training.seed)
        self.accounts = Accounts(config.data.error_budget)
        self._open_data(learning, held)
        self.course = Course(out, self.rank == 0)

    def _open_data(self, learning: SlvSamples, held: SlvSamples | None) -> None:
        config, cache = self.config, self.config.data.cache or self.out / "cache"
        want = config.evaluation.samples
        self.order: PlannedBatches | None = None
        if config.data.access == "streamed":
            self.held: Any = Stream(held, want) if held is not None else []
            self.deal = self._deal((config.training.steps or 0) * config.training.accumulate)
            self.dataset: Any = StreamedBatches(learning, self.maker, config.training.rows, self.deal)
            self.first: Any = streamed(learning, config.model.statistics, lambda sample: sample.region_id)
            return
        samples = mapped(learning, cache)
        numbers = samples.chosen(config.data.queries)[: config.data.limit]
        if held is not None:
            self.held = held_of(mapped(held, cache), want)
        else:
            numbers, self.held = held_out(samples, numbers, want)
        if not numbers:
            raise UsageError(f"{learning.folder} has no sample of split {learning.split!r} to learn")
        plan = plan_of(config.training, samples, numbers, self.maker, self.begun)
        self.deal = self._deal(_batches(config, plan))
        self.order = PlannedBatches(plan, self.deal)
        self.dataset = ShownSamples(samples, numbers, self.maker)
        self.first = (samples[number] for number in to_measure(samples, numbers, config.model.statistics))

    def _deal(self, batches: int) -> Deal:
        objective = self.config.objective
        deal = Deal(batches, self.config.training.accumulate, self.begun, self.rank, self.ranks)
        if objective.normalisation == "token":
            deal.check_whole("objective.normalisation token")
        if objective.kind == "multi_encoder" and objective.alignment.triplet_weight:
            deal.check_whole("objective.alignment.triplet_weight")
        return deal

    def trainer(self, before: Path | None) -> SftTrainer:
        """The trainer, before its first step, or behind the last that was kept."""
        config = self.config
        args = arguments(config, self.out, self.deal.steps, self.deal.each)
        if before is not None:
            records.restore_accounts(before, self.accounts)
        elif is_public(config.model.start) or config.model.start in NEW:
            self.model.to(args.device)  # type: ignore[arg-type]
            self.facts["statistics"] = measured(self.model, self.first, self.maker)
        shared = config.sharding.kind != "none"  # all processes must take every step of decoding together
        part = (0, 1) if shared else (self.rank, self.ranks)
        examiner = Examiner(self.held, self.maker, config.evaluation, part) if len(self.held) else None
        packed, behind = (self.model.layout if config.training.lengths == kind else None for kind in ROWS)
        return SftTrainer(
            self.learner,
            args,
            config,
            dataset=self.dataset,
            order=self.order,
            deal=self.deal,
            collate=Collator(self.learner.objective, packed, behind, together_of(config.training)),
            examiner=examiner,
            accounts=self.accounts,
            processor=self.processor,
            record=Record(self.out, self.rank) if config.data.record else None,
            callbacks=[self.course, Keeping(config, self.out, self.facts, self.accounts)],
        )

    def summary(self, before: Path | None) -> str:
        """What is about to happen, in a line or two."""
        trained, every = sizes(self.learner)
        samples = "a stream" if self.order is None else f"{len(self.dataset):,} samples"
        begun = "" if before is None else f", from {before.name}"
        return (
            f"{samples}, {len(self.held)} held out; {trained:,} of {every:,} parameters are trained; "
            f"{self.deal.steps:,} steps of {self.deal.told(self.config.training.rows)}{begun}"
        )

    def finish(self, trainer: SftTrainer) -> Path:
        """Write the finished checkpoint with its records; it appears as a whole."""
        final, fresh = self.out / FINAL, self.out / f".{FINAL}.tmp"
        if self.rank == 0:
            shutil.rmtree(fresh, ignore_errors=True)
        with disk_errors(f"writing {final}"):
            trainer.save_model(str(fresh))
        if self.rank == 0:
            (fresh / EXTRA).unlink(missing_ok=True)
            accounts = {"seen": self.accounts.seen, "unusable": dict(self.accounts.unusable)}
            facts = self.facts | {"steps": trainer.state.global_step, "samples": accounts}
            records.write_records(fresh, self.config, facts, self.out / records.LOG)
            shutil.rmtree(final, ignore_errors=True)
            fresh.rename(final)
            if self.accounts.unusable:
                _say(0, f"unusable samples: {self.accounts.report()}")
            _say(0, f"finished: {final}")
        return final


def _dimension(samples: SlvSamples) -> int | None:
    """The size of a set's embeddings."""
    if not samples.embeddings:
        return None
    first = next(iter(samples), None)
    return None if first is None or first.embedding is None else len(first.embedding)


def _batches(config: SftConfig, plan: Plan | SharedPlan) -> int:
    """Batches of the whole training, of each process that began it."""
    training = config.training
    if training.steps is not None:
        return training.steps * training.accumulate
    return max(1, math.ceil((training.epochs or 1) * batches_of(plan)))


def _plain(error: RunError) -> RunError:
    """An error of a process that prepares batches, without the traceback that torch puts around it."""
    return RunError(str(error).rsplit("RunError: ", 1)[-1].strip())


def _say(rank: int, text: str) -> None:
    if rank == 0:
        print(text, file=sys.stderr, flush=True)
