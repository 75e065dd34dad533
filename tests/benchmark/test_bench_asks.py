"""Which asks are made of items, in which words and order, with which picture."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from benchmark.asks import Asks, chance_of, expected_of, families_of, family_of, limited
from benchmark.records import CANNOT_SEE, Item
from slvr_data.errors import RunError, UsageError
from tests.benching import COLORS, PLACES, Shelf, asks_of, item, plan, query, shelf


def test_plain_asks() -> None:
    bench = shelf(3)
    asks = asks_of(bench)
    assert len(asks) == len(Asks(bench, plan())) == 6
    first = asks[0]
    assert first.ask_id == "item-00000/color-item-00000/plain/0"
    assert first.prompt == "What is the color of the thing?\nA. red\nB. green\nC. blue\nD. yellow"
    assert first.picture == bench.pictures["image-00000"]  # the file itself
    assert (first.choices, first.question, first.variant, first.seed) == (COLORS, first.query.question, "plain", 0)


def test_every_choice_stands_in_every_place() -> None:
    asks = [ask for ask in asks_of(shelf(2), "circular") if ask.query.facet == "color" and ask.item.item_id[-1] == "0"]
    assert [ask.variant for ask in asks] == ["plain", "rotation-1", "rotation-2", "rotation-3"]
    for place in range(4):
        assert {ask.choices[place] for ask in asks} == set(COLORS)
    for ask in asks:
        turn = asks.index(ask)
        assert ask.choices == (*COLORS[turn:], *COLORS[:turn])
        assert f"A. {ask.choices[0]}\n" in ask.prompt


def test_queries_of_different_numbers_of_choices() -> None:
    one = item(0, queries=(query("x", "color", COLORS[:2], 0), query("x", "position", PLACES, 0)))
    made = Counter(ask.query.facet for ask in asks_of(Shelf([one]), "circular"))
    assert made == {"color": 2, "position": 4}


def test_paraphrases() -> None:
    one = item(
        0, queries=(query("x", "color", COLORS, 0, paraphrases=("One?", "Two?")), query("x", "shape", PLACES, 0))
    )
    asks = [ask for ask in asks_of(Shelf([one]), "paraphrase") if ask.variant != "plain"]
    assert [(ask.variant, ask.question) for ask in asks] == [
        ("paraphrase-1", "One?"),
        ("paraphrase-1", "Tell the shape of the thing."),
        ("paraphrase-2", "Two?"),
    ]
    assert asks[0].prompt.startswith("One?\nA. red")


def test_evidence_offers_a_further_choice_on_the_intact_picture_too() -> None:
    bench = shelf(4)
    asks = [ask for ask in asks_of(bench, "evidence") if ask.variant != "plain"]
    assert all(ask.choices == (*ask.query.choices, CANNOT_SEE) for ask in asks)
    assert all(ask.prompt.endswith("\nE. cannot be seen") for ask in asks)
    of_one = [ask for ask in asks if ask.item is bench.items[0]]
    assert [(a.variant, a.query.facet) for a in of_one] == [
        (variant, facet)
        for variant in ("intact", "masked", "cropped-out", "only-region", "swapped", "blank")
        for facet in ("color", "position")
        if (variant, facet) != ("masked", "position")  # a grey box is at a place
    ]  # neither colour nor place is lost in a blur
    files = {ask.variant: ask.picture for ask in of_one}
    assert files["intact"] == bench.pictures["image-00000"]
    assert len(set(files.values())) == 6
    opened = {name: Image.open(io.BytesIO(data)) for name, data in files.items()}
    assert all(one.format == "PNG" for one in opened.values())
    masked = np.asarray(opened["masked"].convert("RGB"))
    assert (masked[20:44, 8:32] == 127).all()


def test_what_is_expected_and_what_chance_gives() -> None:
    one = item(0)
    color = one.queries[0]
    assert expected_of(one, color, "plain") == expected_of(one, color, "rotation-2") == "red"
    assert expected_of(one, color, "intact") == expected_of(one, color, "only-region") == "red"
    assert expected_of(one, color, "masked") is expected_of(one, color, "blank") is None
    assert chance_of(color, color.choices) == 0.25
    assert chance_of(color, (*color.choices, CANNOT_SEE)) == 0.2
    assert chance_of(color, ()) is None
    weighted = query("x", "color", COLORS, 0, chance=0.4)
    assert chance_of(weighted, weighted.choices) == 0.4


def test_counts_are_known_beforehand() -> None:
    """Without opening any picture: here there is none to open."""
    bench = Shelf([item(n) for n in range(5)], pictures={f"image-{n:05d}": b"" for n in range(5)})
    asks = Asks(cast(Any, bench), plan("circular", "paraphrase", "evidence", seeds=2))
    counts = asks.counts()
    assert counts == {"plain": 20, "circular": 60, "paraphrase": 20, "evidence": 110}
    assert len(asks) == sum(counts.values())
    assert asks.left_out() == {"masked": 5, "blurred": 10}
    assert list(counts) == ["plain", "circular", "paraphrase", "evidence"]


def test_seeds() -> None:
    asks = asks_of(shelf(1), seeds=3)
    assert [ask.ask_id.rpartition("/")[2] for ask in asks] == ["0", "1", "2"] * 2
    assert [ask.seed for ask in asks] == [0, 1, 2] * 2


def test_ids_are_unique() -> None:
    asks = asks_of(shelf(5), "circular", "paraphrase", "evidence", seeds=2)
    assert len({ask.ask_id for ask in asks}) == len(asks)


def test_open_questions() -> None:
    asks = asks_of(shelf(2), "paraphrase", "evidence", form="open")
    assert all(ask.choices == () for ask in asks)
    assert asks[0].prompt == asks[0].question
    assert "say: cannot be seen" in next(ask for ask in asks if ask.variant == "masked").prompt


def test_open_questions_have_no_choices_to_turn() -> None:
    with pytest.raises(UsageError, match="--variants circular turns lettered choices, and --form open shows none"):
        plan("circular", form="open")


def test_a_query_without_choices_is_put_openly() -> None:
    gone = {"choices": (), "answer_index": None, "chance": None}
    bare = query("x", "color", COLORS, 0).model_copy(update=gone)
    one = item(0, queries=(bare, query("x", "position", PLACES, 1)))
    asks = asks_of(Shelf([one]), "circular", "evidence")
    mine = [ask for ask in asks if ask.query is bare]
    assert {ask.choices for ask in mine} == {()} and not any("rotation" in ask.variant for ask in mine)


def test_one_picture_alone_cannot_be_swapped() -> None:
    asks = Asks(shelf(1), plan("evidence"))
    assert "swapped" not in {slot.variant for slot in asks.slots()}
    assert asks.left_out()["swapped"] == 2


def test_swapped_is_not_asked_and_counted_where_every_other_picture_shows_such_a_thing() -> None:
    """Of 6 items 5 are cups, all of whose pictures but that of the sixth show one."""
    cups = [item(n, label="cup") for n in range(5)]
    asks = Asks(Shelf([*cups, item(5, label="lamp")]), plan("evidence"))
    assert sum(slot.variant == "swapped" for slot in asks.slots()) == 12 and "swapped" not in asks.left_out()
    asks = Asks(Shelf(cups), plan("evidence"))
    assert "swapped" not in {slot.variant for slot in asks.slots()} and asks.left_out()["swapped"] == 10
    about = item(5, label="lamp", queries=(query("x", "color", COLORS, 0, question="What color is the cup's lamp?"),))
    assert Asks(Shelf([*cups, about]), plan("evidence")).left_out()["swapped"] == 10  # of the lamp it is asked


def test_a_limit_draws_items_and_grows() -> None:
    items = [item(n) for n in range(40)]
    small, large = limited(items, 10), limited(items, 20)
    assert len(small) == 10 and {one.item_id for one in small} < {one.item_id for one in large}
    assert [one.item_id for one in large] == sorted(one.item_id for one in large)
    assert small != items[:10]
    assert limited(items, 100) == limited(items, None) == items
    assert {one.item_id for one in limited(items[::-1], 10)} == {one.item_id for one in small}


def test_what_is_about_one_picture_stands_together() -> None:
    items = [item(0, 0), item(1, 1), item(2, 0), item(3, 1)]
    seen = [ask.item.image_id for ask in asks_of(Shelf(items))]
    assert seen == ["image-00000"] * 4 + ["image-00001"] * 4


def test_done_asks_are_left_out() -> None:
    bench = shelf(3)
    every = asks_of(bench)
    rest = list(Asks(bench, plan()).asks({every[0].ask_id, every[3].ask_id}))
    assert [ask.ask_id for ask in rest] == [ask.ask_id for n, ask in enumerate(every) if n not in (0, 3)]


def test_families() -> None:
    assert families_of("evidence, circular") == ("circular", "evidence")
    assert families_of("") == ()
    with pytest.raises(UsageError, match=r"'circle' is none of circular, paraphrase, evidence"):
        families_of("circle")
    assert [family_of(v) for v in ("plain", "rotation-2", "paraphrase-1", "only-region", "intact")] == [
        "plain", "circular", "paraphrase", "evidence", "evidence",
    ]  # fmt: skip


@pytest.mark.parametrize("changed", [{"seeds": 0}, {"limit": 0}])
def test_numbers_that_ask_nothing(changed: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must be 1 at least"):
        plan(**changed)


@pytest.mark.parametrize(("data", "said"), [(None, "cannot be read"), (b"no picture", "is damaged")])
def test_a_picture_that_is_missing_or_damaged(data: bytes | None, said: str) -> None:
    bench = shelf(2)
    del bench.pictures["image-00001"]
    if data is not None:
        bench.pictures["image-00001"] = data
    with pytest.raises(RunError, match=f"picture image-00001 of shelf {said}.*build it anew"):
        asks_of(bench, "evidence")


def test_too_many_choices() -> None:
    many = tuple(str(n) for n in range(27))
    one: Item = item(0, queries=(query("x", "count", many, 0), query("x", "color", COLORS, 0)))
    with pytest.raises(UsageError, match="27 choices"):
        asks_of(Shelf([one]))


def test_ids_of_asks_differ_where_ids_hold_slashes() -> None:
    pairs = [("d/x", "q1"), ("d", "x/q1"), ("d", "x%2Fq1"), ("d", "x%252Fq1"), ("d", "%x"), ("d/x%2F", "q1")]
    queries: dict[str, list[str]] = {}
    for item_id, query_id in pairs:
        queries.setdefault(item_id, []).append(query_id)
    items = [
        item(n, item_id=item_id, queries=tuple(query(item_id, "color", COLORS, 0, query_id=own) for own in found))
        for n, (item_id, found) in enumerate(queries.items())
    ]
    found = {(ask.item.item_id, ask.query.query_id): ask.ask_id for ask in asks_of(Shelf(items))}
    assert set(found) == set(pairs) and len(set(found.values())) == len(pairs)
    assert found["d/x", "q1"] == "d/x/q1/plain/0" and found["d", "%x"] == "d/%x/plain/0"
    assert found["d", "x/q1"] == "d/x%2Fq1/plain/0"


def test_two_asks_of_one_id_are_refused() -> None:
    with pytest.raises(UsageError, match="two asks have the id 'item-00001/color-item-00001/plain/0'"):
        Asks(Shelf([item(1), item(1)]), plan())  # type: ignore[arg-type]
