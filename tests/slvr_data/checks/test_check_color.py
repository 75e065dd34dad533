"""Claimed colours against pixels: supported, unsupported, and where pixels do not tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slvr_data import colors
from slvr_data.checks.color import check_color
from tests.checked import masked, profile, record, region, verdict

RGB = {
    "red": (200, 40, 40), "orange": (240, 140, 40), "yellow": (240, 210, 60), "green": (50, 150, 70),
    "blue": (50, 90, 200), "purple": (125, 60, 165), "pink": (240, 150, 185), "brown": (120, 72, 35),
    "black": (25, 25, 25), "white": (240, 240, 240), "gray": (130, 130, 130),
}  # fmt: skip
GROUND = np.array([[(180, 175, 160), (90, 140, 90)], [(90, 110, 170), (170, 120, 110)]], np.uint8)
"""Many colours around, so that the light is plainly white."""


def picture(*stripes: str, ground: np.ndarray[Any, Any] = GROUND) -> tuple[np.ndarray[Any, Any], Any]:
    """A thing of 100 x 100 px in upright stripes, and its mask."""
    pixels = np.tile(np.repeat(np.repeat(ground, 10, 0), 10, 1), (10, 10, 1))
    mask = np.zeros((200, 200), bool)
    mask[50:150, 50:150] = True
    for i, part in enumerate(np.array_split(np.arange(50, 150), len(stripes))):
        pixels[50:150, part] = RGB[stripes[i]]
    return pixels, masked("a", mask)


def judged(shown: tuple[str, ...], *claimed: str, **given: Any) -> str | None:
    pixels, thing = picture(*shown, **given)
    return verdict(check_color, record(thing, profile(colors=list(claimed)), pixels=pixels))


@pytest.mark.parametrize("name", colors.COLORS)
def test_every_colour_supports_itself(name: str) -> None:
    assert judged((name,), name) == "pass"


@pytest.mark.parametrize("name", colors.COLORS)
def test_a_colour_that_nobody_takes_for_it_is_unsupported(name: str) -> None:
    for other in colors.COLORS:
        if other not in colors.ALIKE[name]:
            assert judged((name,), other) == "color-unsupported", other
            assert judged((name,), name, other) == "color-unsupported", other


def test_two_colours_both_have_to_be_there() -> None:
    assert judged(("red", "blue"), "blue", "red") == "pass"
    assert judged(("red", "blue"), "blue", "yellow") == "color-unsupported"


def test_a_plain_colour_that_is_not_named_speaks_against_the_rest() -> None:
    shown = (*["blue"] * 8, "white", "blue")
    assert judged(shown, "white") == "color-unnamed"
    assert judged(shown, "white", "blue") == "pass"
    assert judged((*["blue"] * 6, *["white"] * 4), "white") == "pass", "a good part of it is white"


def test_shadow_and_glare_are_no_contradiction() -> None:
    pixels, thing = picture("white")
    pixels[100:150, 50:150] = (150, 150, 158)
    assert verdict(check_color, record(thing, profile(colors=["white"]), pixels=pixels)) == "pass"
    pixels[50:150, 50:150] = (70, 18, 18)
    assert verdict(check_color, record(thing, profile(colors=["red"]), pixels=pixels)) == "pass"


def test_in_a_grey_photograph_nothing_is_said() -> None:
    grey = np.array([[(180, 180, 180), (90, 90, 90)], [(120, 120, 120), (60, 60, 60)]], np.uint8)
    pixels, thing = picture("white", ground=grey)
    assert verdict(check_color, record(thing, profile(colors=["red"]), pixels=pixels)) is None


def test_in_the_dark_only_vivid_and_bright_pixels_tell() -> None:
    dark = np.array([[(20, 20, 24), (26, 22, 20)], [(18, 22, 20), (30, 30, 30)]], np.uint8)
    assert judged(("blue",), "yellow", ground=dark) == "color-unsupported"
    assert judged(("black", "blue"), "red", "blue", ground=dark) == "pass"
    orange = np.array([[(60, 36, 8), (44, 26, 6)], [(30, 18, 4), (80, 50, 12)]], np.uint8)
    assert judged(("orange",), "white", ground=orange) == "pass", "under an orange lamp, white looks so"
    assert judged(("blue",), "yellow", ground=orange) == "color-unsupported"


def test_not_applicable_without_claims_for_people_glass_and_small_things() -> None:
    pixels, thing = picture("blue")
    assert verdict(check_color, record(thing, profile(), pixels=pixels)) is None
    assert verdict(check_color, record(thing, profile(colors=["teal"]), pixels=pixels)) is None
    for label in ("person", "wine glass", "old man"):
        other = thing.model_copy(update={"label": label})
        assert verdict(check_color, record(other, profile(colors=["red"]), pixels=pixels)) is None
    crowd = thing.model_copy(update={"iscrowd": True})
    assert verdict(check_color, record(crowd, profile(colors=["red"]), pixels=pixels)) is None
    tiny = region("a", (60, 60, 66, 66))
    assert verdict(check_color, record(tiny, profile(colors=["red"]), pixels=pixels)) is None


def test_without_a_mask_the_middle_of_the_box_counts() -> None:
    pixels, _ = picture("blue")
    box = region("a", (40, 40, 160, 160))
    assert verdict(check_color, record(box, profile(colors=["blue"]), pixels=pixels)) == "pass"
    assert verdict(check_color, record(box, profile(colors=["yellow"]), pixels=pixels)) == "color-unsupported"


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_plain_name_is_always_an_allowed_one(rgb: tuple[int, int, int]) -> None:
    """What the annotator calls plain, the check never doubts."""
    pixels = np.array([rgb], np.uint8)
    name = int(colors.name_pixels(pixels)[0])
    if name != colors.UNNAMED:
        assert colors.allowed(pixels, [colors.COLORS[name]]) == [1.0]
        assert colors.allowed_in_odd_light(pixels, [colors.COLORS[name]], None) == [1.0]
