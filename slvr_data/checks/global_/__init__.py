"""Global checks: pure functions of a compact table of the whole set, one file each."""

from __future__ import annotations

from slvr_data.checks.global_.base import GlobalCheck, GlobalTable, GlobalVerdict, TableBuilder
from slvr_data.checks.global_.depths import check_depths
from slvr_data.checks.global_.duplicates import check_duplicates
from slvr_data.checks.global_.relations import check_relations
from slvr_data.checks.global_.targets import check_targets
from slvr_data.checks.global_.whole import WholeSet

__all__ = ["GLOBAL_PROFILE_CHECKS", "GlobalCheck", "GlobalTable", "GlobalVerdict", "TableBuilder", "WholeSet"]

GLOBAL_PROFILE_CHECKS: tuple[GlobalCheck, ...] = (check_targets, check_relations, check_depths, check_duplicates)
"""The global checks on profiles, in the order in which they are reported."""
