"""Questions about one region belong together: samples of a set -> groups, in the order in which they are learnt.

Which groups a step has is a function of (seed, step), whatever the number of processes; which wording of a question is
shown, and whether its choices are, of (seed, step, query). What cannot be used is counted by reason and named.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from slvr_data.errors import RunError, UsageError
from slvr_model.data import Accounts, Sample, Unusable
from slvr_model.mgrpo.config import GroupsConfig
from slvr_model.mgrpo.types import Group, Shown
from slvr_model.objectives.base import Objective
from slvr_model.prompts import LETTERS
from slvr_model.rows import Row
from slvr_model.sample_rows import SampleRows
from slvr_model.sft.spread import set_apart

SUBSTITUTES = 20
"""Groups that are tried in place of one that is unusable."""


class Samples(Protocol):
    """Samples by number (`sft.mapped.MappedSamples`, `pairs.PairSamples`)."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, number: int) -> Sample:
        """One of them; `Unusable` where its picture cannot be read."""

    def several(self, numbers: Sequence[int]) -> list[Sample]:
        """Some of them; a picture that they share is decoded once."""

    def rows(self, *columns: str) -> Iterator[list[dict[str, Any]]]:
        """What is known of them without pictures, in order and in pieces: these columns at least."""


class Groups:
    """The groups of a split by number, in the order in which their regions are met.

    A region's questions are those of all its rows, each text once.

    Args:
        samples: of a split.
        config: how many questions a region must have. Those that have fewer are counted, and not learnt.

    Raises:
        UsageError: no region has enough.
    """

    def __init__(self, samples: Samples, config: GroupsConfig) -> None:
        self.samples, self.accounts = samples, Accounts(budget=1.0)  # a choice of the user's, and no fault of the set
        self.members: list[tuple[int, ...]] = []
        """Numbers of the samples of each group."""
        self.regions: list[str] = []
        """The region of each group."""
        self.pictures: list[str] = []
        """The picture of each group, by its id."""
        for region, (picture, asked) in _by_region(samples).items():
            self.accounts.seen += 1
            if len(asked) < config.fewest:
                self.accounts.count(f"region {region}", _too_few(len(asked), config.fewest))
                continue
            self.members.append(tuple(asked.values()))
            self.regions.append(region)
            self.pictures.append(picture)
        if not self.members:
            raise UsageError(
                f"no region of {len(samples)} questions has {config.fewest} of them: M-GRPO learns from several "
                "questions about one region; slvr-data build-multiquery makes them, and data.fewest=1 takes single ones"
            )

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, number: int) -> Group:
        """A group, with one picture for all its questions.

        Raises:
            Unusable: the picture cannot be read, or the questions are not all of one picture and box.
        """
        samples = self.samples.several(self.members[number])
        first = samples[0]
        for other in samples[1:]:
            if (other.image_id, other.box) != (first.image_id, first.box):
                raise Unusable(
                    "group-of-several-regions",
                    f"query {first.query_id} is about {list(first.box)} of {first.image_id}, query {other.query_id} "
                    f"about {list(other.box)} of {other.image_id}: validate the set",
                )
        return Group(first.region_id, first.image_id, tuple(samples))


class GroupMaker:
    """Groups as they are asked: each question in one of its wordings, open or lettered.

    Args:
        rows: makes rows for the model.
        objective: what stands behind a question.
        config: what is drawn, and how long a question may be.
        seed: of what is drawn.
        new_tokens: of a reply.
    """

    def __init__(
        self, rows: SampleRows, objective: Objective, config: GroupsConfig, seed: int, new_tokens: int
    ) -> None:
        self.rows, self.objective, self.config, self.seed = rows, objective, config, seed
        self.limit, self.new_tokens = min(config.positions or rows.layout.limit, rows.layout.limit), new_tokens

    def shown(self, group: Group, step: int, accounts: Accounts | None = None) -> Shown:
        """A group at a step: all its questions that can be asked, or `data.most` of them.

        Args:
            group: what is asked about.
            step: of the training.
            accounts: where questions that cannot be asked are counted, of a group that can.

        Raises:
            Unusable: fewer questions than `data.fewest` can be asked.
            RunError: the error budget is exceeded.
        """
        kept: list[tuple[int, Sample, Row, str, bool]] = []
        faults: list[tuple[str, Unusable]] = []
        for at in self._drawn(group, step):
            sample = group.samples[at]
            try:
                kept.append((at, sample, *self._asked(sample, step)))
            except Unusable as fault:
                faults.append((sample.query_id, fault))
            if len(kept) == self.config.most:
                break
        if len(kept) < self.config.fewest:
            query, first = faults[0]
            raise Unusable(first.reason, f"query {query}: {first.evidence}")
        if accounts is not None:
            accounts.seen += len(faults)
            for query, why in faults:
                accounts.count(f"query {query} of region {group.region_id}", why)
        _, samples, asked, answers, lettered = zip(*sorted(kept, key=lambda one: one[0]), strict=True)
        return Shown(replace(group, samples=samples), asked, answers, lettered)

    def _drawn(self, group: Group, step: int) -> Sequence[int]:
        """Numbers of the questions in the order in which they are tried: their own, or a drawn one where some do."""
        most, number = self.config.most, len(group.samples)
        if most is None or number <= most:
            return range(number)
        return random.Random(f"{self.seed} {step} {group.region_id}").sample(range(number), number)

    def _asked(self, sample: Sample, step: int) -> tuple[Row, str, bool]:
        """(question, what is right, whether it is a letter)."""
        dice = random.Random(f"{self.seed} {step} {sample.query_id}")
        wording = dice.randrange(len(sample.wordings)) if self.config.paraphrases else 0
        lettered = bool(sample.choices) and dice.random() < self.config.lettered
        row = self.objective.asked(self.rows.asked(sample, wording=wording, lettered=lettered))
        length = len(row.prefix) + sum(len(block.prompt) for block in row.blocks) + self.new_tokens
        if length > self.limit:
            raise Unusable("prompt-too-long", f"{length} positions, data.positions or the model allows {self.limit}")
        return row, LETTERS[sample.choices.index(sample.answer)] if lettered else sample.answer, lettered


@dataclass(frozen=True)
class Order:
    """Which groups a step has: each epoch is a permutation of all, cut into steps without a group twice.

    What is left of an epoch behind its last whole step is left out; it is another part in each epoch.
    """

    numbers: tuple[int, ...]
    """Of the groups that are learnt."""
    size: int
    """Groups per step, over all processes."""
    seed: int

    def __post_init__(self) -> None:
        if self.size > len(self.numbers):
            raise UsageError(
                f"training.regions {self.size}: there are {len(self.numbers)} regions to learn, and a step must not "
                "have one twice"
            )

    @property
    def steps(self) -> int:
        """In an epoch."""
        return len(self.numbers) // self.size

    def at(self, step: int) -> list[list[int]]:
        """For each place of a step (from 0), its group and what replaces it where it is unusable, in order."""
        epoch, within = divmod(step, self.steps)
        shuffled = self._epoch(epoch)
        return [self._from(shuffled, within * self.size + place) for place in range(self.size)]

    def _from(self, shuffled: npt.NDArray[np.int64], place: int) -> list[int]:
        """The groups at a place and at that of the steps behind it: no other place of the step has them."""
        column = place % self.size
        row, rows = place // self.size, self.steps
        places = [(row + later) % rows * self.size + column for later in range(min(rows, SUBSTITUTES))]
        return [self.numbers[shuffled[at]] for at in places]

    def _epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.numbers))


class GroupFeed:
    """The groups of one process, step after step; any step can be asked for, so that a run can be gone on with.

    Args:
        groups: of the split.
        order: of all processes.
        maker: asks them.
        rank: this process.
        ranks: all of them.

    Raises:
        UsageError: a step's groups cannot be shared evenly.
    """

    def __init__(self, groups: Groups, order: Order, maker: GroupMaker, rank: int = 0, ranks: int = 1) -> None:
        if order.size % ranks:
            raise UsageError(
                f"training.regions {order.size} cannot be shared by {ranks} processes: take a multiple of {ranks}"
            )
        self.groups, self.order, self.maker = groups, order, maker
        self.rank, self.ranks = rank, ranks
        self._counted: list[Accounts] = []

    def at(self, step: int) -> list[Shown]:
        """This process's groups of a step, counted from 0.

        Raises:
            RunError: a whole row of substitutes is unusable.
        """
        return [self._usable(numbers, step) for numbers in self.order.at(step)[self.rank :: self.ranks]]

    def counted(self) -> list[Accounts]:
        """What was tried and unusable since this was asked last: an account for each group that was given."""
        found, self._counted = self._counted, []
        return found

    def _usable(self, numbers: Sequence[int], step: int) -> Shown:
        accounts = Accounts(budget=1.0)  # which is held against what all processes count
        self._counted.append(accounts)
        for number in numbers:
            accounts.seen += 1
            try:
                return self.maker.shown(self.groups[number], step, accounts)
            except Unusable as fault:
                accounts.count(f"region {self.groups.regions[number]}", fault)
        raise RunError(f"{len(numbers)} groups in a row cannot be used: {accounts.report()}")


def split_off(groups: Groups, config: GroupsConfig, held_out: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of groups to learn, and of those on other pictures to evaluate on; see `spread.set_apart`.

    Raises:
        UsageError: nothing is left to learn.
    """
    learning, apart = set_apart(groups.regions, groups.pictures, held_out)
    if not learning:
        raise UsageError(
            f"{len(groups)} regions, of which {held_out} are held out, on pictures that are then not learnt: "
            "evaluation.regions must be fewer, or data.held_out another split"
        )
    return tuple(learning[: config.limit]), tuple(apart)


def _by_region(samples: Samples) -> dict[str, tuple[str, dict[tuple[str, tuple[str, ...]], int]]]:
    """Region -> its picture, and the numbers of its samples by what they ask, each question once, in order."""
    found: dict[str, tuple[str, dict[tuple[str, tuple[str, ...]], int]]] = {}
    number = 0
    for piece in samples.rows("region_id", "image_id", "question", "choices"):
        for known in piece:
            _, asked = found.setdefault(known["region_id"], (known["image_id"], {}))
            asked.setdefault((known["question"], tuple(known["choices"])), number)
            number += 1
    return found


def _too_few(number: int, fewest: int) -> Unusable:
    return Unusable(
        "group-too-small",
        f"{number} usable question{'s' if number > 1 else ''} where {fewest} are needed: slvr-data build-multiquery "
        "makes more, data.fewest takes fewer",
    )
