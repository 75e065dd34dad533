"""The state of a picture: a hash of everything that the profiles of its regions may depend on."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from slvr_data.annotators.served.told import told_of

if TYPE_CHECKING:
    from pipelines.plan import PlannedPicture


def state_of(picture: PlannedPicture) -> str:
    """Changes when anything that a profile may depend on changes: also what cannot be used is counted.

    Where a model writes (`picture.told`) that is also what it is told of the sources' words; a picture whose sources
    say nothing has the same state for every annotator.
    """
    parts = [
        (
            r.region.region_id,
            r.region.mask.counts if r.region.mask else "",
            r.region.iscrowd,
            r.exhaustive,
            "left out" if r.left_out else r.rejected is None,
        )
        for r in picture.regions
    ]
    known: list[object] = [picture.image_id, picture.complete, parts]
    if picture.told:
        usable = (r.region for r in picture.regions if r.rejected is None)
        if words := {region.region_id: told for region in usable if any(told := told_of(region))}:
            known.append(words)
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]
