"""Steps of stage 1 on a GPU at the 3B and 7B shapes with random weights, beside TRL's SFTTrainer: tokens/s and MFU.

    python perf/gpu_sft.py --shape 3b        # recipe 3b: the language model in full, weights in float32
    python perf/gpu_sft.py --shape 7b        # recipe 7b-lora: in full it takes more than one GPU of 80 GB
    python perf/gpu_sft.py --shape tiny      # seconds on a CPU, where the figures mean nothing

Every way is a public `Trainer` with its own loop, collation, loss, clipping and optimiser: ours is
`slvr_model.sft.trainer.SftTrainer`, with the settings of the recipe. One process measures a way; the first steps
(`--warmup`) are left out, and the median of the others is given.

    direct    no latents, a question a picture
    slvr      latents fed with their targets, a question a picture
    shared    as slvr, but with the recipe's 4 questions behind a picture, which is what the recipe does
    trl       SFTTrainer with the public forward of the same class, on the rows of "direct"

Equal for "direct" and "trl": weights, what of them is trained (vision tower and merger stand still, adapters are put
into the same matrices), bf16 autocast, checkpointing, rows of a batch, batches of a step, ids, pictures, labels, and so
the loss of the first step, which is printed. Pictures are prepared beforehand for all; batches are collated by as many
processes. Not equal: all else is each trainer's own, such as the vocabulary loss, the optimiser's implementation (TRL
has the library's default), positions (the public class finds them anew), and checkpointing of the vision tower (TRL's,
without effect on frozen layers). TRL has no latents, so nothing stands beside "slvr" and "shared": "x trl" compares
samples, and their rows are longer than TRL's by latents, and shorter by shared pictures.

tokens/s are positions without padding, visual tokens included. MFU is `flops.py`'s count for them by time and peak:
what is computed again under checkpointing does not count. `--side` 24 are 576 visual tokens a picture.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any

import gpu
import numpy as np
import torch
from flops import Work, model_flops
from torch.utils.data import Dataset
from transformers.trainer_callback import PrinterCallback

from slvr_data.errors import UsageError
from slvr_model.data import Accounts
from slvr_model.efficiency.activations import Step
from slvr_model.efficiency.estimate import Setup
from slvr_model.efficiency.lengths import Plan
from slvr_model.efficiency.shared import SharedPlan
from slvr_model.objectives.base import open_objective
from slvr_model.sample_rows import SampleRows
from slvr_model.sft.arguments import arguments
from slvr_model.sft.collate import Collator
from slvr_model.sft.config import SftConfig
from slvr_model.sft.dealing import Deal
from slvr_model.sft.learner import Learner
from slvr_model.sft.order import PlannedBatches, together_of
from slvr_model.sft.samples import Key, RowMaker, Shown
from slvr_model.sft.settings import load_config
from slvr_model.sft.start import checkpoint_layers, prepare, sizes
from slvr_model.sft.trainer import SftTrainer

WAYS = ("direct", "slvr", "shared", "trl")
RECIPES = {"tiny": "3b-debug", "3b": "3b", "7b": "7b-lora"}
QUESTION, ANSWER = 40, 16
"""Words, a token each."""
AROUND = 24
"""Positions of the chat form, of latents and of ends: at most, for the estimate of memory."""


def configured(given: argparse.Namespace, way: str, out: str) -> SftConfig:
    """The recipe, for one way.

    Raises:
        UsageError: it shares the model between GPUs, or a setting does not fit.
    """
    kind, steps = "slvr" if way in ("slvr", "shared") else "direct", given.warmup + given.steps
    told = [f"out={out}", f"training.steps={steps}", "logging.every=1", "logging.report=[]", "evaluation.samples=0"]
    told += [f"objective.kind={kind}", "objective.feed=teacher"]
    told += ["training.lengths=shared"] if way == "shared" else ["training.lengths=grouped", "training.questions=null"]
    told += ["training.device=cpu"] if given.device == "cpu" else []
    for name, key in (("rows", "training.rows"), ("accumulate", "training.accumulate"), ("workers", "data.workers")):
        if (value := getattr(given, name)) is not None:
            told.append(f"{key}={value}")
    config: SftConfig = load_config(given.recipe or RECIPES[given.shape], told)
    if config.sharding.kind != "none":
        raise UsageError(
            f"--recipe {given.recipe} shares the model between GPUs, and one is measured here: take 7b-lora"
        )
    if config.model.train_vision or config.model.train_merger:
        raise UsageError(f"--recipe {given.recipe} trains the picture encoder, which is not counted here: take 3b")
    return config


class Rows(Dataset[Shown]):
    """Rows that are prepared, by the keys of `sft.samples.ShownSamples`."""

    def __init__(self, shown: list[Shown]) -> None:
        self.shown = shown

    def __len__(self) -> int:
        return len(self.shown)

    def __getitem__(self, key: Key) -> Shown:
        return self.shown[key[1]]


class Bench:
    """A model, its objective, and the rows of one step, which all steps take."""

    def __init__(self, given: argparse.Namespace, way: str, out: str) -> None:
        self.given, self.config = given, configured(given, way, out)
        training = self.config.training
        self.shape, self.processor = gpu.shape_of(given.shape)
        self.model = gpu.new_model(self.shape, self.config.model.dtype, given.device)
        self.objective = open_objective(self.config.objective, self.model, self.processor.tokenizer)
        prepare(self.model, self.config.model, training.lora, training.seed)
        self.together = together_of(training) if way == "shared" else 1
        number, self.out = training.rows * training.accumulate, Path(out)
        pictures = -(-number // self.together)
        made = gpu.samples(self.shape, pictures, self.together, given.side, QUESTION, ANSWER)[:number]
        maker = RowMaker(SampleRows(self.processor, self.model.layout), self.objective, self.config.data, training.seed)
        self.shown = [Shown(maker.row(sample, 0), (), sample.query_id) for sample in made]
        behind = self.model.layout if way == "shared" else None
        self.collate = Collator(self.objective, None, behind, self.together)

    def plan(self) -> Plan | SharedPlan:
        """An epoch is a step."""
        rows, size, seed = [one.row for one in self.shown], self.config.training.rows, self.config.training.seed
        each = self.objective.collate(rows).kept_BL.sum(1)
        lengths = np.asarray(each.tolist(), np.int64)
        if self.together == 1:
            return Plan(lengths, "grouped", size, seed)
        end = self.processor.tokenizer.convert_tokens_to_ids("<|vision_end|>")
        prefixes = np.asarray([1 + row.prefix.index(end) for row in rows], np.int64)
        return SharedPlan(lengths, prefixes, [n // self.together for n in range(len(rows))], size, seed, self.together)

    def work(self) -> Work:
        """Of a step."""
        batches = [self.collate([self.shown[n] for n in batch])["batch"] for batch in self.plan().epoch(1)]
        return reduce(Work.plus, (Work.of(batch) for batch in batches))

    def numbers(self, trainer: Any, clock: gpu.Clock) -> dict[str, Any]:
        """What a training took."""
        lora, work = self.config.training.lora, self.work()
        rank, vocabulary = (lora.rank, lora.vocabulary) if lora else (0, True)
        return {
            "seconds": statistics.median(clock.seconds(self.given.warmup)),
            "samples": len(self.shown),
            "loss": trainer.state.log_history[0]["loss"],
            "flops": model_flops(self.shape, work, rank, vocabulary),
            "memory": gpu.most_memory(self.given.device),
            "work": asdict(work) | {"grids": len(work.grids)},
            "trained": sizes(self.model)[0],
            "latents": sizes(self.model.latents)[0],
        }


def ours(given: argparse.Namespace, way: str) -> dict[str, Any]:
    """A training by `SftTrainer`."""
    with tempfile.TemporaryDirectory() as out:
        bench = Bench(given, way, out)
        config, clock = bench.config, gpu.Clock(given.device)
        if config.training.checkpointing:
            checkpoint_layers(bench.model)
        deal = Deal((config.training.steps or 1) * config.training.accumulate, config.training.accumulate)
        args = arguments(config, bench.out, deal.steps, deal.each)
        args.save_strategy = "no"
        trainer = SftTrainer(
            Learner(bench.model, bench.objective),
            args,
            config,
            dataset=Rows(bench.shown),
            order=PlannedBatches(bench.plan(), deal),
            deal=deal,
            collate=bench.collate,
            examiner=None,
            accounts=Accounts(),
            processor=bench.processor,
            callbacks=[clock],
        )
        trainer.train()
        return bench.numbers(trainer, clock)


def their_settings(config: SftConfig, out: str, device: str) -> dict[str, Any]:
    """Of TRL's trainer: what the recipe says; what it does not is TRL's own."""
    training = config.training
    return {
        "output_dir": out,
        "max_steps": training.steps,
        "per_device_train_batch_size": training.rows,
        "gradient_accumulation_steps": training.accumulate,
        "learning_rate": training.learning_rate,
        "max_grad_norm": training.clip,
        "bf16": training.bf16,
        "gradient_checkpointing": training.checkpointing,
        "max_length": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "remove_unused_columns": False,
        "dataloader_num_workers": config.data.workers,
        "use_cpu": device == "cpu",
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
    }


def theirs(given: argparse.Namespace) -> dict[str, Any]:
    """A training by TRL's `SFTTrainer`."""
    import datasets
    import trl

    with tempfile.TemporaryDirectory() as out:
        bench, clock = Bench(given, "trl", out), gpu.Clock(given.device)
        bench.model.latents.requires_grad_(False)

        def collate(chosen: list[dict[str, int]]) -> dict[str, torch.Tensor]:
            batch = bench.collate([bench.shown[one["number"]] for one in chosen])["batch"]
            held = {"input_ids": batch.ids_BL, "attention_mask": batch.kept_BL.long(), "labels": batch.labels_BL}
            shown = {"pixel_values": batch.pixels_PX, "image_grid_thw": batch.grids_N3}
            return held | shown | {"mm_token_type_ids": batch.kinds()}

        trainer = trl.SFTTrainer(
            bench.model,
            trl.SFTConfig(**their_settings(bench.config, out, given.device)),
            data_collator=collate,
            train_dataset=datasets.Dataset.from_dict({"number": list(range(len(bench.shown)))}),
            processing_class=bench.processor.tokenizer,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return bench.numbers(trainer, clock)


def setup_of(given: argparse.Namespace, config: SftConfig) -> Setup:
    """What a question a picture takes, for the estimate."""
    training, model, visual = config.training, config.model, given.side**2
    rank, vocabulary = (training.lora.rank, training.lora.vocabulary) if training.lora else (0, True)
    length = visual + QUESTION + ANSWER + AROUND
    step = Step(training.rows, length, model.dtype, training.bf16, rank, training.checkpointing, masked=False)
    return Setup(step, visual, labels=ANSWER + AROUND, vocabulary=vocabulary)


def told(name: str, found: dict[str, Any], base: dict[str, Any] | None, peak: float | None) -> str:
    """A line of the table."""
    if "failed" in found:
        return f"{name:10}{found['failed']:>14}: lower --rows"
    seconds, tokens = found["seconds"], found["work"]["positions"]
    speed = found["flops"] / seconds / 1e12
    share = f"{speed / peak:10.1%}" if peak else f"{'-':>10}"
    memory = f"{found['memory']:10.1f}" if found["memory"] else f"{'-':>10}"
    each = found["samples"] / seconds
    ratio = "-" if base is None or "failed" in base else f"{each * base['seconds'] / base['samples']:.2f}"
    rates = f"{seconds:9.4g}{each:11.4g}{tokens / seconds:11,.0f}{tokens / found['samples']:14.1f}"
    return f"{name:10}{rates}{speed:9.3g}{share}{memory}{ratio:>8}{found['loss']:12.4f}"


def main() -> None:
    """Print the table."""
    parser = gpu.options(__doc__, WAYS)
    parser.add_argument("--peak", type=float, help="of the device in bfloat16, dense, TFLOP/s; unless told, if known")
    parser.add_argument("--rows", type=int, help="samples of a batch, instead of the recipe's")
    parser.add_argument("--accumulate", type=int, help="batches of a step, instead of the recipe's")
    parser.add_argument("--workers", type=int, help="processes that collate, instead of the recipe's")
    given = parser.parse_args()
    gpu.check(given)
    if given.device == "cuda":
        given.peak = gpu.peak_of(torch.cuda.get_device_name(), given.peak)
    if given.way:
        gpu.tell(lambda: theirs(given) if given.way == "trl" else ours(given, given.way))
        return
    config = configured(given, "slvr", "out")
    training, lora = config.training, config.training.lora
    lighter = "" if lora else ", or take adapters with --recipe 7b-lora"
    cure = f"lower --rows (and raise --accumulate) or --side{lighter}"
    gpu.check_memory(given.shape, given.device, setup_of(given, config), cure)
    held = f"adapters of rank {lora.rank} on weights in {config.model.dtype}" if lora else "all of the language model"
    print(
        f"{given.shape}, recipe {given.recipe or RECIPES[given.shape]}: {held} trained"
        f"{', bf16 autocast' if training.bf16 else ''}{', checkpointing' if training.checkpointing else ''}\n"
        f"{training.accumulate} batches of {training.rows} samples a step, {given.side**2} visual tokens a picture; "
        f"median of {given.steps} steps\n{gpu.place(given)}{f', peak {given.peak:g} TFLOP/s' if given.peak else ''}\n"
    )
    heads = f"{'s/step':>9}{'samples/s':>11}{'tokens/s':>11}{'tokens/sample':>14}{'TFLOP/s':>9}{'MFU':>10}{'GiB':>10}"
    print(f"{'':10}{heads}{'x trl':>8}{'first loss':>12}", flush=True)
    rival: dict[str, Any] | None = None
    for way, found in gpu.measured(sorted(given.ways, key=lambda way: way != "trl")):
        rival = found if way == "trl" else rival
        print(told(way, found, rival, given.peak), flush=True)


if __name__ == "__main__":
    gpu.ended(main)
