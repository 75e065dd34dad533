"""What a local check on questions sees: the published regions of a picture, and a group of questions about one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slvr_data.queries.view import PictureView, RegionView
from slvr_data.schema import Query, QueryGroup, Verdict


@dataclass(frozen=True)
class CheckedGroup:
    """A group of questions about a region. No picture is needed: the profiles have passed their own checks."""

    picture: PictureView
    region: RegionView
    group: QueryGroup
    complete: bool = False
    """Everything that the picture shows is among the regions of `picture` (`ImageRow.complete`)."""


QueryCheck = Callable[[CheckedGroup, Query], Verdict]


def wordings(query: Query) -> list[str]:
    """The question and its paraphrases."""
    return [query.question, *query.paraphrases]


def normal(text: str) -> str:
    """In lower case with single spaces: how choices and answers are compared."""
    return " ".join(text.split()).casefold()
