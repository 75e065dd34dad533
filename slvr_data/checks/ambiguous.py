"""`ambiguous`: what a profile links to can be told from others of its name."""

from __future__ import annotations

from slvr_data.checks.base import CheckedRegion, failed, not_applicable, passed
from slvr_data.schema import Verdict

NAME = "ambiguous"


def check_ambiguous(record: CheckedRegion) -> Verdict:
    """Fails with "link-ambiguous": a link without a region, whose word several things of the picture bear."""
    profile = record.profile
    links = [*(profile.spatial.relations or []), *(profile.interaction or [])]
    open_links = [link for link in links if link.target_region_id is None]
    if not open_links:
        return not_applicable(NAME)
    labels = [other.label.lower() for other in record.others if other.label is not None]
    for link in open_links:
        many = labels.count(link.target.lower())
        if many > 1:
            return failed(NAME, "link-ambiguous", f"{link.kind} the {link.target}: {many} others bear that name")
    return passed(NAME)
