"""`contact`: things that are said to hold, touch or hold in each other stand where they can."""

from __future__ import annotations

import re

from slvr_data.checks.base import CheckedRegion, failed, not_applicable, passed
from slvr_data.checks.plausible import near
from slvr_data.schema import Verdict

NAME = "contact"
REACH = 0.5
"""Share of the smaller thing's longer side by which two boxes in contact may lie apart."""
_CONTACT = re.compile(
    r"\b(hold|holds|holding|held|touch|touches|touching|wear|wears|wearing|worn|carry|carries|carrying|carried|"
    r"ride|rides|riding|ridden|sitting on|standing on|lying on|leaning on|grabbing|hugging)\b|^(inside|around)$"
)
"""Verb phrases for which two things must meet."""


def check_contact(record: CheckedRegion) -> Verdict:
    """Fails with "interaction-apart"."""
    applied = False
    for link in record.profile.interaction or []:
        other = record.regions_by_id.get(link.target_region_id or "")
        if other is None or _CONTACT.search(link.kind.lower()) is None:
            continue
        applied = True
        box, theirs = record.region.bbox, other.bbox
        smaller = min(max(b[2] - b[0], b[3] - b[1]) for b in (box, theirs))
        if not near(box, theirs, 3 + REACH * smaller):
            return failed(NAME, "interaction-apart", f"{link.kind} the {link.target}: the boxes lie apart")
    return passed(NAME) if applied else not_applicable(NAME)
