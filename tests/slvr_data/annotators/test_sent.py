"""Pictures as they are sent, and boxes in the numbers that a model family reads."""

from __future__ import annotations

import io
import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from slvr_data.annotators.served.sent import (
    LEAST_CROP_PIXELS,
    box_text,
    family,
    sent_crop,
    sent_picture,
    sent_size,
)
from slvr_data.images import encode_jpeg
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.messages import SentPicture

QWEN_25, QWEN_3 = "Qwen/Qwen2.5-VL-72B-Instruct", "Qwen/Qwen3-VL-235B-A22B-Instruct"


def settings_of(model: str | None = QWEN_25, max_pixels: int = 1_003_520, box_format: str = "auto") -> Any:
    return SimpleNamespace(model=model, max_pixels=max_pixels, box_format=box_format)


def picture(width: int, height: int) -> Image.Image:
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3)
    return Image.fromarray(ramp.astype(np.uint8))


def decoded(sent: SentPicture) -> Image.Image:
    return Image.open(io.BytesIO(sent.data))


def processed(width: int, height: int, grid: int, least: int, most: int) -> tuple[int, int]:
    """What a Qwen processor does to a size, as its documentation tells: to whole multiples, within its bounds."""
    assert max(width, height) <= 200 * min(width, height)
    w, h = max(grid, round(width / grid) * grid), max(grid, round(height / grid) * grid)
    if w * h > most:
        by = math.sqrt(width * height / most)
        w, h = (max(grid, math.floor(side / by / grid) * grid) for side in (width, height))
    elif w * h < least:
        by = math.sqrt(least / (width * height))
        w, h = (math.ceil(side * by / grid) * grid for side in (width, height))
    return w, h


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 12_000), st.integers(1, 12_000), st.sampled_from([200_704, 1_003_520, 12_845_056]))
@example(8, 12_000, 1_003_520)
@example(1, 1, 1_003_520)
@example(12_000, 12_000, 12_845_056)
def test_the_models_processor_leaves_it_as_it_is(width: int, height: int, max_pixels: int) -> None:
    for model in (QWEN_25, QWEN_3):
        convention = family(model)
        sent = sent_size(width, height, max_pixels, convention)
        assert sent[0] % convention.grid == sent[1] % convention.grid == 0
        assert convention.least_pixels <= sent[0] * sent[1] <= max_pixels
        assert processed(*sent, convention.grid, convention.least_pixels, max_pixels) == sent


@settings(max_examples=200, deadline=None)
@given(st.integers(300, 6000), st.integers(300, 6000))
def test_its_shape_is_kept(width: int, height: int) -> None:
    assume(1 / 4 < width / height < 4)
    sent = sent_size(width, height, 1_003_520, family(QWEN_25))
    assert abs(sent[0] / sent[1] / (width / height) - 1) < 0.13
    if width * height < 900_000:
        assert abs(sent[0] - width) <= 14 and abs(sent[1] - height) <= 14


def test_tiny_bounds_still_give_a_picture() -> None:
    """`max_pixels` may be as small as 3,136 (4 patches)."""
    for model in (QWEN_25, QWEN_3):
        for size in ((640, 480), (9, 4000), (28, 28)):
            width, height = sent_size(*size, 3136, family(model))
            assert 0 < width * height <= 3136


def test_the_same_picture_has_the_same_bytes_and_reference() -> None:
    one, two = (sent_picture(picture(640, 427), "1f0c", settings_of()) for _ in range(2))
    assert one.data == two.data and one.reference == two.reference == "image 1f0c jpeg-1 644x420"
    assert decoded(one).size == (one.width, one.height) == (644, 420)
    other = sent_picture(picture(640, 427), "1f0c", settings_of(QWEN_3))
    assert (other.width, other.height) == (640, 416) and other.reference != one.reference


def test_no_metadata_is_sent() -> None:
    marked = picture(56, 56)
    marked.info = {"icc_profile": b"a profile", "exif": b"Exif\0\0"}
    sent = sent_picture(marked, "a", settings_of())
    assert b"ICC_PROFILE" not in sent.data and b"Exif" not in sent.data
    assert marked.info["icc_profile"] == b"a profile"


def test_the_sent_picture_shows_the_picture() -> None:
    original = Image.new("RGB", (560, 280), "blue")
    original.paste("red", (0, 0, 280, 280))
    shown = decoded(sent_picture(original, "a", settings_of()))
    left, right = shown.getpixel((100, 140)), shown.getpixel((460, 140))
    assert isinstance(left, tuple) and isinstance(right, tuple)
    assert left[0] > 240 > 20 > left[2] and right[2] > 240 > 20 > right[0]


@pytest.mark.parametrize(
    ("size", "max_pixels", "same"),
    [((600, 400), 1_003_520, True), ((1024, 1024), 1_003_520, False), ((40, 30), 1_003_520, False),
     ((600, 400), 50_000, False), ((1024, 5), 1_003_520, False)],
)  # fmt: skip
def test_crops_are_sent_as_they_are_kept_where_that_suits(size: tuple[int, int], max_pixels: int, same: bool) -> None:
    data = encode_jpeg(picture(*size), 90)
    sent = sent_crop(data, "1f0c", [10, 20, 30, 40], "side 1024 quality 90", settings_of(max_pixels=max_pixels))
    assert (sent.data == data) is same and decoded(sent).size == (sent.width, sent.height)
    assert sent.width * sent.height <= max_pixels
    assert max(sent.width, sent.height) <= 200 * min(sent.width, sent.height)
    assert sent.reference == f"crop 1f0c 10 20 30 40 side 1024 quality 90 jpeg-1 {sent.width}x{sent.height}"


def test_a_small_crop_is_enlarged_in_its_shape() -> None:
    sent = sent_crop(encode_jpeg(picture(40, 20), 90), "a", [0, 0, 40, 20], "", settings_of())
    assert abs(sent.width * sent.height / LEAST_CROP_PIXELS - 1) < 0.02
    assert abs(sent.width / sent.height - 2) < 0.02


@pytest.mark.parametrize(
    ("model", "told", "grid"),
    [
        (QWEN_25, "pixels", 28), ("qwen2_5-vl-7b-awq", "pixels", 28), ("/models/Qwen2.5-VL", "pixels", 28),
        (QWEN_3, "thousandths", 32), ("Qwen3.5-35B-A3B", "thousandths", 32), ("Qwen/Qwen2-VL-7B", "thousandths", 28),
        ("OpenGVLab/InternVL3_5-8B", "thousandths", 28), ("tiny", "thousandths", 28), (None, "thousandths", 28),
    ],
)  # fmt: skip
def test_families(model: str | None, told: str, grid: int) -> None:
    convention = family(model)
    assert (convention.box_format, convention.grid) == (told, grid)
    assert ("known family" in convention.sentence) is (model in ("tiny", None))


def test_a_configured_format_overrules_the_name() -> None:
    assert family(QWEN_3, "pixels").box_format == "pixels" and family(QWEN_3, "pixels").grid == 32
    assert "as configured" in family(QWEN_25, "thousandths").sentence


def test_boxes_in_pixels_of_the_sent_picture_and_in_thousandths() -> None:
    sent = SentPicture("a", b"", 644, 420)
    box = [64.0, 42.7, 320.0, 427.0]
    pixels, thousandths = family(QWEN_25), family(QWEN_3)
    assert box_text(box, 640, 427, sent, pixels) == "[64, 42, 322, 420]"
    assert box_text(box, 640, 427, sent, thousandths) == "[100, 100, 500, 1000]"
    assert "644 wide and 420 high" in pixels.explained(sent)
    assert "thousandths" in thousandths.explained(sent)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_box_is_never_empty_and_never_outside(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 9000)), data.draw(st.integers(1, 9000))
    x1, y1 = data.draw(st.floats(0, width)), data.draw(st.floats(0, height))
    box = [x1, y1, data.draw(st.floats(x1, width)), data.draw(st.floats(y1, height))]
    for model in (QWEN_25, QWEN_3):
        convention = family(model)
        size = sent_size(width, height, 1_003_520, convention)
        text = box_text(box, width, height, SentPicture("a", b"", *size), convention)
        left, top, right, bottom = map(int, re.findall(r"-?\d+", text))
        across, down = size if convention.box_format == "pixels" else (1000, 1000)
        assert 0 <= left < right <= across and 0 <= top < bottom <= down


def test_a_configuration_is_what_decides() -> None:
    config = ServedConfig(model=QWEN_25, max_pixels=28 * 28 * 4)
    assert (sent := sent_picture(picture(500, 500), "a", config)).width * sent.height == 28 * 28 * 4
