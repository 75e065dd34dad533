"""`facets`: each question of a group is on another facet of the closed list."""

from __future__ import annotations

from slvr_data.checks.base import failed, passed
from slvr_data.checks.queries.base import CheckedGroup
from slvr_data.schema import FACETS, Query, Verdict

NAME = "facets"


def check_facets(checked: CheckedGroup, query: Query) -> Verdict:
    """Fails with "facet-unknown" or "facet-repeated"; of two questions on one facet, the first stays."""
    if query.facet not in FACETS:
        return failed(NAME, "facet-unknown", f"{query.facet!r} is none of {', '.join(FACETS)}")
    first = next((other for other in checked.group.queries if other.facet == query.facet), query)
    if first.query_id != query.query_id:
        return failed(NAME, "facet-repeated", f"{query.facet}: {first.question!r} is on it already")
    return passed(NAME)
