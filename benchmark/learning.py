"""Where answerers without sight learn, and which templates they show to be answerable unseen.

Three sets of pictures are kept apart: those that are asked about; those that a *judge* learns from, which decides on
templates; and those that the reported baselines learn from. The latter two are halves of the training pictures, or,
where there are none, other thirds of the pictures asked about (`benchmark.fitted`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.drawn import Drawn, draw
from benchmark.fitted import THIRDS, Part, Statistics, half_of, third_of
from benchmark.groups import Group, groups_of
from benchmark.models.blind import MOST_QUERIES, Weights, answers, fitted
from benchmark.templates import Guess, TemplateTest, template_tests
from slvr_data.errors import UsageError
from slvr_data.manifest import load_manifest
from slvr_data.schema import SPLITS, Split

MOST_GROUPS = MOST_QUERIES
"""That are learnt from: more teach nothing new."""


@dataclass(frozen=True)
class Learnt:
    """The judges' weights and the baselines' statistics: one of each for all pictures, or one for each third."""

    judges: tuple[Weights, ...]
    statistics: Statistics
    origin: str
    """"training": of training pictures; "thirds": of other pictures of the benchmark."""

    def taught(self) -> bytes | None:
        """The statistics as the folder keeps them; None where there was nothing to learn from."""
        return self.statistics.to_bytes() if any(part.queries for part in self.statistics.parts) else None

    def tested(self, drawn: Drawn) -> list[TemplateTest]:
        """What the judges can answer of the queries that are drawn."""
        asked = list(drawn.texts())
        right = [False] * len(asked)
        for number, weights in enumerate(self.judges):
            own = [i for i, (_, _, text) in enumerate(asked) if self._judge(text.image_id) == number]
            taken = answers(weights, [asked[i][2] for i in own])
            for i, place in zip(own, taken, strict=True):
                right[i] = place == asked[i][2].answer_index
        return template_tests(
            Guess(query.facet, template, text.image_id, hit, 1 / len(text.choices))
            for (query, template, text), hit in zip(asked, right, strict=True)
        )

    def _judge(self, image_id: str) -> int:
        return third_of(image_id) if len(self.judges) == THIRDS else 0


def learnt(
    source: Path, groups: Sequence[Group], split: str, training: Path | None, seed: int, say: Callable[[str], None]
) -> Learnt:
    """What is learnt for a benchmark on `groups`; arguments as those of `benchmark.build.build`.

    Raises:
        UsageError: `training` has no questions, or shares pictures with the groups.
    """
    folder, splits = training or source, SPLITS if training else ("train",) if split in ("validation", "test") else ()
    teaching = _teaching(folder, splits)
    if training is not None:
        if not teaching:
            raise UsageError(f"--training {training} has no questions: slvr-data build-multiquery {training}")
        _refuse_shared(training, teaching, groups)
    if teaching:
        say(f"learning what {len(teaching):,} training groups tell without their pictures")
        judge, own = ([g for g in teaching if half_of(g.group.image_id) == half] for half in (0, 1))
        return Learnt((_judge_of(judge, seed),), Statistics((_part_of(own, seed),)), "training")
    say("learning what thirds of the pictures tell of each other")
    thirds = [[g for g in groups if third_of(g.group.image_id) == third] for third in range(THIRDS)]
    judges = tuple(_judge_of(thirds[(third + 1) % THIRDS], seed) for third in range(THIRDS))
    parts = tuple(_part_of(thirds[(third + 2) % THIRDS], seed) for third in range(THIRDS))
    return Learnt(judges, Statistics(parts), "thirds")


def _teaching(folder: Path, splits: Sequence[Split]) -> list[Group]:
    if not splits:
        return []
    manifest = load_manifest(folder)
    total = sum(file.rows for file in manifest.files if file.config == "multiquery" and file.split in splits)
    share = min(1.0, MOST_GROUPS / max(1, total))
    return [group for split in splits for group in groups_of(folder, manifest, split, share)]


def _refuse_shared(training: Path, teaching: Sequence[Group], groups: Sequence[Group]) -> None:
    shared = {group.group.image_id for group in teaching} & {group.group.image_id for group in groups}
    if shared:
        raise UsageError(
            f"--training {training} has {len(shared):,} of the pictures that are asked about (e.g. {min(shared)}): "
            "give a set of other pictures"
        )


def _judge_of(groups: Sequence[Group], seed: int) -> Weights:
    return fitted([text for _, _, text in draw(groups, seed).texts()])


def _part_of(groups: Sequence[Group], seed: int) -> Part:
    published = ((query.facet, query.answer) for group in groups for query in group.group.queries)
    return Part.of(published, [text for _, _, text in draw(groups, seed).texts()])
