"""Checks: pure functions that say whether a record can be published, one file each."""

from __future__ import annotations

from slvr_data.checks.ambiguous import check_ambiguous
from slvr_data.checks.base import CheckedRegion, LocalCheck
from slvr_data.checks.bounds import check_bounds
from slvr_data.checks.color import check_color
from slvr_data.checks.contact import check_contact
from slvr_data.checks.count import check_count
from slvr_data.checks.entity import check_entity
from slvr_data.checks.links import check_links
from slvr_data.checks.plausible import check_plausible
from slvr_data.checks.spatial import check_spatial
from slvr_data.checks.vague import check_vague

__all__ = ["LOCAL_CHECKS", "CheckedRegion", "LocalCheck"]

LOCAL_CHECKS: tuple[LocalCheck, ...] = (
    check_bounds,
    check_links,
    check_entity,
    check_color,
    check_spatial,
    check_count,
    check_contact,
    check_plausible,
    check_ambiguous,
    check_vague,
)
"""The local checks on profiles, in the order in which they are reported."""
