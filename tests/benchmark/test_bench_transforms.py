"""Evidence transforms: what is changed, what is not, and what is right afterwards."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmark.records import CANNOT_SEE, Item, ItemQuery
from benchmark.transforms import TRANSFORMS, Pool
from benchmark.transforms.base import GREY, encoded, padded_box
from benchmark.transforms.cropped_out import beside
from slvr_data.images import decoded
from slvr_data.schema import FACETS
from tests.benching import COLORS, drawn, item, query
from tests.support import noise

CHANGING = [name for name in TRANSFORMS if name != "intact"]


def pixels(picture: Image.Image) -> NDArray[np.int16]:
    return np.asarray(picture.convert("RGB"), dtype=np.int16)


def pool(items: list[Item]) -> Pool:
    pictures = {one.image_id: drawn(one) for one in items}
    return Pool(items, pictures.__getitem__)


def scene(box: tuple[float, float, float, float] = (30, 20, 60, 50), size: tuple[int, int] = (120, 80)) -> Any:
    """An item on noise, the picture and other pictures."""
    one = item(0, bbox=box, width=size[0], height=size[1])
    picture = noise(*size, seed=3)
    return one, picture, Pool([one, item(1)], lambda image_id: picture if image_id == one.image_id else drawn(item(1)))


def inside(one: Item, size: tuple[int, int]) -> NDArray[np.bool_]:
    x1, y1, x2, y2 = padded_box(one, size)
    found = np.zeros((size[1], size[0]), bool)
    found[y1:y2, x1:x2] = True
    return found


def test_masked_changes_the_region_alone() -> None:
    one, picture, others = scene()
    changed, within = pixels(TRANSFORMS["masked"].apply(one, picture, others)), inside(one, picture.size)
    assert (changed[within] == GREY).all()
    assert (changed[~within] == pixels(picture)[~within]).all()


def test_blurred_leaves_no_edges_in_the_region_and_nothing_changed_outside() -> None:
    one, picture, others = scene()
    before, within = pixels(picture), inside(one, picture.size)
    changed = pixels(TRANSFORMS["blurred"].apply(one, picture, others))
    assert (changed[~within] == before[~within]).all()
    x1, y1, x2, y2 = padded_box(one, picture.size)
    steps = [np.abs(np.diff(part[y1:y2, x1:x2], axis=1)).max() for part in (before, changed)]
    assert steps[1] <= 3 < 10 < steps[0]
    assert np.abs(changed[within].mean(0) - before[within].mean(0)).max() < 30  # colours shine through


def test_only_region_keeps_the_region_where_it_is() -> None:
    one, picture, others = scene()
    changed, within = pixels(TRANSFORMS["only-region"].apply(one, picture, others)), inside(one, picture.size)
    assert (changed[within] == pixels(picture)[within]).all()
    assert (changed[~within] == GREY).all()


@pytest.mark.parametrize(
    ("box", "wanted"),
    [((70, 5, 90, 40), (0, 0, 67, 80)), ((2, 2, 30, 30), (33, 0, 120, 80)), ((1, 40, 119, 60), (0, 0, 120, 30))],
)
def test_cropped_out_is_the_largest_part_beside_the_region(
    box: tuple[float, float, float, float], wanted: tuple[int, int, int, int]
) -> None:
    one, picture, others = scene(box)
    assert beside(padded_box(one, picture.size), picture.size) == wanted
    changed = TRANSFORMS["cropped-out"].apply(one, picture, others)
    assert (pixels(changed) == pixels(picture.crop(wanted))).all()


def test_a_region_that_fills_the_picture_cannot_be_cropped_out() -> None:
    one, _, _ = scene((4, 4, 116, 76))
    assert TRANSFORMS["cropped-out"].expected(one, one.queries[0]) is None
    assert TRANSFORMS["masked"].expected(one, one.queries[0]) == "cannot"


def test_blank_and_intact() -> None:
    one, picture, others = scene()
    assert (pixels(TRANSFORMS["blank"].apply(one, picture, others)) == GREY).all()
    assert TRANSFORMS["blank"].apply(one, picture, others).size == picture.size
    assert (pixels(TRANSFORMS["intact"].apply(one, picture, others)) == pixels(picture)).all()


def test_swapped_takes_a_picture_without_a_thing_of_that_label() -> None:
    items = [item(n) for n in range(30)]  # labels go round in threes
    others = pool(items)
    taken = {one.item_id: others.other(one) for one in items}
    for one in items:
        assert int(taken[one.item_id].removeprefix("image-")) % 3 != int(one.image_id.removeprefix("image-")) % 3
        changed = TRANSFORMS["swapped"].apply(one, drawn(one), others)
        assert (pixels(changed) == pixels(others.picture(taken[one.item_id]))).all()
    assert len(set(taken.values())) > 10  # not one picture for all
    assert taken == {one.item_id: pool(items[::-1]).other(one) for one in items}  # whatever their order


def test_where_all_pictures_show_the_label_it_is_told() -> None:
    items = [item(n, label="thing") for n in range(3)]
    assert not any(pool(items).has_other(one) for one in items)
    assert all(pool(items).other(one) != one.image_id for one in items)  # for latents there must be some picture
    unknown = [item(n, label=None) for n in range(3)]
    assert all(pool(unknown).has_other(one) and pool(unknown).other(one) != one.image_id for one in unknown)
    assert not pool(unknown[:1]).has_other(unknown[0])


def saying(number: int, question: str, answer: str = "left", label: str | None = "lamp") -> Item:
    """An item whose one telling query is this one."""
    own = query("x", "relation", (answer, "nothing"), 0, question=question)
    return item(number, label=label, queries=(own, query("x", "shape", COLORS, number % 4)))


@pytest.mark.parametrize(
    ("question", "answer"),
    [("What is left of the Cup?", "lamp"), ("How many cups are there?", "2"), ("What stands there?", "a cup"),
     ("What is in the coffee cup?", "milk")],
)  # fmt: skip
def test_words_of_questions_and_answers_tell_what_is_shown(question: str, answer: str) -> None:
    """In every other picture but one some question about another thing names a cup."""
    items = [
        item(0, label="cup"),
        *(saying(n, question, answer) for n in range(1, 9)),
        saying(9, "What is a cupboard?"),
    ]
    assert pool(items).other(items[0]) == "image-00009"
    assert pool(items).has_other(items[0]) and not pool(items[:-1]).has_other(items[0])


def test_a_label_that_is_the_plural_of_another() -> None:
    items = [item(0, label="glass"), item(1, label="glasses"), item(2, label="cup")]
    assert {pool(items).other(one) for one in items[:2]} == {"image-00002"}


@pytest.mark.parametrize("label", ["cup", None])
def test_a_picture_with_other_answers_is_preferred(label: str | None) -> None:
    def one(number: int, right: int) -> Item:
        own = query("x", "color", COLORS, right, question="What color is it?")
        return item(number, label=label if number == 0 else "lamp", queries=(own,))

    for odd in range(1, 12):
        items = [one(n, 0 if n != odd else 1) for n in range(12)]
        assert pool(items).other(items[0]) == f"image-{odd:05d}"
    same = [one(n, 0) for n in range(12)]
    assert pool(same).has_other(same[0]) and pool(same).other(same[0]) != "image-00000"


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_leave_the_picture_as_it_is_and_are_repeatable(name: str) -> None:
    one, picture, others = scene()
    before = picture.tobytes()
    first, second = (encoded(TRANSFORMS[name].apply(one, picture, others)) for _ in range(2))
    assert picture.tobytes() == before
    assert first == second


@pytest.mark.parametrize("box", [(0, 0, 120, 80), (0, 0, 1, 1), (118.5, 79.2, 120, 80), (-0.4, -0.3, 120.4, 80.2)])
@pytest.mark.parametrize("name", ["masked", "blurred", "only-region"])
def test_boxes_at_the_edges(name: str, box: tuple[float, float, float, float]) -> None:
    one, picture, others = scene(box)
    x1, y1, x2, y2 = padded_box(one, picture.size)
    assert 0 <= x1 < x2 <= 120 and 0 <= y1 < y2 <= 80
    assert TRANSFORMS[name].apply(one, picture, others).size == picture.size


def test_the_box_is_padded() -> None:
    one, picture, _ = scene((30, 20, 80, 40))
    assert padded_box(one, picture.size) == (26, 16, 84, 44)  # 8 % of 50 pixels
    small, _, _ = scene((30, 20, 40, 30))
    assert padded_box(small, picture.size) == (27, 17, 43, 33)  # 3 pixels at least


def test_encoding_loses_nothing_and_keeps_a_colour_profile() -> None:
    picture = noise(50, 40)
    picture.info["icc_profile"] = b"a profile"
    data = encoded(picture)
    assert decoded(data).tobytes() == picture.tobytes()
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.format == "PNG" and opened.info["icc_profile"] == b"a profile"


@pytest.mark.parametrize("facet", [*FACETS, "other"])
def test_what_is_right_afterwards(facet: str) -> None:
    asked = query("x", facet, COLORS, 1, question=f"What is the {facet} of thing 0?")
    one = item(0, queries=(asked, query("x", "shape", COLORS, 1)))
    told = {name: transform.expected(one, one.queries[0]) for name, transform in TRANSFORMS.items()}
    assert told["intact"] == "answer"
    gone = {told[name] for name in ("cropped-out", "swapped", "blank")}
    assert gone == ({None} if facet == "count" else {"cannot"})
    look = ("entity", "color", "shape", "material", "orientation", "action", "visible_text")
    assert told["masked"] == ("cannot" if facet in look else None)
    detail = ("entity", "shape", "material", "orientation", "action", "visible_text")
    assert told["blurred"] == ("cannot" if facet in detail else None)
    assert told["only-region"] == ("answer" if facet in (*detail, "color", "size", "position") else None)


def told(question: str, facet: str = "color", *others: ItemQuery, label: str | None = "cup") -> set[str]:
    """On which changed pictures a question is asked."""
    own = query("x", facet, COLORS, 1, question=question)
    one = item(0, label=label, queries=(own, *(others or (query("x", "shape", COLORS, 1),))))
    return {name for name in ("masked", "cropped-out", "swapped", "blank") if TRANSFORMS[name].expected(one, own)}


EVERY = {"masked", "cropped-out", "swapped", "blank"}


@pytest.mark.parametrize(
    "words",
    ["rightmost cup", "largest cup", "second cup from the left", "last cup", "3rd cup in the row", "left-most cup",
     "Nearest cup", "most colorful cup"],
)  # fmt: skip
def test_a_thing_singled_out_by_rank_is_asked_where_no_other_takes_its_rank(words: str) -> None:
    assert told(f"What color is the {words}?") == {"swapped", "blank"}


@pytest.mark.parametrize("words", ["red cup", "cup in the forest", "cup on the chest", "cup left of the vest", "cup"])
def test_words_that_are_no_rank(words: str) -> None:
    assert told(f"What is the shape of the {words}?", "shape") == EVERY


def test_the_only_one_of_its_label_keeps_its_rank() -> None:
    for number, wanted in (("1", EVERY), ("2", {"swapped", "blank"})):
        count = query("x", "count", ("1", "2"), int(number) - 1, question="How many cups are there?")
        assert told("What color is the largest cup?", "color", count) == wanted
    other = query("x", "count", ("1", "2"), 0, question="How many handles does it have?")
    assert told("What color is the largest cup?", "color", other) == {"swapped", "blank"}


@pytest.mark.parametrize(
    "question",
    ["Which of these is at the top left of the picture?", "What can be seen at the center of the picture?",
     "Which of these things does the bottom of the picture show?", "What is left of the table?"],
)  # fmt: skip
def test_an_entity_without_its_name_is_asked_where_nothing_else_is_in_its_place(question: str) -> None:
    assert told(question, "entity") == {"masked", "blank"}


def test_a_thing_singled_out_by_its_place() -> None:
    question = "What color is the cup at the top left of the picture?"
    assert told(question) == {"masked", "swapped", "blank"}  # what is cut out has a top left too
    assert told(question, label=None) == {"masked", "blank"}  # and so has any picture, of what is not known
    count = query("x", "count", ("1", "2"), 0, question="How many cups are there?")
    assert told(question, "color", count) == EVERY


def test_questions_of_place_and_size_are_not_asked_of_a_grey_box() -> None:
    for facet in ("position", "size", "relation", "depth", "interaction", "other"):
        assert told("Where is the cup?", facet) == {"cropped-out", "swapped", "blank"}


@pytest.mark.parametrize(("edge", "left", "asked"), [(37.5, 24, None), (38.5, 25, "cannot")])
def test_what_is_left_of_the_picture_is_an_eighth_at_least(edge: float, left: int, asked: str | None) -> None:
    """Of 200 pixels' width an eighth are 25."""
    one = item(0, bbox=(edge, 0, 200, 160), width=200, height=160)
    assert padded_box(one, (200, 160)) == (left, 0, 200, 160)
    assert TRANSFORMS["cropped-out"].expected(one, one.queries[0]) == asked


def test_without_a_box_only_whole_pictures_are_changed() -> None:
    one = item(0, bbox=None)
    asked = {name for name, transform in TRANSFORMS.items() if transform.expected(one, one.queries[0])}
    assert asked == {"intact", "swapped", "blank"}


def test_the_further_choice() -> None:
    assert CANNOT_SEE == "cannot be seen"  # slvr:tiny learns these words
    assert list(TRANSFORMS) == ["intact", "masked", "blurred", "cropped-out", "only-region", "swapped", "blank"]
    assert all(transform.name == name for name, transform in TRANSFORMS.items())


@pytest.mark.parametrize(
    ("question", "expected"), [("How many cups are there?", None), ("What color is it?", "cannot")]
)
def test_a_class_of_the_file_in_the_place_of_a_facet_hides_no_count(question: str, expected: str | None) -> None:
    """A blank picture answers "how many": none."""
    own = query("item", "cross", ("1", "2"), 0, question=question)
    one = item(0, queries=(own,))
    assert TRANSFORMS["blank"].expected(one, own) == expected
    assert TRANSFORMS["masked"].expected(one, own) is None, "what such a class looks at is not known"
