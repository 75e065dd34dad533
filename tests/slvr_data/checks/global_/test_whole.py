"""The checks of a whole set in small tables give what they give on one table, and hold no more of a large set."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from slvr_data import geometry
from slvr_data.checks.global_ import GLOBAL_PROFILE_CHECKS, TableBuilder, WholeSet
from slvr_data.schema import Region, SourceRef
from tests.checked import link, profile

LABELS = ("cup", "Dog", "tree", None)
Picture = tuple[list[tuple[Region, bool, str]], list[Region], bool]


def pictures(count: int, seed: int) -> Iterator[Picture]:
    """Pictures of a few regions in which everything goes wrong now and then."""
    dice = random.Random(seed)
    for number in range(count):
        source = dice.choice("st")
        regions = [region(dice, f"{number:06}", place, source) for place in range(dice.randint(1, 5))]
        kept = [(one, source == "s", claims(dice, one, regions)) for one in regions]
        gone = [kept.pop()[0]] if dice.random() < 0.2 else []
        yield kept, gone, not gone and dice.random() < 0.5


def region(dice: random.Random, image: str, place: int, source: str) -> Region:
    x, y = dice.choice((0, 1, 60)), dice.choice((0, 1, 60))
    return Region(
        region_id=f"{image}-{place}", image_id=image, bbox=[x, y, x + 40, y + 40], label=dice.choice(LABELS),
        references=["it"] * dice.randint(0, 2), source_refs=[SourceRef(source=source, file="f", line=1, id=None)],
    )  # fmt: skip


def claims(dice: random.Random, one: Region, regions: list[Region]) -> str:
    other = dice.choice(regions)
    known = other.label if other is not one and dice.random() < 0.6 else None
    target = other.region_id if known else None
    relation = link(dice.choice(geometry.RELATIONS), known or dice.choice(("dog", "tree", "sky")), target)
    told: dict[str, Any] = {"relations": [relation], "depth": dice.choice(("front", "back", "none", None))}
    return profile(**told).model_dump_json()


@pytest.mark.parametrize("size", [2, 10_000])
def test_small_tables_say_what_one_says(size: int) -> None:
    published = {f"{number:06}-0" for number in range(0, 300, 3)}
    builder, whole = TableBuilder(published), WholeSet(published, size)
    for kept, gone, complete in pictures(150, 5):
        for one, exhaustive, text in kept:
            builder.add(one, exhaustive, text, complete)
        for one in gone:
            builder.also_seen(one)
        whole.add(kept, gone, complete)
    expected = [verdict for check in GLOBAL_PROFILE_CHECKS for verdict in check(builder.built())]
    assert {verdict.check for verdict in expected} == {"targets", "relations", "depths", "duplicates"}
    assert list(whole.verdicts()) == expected


def test_what_a_large_set_holds_is_what_a_small_one_does() -> None:
    sound = (kept[:1] for kept, _, _ in pictures(800, 3))
    rows = [[(one, False, profile().model_dump_json()) for one, _, _ in kept] for kept in sound]
    peaks = []
    for some in (rows[:200], rows):
        tracemalloc.start()
        whole = WholeSet((), 60)
        for kept in some:
            whole.add(kept)
        assert list(whole.verdicts()) == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
