"""Masks against pycocotools and Pillow: run lengths, forms, turns, outlines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pycocotools import mask as coco_mask

from slvr_data import masks

MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))
LARGE = np.zeros((600, 500), np.bool_)
LARGE[100:400, 50:450] = True


def compressed(pixels: NDArray[np.bool_]) -> str:
    """As pycocotools writes it."""
    counts: bytes = coco_mask.encode(np.asfortranarray(pixels, np.uint8))["counts"]
    return counts.decode()


def runs_of(pixels: NDArray[np.bool_]) -> list[int]:
    """Run lengths counted one pixel after the other, column by column, from unset."""
    runs, value = [0], False
    for pixel in pixels.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@given(MASKS)
def test_run_lengths_read_what_pycocotools_writes(pixels: NDArray[np.bool_]) -> None:
    assert list(masks.run_lengths(compressed(pixels))) == runs_of(pixels)


def test_run_lengths_of_several_groups_of_bits() -> None:
    assert list(masks.run_lengths(compressed(LARGE))) == runs_of(LARGE)


def slowly(counts: str) -> list[int]:
    """The run lengths in a COCO string, one character after the other."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return [] if shift or min(runs, default=0) < 0 else runs


@given(st.text(alphabet=[chr(c) for c in range(48, 112)], max_size=30))
def test_any_counts_are_read_or_refused(counts: str) -> None:
    try:
        runs = list(masks.run_lengths(counts))
    except ValueError:
        runs = []
    expected = slowly(counts)
    assert runs == (expected if max(expected, default=0) < 1 << 32 else [])


@pytest.mark.parametrize(
    ("counts", "says"),
    [("a b", "not part of COCO"), ("é", "not part of COCO"), ("P", "middle of a number"), ("O", "negative run"),
     ("o" * 12 + "0", "no picture has")],
)  # fmt: skip
def test_bad_counts_are_refused(counts: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        masks.run_lengths(counts)


@given(MASKS)
def test_every_form_of_a_mask_is_the_same_mask(pixels: NDArray[np.bool_]) -> None:
    height, width = pixels.shape
    size = [height, width]
    as_list = masks.parse({"size": size, "counts": runs_of(pixels)}, width, height)
    as_text = masks.parse({"size": size, "counts": compressed(pixels)}, width, height)
    assert as_list == as_text == masks.encode(pixels)
    assert as_text is not None and (masks.decode(as_text) == pixels).all()


def test_polygons_are_drawn_together() -> None:
    found = masks.parse([[0, 0, 4, 0, 4, 4, 0, 4], [6, 2, 9, 2, 9, 8, 6, 8]], 10, 8)
    expected = np.zeros((8, 10), np.bool_)
    expected[0:4, 0:4] = expected[2:8, 6:9] = True
    assert found is not None and (masks.decode(found) == expected).all()


@pytest.mark.parametrize("nothing", [None, []])
def test_no_segmentation_is_no_mask(nothing: Any) -> None:
    assert masks.parse(nothing, 10, 8) is None


@pytest.mark.parametrize(
    ("segmentation", "says"),
    [
        ("yes", "is a str"), (7, "is a int"), ([7], "even number"), ([[1, 2, 3, 4]], "at least 6"),
        ([[1, 2, 3, 4, 5, 6, 7]], "even number"), ([[1, 2, 3, 4, 5, "6"]], "not a finite number"),
        ([[1, 2, 3, 4, 5, None]], "not a finite number"), ([[1, 2, 3, 4, 5, float("nan")]], "not a finite number"),
        ([[1, 2, 3, 4, 5, float("inf")]], "not a finite number"), ([[1, 2, 3, 4, 5, 10**400]], "finite|far out"),
        ([[1, 2, 3, 4, 5, 1000]], "far out of the picture of 10x8"), ([[-1000, 2, 3, 4, 5, 6]], "far out"),
        ({}, "mask size None"), ({"size": 80, "counts": [80]}, "mask size 80"),
        ({"size": [10, 8], "counts": [80]}, r"\[height, width\] = \[8, 10\]"),
        ({"size": [8, 10]}, "neither a string nor a list"), ({"size": [8, 10], "counts": b"P2"}, "neither"),
        ({"size": [8, 10], "counts": [40.5, 39.5]}, "neither"), ({"size": [8, 10], "counts": [True, 79]}, "neither"),
        ({"size": [8, 10], "counts": [90, -10]}, "neither"), ({"size": [8, 10], "counts": [79]}, "add up to 79"),
        ({"size": [8, 10], "counts": [10**400]}, "add up to"), ({"size": [8, 10], "counts": ""}, "add up to 0"),
    ],
)  # fmt: skip
def test_what_is_no_mask_is_refused(segmentation: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        masks.parse(segmentation, 10, 8)


@given(MASKS, st.integers(1, 8))
def test_a_turned_mask_is_the_mask_of_the_turned_picture(pixels: NDArray[np.bool_], orientation: int) -> None:
    """Pillow turns a picture of the mask by its EXIF tag; the bounding box goes along."""
    image = Image.fromarray(pixels.astype(np.uint8))
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image)) > 0
    turned = masks.upright(masks.encode(pixels), orientation)
    assert turned.size == list(expected.shape)
    assert (masks.decode(turned) == expected).all()
    box = masks.bounds(pixels)
    if box is not None:
        height, width = pixels.shape
        assert tuple(masks.upright_box(box, orientation, width, height)) == masks.bounds(expected)


def test_bounds_of_nothing() -> None:
    assert masks.bounds(np.zeros((3, 4), np.bool_)) is None


@given(MASKS, st.data())
def test_a_window_is_the_part_of_the_mask(pixels: NDArray[np.bool_], data: st.DataObject) -> None:
    height, width = pixels.shape
    x1, y1 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, width)), data.draw(st.integers(y1 + 1, height))
    assert (masks.window(masks.encode(pixels), (x1, y1, x2, y2)) == pixels[y1:y2, x1:x2]).all()


@given(MASKS)
def test_rings_enclose_the_set_pixels(pixels: NDArray[np.bool_]) -> None:
    """With every border kept, the borders are those between set and unset pixels, each once."""
    framed = np.pad(pixels, 1).astype(int)
    borders = int(np.abs(np.diff(framed, axis=0)).sum() + np.abs(np.diff(framed, axis=1)).sum())
    points = [point for ring in masks.outline(pixels, spacing=1) for point in ring]
    assert len(points) == len(set(points)) == borders
    for x, y in points:  # the middle of a border: one of the two coordinates is whole
        column, row = (x, y) if x == int(x) else (y, x)
        assert column == int(column) and row != int(row)


def test_outline_of_a_block() -> None:
    pixels = np.zeros((20, 30), np.bool_)
    pixels[5:15, 10:26] = True
    (ring,) = masks.outline(pixels, spacing=4)
    assert 10 <= len(ring) <= 14
    assert {min(x for x, _ in ring), max(x for x, _ in ring)} <= {10.0, 10.5, 25.5, 26.0}
    assert {min(y for _, y in ring), max(y for _, y in ring)} <= {5.0, 5.5, 14.5, 15.0}
