"""`bounds`: the box lies in its picture, and the mask, which is not empty, in its box."""

from __future__ import annotations

from pycocotools import mask as coco_mask

from slvr_data import masks
from slvr_data.checks.base import CheckedRegion, failed, passed
from slvr_data.schema import Verdict

NAME = "bounds"
MASK_TOLERANCE_PX = 3.0
"""Annotated boxes and masks are rounded apart by this much; more means that they are of different things."""
MASK_TOLERANCE_SHARE = 0.05
"""Of the box's longer side, where that is more."""


def check_bounds(record: CheckedRegion) -> Verdict:
    """Fails with "box-outside-picture", "mask-of-another-size", "mask-empty" or "mask-outside-box"."""
    picture, region = record.picture, record.region
    x1, y1, x2, y2 = region.bbox
    if not (0 <= x1 < x2 <= picture.width and 0 <= y1 < y2 <= picture.height):
        size = f"{picture.width}x{picture.height}"
        return failed(NAME, "box-outside-picture", f"bbox {region.bbox} does not lie in the picture of {size}")
    if region.mask is None:
        return passed(NAME)
    if region.mask.size != [picture.height, picture.width]:
        return failed(
            NAME, "mask-of-another-size", f"mask {region.mask.size}, picture {picture.height}x{picture.width}"
        )
    if masks.is_empty(region.mask):  # the bounds of nothing are those of the corner of the picture
        return failed(NAME, "mask-empty", "the mask has no pixel: correct the segmentation, or leave it out")
    mx, my, mw, mh = coco_mask.toBbox({"size": region.mask.size, "counts": region.mask.counts.encode()})
    beyond = max(x1 - mx, y1 - my, mx + mw - x2, my + mh - y2)
    if beyond > max(MASK_TOLERANCE_PX, MASK_TOLERANCE_SHARE * max(x2 - x1, y2 - y1)):
        return failed(NAME, "mask-outside-box", f"the mask stands {beyond:.1f} px out of the box {region.bbox}")
    return passed(NAME)
