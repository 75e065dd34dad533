"""Local checks on questions: pure functions of a group and one of its questions, one file each."""

from __future__ import annotations

from slvr_data.checks.queries.answerable import check_answerable
from slvr_data.checks.queries.base import CheckedGroup, QueryCheck
from slvr_data.checks.queries.choices import check_choices
from slvr_data.checks.queries.facets import check_facets
from slvr_data.checks.queries.given_away import check_given_away
from slvr_data.checks.queries.sane import check_sane
from slvr_data.checks.queries.unique import check_unique
from slvr_data.checks.queries.vague import check_vague

__all__ = ["QUERY_CHECKS", "CheckedGroup", "QueryCheck"]

QUERY_CHECKS: tuple[QueryCheck, ...] = (
    check_sane,
    check_facets,
    check_choices,
    check_vague,
    check_given_away,
    check_unique,
    check_answerable,
)
"""The local checks on questions, in the order in which they are reported."""
