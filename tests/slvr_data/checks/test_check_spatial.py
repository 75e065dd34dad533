"""Words for size, place, direction and relations against boxes and masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slvr_data import geometry
from slvr_data.annotators.measured import orientation
from slvr_data.checks.spatial import AXES, check_spatial, may_be
from tests.checked import SIDE, link, masked, profile, record, region, verdict

BOXES = st.tuples(*[st.integers(0, 180)] * 2, *[st.integers(8, 120)] * 2).map(
    lambda t: [float(c) for c in (t[0], t[1], min(SIDE, t[0] + t[2]), min(SIDE, t[1] + t[3]))]
)


def judged(box: list[float], **claims: object) -> str | None:
    return verdict(check_spatial, record(region("a", box), profile(**claims)))


def bar(angle: float, ratio: float = 4.0) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    y, x = np.mgrid[:SIDE, :SIDE] - 100
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    along, across = c * x - s * y, s * x + c * y
    return np.asarray((abs(along) <= 60) & (abs(across) <= 60 / ratio))


@given(BOXES)
def test_what_geometry_says_always_passes(box: list[float]) -> None:
    claims = {"size": geometry.size_of(box, SIDE, SIDE), "position": geometry.position_of(box, SIDE, SIDE)}
    assert judged(box, **claims) == "pass"


def test_sizes_fail_away_from_the_border() -> None:
    box = [0.0, 0.0, 20.0, 20.0]  # 1 % of the picture
    assert judged(box, size="small") == "pass"
    assert judged(box, size="medium") == judged(box, size="large") == "size-disagrees"
    near = [0.0, 0.0, 34.0, 34.0]  # 2.9 %
    assert judged(near, size="medium") == "pass"


def test_positions_fail_away_from_the_border() -> None:
    box = [20.0, 20.0, 40.0, 40.0]
    assert judged(box, position="top left") == "pass"
    for other in geometry.POSITIONS[1:]:
        assert judged(box, position=other) == "position-disagrees"
    assert judged([55.0, 20.0, 75.0, 40.0], position="top") == "pass", "the centre is near the border"


@pytest.mark.parametrize("word", AXES)
def test_a_long_thing_runs_one_way(word: str) -> None:
    for off in (-10, 0, 10):
        thing = masked("a", bar(AXES[word] + off))
        for claim in AXES:
            wanted = "pass" if claim == word else "orientation-disagrees"
            assert verdict(check_spatial, record(thing, profile(orientation=claim))) == wanted
        assert verdict(check_spatial, record(thing, profile(orientation="none"))) == "orientation-disagrees"


def test_a_round_thing_runs_no_way() -> None:
    y, x = np.mgrid[:SIDE, :SIDE] - 100
    thing = masked("a", x**2 + y**2 < 50**2)
    assert verdict(check_spatial, record(thing, profile(orientation="none"))) == "pass"
    for claim in AXES:
        assert verdict(check_spatial, record(thing, profile(orientation=claim))) == "orientation-disagrees"


@given(st.floats(0, 180), st.floats(1.0, 6.0))
def test_a_measured_orientation_always_passes(angle: float, ratio: float) -> None:
    thing = masked("a", bar(angle, ratio))
    x1, y1, x2, y2 = (int(c) for c in thing.bbox)
    word = orientation(bar(angle, ratio)[y1:y2, x1:x2], 2.0)
    if word is not None:
        assert verdict(check_spatial, record(thing, profile(orientation=word))) == "pass"


def test_without_a_mask_a_box_tells_level_from_upright() -> None:
    assert judged([0.0, 0.0, 90.0, 20.0], orientation="horizontal") == "pass"
    assert judged([0.0, 0.0, 90.0, 20.0], orientation="vertical") == "orientation-disagrees"
    assert judged([0.0, 0.0, 90.0, 90.0], orientation="diagonal rising") == "pass"
    assert judged([0.0, 0.0, 90.0, 20.0], orientation="none") == "pass"


@given(BOXES, BOXES)
def test_relations_that_are_plain_pass_and_their_reverse_fails(box: list[float], other: list[float]) -> None:
    kind = geometry.relation_of(box, other)
    if kind is not None:
        assert may_be(kind, box, other) and not may_be(geometry.INVERSE[kind], box, other)
        assert may_be(geometry.INVERSE[kind], other, box)


def test_a_relation_to_a_region_and_to_a_name() -> None:
    mine, left, far = region("a", (80, 80, 120, 120)), region("b", (0, 80, 40, 120), "dog"), region("c", (0, 0, 9, 9))
    for target in ("b", None):
        for kind, wanted in (("right of", "pass"), ("left of", "relation-disagrees"), ("above", "relation-disagrees")):
            checked = record(mine, profile(relations=[link(kind, "dog", target)]), [left, far], complete_labels=["dog"])
            assert verdict(check_spatial, checked) == wanted
    open_ended = record(mine, profile(relations=[link("left of", "dog")]), [left])
    assert verdict(check_spatial, open_ended) == "pass", "there may be another dog"
    elsewhere = record(mine, profile(relations=[link("left of", "dog", "z")]), [left])
    assert verdict(check_spatial, elsewhere) == "pass", "the check `links` says what is wrong with it"


@pytest.mark.parametrize(
    "claims",
    [{"size": "huge"}, {"position": "somewhere"}, {"orientation": "tilted"}, {"depth": "far"},
     {"relations": [link("near", "cup", None)]}],
)  # fmt: skip
def test_words_outside_the_closed_vocabularies_fail(claims: dict[str, object]) -> None:
    assert judged([0.0, 0.0, 50.0, 50.0], **claims) == "word-unknown"


def test_not_applicable_where_nothing_is_claimed() -> None:
    assert judged([0.0, 0.0, 50.0, 50.0], entity="cup", material="woolly", action="tilted") is None
