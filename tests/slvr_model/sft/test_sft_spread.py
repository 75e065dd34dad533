"""A few that stand for many: of as many pictures as possible, in any order; what is set apart is not learnt."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from slvr_model.data import Sample, SlvSamples
from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.sample_rows import SampleRows
from slvr_model.sft.config import SftConfig
from slvr_model.sft.held import Stream, held_of, held_out
from slvr_model.sft.mapped import mapped
from slvr_model.sft.measured import measured, to_measure
from slvr_model.sft.samples import RowMaker
from slvr_model.sft.spread import one_each, set_apart, spread, streamed
from slvr_model.tiny import new_tiny

Configured = Callable[..., SftConfig]
NAMES = [f"q{number}" for number in range(200)]
PICTURES = [f"i{min(number, 39)}" for number in range(200)]
"""Forty pictures; the last has most of the questions."""


def test_every_picture_has_its_turn_before_one_has_two() -> None:
    for most in (1, 17, 40, 45, 200, 500):
        places = spread(NAMES, PICTURES, most)
        counts = Counter(PICTURES[place] for place in places)
        assert len(places) == min(most, 200) and places == sorted(set(places))
        assert len(counts) == min(most, 40)
        assert sum(number > 1 for number in counts.values()) == (most > 40)
    seen = Counter(
        PICTURES[place] for seed in range(40) for place in spread([f"{seed} {n}" for n in NAMES], PICTURES, 1)
    )
    assert seen.most_common(1)[0][1] == 40, "which picture is chosen does not depend on what it has"


def test_what_is_chosen_does_not_depend_on_the_order() -> None:
    order = list(range(200))
    random.Random(0).shuffle(order)
    names, pictures = [NAMES[at] for at in order], [PICTURES[at] for at in order]
    for most in (7, 60):
        chosen = {NAMES[place] for place in spread(NAMES, PICTURES, most)}
        assert chosen == {names[place] for place in spread(names, pictures, most)}
        left, apart = set_apart(NAMES, PICTURES, most)
        assert {NAMES[place] for place in apart} == {names[place] for place in set_apart(names, pictures, most)[1]}
        assert not {PICTURES[place] for place in left} & {PICTURES[place] for place in apart}
    assert sorted({PICTURES[at] for at in one_each(NAMES, PICTURES)}) == sorted(set(PICTURES))
    assert len(one_each(NAMES, PICTURES)) == 40


def test_no_more_pictures_are_set_apart_than_are_needed_or_one_in_twenty() -> None:
    for questions, pictures, most, taken in ((10, 100, 5, 5), (10, 100, 50, 5), (10, 100, 60, 6), (3, 100, 1, 1)):
        names = [f"q{number}" for number in range(questions * pictures)]
        of = [f"i{number // questions}" for number in range(questions * pictures)]
        left, apart = set_apart(names, of, most)
        assert len(apart) == most and len(left) == questions * (pictures - taken)
        assert len({of[place] for place in apart}) == min(taken, most)


class Counted:
    """A stream that counts how often it is begun."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples, self.begun = samples, 0

    def __iter__(self) -> Iterator[Sample]:
        self.begun += 1
        return iter(self.samples)


def test_a_stream_gives_one_of_each_picture_and_is_read_again_for_more(scenes_set: Path) -> None:
    samples = list(SlvSamples(scenes_set))
    pictures, regions = len({one.image_id for one in samples}), len({one.region_id for one in samples})
    source = Counted(samples)
    few = list(streamed(source, 5, lambda sample: sample.region_id))
    assert len({one.image_id for one in few}) == 5 and source.begun == 1
    assert [one.image_id for one in few] == list(dict.fromkeys(one.image_id for one in samples))[:5]
    every = list(streamed(source, 10_000, lambda sample: sample.region_id))
    assert len(every) == regions == len({one.region_id for one in every})
    assert len({one.image_id for one in every[:pictures]}) == pictures
    assert len({one.facet for one in every}) > 2, "not always a region's first question"


def test_what_is_held_out_is_of_many_pictures(scenes_set: Path, tmp_path: Path) -> None:
    copy = mapped(SlvSamples(scenes_set), tmp_path)
    pictures = set(copy.column("image_id"))
    held = held_of(copy, 6)
    assert len(held) == 6 == len({held[number].image_id for number in range(6)})
    left, apart = held_out(copy, range(len(copy)), 6)
    others = {apart[number].image_id for number in range(6)}
    assert len(apart) == 6 and others and set(copy.column("image_id", left)) == pictures - others
    kept, whole = Stream(SlvSamples(scenes_set), 6), {one.query_id: one for one in SlvSamples(scenes_set)}
    assert len(kept) == 6 == len({kept[number].image_id for number in range(6)})
    for number in range(6):
        found, wanted = kept[number], whole[kept[number].query_id]
        assert np.array_equal(np.asarray(found.picture), np.asarray(wanted.picture))
        assert vars(found) | {"picture": 0} == vars(wanted) | {"picture": 0}


def test_statistics_are_of_one_question_a_region_on_all_pictures(
    scenes_set: Path, tmp_path: Path, configured: Configured
) -> None:
    copy, config = mapped(SlvSamples(scenes_set), tmp_path), configured()
    regions, pictures = (len(set(copy.column(name))) for name in ("region_id", "image_id"))
    model, processor = new_tiny(0)
    objective = open_objective(ObjectiveConfig(), model, processor.tokenizer)
    maker = RowMaker(SampleRows(processor, model.layout), objective, config.data, 0)
    for most, wanted in ((8, (8, 8)), (4096, (regions, pictures))):
        chosen = to_measure(copy, range(len(copy)), most)
        found = measured(model, (copy[number] for number in chosen), maker)
        assert (found["regions"], found["pictures"]) == wanted and len(chosen) == wanted[0]
