"""The global checks on the profiles of a whole set, which need not fit into memory.

Each of them looks at one picture at a time, `targets` apart, which keeps what it cannot tell yet. So pictures are
collected into tables of bounded size, which are judged and let go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from slvr_data.checks.global_.base import GlobalCheck, GlobalVerdict, TableBuilder, sorted_verdicts
from slvr_data.checks.global_.depths import check_depths
from slvr_data.checks.global_.duplicates import check_duplicates
from slvr_data.checks.global_.relations import check_relations
from slvr_data.checks.global_.targets import Targets
from slvr_data.schema import Region

PICTURE_CHECKS: tuple[GlobalCheck, ...] = (check_relations, check_depths, check_duplicates)
"""Those whose verdicts on a picture depend on nothing beside it."""
TABLE = 1 << 15
"""Regions that are judged together."""


class WholeSet:
    """Takes pictures in any order, each whole and once."""

    def __init__(self, published: Collection[str] = (), table: int | None = None) -> None:
        """`published` are regions of the publication before; `table`: `TABLE` unless told."""
        self._published, self._most = published, TABLE if table is None else table
        self._builder, self._held = TableBuilder(published), 0
        self._targets = Targets()
        self._found: list[list[GlobalVerdict]] = [[] for _ in PICTURE_CHECKS]

    def add(
        self,
        kept: Iterable[tuple[Region, bool, str | dict[str, Any]]],
        gone: Iterable[Region] = (),
        complete: bool = False,
    ) -> None:
        """A picture: its regions, each with whether its source annotates every instance of its labels and with its
        profile, those that were rejected, and whether all that the picture shows is `kept`.
        """
        for region in gone:
            self._builder.also_seen(region)
            self._held += 1
        for region, exhaustive, profile in kept:
            self._builder.add(region, exhaustive, profile, complete=complete)
            self._held += 1
        if self._held >= self._most:
            self._judge()

    def verdicts(self) -> Iterator[GlobalVerdict]:
        """Against all that was added, in the order of `GLOBAL_PROFILE_CHECKS`, of each by region id."""
        self._judge()
        yield from self._targets.verdicts()
        for found in self._found:
            yield from sorted_verdicts(found)

    def _judge(self) -> None:
        table = self._builder.built()
        self._targets.add(table)
        for check, found in zip(PICTURE_CHECKS, self._found, strict=True):
            found += check(table)
        self._builder, self._held = TableBuilder(self._published), 0
