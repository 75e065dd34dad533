"""Groups: which questions belong together, in which order, drawn by what; what cannot be used is counted and named."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from slvr_data.errors import RunError, UsageError
from slvr_data.images import decoded
from slvr_model.data import Accounts, Sample, Unusable
from slvr_model.mgrpo.config import GroupsConfig, MgrpoConfig
from slvr_model.mgrpo.feeding import Feeds, check_init, check_layout, data_facts, open_feeds
from slvr_model.mgrpo.groups import GroupFeed, GroupMaker, Groups, Order, split_off
from slvr_model.mgrpo.types import Shown
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.objectives.kept import keep
from slvr_model.sample_rows import SampleRows
from slvr_model.sft import mapped
from slvr_model.tiny import new_tiny
from tests.slvr_model.mgrpo.test_pairs import write_pairs
from tests.slvr_model.objectives.objective_support import opened, samples, tiny

SetUp = Callable[..., MgrpoConfig]


class Listed:
    """Samples of a list."""

    def __init__(self, held: Sequence[Sample]) -> None:
        self.held = held

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, number: int) -> Sample:
        return self.held[number]

    def several(self, numbers: Sequence[int]) -> list[Sample]:
        return [self[number] for number in numbers]

    def rows(self, *columns: str) -> Iterator[list[dict[str, Any]]]:
        yield [vars(sample) for sample in self.held]


class Broken(Listed):
    """Some pictures cannot be read."""

    def __init__(self, held: Sequence[Sample], broken: set[str]) -> None:
        super().__init__(held)
        self.broken = broken

    def __getitem__(self, number: int) -> Sample:
        if self.held[number].image_id in self.broken:
            raise Unusable("picture-unreadable", "cut off")
        return self.held[number]


def about(regions: int, questions: int = 2) -> list[Sample]:
    """Questions about as many regions, each of its own picture."""
    like = samples()[2]
    return [
        replace(
            like,
            query_id=f"q{region}-{number}",
            region_id=f"r{region:02}",
            image_id=f"i{region:02}",
            question=f"{like.question} {number}",
            wordings=(f"{like.question} {number}", f"{like.question} or {number}"),
            choices=("red", "green"),
            answer="red",
        )
        for region in range(regions)
        for number in range(questions)
    ]


def maker(seed: int = 0, **settings: Any) -> GroupMaker:
    model, processor = tiny()
    return GroupMaker(SampleRows(processor, model.layout), opened("slvr"), GroupsConfig(**settings), seed, 24)


def feed(held: Listed, size: int, rank: int = 0, ranks: int = 1, **settings: Any) -> GroupFeed:
    groups = Groups(held, GroupsConfig(**settings))
    order = Order(tuple(range(len(groups))), size, 0)
    return GroupFeed(groups, order, maker(**settings), rank, ranks)


def counted(budget: float, *feeds: GroupFeed) -> Accounts:
    """What processes have counted, as the trainer puts it together."""
    accounts = Accounts(budget)
    for several in zip(*(one.counted() for one in feeds), strict=True):
        for one in several:
            accounts.add(one)
    return accounts


def test_the_questions_of_a_region_are_a_group_wherever_they_stand_and_each_text_counts_once() -> None:
    held = about(3)
    mixed = [held[0], held[2], held[4], held[1], held[3], held[5], replace(held[0], query_id="again")]
    groups = Groups(Listed(mixed), GroupsConfig())
    assert groups.members == [(0, 3), (1, 4), (2, 5)]
    group = groups[1]
    assert (group.region_id, group.image_id, group.box) == ("r01", "i01", held[2].box)
    assert [sample.query_id for sample in group.samples] == ["q1-0", "q1-1"]
    assert group.samples[0].picture is group.samples[1].picture


def test_regions_with_one_question_are_counted_and_named_and_the_others_learnt() -> None:
    held = [*about(300), replace(about(1)[0], region_id="alone")]
    groups = Groups(Listed(held), GroupsConfig())
    assert len(groups) == 300 and groups.accounts.unusable == Counter({"group-too-small": 1})
    assert "region alone (1 usable question where 2 are needed" in groups.accounts.named["group-too-small"][0]
    assert len(Groups(Listed(held), GroupsConfig(fewest=1))) == 301
    many = [*about(3), *(replace(one, region_id=f"alone {one.query_id}") for one in about(200, 1))]
    groups = Groups(Listed(many), GroupsConfig(error_budget=0))
    assert len(groups) == 3 and groups.accounts.unusable["group-too-small"] == 200 == groups.accounts.seen - 3
    with pytest.raises(UsageError, match=r"no region of 4 questions has 2.*build-multiquery.*data\.fewest=1"):
        Groups(Listed(about(4, 1)), GroupsConfig())


def test_questions_of_several_boxes_or_pictures_are_no_group() -> None:
    first, second = about(1)
    for other in (replace(second, box=(0.0, 0.0, 9.0, 9.0)), replace(second, image_id="other")):
        groups = Groups(Listed([first, other]), GroupsConfig())
        with pytest.raises(Unusable, match=r"group-of-several-regions: query q0-0 is about .*query q0-1 about"):
            groups[0]


def test_wording_and_letters_depend_on_seed_step_and_query_alone() -> None:
    groups, make = Groups(Listed(about(12)), GroupsConfig()), maker(lettered=0.5)

    def drawn(made: GroupMaker, step: int, numbers: Sequence[int]) -> dict[str, tuple[Any, ...]]:
        found = {}
        for number in numbers:
            shown = made.shown(groups[number], step)
            for sample, row, answer, lettered in zip(
                shown.group.samples, shown.asked, shown.answers, shown.lettered, strict=True
            ):
                found[sample.query_id] = (row.prefix, answer, lettered)
        return found

    first = drawn(make, 3, range(12))
    assert first == drawn(make, 3, range(11, -1, -1))
    assert first != drawn(make, 4, range(12)) and first != drawn(maker(1, lettered=0.5), 3, range(12))
    assert {told[1] for told in first.values() if told[2]} == {"A"}
    assert {told[1] for told in first.values() if not told[2]} == {"red"}
    assert len({told[0] for told in first.values()}) > 3
    plain = drawn(maker(lettered=0, paraphrases=False), 9, range(12))
    assert not any(told[2] for told in plain.values())
    assert plain == drawn(maker(5, lettered=0, paraphrases=False), 2, range(12))


def test_of_many_questions_some_are_drawn_others_at_another_step() -> None:
    group = Groups(Listed(about(1, 6)), GroupsConfig())[0]
    chosen = [[s.query_id for s in maker(most=3).shown(group, step).group.samples] for step in range(8)]
    assert all(len(one) == 3 and one == sorted(one) for one in chosen)
    assert len({tuple(one) for one in chosen}) > 2 and len({query for one in chosen for query in one}) == 6


def test_a_question_that_is_too_long_leaves_its_group_or_ends_it() -> None:
    short, other, long = about(1, 3)
    long = replace(long, wordings=(long.question + " and so on" * 40,))
    group = Groups(Listed([short, other, long]), GroupsConfig())[0]
    rows = maker(paraphrases=False, lettered=0).shown(group, 0).asked
    limit = max(len(row.prefix) + sum(len(block.prompt) for block in row.blocks) for row in rows[:2]) + 24
    shown = maker(paraphrases=False, lettered=0, positions=limit).shown(group, 0)
    assert [sample.query_id for sample in shown.group.samples] == ["q0-0", "q0-1"]
    accounts = Accounts(budget=1.0)
    maker(paraphrases=False, lettered=0, positions=limit).shown(group, 0, accounts)
    assert accounts.unusable == Counter({"prompt-too-long": 1}) and accounts.seen == 1
    assert accounts.named["prompt-too-long"][0].startswith("query q0-2 of region ")
    for step in range(8):  # another takes the place of one that was drawn and is too long
        drawn = maker(paraphrases=False, lettered=0, positions=limit, most=2).shown(group, step).group.samples
        assert [sample.query_id for sample in drawn] == ["q0-0", "q0-1"]
    with pytest.raises(Unusable, match=r"prompt-too-long: query q0-[012]: \d+ positions"):
        maker(positions=30).shown(group, 0)


def test_an_epoch_is_a_permutation_and_a_step_has_no_group_twice() -> None:
    order = Order(tuple(range(100, 123)), 5, 7)
    assert order.steps == 4
    for epoch in range(3):
        firsts = [places[0] for step in range(4) for places in order.at(4 * epoch + step)]
        assert len(set(firsts)) == 20 and set(firsts) <= set(range(100, 123))
        assert firsts != [places[0] for step in range(4) for places in order.at(4 * epoch + 4 + step)]
    assert order.at(6) == Order(tuple(range(100, 123)), 5, 7).at(6) != Order(tuple(range(100, 123)), 5, 8).at(6)
    for places in zip(*order.at(2), strict=True):
        assert len(set(places)) == 5  # substitutes of one step differ too
    with pytest.raises(UsageError, match=r"training\.regions 24: there are 23 regions to learn"):
        Order(tuple(range(23)), 24, 0)


def told(shown: Sequence[Shown]) -> list[tuple[str, tuple[Any, ...]]]:
    return [(one.group.region_id, tuple(row.prefix for row in one.asked)) for one in shown]


def test_processes_share_a_step_without_overlap_and_together_have_what_one_has() -> None:
    held = Listed(about(9))
    alone, shares = feed(held, 4), [feed(held, 4, rank, 2) for rank in range(2)]
    for step in (0, 1, 5):
        parts = [told(share.at(step)) for share in shares]
        whole = [one for pair in zip(*parts, strict=True) for one in pair]
        assert whole == told(alone.at(step)) and len({region for region, _ in whole}) == 4
    with pytest.raises(UsageError, match=r"training\.regions 4 cannot be shared by 3 processes: take a multiple of 3"):
        feed(held, 4, 0, 3)


def test_an_unusable_group_is_replaced_counted_and_ends_the_run_beyond_the_budget() -> None:
    held = about(8)
    first = feed(Listed(held), 2).at(1)
    broken = feed(Broken(held, {first[0].group.image_id}), 2)
    replaced = broken.at(1)
    assert told(replaced[1:]) == told(first[1:])
    assert replaced[0].group.region_id not in {one.group.region_id for one in first}
    accounts = counted(1, broken)
    assert accounts.unusable == Counter({"picture-unreadable": 1}) and accounts.seen == 3
    assert broken.counted() == [], "what was told is not told again"
    shares = [feed(Broken(held, {one.group.image_id for one in first}), 2, rank, 2) for rank in range(2)]
    alone = feed(Broken(held, {one.group.image_id for one in first}), 2)
    for one in (*shares, alone):
        one.at(1)
    assert counted(1, *shares) == counted(1, alone), "of all processes, in the order of one"
    broken.at(1)
    with pytest.raises(RunError, match=r"1 of 2 records cannot be used, more than the error budget of 0\.0%"):
        counted(0, broken)
    with pytest.raises(RunError, match=r"4 groups in a row cannot be used: 4 x picture-unreadable"):
        feed(Broken(held, {sample.image_id for sample in held}), 2).at(0)


def test_held_out_regions_are_of_pictures_by_hash_which_are_not_learnt() -> None:
    held = [replace(sample, image_id=f"i{int(sample.region_id[1:]) // 2}") for sample in about(120)]
    groups = Groups(Listed(held), GroupsConfig())
    learnt, apart = split_off(groups, GroupsConfig(), 5)  # of 60 pictures with two regions each
    pictures = [groups.pictures[number] for number in apart]
    assert len(apart) == 5 and len(set(pictures)) == 3, "one picture in twenty, unless they have too little"
    assert not {groups.pictures[number] for number in learnt} & set(pictures) and len(learnt) == 120 - 6
    assert apart == tuple(sorted(apart)) and apart[-1] < 119, "not the last ones"
    assert split_off(Groups(Listed(held[::-1]), GroupsConfig()), GroupsConfig(), 5)[1] == tuple(
        sorted(119 - number for number in apart)
    ), "whatever their order"
    assert split_off(groups, GroupsConfig(limit=2), 5)[0] == learnt[:2]
    assert split_off(groups, GroupsConfig(), 0) == (tuple(range(120)), ())
    groups = Groups(Listed(about(6)), GroupsConfig())
    with pytest.raises(UsageError, match=r"6 regions, of which 9 are held out.*evaluation\.regions must be fewer"):
        split_off(groups, GroupsConfig(), 9)


def fed(config: MgrpoConfig, rank: int = 0, ranks: int = 1) -> Feeds:
    model, processor = new_tiny(0)
    objective = opened(config.objective.kind, model)
    assert config.out is not None
    rows = SampleRows(processor, model.layout)
    return open_feeds(config, config.out, rows, objective, rank, ranks)


def test_a_published_set_becomes_groups_and_held_out_ones(set_up: SetUp) -> None:
    config = set_up("training.regions=4", "evaluation.regions=3")
    feeds = fed(config)
    shown = feeds.learning.at(0)
    assert len(shown) == 4 and len(feeds.held) == 3
    learnt = {feeds.learning.groups[number].image_id for number in feeds.learning.order.numbers}
    assert not learnt & {one.group.image_id for one in feeds.held}
    for one in shown:
        assert 2 <= len(one.asked) <= 4 and len({sample.facet for sample in one.group.samples}) == len(one.asked)
        assert {sample.region_id for sample in one.group.samples} == {one.group.region_id}
        assert len({row.pictures[0].key for row in one.asked}) == 1
    unasked = Accounts(seen=3, unusable=Counter(broken=1), named={"broken": ["region r"]})
    assert "regions to learn, 4 per step; 1 x broken, e.g. region r" in feeds.summary(unasked)
    assert (feeds.unasked.seen, feeds.unasked.unusable) == (3, Counter())
    first = weakref.ref(feeds.held[0].asked[0].pictures[0])
    assert feeds.held[1].asked and gc.collect() >= 0 and first() is None, "prepared pictures are not held meanwhile"
    halves = [told(fed(config, rank, 2).held) for rank in range(2)]
    assert sorted(halves[0] + halves[1]) == sorted(told(feeds.held))


def test_what_is_missing_of_the_data_is_said_with_the_cure(set_up: SetUp, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no multiquery of split 'test'.*data\.held_out=train"):
        fed(set_up("data.held_out=test"))
    with pytest.raises(UsageError, match=r"data\.set is missing"):
        data_facts(GroupsConfig())
    with pytest.raises(UsageError, match=r"data\.pictures .* goes with a file of pairs"):
        fed(set_up(f"data.pictures={tmp_path}"))
    with pytest.raises(UsageError, match=r"training\.regions 1000: there are \d+ regions"):
        fed(set_up("training.regions=1000"))


def test_a_file_of_pairs_is_learnt_from_as_it_is(set_up: SetUp, tmp_path: Path) -> None:
    file = write_pairs(tmp_path, 6)
    config = set_up("training.regions=2", "evaluation.regions=2", f"data.set={file}")
    feeds = fed(config)
    assert len(feeds.learning.order.numbers) == 4 and len(feeds.held) == 2
    assert [len(one.asked) for one in feeds.learning.at(0)] == [2, 2]
    assert set(data_facts(config.data)) == {"pairs"}


def test_a_start_without_latents_or_with_another_layout_is_refused(tmp_path: Path) -> None:
    check_init("slvr:tiny")
    with pytest.raises(UsageError, match=rf"--init {tmp_path} is no checkpoint \((?!.*is one)"):
        check_init(str(tmp_path))
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint/config.json").write_text("{}")
    with pytest.raises(UsageError, match=rf"--init {tmp_path} is no checkpoint .*; {tmp_path}/checkpoint is one;"):
        check_init(str(tmp_path))
    with pytest.raises(UsageError, match=r"--init new:public has no latents yet: slvr-train sft"):
        check_init("new:public")
    with pytest.raises(UsageError, match=r"model\.reference /nowhere is no checkpoint"):
        check_init("/nowhere", "model.reference")
    model, _ = new_tiny(0)
    check_layout(ObjectiveConfig(mark="/"), model, "RUN")  # nothing is noted: all latents, then the answer
    for wrong in (ObjectiveConfig(kind="text"), ObjectiveConfig(echo=True)):
        with pytest.raises(UsageError, match=r"but RUN was taught with (\"slvr\"|false)"):
            check_layout(wrong, model, "RUN")
    keep(model, ObjectiveConfig(kind="text"))
    check_layout(ObjectiveConfig(kind="text", visual_weight=3), model, "RUN")
    with pytest.raises(UsageError, match=r"objective\.kind is \"slvr\", but RUN was taught with \"text\": --set"):
        check_layout(ObjectiveConfig(), model, "RUN")
    with pytest.raises(UsageError, match=r"--set 'objective\.mark=\"\\nAnswer: \"'"):
        check_layout(ObjectiveConfig(kind="text", mark="/"), model, "RUN")


def test_pictures_are_shown_as_they_are_published_and_decoded_once(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds, looks = fed(set_up()), list[bytes]()

    def counting(data: bytes) -> Image.Image:
        looks.append(data)
        return decoded(data)

    monkeypatch.setattr(mapped, "decoded", counting)
    group = feeds.learning.groups[0]
    assert len(group.samples) > 1 and len(looks) == 1
    picture = group.samples[0].picture
    assert isinstance(picture, Image.Image) and picture.mode == "RGB"
    assert group.box[2] <= picture.size[0] and group.box[3] <= picture.size[1]


def test_a_regions_picture_is_prepared_once_for_all_its_questions() -> None:
    model, processor = tiny()
    rows = SampleRows(processor, model.layout)
    picture, other = samples()[2].picture, samples()[0].picture
    held = [replace(samples()[place], picture=picture) for place in (2, 3)]
    made = [rows.asked(one, lettered=lettered) for one in held for lettered in (False, True)]
    assert len({id(one.pictures[0]) for one in made}) == 1, "one copy of its patches"
    for one, sample, lettered in zip(made, (held[0], held[0], held[1], held[1]), (False, True) * 2, strict=True):
        alone = SampleRows(processor, model.layout).asked(sample, lettered=lettered)
        assert one.prefix == alone.prefix and one.blocks[0].prompt == alone.blocks[0].prompt
        assert one.pictures[0].key == alone.pictures[0].key and one.pictures[0].size == alone.pictures[0].size
        assert torch.equal(one.pictures[0].patches_PX, alone.pictures[0].patches_PX)
    assert rows.asked(replace(held[0], picture=other)).pictures[0].key != made[0].pictures[0].key
    assert rows.asked(held[0]).pictures[0].key == made[0].pictures[0].key
