"""What a run learns and is evaluated on, opened: the start that fits its objective, the groups, their order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slvr_data.errors import UsageError
from slvr_data.files import sha256_of
from slvr_data.remote.reading import digest_of
from slvr_model.data import Accounts, SlvSamples, Unusable
from slvr_model.mgrpo.config import GroupsConfig, MgrpoConfig
from slvr_model.mgrpo.groups import GroupFeed, GroupMaker, Groups, Order, Samples, split_off
from slvr_model.mgrpo.pairs import PairSamples
from slvr_model.mgrpo.types import Shown
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.objectives.kept import PARTS, layout_of
from slvr_model.sample_rows import SampleRows
from slvr_model.sft.mapped import mapped
from slvr_model.sft.spread import spread
from slvr_model.sft.start import is_public


class HeldGroups(Sequence[Shown]):
    """Held-out groups of this process that can be asked, each in its first wording. They are made whenever they are
    asked for: all their prepared pictures would take gigabytes for the whole run.

    Args:
        groups: of the split.
        numbers: of those that this process is to have.
        maker: asks them.
        accounts: where those are counted that cannot be asked.
    """

    def __init__(self, groups: Groups, numbers: Iterable[int], maker: GroupMaker, accounts: Accounts) -> None:
        self.groups, self.maker, self.numbers = groups, maker, list[int]()
        for number in numbers:
            accounts.seen += 1
            try:
                maker.shown(groups[number], 0)
                self.numbers.append(number)
            except Unusable as fault:
                accounts.count(f"held-out region {groups.regions[number]}", fault)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: Any) -> Any:
        return self.maker.shown(self.groups[self.numbers[place]], 0)


@dataclass(frozen=True)
class Feeds:
    """The data of one process."""

    learning: GroupFeed
    held: HeldGroups
    """Held-out groups of this process."""
    accounts: tuple[Accounts, ...]
    """Of what was read: questions and pictures, and regions with too few questions; of what is held out as well."""
    unasked: Accounts
    """Of held-out groups of this process that cannot be asked."""

    def summary(self, unasked: Accounts) -> str:
        """How many groups there are, in a line; `unasked` is that of all processes."""
        order = self.learning.order
        left = "".join(f"; {one.report()}" for one in (*self.accounts, unasked) if one.unusable)
        return f"{len(order.numbers):,} regions to learn, {order.size} per step{left}"


def check_init(name: str, option: str = "--init") -> None:
    """Whether a checkpoint can be started from, or be the reference.

    Raises:
        UsageError: there is no such checkpoint, or it has no latents yet; it is named by its option.
    """
    if is_public(name, option):
        raise UsageError(f"{option} {name} has no latents yet: slvr-train sft gives it some; give a checkpoint of that")


def check_layout(config: ObjectiveConfig, model: SlvrModel, init: str) -> None:
    """Whether replies are laid out as the start was taught.

    Raises:
        UsageError: they are not; the setting is named.
    """
    taught = layout_of(model)
    if taught is None:  # it opens with all its latents, and says nothing before the answer
        taught = ObjectiveConfig(kind="slvr" if model.latent_config.semantic_dim else "lvr")
    marked = config.echo or taught.echo or "text" in (config.kind, taught.kind)
    for part in PARTS:
        want, has = getattr(config, part), getattr(taught, part)
        if want != has and (part != "mark" or marked):
            raise UsageError(
                f"objective.{part} is {json.dumps(want)}, but {init} was taught with {json.dumps(has)}: "
                f"--set 'objective.{part}={json.dumps(has)}'"
            )


def data_facts(config: GroupsConfig) -> dict[str, str]:
    """What tells one set from another: for the records of a run."""
    folder = _set_of(config)
    if folder.is_file():
        return {"pairs": sha256_of(folder)}
    return {"manifest": digest_of(folder / "manifest.json"), "split": config.split}


def held_facts(config: MgrpoConfig) -> dict[str, Any]:
    """How regions are chosen that are held out of the split that is learnt: for the records of a run; often nothing."""
    regions = config.evaluation.regions
    return {"apart": {"regions": regions, "by": "hash"}} if regions and not _other_split(config.data) else {}


def open_feeds(
    config: MgrpoConfig,
    out: Path,
    rows: SampleRows,
    objective: Objective,
    rank: int = 0,
    ranks: int = 1,
) -> Feeds:
    """Open the data of a process.

    Args:
        config: of the run.
        out: the run's folder, in which copies are kept unless `data.cache` is told.
        rows: of the model.
        objective: of the run.
        rank: this process.
        ranks: all of them.

    Raises:
        UsageError: there is no such set or split, or too little of it.
        RunError: more of it than the error budget is unusable.
    """
    data, cache = config.data, config.data.cache or out / "cache"
    groups = Groups(_samples(data, data.split, cache), data)
    want = config.evaluation.regions
    apart = _other_split(data)
    numbers, last = split_off(groups, data, 0 if apart else want)
    order = Order(numbers, config.training.regions, config.training.seed)
    maker = GroupMaker(rows, objective, data, config.training.seed, config.sampling.max_new_tokens)
    held, which = groups, last
    if want and apart:
        try:
            held = Groups(_samples(data, data.held_out, cache), data)
        except UsageError as error:
            raise UsageError(
                f"{error} (held out: data.held_out=train holds out some of what would be learnt, evaluation.regions=0 "
                "nothing)"
            ) from None
        which = tuple(spread(held.regions, held.pictures, want))
    evaluated = GroupMaker(
        rows,
        objective,
        data.model_copy(update={"paraphrases": False, "most": None}),
        config.training.seed,
        config.sampling.max_new_tokens,
    )
    unasked = Accounts(budget=1.0)  # which is held against what all processes count
    shown = HeldGroups(held, which[rank::ranks], evaluated, unasked)
    opened = [groups] if held is groups else [groups, held]
    told = tuple(one for each in opened for one in (_read(each), each.accounts))
    return Feeds(GroupFeed(groups, order, maker, rank, ranks), shown, told, unasked)


def _read(groups: Groups) -> Accounts:
    """What became of the records that samples were made of."""
    kept: Any = getattr(groups.samples, "accounts", Accounts())
    if isinstance(kept, Accounts):
        return kept
    return Accounts(seen=kept["seen"], unusable=Counter(kept["unusable"]), named=kept["named"])


def _other_split(config: GroupsConfig) -> bool:
    """Whether another split is held out than that which is learnt."""
    return config.held_out != config.split and not _set_of(config).is_file()


def _set_of(config: GroupsConfig) -> Path:
    if config.set is None:
        raise UsageError("data.set is missing: name a published SLV-Set with --set data.set=DIR")
    return config.set


def _samples(config: GroupsConfig, split: str, cache: Path) -> Samples:
    folder = _set_of(config)
    if folder.is_file():
        pictures, whole = config.pictures or folder.parent, config.boxless == "whole"
        return PairSamples(folder, pictures, whole=whole, budget=config.error_budget)
    if config.pictures is not None:
        raise UsageError(f"data.pictures {config.pictures} goes with a file of pairs; {folder} has its own pictures")
    return mapped(SlvSamples(folder, split, budget=config.error_budget), cache)
