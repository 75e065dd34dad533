"""What a model is told of a source's words about a region: the first of its references and of its questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slvr_data.schema import Region

_MOST = 2
"""References, and questions, of a region."""
_LONGEST = 200
"""Characters of a source's words."""


def told_of(region: Region) -> tuple[list[str], list[str]]:
    """(References, questions) as they are told, in quotation marks."""
    references = [quoted(text) for text in region.references[:_MOST]]
    return references, [quoted(asked.question) for asked in region.original_questions[:_MOST]]


def quoted(text: str) -> str:
    """A source's words in quotation marks."""
    return '"' + shortened(text).replace('"', "'") + '"'


def shortened(text: str) -> str:
    """On one line, and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
