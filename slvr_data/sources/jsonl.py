"""`jsonl`: our own form, one region per line. Documented in `docs/sources.md`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from slvr_data.schema import QuestionAnswer
from slvr_data.sources.base import Malformed, ParsedRow, RawRow, SourceConfig, Unit
from slvr_data.sources.rows import MAX_ROW_BYTES, Named, RowSource, decoded, explain, json_lines, shown

MAX_LINE_BYTES = MAX_ROW_BYTES
_WANTED = {
    "bbox": "give four numbers, [x1, y1, x2, y2] in pixels",
    "mask": "give COCO run lengths {size, counts} or polygons",
}


class JsonlRow(BaseModel):
    """One line, or one row of a Parquet file. Other names than those of the published columns are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    image: str
    """Path of the picture below the picture root."""
    bbox: list[float] = Field(min_length=4, max_length=4)
    """Absolute pixels of the upright picture, [x1, y1, x2, y2], unless the source's `bbox_format` says otherwise."""
    label: str | None = None
    """What it is, in the source's words."""
    mask: dict[str, Any] | list[list[float]] | None = None
    """COCO run lengths `{size, counts}`, or polygons."""
    iscrowd: StrictBool = False
    """The box covers a crowd of things, not one."""
    width: int | None = Field(None, gt=0)
    """Declared width of the picture in pixels; a row whose declared size is not the file's is rejected."""
    height: int | None = Field(None, gt=0)
    """Declared height."""
    license: str | None = None
    """Licence of the picture."""
    id: str | int | None = None
    """The row's own identifier; it may stand only once in a file."""
    split: str | None = None
    """The source's own split of the picture; validation and test never become train."""
    references: list[str] = Field(default_factory=list)
    """Referring expressions that single the region out."""
    original_questions: list[QuestionAnswer] = Field(default_factory=list)
    """Questions that the source itself asks about the region."""


class Jsonl(RowSource):
    """See `docs/sources.md`."""

    def __init__(self, config: SourceConfig, follow_links: bool) -> None:
        super().__init__(config, follow_links)
        self.normalized = config.bbox_format == "normalized"
        self.exhaustive = config.exhaustive

    def named(self, file: Path) -> Iterator[Named]:
        """The rows of a file; what is wrong with them as JSON, or with their ids, is noted."""
        seen: dict[str, int] = {}
        for row in self.rows(file):
            picture = None
            if row.problem is None:
                picture, row.problem = _glance(row, seen)
            yield picture, row

    def rows(self, file: Path) -> Iterator[RawRow]:
        """The rows of a file, each as the UTF-8 text of a JSON object; numbered from 1."""
        return json_lines(file)

    def parse(self, unit: Unit) -> Iterator[tuple[RawRow, ParsedRow | Malformed]]:
        """Each line against `JsonlRow`."""
        for row in unit.rows:
            yield row, row.problem or self._parse(row)

    def _parse(self, row: RawRow) -> ParsedRow | Malformed:
        try:
            record = JsonlRow.model_validate_json(row.payload)
        except ValidationError as error:
            return explain(error, JsonlRow, _WANTED)
        x1, y1, x2, y2 = record.bbox
        if self.config.bbox_format == "xywh":
            if x2 < 0 or y2 < 0:
                wanted = "give [x, y, width, height] with width and height above 0"
                return Malformed("bbox-inverted", f"bbox = {record.bbox}: {wanted}")
            x2, y2 = x1 + x2, y1 + y2
        return ParsedRow(
            line=row.line,
            id=None if record.id is None else str(record.id),
            box=[x1, y1, x2, y2],
            label=record.label,
            segmentation=record.mask,
            iscrowd=record.iscrowd,
            width=record.width,
            height=record.height,
            license=record.license,
            split=record.split,
            references=record.references,
            questions=record.original_questions,
        )


def _glance(row: RawRow, seen: dict[str, int]) -> tuple[str | None, Malformed | None]:
    """The picture that a row names, and what is wrong with the row as JSON or with its id."""
    record = decoded(row.payload, MAX_LINE_BYTES)
    if isinstance(record, Malformed):
        return None, record
    picture, identifier = record.get("image"), record.get("id")
    if not isinstance(picture, str) or not picture:
        return None, Malformed("image-absent", f'"image" is {shown(picture)}: give the picture\'s path')
    if identifier is not None:
        first = seen.setdefault(str(identifier), row.line)
        if first != row.line:
            return picture, Malformed("id-duplicate", f"id {identifier!r} stands already on line {first}")
    return picture, None
