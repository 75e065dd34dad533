"""Checks over the whole set: absent targets, impossible relations and layers, the same region twice."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from slvr_data import geometry
from slvr_data.checks.global_ import GLOBAL_PROFILE_CHECKS, GlobalCheck, TableBuilder
from slvr_data.checks.global_.depths import check_depths
from slvr_data.checks.global_.duplicates import check_duplicates
from slvr_data.checks.global_.relations import check_relations
from slvr_data.checks.global_.targets import check_targets
from slvr_data.schema import Region, SourceRef
from tests.checked import link, profile


class Table:
    """Regions to be added in any order."""

    def __init__(self) -> None:
        self.rows: list[tuple[Region, bool, str, bool]] = []
        self.gone: list[Region] = []

    def add(
        self, name: str, box: tuple[float, ...], label: str | None = "cup", image: str = "p", *, source: str = "s",
        exhaustive: bool = True, complete: bool = False, references: int = 0, iscrowd: bool = False, **claims: Any,
    ) -> Table:  # fmt: skip
        region = Region(
            region_id=name, image_id=image, bbox=list(box), label=label, iscrowd=iscrowd,
            references=["it"] * references, source_refs=[SourceRef(source=source, file="f", line=1, id=None)],
        )  # fmt: skip
        self.rows.append((region, exhaustive, profile(**claims).model_dump_json(), complete))
        return self

    def found(self, check: GlobalCheck, published: set[str] | None = None, seed: int = 0) -> dict[str, str]:
        builder = TableBuilder(published or set())
        rows = list(self.rows)
        random.Random(seed).shuffle(rows)
        for region, exhaustive, text, complete in rows:
            builder.add(region, exhaustive, text, complete)
        for region in self.gone:
            builder.also_seen(region)
        verdicts = check(builder.built())
        assert [v.region_id for v in verdicts] == sorted({v.region_id for v in verdicts})
        return {v.region_id: v.reason for v in verdicts}


BOX = (0, 0, 20, 20)


def test_an_empty_table_has_no_faults() -> None:
    for check in GLOBAL_PROFILE_CHECKS:
        assert check(TableBuilder().built()) == []


def test_a_target_that_the_picture_has_not() -> None:
    to_dog = {"interaction": [link("holding", "Dog")]}
    table = Table().add("a", BOX, **to_dog).add("b", BOX, "dog", "q")
    assert table.found(check_targets) == {"a": "target-not-in-picture"}
    assert Table().add("a", BOX, **to_dog).add("b", BOX, "dog").found(check_targets) == {}
    assert Table().add("a", BOX, **to_dog).add("b", BOX, "pet", entity="dog").found(check_targets) == {}
    assert Table().add("a", BOX, **to_dog).found(check_targets) == {}, "no source knows the word"


def test_targets_are_only_missed_where_their_kind_is_annotated_completely() -> None:
    to_dog = {"relations": [link("above", "dog")]}
    table = Table().add("a", BOX, exhaustive=False, **to_dog).add("b", BOX, "dog", "q", exhaustive=False)
    assert table.found(check_targets) == {}
    table = Table().add("a", BOX, source="other", **to_dog).add("b", BOX, "dog", "q")
    assert table.found(check_targets) == {}, "the picture's source does not know the word"
    table = Table().add("a", BOX, **to_dog).add("b", BOX, "dog", "q")
    table.gone.append(Region(region_id="c", image_id="p", bbox=[0, 0, 1, 1], label="dog"))
    assert table.found(check_targets) == {}, "a rejected region is in the picture all the same"
    to_region = {"relations": [link("above", "dog", "z")]}
    assert Table().add("a", BOX, **to_region).add("b", BOX, "dog", "q").found(check_targets) == {}


LEFT, RIGHT, LOW = (0, 0, 20, 20), (60, 0, 80, 20), (60, 60, 80, 80)


def test_contradicting_relations_are_blamed_on_the_one_that_boxes_speak_against() -> None:
    right, wrong = [link("left of", "cup", "b")], [link("left of", "cup", "a")]
    table = Table().add("a", LEFT, relations=right).add("b", RIGHT, relations=wrong)
    assert table.found(check_relations) == {"b": "relation-contradiction"}
    same = [link("right of", "cup", "a")]
    assert Table().add("a", LEFT, relations=right).add("b", RIGHT, relations=same).found(check_relations) == {}
    alone = Table().add("a", LEFT).add("b", RIGHT, relations=wrong)
    assert alone.found(check_relations) == {}, "no other claim speaks against it: that is the local check's"


def test_cycles() -> None:
    table = Table().add("a", (0, 0, 9, 9), relations=[link("left of", "cup", "b")])
    table.add("b", (20, 0, 29, 9), relations=[link("left of", "cup", "c")])
    table.add("c", (40, 0, 49, 9), relations=[link("left of", "cup", "d")])
    table.add("d", (60, 0, 69, 9), relations=[link("left of", "cup", "a")])
    assert table.found(check_relations) == {"d": "relation-cycle"}


def test_one_pair_stands_along_one_axis() -> None:
    table = Table().add("a", LEFT, relations=[link("above", "cup", "b")])
    table.add("b", RIGHT, relations=[link("right of", "cup", "a")])
    assert table.found(check_relations) == {"a": "relation-contradiction"}
    table = Table().add("a", LEFT, relations=[link("above", "cup", "b")])
    table.add("b", LOW, relations=[link("right of", "cup", "a")])
    assert table.found(check_relations) == {}, "both are about as true"


@settings(max_examples=40)
@given(
    st.lists(st.tuples(*[st.integers(0, 150)] * 2, *[st.integers(4, 60)] * 2), min_size=2, max_size=8), st.integers()
)
def test_true_relations_never_contradict(places: list[tuple[int, int, int, int]], seed: int) -> None:
    boxes = [(x, y, x + w, y + h) for x, y, w, h in places]
    table = Table()
    for i, box in enumerate(boxes):
        kinds = [(j, geometry.relation_of(box, other)) for j, other in enumerate(boxes) if j != i]
        table.add(f"r{i}", box, relations=[link(kind, "cup", f"r{j}") for j, kind in kinds if kind])
    assert table.found(check_relations, seed=seed) == {}


def test_the_same_region_twice() -> None:
    near = (0, 0, 20, 20.5)
    assert Table().add("a", BOX).add("b", near).found(check_duplicates) == {"b": "same-region-twice"}
    assert Table().add("b", BOX).add("a", near, references=1).found(check_duplicates) == {"b": "same-region-twice"}
    assert Table().add("b", BOX).add("a", near).found(check_duplicates, {"b"}) == {"a": "same-region-twice"}
    assert Table().add("a", BOX, None).add("b", near).found(check_duplicates) == {"a": "same-region-twice"}
    for other in ({"label": "dog"}, {"image": "q"}, {"iscrowd": True}, {"box": (0, 0, 20, 17)}):
        assert Table().add("a", BOX).add("b", **{"box": near} | other).found(check_duplicates) == {}


def test_of_a_row_of_near_twins_a_dropped_one_drops_no_other() -> None:
    table = Table().add("a", (0, 0, 100, 100)).add("b", (4, 0, 104, 100)).add("c", (8, 0, 108, 100))
    for seed in range(5):
        assert table.found(check_duplicates, seed=seed) == {"b": "same-region-twice"}


def layers(front: str | None, back: str | None, **given: Any) -> dict[str, str]:
    table = Table().add("a", (0, 0, 20, 20), depth=front, complete=True, **given)
    return table.add("b", (10, 10, 40, 40), depth=back, complete=True, **given).found(check_depths)


def test_layers() -> None:
    both = {"a": "depth-contradiction", "b": "depth-contradiction"}
    assert layers("front", "back") == layers("none", "none") == layers("front", None) == {}
    assert layers("front", "front") == layers("back", "back") == layers("front", "none") == both


def test_a_neighbour_that_another_bears_out_is_not_to_blame() -> None:
    table = Table().add("a", (0, 0, 20, 20), depth="front", complete=True)
    table.add("b", (10, 10, 40, 40), depth="back", complete=True)
    table.add("c", (35, 35, 60, 60), depth="back", complete=True)
    assert table.found(check_depths) == {"c": "depth-contradiction"}
    loose = Table().add("a", BOX, depth="front").add("b", BOX, depth="front")
    assert loose.found(check_depths) == {}, "something may be missing in the picture"


@settings(max_examples=25)
@given(st.integers(), st.integers())
def test_verdicts_do_not_depend_on_the_order(seed: int, other: int) -> None:
    table = Table()
    dice = random.Random(3)
    for i in range(40):
        x, y = dice.randrange(90), dice.randrange(90)
        table.add(
            f"r{i}", (x, y, x + 30, y + 30), dice.choice(["cup", "dog"]), f"p{i // 8}", complete=True,
            depth=dice.choice(["front", "back", "middle", "none"]),
            relations=[link(dice.choice(geometry.RELATIONS), "cup", f"r{i // 8 * 8 + dice.randrange(8)}")],
            interaction=[link("near", dice.choice(["cup", "dog", "fox"]))],
        )  # fmt: skip
    for check in GLOBAL_PROFILE_CHECKS:
        assert table.found(check, seed=seed) == table.found(check, seed=other)


def test_thirty_thousand_regions_take_little_time() -> None:
    builder = TableBuilder()
    text = profile(relations=[link("left of", "cup", "1:1")], depth="front").model_dump_json()
    for i in range(30_000):
        x = float(i % 10 * 50)
        builder.add(
            Region(region_id=f"{i // 10}:{i % 10}", image_id=str(i // 10), bbox=[x, 0, x + 40, 40], label="cup"),
            True, text, True,
        )  # fmt: skip
    table = builder.built()
    assert len(table.region_ids) == 30_000 and len(table.starts) == 3_001
    for check in GLOBAL_PROFILE_CHECKS:
        check(table)
