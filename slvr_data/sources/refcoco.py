"""`refcoco`: referring expressions as JSON lines; expressions on one box are one region's references."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slvr_data.sources.base import Malformed, ParsedRow, RawRow, Unit
from slvr_data.sources.rows import Named, RowSource, decoded, explain, json_lines, shown

_WANTED = {"bbox": "give four numbers, [x1, y1, x2, y2] in pixels"}


class RefcocoRow(BaseModel):
    """One line: an expression that singles out one box. Other keys are passed over."""

    model_config = ConfigDict(extra="ignore", strict=True, use_attribute_docstrings=True)

    img_path: str
    """Path of the picture below the picture root."""
    expression: str
    """What singles the box out."""
    bbox: list[float] = Field(min_length=4, max_length=4)
    """Absolute pixels, [x1, y1, x2, y2]."""
    width: int | None = Field(None, gt=0)
    """Declared width of the picture in pixels; a row whose declared size is not the file's is rejected."""
    height: int | None = Field(None, gt=0)
    """Declared height."""
    split: str | None = None
    """The source's own split: train, val, validation, test, testA or testB."""
    sent_id: int | str | None = None
    """The expression's own identifier; it need not be unique."""


class Refcoco(RowSource):
    """See `docs/sources.md`."""

    def named(self, file: Path) -> Iterator[Named]:
        """The lines of a file behind their `img_path`."""
        for row in json_lines(file):
            record = row.problem or decoded(row.payload)
            picture = None
            if isinstance(record, Malformed):
                row.problem = record
            else:
                picture = record.get("img_path")
                if not isinstance(picture, str) or not picture:
                    why = f'"img_path" is {shown(picture)}: give the picture\'s path'
                    picture, row.problem = None, Malformed("img-path-absent", why)
            yield picture, row

    def parse(self, unit: Unit) -> Iterator[tuple[RawRow, ParsedRow | Malformed]]:
        """Each line against `RefcocoRow`."""
        for row in unit.rows:
            yield row, row.problem or _parse(row)


def _parse(row: RawRow) -> ParsedRow | Malformed:
    try:
        record = RefcocoRow.model_validate_json(row.payload)
    except ValidationError as error:
        return explain(error, RefcocoRow, _WANTED)
    if not record.expression.strip():
        return Malformed("expression-empty", "expression is empty: leave the line out or say what it refers to")
    return ParsedRow(
        line=row.line,
        id=None if record.sent_id is None else str(record.sent_id),
        box=record.bbox,
        label=None,
        width=record.width,
        height=record.height,
        split=record.split,
        references=[record.expression],
    )
