"""Rollouts per second of stage 2 on a GPU at a public shape with random weights, beside TRL's GRPOTrainer.

    python perf/gpu_mgrpo.py --shape 3b      # recipe mgrpo-3b; 7b: what one GPU has of mgrpo-7b
    python perf/gpu_mgrpo.py --shape tiny    # seconds on a CPU, where the figures mean nothing

A step rolls out k questions about each of some regions, G replies to each, and learns from them. One process measures
a way; the first steps (`--warmup`) are left out, and the median of the others is given.

    ours      `mgrpo.play.Player` and `mgrpo.update.Update` with the recipe's settings: latents, and losses on them
    direct    the same without latents
    trl       GRPOTrainer in its own loop, which has `generate` of the same class write the replies

Rolling out begins with a picture as it was read: all prepare it for the model, ours once for a region, TRL for each of
its rows. "writing" is what of it the model takes: of TRL's, `generate` alone. "learning" is all else of a step: scores
of the reference and of the policy, the backward pass, the optimiser's step; TRL prepares pictures a second time.
Rewards are given, so that rows have advantages, and cost nothing.

Equal: weights, what of them is trained (adapters in the same matrices; latents stand still for TRL), bf16 autocast,
pictures, prompts id by id, rows, new positions, rows that are scored at once. For TRL no reply ends before its last
position (min_new_tokens), for ours there is no end token. Not equal: all else is each one's own. TRL samples without
latents, with which replies of "ours" open. It can have a vLLM server write in place of `generate`; that is not measured
here, as a server would have to be given the random weights as files.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

import gpu
from transformers.trainer_callback import PrinterCallback

from slvr_data.errors import RunError, UsageError
from slvr_model.efficiency.activations import Step
from slvr_model.efficiency.estimate import Setup
from slvr_model.mgrpo.composer import Rewards
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.generate import InProcess
from slvr_model.mgrpo.groups import GroupMaker
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.play import Player
from slvr_model.mgrpo.policy import Policy
from slvr_model.mgrpo.processes import Processes
from slvr_model.mgrpo.rates import optimizer_of
from slvr_model.mgrpo.reference import reference_of
from slvr_model.mgrpo.rewards.facts import Facts, Term
from slvr_model.mgrpo.run import accelerator_of
from slvr_model.mgrpo.settings.rewards import RewardConfig
from slvr_model.mgrpo.types import Group, Shown
from slvr_model.mgrpo.update import Update
from slvr_model.objectives.base import open_objective
from slvr_model.sample_rows import SampleRows
from slvr_model.sft.config import ModelConfig
from slvr_model.sft.settings import load_config
from slvr_model.sft.start import checkpoint_layers, prepare

WAYS = ("ours", "direct", "trl")
RECIPES = {"tiny": "mgrpo-3b-debug", "3b": "mgrpo-3b", "7b": "mgrpo-7b"}
SHARE = {"7b": {"regions": 4, "micro_rows": 8}}
"""What one GPU has of mgrpo-7b, which is for eight; of its 12 rows scored at once, as many as divide a step's."""
QUESTION, AROUND = 16, 8
"""Words of a question, a token each; and positions of the chat form."""


def configured(given: argparse.Namespace, way: str) -> MgrpoConfig:
    """The recipe, for one way.

    Raises:
        UsageError: rows of a step are no multiple of those that are scored at once, or a setting does not fit.
    """
    told = [
        f"objective.kind={'slvr' if way == 'ours' else 'direct'}",
        "data.lettered=0",
        f"data.fewest={given.queries}",
    ]
    told += [f"training.steps={given.warmup + given.steps}", "training.iterations=1", "sharding.kind=none"]
    for name in ("regions", "micro_rows"):
        value = getattr(given, name) or ({} if given.recipe else SHARE.get(given.shape, {})).get(name)
        told += [f"training.{name}={value}"] if value else []
    if way != "ours":
        told += ["rewards.consistency.weight=0", "rewards.stability.weight=0"]
    if given.device == "cpu":
        told.append("training.device=cpu")
    config: MgrpoConfig = load_config(given.recipe or RECIPES[given.shape], told, "mgrpo")
    rows, at_once, lora = rows_of(given, config), config.training.micro_rows, config.training.lora
    if lora is None or lora.vocabulary:
        raise UsageError(
            f"--recipe {given.recipe} trains more than adapters, for which TRL would read its reference from files: "
            "take a recipe with training.lora whose vocabulary is false, such as mgrpo-3b"
        )
    if rows % at_once:
        raise UsageError(
            f"{rows} rows of a step ({config.training.regions} regions x {given.queries} questions x "
            f"{config.sampling.rollouts} replies), {at_once} scored at once: TRL needs a multiple; give --micro-rows"
        )
    return config


def rows_of(given: argparse.Namespace, config: MgrpoConfig) -> int:
    """Rollouts of a step."""
    return int(config.training.regions * given.queries * config.sampling.rollouts)


def setup_of(given: argparse.Namespace, config: MgrpoConfig) -> Setup:
    """What scoring with gradient takes, a picture a row, for the estimate."""
    training, visual, new = config.training, given.side**2, config.sampling.max_new_tokens
    rank, length = training.lora.rank if training.lora else 0, visual + AROUND + QUESTION + new
    step = Step(training.micro_rows, length, config.model.dtype, training.bf16, rank, training.checkpointing)
    return Setup(step, visual, labels=new, vocabulary=False)


class Bench:
    """A model ready to be trained, with the groups of a step, which all steps take."""

    def __init__(self, given: argparse.Namespace, way: str) -> None:
        self.given, self.config = given, configured(given, way)
        training = self.config.training
        shape, self.processor = gpu.shape_of(given.shape)
        self.model = gpu.new_model(shape, self.config.model.dtype, given.device)
        self.objective = open_objective(self.config.objective, self.model, self.processor.tokenizer)
        if way != "trl":
            prepare(self.model, ModelConfig(), training.lora, training.seed)
            self.model.to(given.device)  # type: ignore[arg-type]
        self.samples = gpu.samples(shape, training.regions, given.queries, given.side, QUESTION, 1)
        self.groups = [
            Group(one[0].region_id, one[0].image_id, tuple(one))
            for one in (self.samples[n : n + given.queries] for n in range(0, len(self.samples), given.queries))
        ]

    def told(self, seconds: dict[str, list[float]], prompts: set[tuple[int, ...]], new: list[int]) -> dict[str, Any]:
        """What was measured: medians; positions of the longest prompt and of replies, and a hash of all prompts."""
        found = {name: statistics.median(every) for name, every in seconds.items()}
        hashed = hashlib.sha256(repr(sorted(prompts)).encode()).hexdigest()
        found |= {"prompt": max(map(len, prompts)), "prompts": hashed, "new": sorted(set(new))}
        return found | {"memory": gpu.most_memory(self.given.device)}


def given_rewards(facts: Facts, _: RewardConfig) -> Rewards:
    """Rewards 0, 1, 2, ... of a query's replies: all differ."""
    term = Term.of(facts.table(list(range(facts.rollouts)) * facts.queries))
    return Rewards(term.values_kG, term.present_kG, {"answer": term}, term.values_kG > 0)


def parts_of(bench: Bench) -> tuple[Player, Update]:
    """What rolls out and what learns, put together as `mgrpo.run` does."""
    config, model, objective = bench.config, bench.model, bench.objective
    training, pictures, reference = config.training, Pictures(bench.model), None
    if config.needs_reference:
        reference = reference_of(model, lora=training.lora is not None, pictures=pictures)
    if training.checkpointing:
        checkpoint_layers(model)
    generator = InProcess(model, objective, bench.processor.tokenizer, config.sampling, training.seed, pictures)
    tokens, policy = model.latent_config.tokens, Policy(model)
    player = Player(config, generator, objective.form, tokens, reference, None, given_rewards, pictures)
    processes = Processes(accelerator_of(config), policy, config.sharding)
    optimizer = optimizer_of(policy, training)
    return player, Update(config, processes, optimizer, reference, objective.form, pictures)


def ours(given: argparse.Namespace, way: str) -> dict[str, Any]:
    """Steps as `mgrpo.trainer.Trainer` takes them."""
    bench = Bench(given, way)
    config, layout, device = bench.config, bench.model.layout, given.device
    player, update = parts_of(bench)
    spent: dict[str, list[float]] = {"rollouts": [], "writing": [], "learning": []}
    for step in range(1, config.training.steps + 1):
        rows = SampleRows(bench.processor, layout)
        maker = GroupMaker(rows, bench.objective, config.data, config.training.seed, config.sampling.max_new_tokens)
        begun = gpu.now(device)
        shown: list[Shown] = [maker.shown(group, step) for group in bench.groups]
        ready = gpu.now(device)
        with update.processes.whole(), update.autocast():
            played, first = player.play(shown, step)
        written = gpu.now(device)
        update.learn(step, played, first)
        if step > given.warmup:
            spent["learning"].append(gpu.now(device) - written)
            spent["rollouts"].append(written - begun)
            spent["writing"].append(written - ready)
    prompts = {(*row.prefix, *(n for block in row.blocks for n in block.prompt)) for one in shown for row in one.asked}
    new = [number for one in played for number in one.rollouts.decoded.kept_BT.sum(1).tolist()]
    return bench.told(spent, prompts, new)


def adapters(config: MgrpoConfig) -> Any:
    """As `sft.start.add_lora` has them: in the language model alone."""
    import peft

    lora = config.training.lora
    assert lora is not None, "`configured` asks for them"
    targets = rf".*language_model.*\.({'|'.join(lora.targets)})"
    held = {"r": lora.rank, "lora_alpha": lora.alpha, "lora_dropout": lora.dropout, "target_modules": targets}
    return peft.LoraConfig(task_type="CAUSAL_LM", **held)


def their_settings(given: argparse.Namespace, config: MgrpoConfig, out: str) -> dict[str, Any]:
    """Of TRL's trainer: what the recipe says; what it does not is TRL's own."""
    training, sampling = config.training, config.sampling
    return {
        "output_dir": out,
        "max_steps": training.steps,
        "per_device_train_batch_size": training.micro_rows,
        "gradient_accumulation_steps": rows_of(given, config) // training.micro_rows,
        "num_generations": sampling.rollouts,
        "max_completion_length": sampling.max_new_tokens,
        "generation_kwargs": {"min_new_tokens": sampling.max_new_tokens},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "beta": config.loss.beta,
        "learning_rate": training.learning_rate,
        "max_grad_norm": training.clip,
        "bf16": training.bf16,
        "gradient_checkpointing": training.checkpointing,
        "use_cpu": given.device == "cpu",
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


class Noted:
    """What is seen of TRL's rollouts."""

    def __init__(self, device: str) -> None:
        self.device, self.seconds = device, {"rollouts": list[float](), "writing": list[float]()}
        self.prompts, self.new = set[tuple[int, ...]](), list[int]()

    def timed(self, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose calls are timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            begun = gpu.now(self.device)
            found = run(*arguments, **options)
            self.seconds[name].append(gpu.now(self.device) - begun)
            return found

        return timed


def theirs(given: argparse.Namespace) -> dict[str, Any]:
    """Steps of TRL's `GRPOTrainer`."""
    import datasets
    import trl

    bench, noted, clock = Bench(given, "trl"), Noted(given.device), gpu.Clock(given.device)
    config, model = bench.config, bench.model

    class Timed(trl.GRPOTrainer):  # type: ignore[misc]
        """Notes what it writes, and how long that takes."""

        def _generate(self, asked: Any) -> Any:
            found = noted.timed("rollouts", super()._generate)(asked)
            noted.prompts.update(tuple(ids) for ids in found[0])
            noted.new.extend(len(ids) for ids in found[1])
            return found

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [float(number % config.sampling.rollouts) for number in range(len(completion_ids))]

    model.generate = noted.timed("writing", model.generate)  # type: ignore[method-assign]
    asked = [[{"role": "user", "content": sample.question}] for sample in bench.samples]
    data = datasets.Dataset.from_dict({"prompt": asked, "image": [one.picture for one in bench.samples]})
    with tempfile.TemporaryDirectory() as out:
        args = trl.GRPOConfig(**their_settings(given, config, out))
        options = {"processing_class": bench.processor, "peft_config": adapters(config), "callbacks": [clock]}
        trainer = Timed(model, reward, args, data, **options)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    rollouts = noted.seconds["rollouts"]
    learning = [step - part for step, part in zip(clock.seconds(0), rollouts, strict=True)]
    spent = {name: every[given.warmup :] for name, every in (noted.seconds | {"learning": learning}).items()}
    return bench.told(spent, noted.prompts, noted.new)


def told(name: str, found: dict[str, Any], rows: int, base: dict[str, Any] | None) -> str:
    """A line of the table."""
    if "failed" in found:
        return f"{name:8}{found['failed']:>14}: lower --regions or --micro-rows"
    known = base is not None and "failed" not in base
    line = ""
    for width, part in ((13, ["rollouts"]), (13, ["writing"]), (15, ["rollouts", "learning"])):
        seconds = sum(found[one] for one in part)
        ratio = f"{sum(base[one] for one in part) / seconds:8.2f}" if known and base is not None else f"{'-':>8}"
        line += f"{rows / seconds:{width}.4g}{ratio}"
    memory = f"{found['memory']:8.1f}" if found["memory"] else f"{'-':>8}"
    new = "-".join(map(str, sorted({found["new"][0], found["new"][-1]})))
    return f"{name:8}{line}{found['learning']:13.4g}{memory}{found['prompt']:8}{new:>6}"


def main() -> None:
    """Print the table."""
    parser = gpu.options(__doc__, WAYS)
    parser.add_argument("--queries", type=int, default=2, help="k, questions about a region")
    parser.add_argument("--regions", type=int, help="of a step, instead of the recipe's")
    parser.add_argument("--micro-rows", type=int, help="rows scored at once, instead of the recipe's")
    given = parser.parse_args()
    gpu.check(given)
    if given.queries < 2:
        raise UsageError(f"--queries {given.queries}: stage 2 compares at least 2 questions about a region")
    configs = {way: configured(given, way) for way in WAYS}
    if given.way:
        gpu.tell(lambda: theirs(given) if given.way == "trl" else ours(given, given.way))
        return
    config = configs["ours"]
    training, sampling, rows = config.training, config.sampling, rows_of(given, config)
    cure = "lower --micro-rows or --side"
    gpu.check_memory(given.shape, given.device, setup_of(given, config), cure)
    rank = training.lora.rank if training.lora else 0
    print(
        f"{given.shape}, recipe {given.recipe or RECIPES[given.shape]}: adapters of rank {rank} on weights in "
        f"{config.model.dtype}{', bf16 autocast' * training.bf16}\n"
        f"{training.regions} regions x {given.queries} questions x {sampling.rollouts} replies of "
        f"{sampling.max_new_tokens} positions a step, {given.side**2} visual tokens a picture, {training.micro_rows} "
        f"rows scored at once; median of {given.steps} steps\n{gpu.place(given)}\n\n"
        "rollouts/s, and how many times TRL's\n"
    )
    heads = f"{'rolling out':>13}{'x trl':>8}{'writing':>13}{'x trl':>8}{'with learning':>15}{'x trl':>8}"
    print(f"{'':8}{heads}{'learning, s':>13}{'GiB':>8}{'prompt':>8}{'new':>6}", flush=True)
    rival, prompts = None, set[str]()
    for way, found in gpu.measured(sorted(given.ways, key=lambda way: way != "trl")):
        rival = found if way == "trl" else rival
        prompts |= {found["prompts"]} if "prompts" in found else set()
        print(told(way, found, rows, rival), flush=True)
    if len(prompts) > 1:
        raise RunError("the ways were asked different prompts, so that nothing is compared")


if __name__ == "__main__":
    gpu.ended(main)
