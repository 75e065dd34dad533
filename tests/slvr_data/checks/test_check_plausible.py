"""Text, patterns and layers that could be there at all."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from slvr_data.checks.plausible import check_plausible
from tests.checked import masked, profile, record, region, verdict


def sign(text: str, ground: int = 230, ink: int = 30) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    image = Image.new("RGB", (200, 200), (ground,) * 3)
    ImageDraw.Draw(image).text((50, 85), text, (ink,) * 3, font=ImageFont.load_default(24))
    return np.asarray(image)


@pytest.mark.parametrize("box", [(40, 80, 160, 120), (30, 30, 170, 170), (0, 0, 200, 200)])
def test_text_that_is_there(box: tuple[int, ...]) -> None:
    for text in ("EXIT", "Abc 12", "I"):
        checked = record(region("a", box), profile(visible_text=[text]), pixels=sign(text))
        assert verdict(check_plausible, checked) == "pass"


@pytest.mark.parametrize(
    ("text", "pixels", "box", "wanted"),
    [
        ("EXIT", sign(""), (40, 80, 160, 120), "text-not-seen"),
        ("EXIT", sign("EXIT", 100, 104), (40, 80, 160, 120), "text-not-seen"),
        ("EMERGENCY", sign("I"), (40, 80, 160, 120), "text-not-seen"),
        ("EXIT", sign("EXIT"), (50, 90, 56, 96), "text-too-small"),
        (" ", sign("EXIT"), (40, 80, 160, 120), "text-empty"),
    ],
)
def test_text_that_cannot_be_there(
    text: str, pixels: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]], box: tuple[int, ...], wanted: str
) -> None:
    checked = record(region("a", box), profile(visible_text=[text]), pixels=pixels)
    assert verdict(check_plausible, checked) == wanted


def test_the_outline_of_a_thing_is_no_text() -> None:
    mask = np.zeros((200, 200), bool)
    mask[60:140, 60:140] = True
    pixels = np.full((200, 200, 3), 250, np.uint8)
    pixels[mask] = 20
    checked = record(masked("a", mask), profile(visible_text=["UP"]), pixels=pixels)
    assert verdict(check_plausible, checked) == "text-not-seen"


def test_a_pattern_needs_more_than_one_colour() -> None:
    mask = np.zeros((200, 200), bool)
    mask[60:140, 60:140] = True
    plain = np.full((200, 200, 3), 90, np.uint8)
    striped = plain.copy()
    striped[::8] = striped[1::8] = 200
    thing, claims = masked("a", mask), profile(material="striped")
    assert verdict(check_plausible, record(thing, claims, pixels=plain)) == "pattern-not-seen"
    assert verdict(check_plausible, record(thing, claims, pixels=striped)) == "pass"
    assert verdict(check_plausible, record(thing, profile(material="wood"), pixels=plain)) is None
    assert verdict(check_plausible, record(region("a", thing.bbox), claims, pixels=plain)) is None, "no mask"


@pytest.mark.parametrize("word", ["front", "middle", "back"])
def test_layers_need_a_neighbour_where_everything_is_annotated(word: str) -> None:
    mine, near, far = region("a", (50, 50, 90, 90)), region("b", (80, 80, 120, 120)), region("c", (150, 0, 180, 30))
    assert verdict(check_plausible, record(mine, profile(depth=word), [near, far], complete=True)) == "pass"
    alone = record(mine, profile(depth=word), [far], complete=True)
    assert verdict(check_plausible, alone) == "depth-without-neighbour"
    assert verdict(check_plausible, record(mine, profile(depth=word), [far])) is None, "it may not be annotated"
    assert verdict(check_plausible, record(mine, profile(depth="none"), [far], complete=True)) is None
