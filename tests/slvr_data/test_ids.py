"""Identifiers: what they depend on, and what they do not."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slvr_data.ids import image_id, part_of, region_id, split_of

PICTURE = image_id(b"a picture")
SHARES = (0.9, 0.05, 0.05)


def test_image_id_is_the_sha256_of_the_file() -> None:
    assert hashlib.sha256(b"a picture").hexdigest() == PICTURE


def test_region_id_never_changes() -> None:
    """The formula, stated a second time: published ids depend on it."""
    expected = hashlib.sha256(f"{PICTURE}\n100 250 3000 4001\ncat".encode()).hexdigest()[:32]
    assert region_id(PICTURE, [1, 2.5, 30, 40.006], "cat") == expected
    assert region_id(PICTURE, [1, 2.5, 30, 40.006], "cat") == region_id(PICTURE, [1.004, 2.501, 29.999, 40.01], "cat")


def test_region_id_tells_pictures_boxes_and_labels_apart() -> None:
    box = [1, 2, 30, 40]
    others = [
        region_id(PICTURE, box, "cat"),
        region_id(image_id(b"another"), box, "cat"),
        region_id(PICTURE, [1, 2, 30, 40.01], "cat"),
        region_id(PICTURE, box, "dog"),
        region_id(PICTURE, box, None),
    ]
    assert len(set(others)) == len(others)
    assert region_id(PICTURE, box, None) == region_id(PICTURE, box, "")


@given(st.lists(st.floats(-1e12, 1e12), min_size=4, max_size=4))
def test_region_id_takes_any_box_of_finite_numbers(box: list[float]) -> None:
    assert region_id(PICTURE, box, None) == region_id(PICTURE, [c + 0.0 for c in box], None)


def test_splits_have_their_shares() -> None:
    found = Counter(split_of(image_id(bytes([n % 256, n // 256])), 0, SHARES) for n in range(4000))
    assert abs(found["train"] / 4000 - 0.9) < 0.02
    assert abs(found["validation"] / 4000 - 0.05) < 0.015
    assert {split_of(PICTURE, seed, (1, 0, 0)) for seed in range(50)} == {"train"}
    assert {split_of(PICTURE, seed, (0, 0, 1)) for seed in range(50)} == {"test"}


def test_a_larger_share_only_takes_from_others() -> None:
    """Pictures of train stay there when train grows: their point on the line is the same."""
    ids = [image_id(bytes([n])) for n in range(200)]
    before = {i for i in ids if split_of(i, 3, (0.5, 0.25, 0.25)) == "train"}
    assert before < {i for i in ids if split_of(i, 3, (0.8, 0.1, 0.1)) == "train"}


@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.9, 0.2, -0.1), (0.5, 0.2, 0.2)])
def test_shares_that_do_not_add_up_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        split_of(PICTURE, 0, shares)


def test_parts_are_disjoint_and_complete() -> None:
    ids = [image_id(bytes([n])) for n in range(200)]
    counts = Counter(part_of(i, 3) for i in ids)
    assert set(counts) == {0, 1, 2} and min(counts.values()) > 40
