"""Evidence transforms: what is done to the picture of an item, and what a model that looks should say then.

Each asks where its outcome is known, and nowhere else. In this family, on the intact picture too, "cannot be seen" is
offered as a further choice; a model that names another choice where the evidence is gone has not looked (after ReVSI).
"""

from __future__ import annotations

from benchmark.transforms.base import CANNOT_SEE, Expected, Pool, Transform
from benchmark.transforms.blank import Blank
from benchmark.transforms.blurred import Blurred
from benchmark.transforms.cropped_out import CroppedOut
from benchmark.transforms.intact import Intact
from benchmark.transforms.masked import Masked
from benchmark.transforms.only_region import OnlyRegion
from benchmark.transforms.swapped import Swapped

__all__ = ["CANNOT_SEE", "TRANSFORMS", "Expected", "Pool", "Transform"]

TRANSFORMS: dict[str, Transform] = {
    transform.name: transform
    for transform in (Intact(), Masked(), Blurred(), CroppedOut(), OnlyRegion(), Swapped(), Blank())
}
"""Variant -> transform, in the order in which they are asked."""
