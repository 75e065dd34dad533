"""Boxes, and masks that could not be theirs."""

from __future__ import annotations

import numpy as np
import pytest

from slvr_data import masks
from slvr_data.checks.bounds import check_bounds
from slvr_data.schema import Mask
from tests.checked import SIDE, profile, record, region, verdict

THING = np.zeros((SIDE, SIDE), bool)
THING[60:140, 60:140] = True
NOTHING = masks.encode(np.zeros((SIDE, SIDE), bool))


@pytest.mark.parametrize(
    ("box", "mask", "wanted"),
    [
        ((60, 60, 140, 140), masks.encode(THING), "pass"),
        ((62, 60, 140, 138), masks.encode(THING), "pass"),
        ((60, 60, 140, 120), masks.encode(THING), "mask-outside-box"),
        ((60, 60, 140, 140), masks.encode(np.zeros((9, 9), bool)), "mask-of-another-size"),
        ((60, 60, 201, 140), None, "box-outside-picture"),
        ((60, 60, 140, 140), None, "pass"),
    ],
)
def test_where_masks_may_be(box: tuple[int, ...], mask: Mask | None, wanted: str) -> None:
    assert verdict(check_bounds, record(region("a", box, mask=mask), profile())) == wanted


@pytest.mark.parametrize("box", [(0, 0, 40, 40), (2, 1, 40, 40), (60, 60, 140, 140)])
def test_an_empty_mask_is_called_so_wherever_its_box_is(box: tuple[int, ...]) -> None:
    """Its bounds are those of the corner of the picture, in which a box may lie."""
    assert verdict(check_bounds, record(region("a", box, mask=NOTHING), profile())) == "mask-empty"


def test_polygons_that_enclose_no_pixel_make_an_empty_mask() -> None:
    for segmentation in ([[1.0, 1.0, 1.1, 1.0, 1.1, 1.1]], {"size": [SIDE, SIDE], "counts": [SIDE * SIDE]}):
        mask = masks.parse(segmentation, SIDE, SIDE)
        assert mask is not None and masks.is_empty(mask) and not masks.decode(mask).any()
    assert not masks.is_empty(masks.encode(THING))
