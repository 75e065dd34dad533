"""`links`: relations and interactions point at regions of the same picture, under their own labels."""

from __future__ import annotations

from slvr_data.checks.base import CheckedRegion, failed, not_applicable, passed
from slvr_data.schema import Verdict

NAME = "links"


def check_links(record: CheckedRegion) -> Verdict:
    """Fails with "link-to-itself", "link-to-nothing" or "link-misnamed"."""
    profile = record.profile
    links = [*(profile.spatial.relations or []), *(profile.interaction or [])]
    if not links:
        return not_applicable(NAME)
    for link in links:
        if link.target_region_id is None:
            continue
        if link.target_region_id == record.region.region_id:
            return failed(NAME, "link-to-itself", f"{link.kind} the {link.target}: the region itself")
        target = record.regions_by_id.get(link.target_region_id)
        if target is None:
            return failed(NAME, "link-to-nothing", f"{link.kind} region {link.target_region_id}, not of this picture")
        if target.label is not None and target.label != link.target:
            return failed(
                NAME, "link-misnamed", f"{link.kind} the {link.target!r}, but that region is {target.label!r}"
            )
    return passed(NAME)
