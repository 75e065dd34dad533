"""`count`: the number of things of a kind is that of the boxes, where everything of the kind is annotated."""

from __future__ import annotations

from slvr_data.checks.base import CheckedRegion, failed, not_applicable, passed
from slvr_data.schema import Verdict

NAME = "count"


def check_count(record: CheckedRegion) -> Verdict:
    """Fails with "count-disagrees"."""
    claimed, label = record.profile.peers.same_label_count, record.region.label
    if claimed is None or label is None or label not in record.picture.complete_labels:
        return not_applicable(NAME)
    same = [region for region in record.regions_by_id.values() if region.label == label]
    if any(region.iscrowd for region in same):
        return not_applicable(NAME)
    if claimed != len(same):
        return failed(NAME, "count-disagrees", f"{claimed} of {label!r}: {len(same)} are annotated")
    return passed(NAME)
