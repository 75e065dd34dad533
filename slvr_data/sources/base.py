"""What a source of regions is, and what it may say.

A source lists *units*: a picture with the rows that annotate it (or rows that name no picture). Listing
is cheap and happens once, in order; reading a unit - parsing its rows, opening its picture - happens in
worker processes and depends on nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from slvr_data.schema import QuestionAnswer

MAX_RECORD = 1 << 20
"""Characters of a rejected record that are kept; a longer one stands whole in its source file."""
_CUT = re.compile(r"\.\.\. \(\d+ (characters|bytes) in all\)$")


class SourceConfig(BaseModel):
    """One source of regions. Which fields a kind uses stands in `docs/sources.md`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    kind: Literal["coco", "jsonl", "scenes", "visual-cot", "refcoco", "parquet"]
    """What form it has."""
    name: str = ""
    """How rows name it; the kind (and level) unless told."""
    annotations: list[Path] = Field(default_factory=list)
    """Its annotation files."""
    images: Path | None = None
    """Root of the pictures; rows name them relative to it."""
    license: str | None = None
    """The licence of pictures whose row states none."""
    split: Literal["train", "validation", "val", "test"] | None = None
    """The source's own split; validation and test never become train."""
    coordinates: Literal["auto", "upright", "stored"] = "auto"
    """Which picture the boxes are drawn on where the file's EXIF orientation turns it."""
    bbox_format: Literal["xyxy", "xywh", "normalized"] = "xyxy"
    """Of `jsonl` and `parquet` rows: absolute corners, corner and size, or corners as shares of width and height."""
    exhaustive: bool = False
    """Every instance of each label is annotated (always so for `coco` and `scenes`), so counts are known."""
    level: Literal["easy", "full"] = "easy"
    """Of `scenes`: simple pictures of 64 px, or larger ones with every facet."""
    count: int = Field(120, ge=1)
    """Of `scenes`: how many pictures there are when no limit is given."""

    def affects_data(self) -> dict[str, Any]:
        """The settings that must not change while a set grows."""
        return self.model_dump(
            mode="json", include={"kind", "license", "split", "coordinates", "bbox_format", "exhaustive", "level"}
        )


@dataclass(frozen=True)
class Malformed:
    """A row that never became a region."""

    reason: str
    evidence: str


@dataclass
class RawRow:
    """A row as the source gave it, before it is read: `payload` is what its source knows how to parse."""

    line: int
    payload: Any
    problem: Malformed | None = None


@dataclass
class Unit:
    """A picture (its path below the source's root) with its rows; `path` is None for rows that name none."""

    path: str | None
    file: str
    rows: list[RawRow] = field(default_factory=list)


@dataclass
class ParsedRow:
    """A row that reads well; whether its box fits the picture is not known yet.

    `box` is [x1, y1, x2, y2] in the coordinates that the source uses; `segmentation` is COCO's.
    """

    line: int
    id: str | None
    box: list[float]
    label: str | None
    segmentation: Any = None
    iscrowd: bool = False
    width: int | None = None
    height: int | None = None
    license: str | None = None
    split: str | None = None
    references: list[str] = field(default_factory=list)
    questions: list[QuestionAnswer] = field(default_factory=list)
    complete: bool = False
    """Everything that the picture shows is annotated by rows of this source."""


class Source(Protocol):
    """Yields units in a fixed order; `limit` is the number of distinct pictures."""

    config: SourceConfig
    normalized: bool
    """Boxes are shares of width and height."""
    exhaustive: bool

    def units(self, limit: int | None) -> Iterator[Unit]:
        """The units of the first `limit` pictures, and of rows without one that stand before the next."""
        ...

    def parse(self, unit: Unit) -> Iterator[tuple[RawRow, ParsedRow | Malformed]]:
        """Each of the unit's rows, read."""
        ...

    def read_picture(self, path: str) -> bytes:
        """The source file's bytes.

        Raises:
            PictureMissingError: it is not there, or its path is refused.
        """
        ...


class PictureMissingError(Exception):
    """A picture that cannot be read from where its row says it is."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason = reason
        self.evidence = evidence


def record_text(payload: Any) -> str:
    """A row as text for the list of rejections: as it stood, undecodable bytes escaped."""
    if isinstance(payload, bytes):
        return payload.decode("utf-8", errors="backslashreplace")
    return json.dumps(payload, ensure_ascii=False, sort_keys=True)


def cut_record(text: str) -> str:
    """A rejected record as it is kept: at most `MAX_RECORD` characters, and how long it is; cut once, it stays so."""
    if len(text) <= MAX_RECORD or (len(text) < 2 * MAX_RECORD and _CUT.search(text[MAX_RECORD:])):
        return text
    return f"{text[:MAX_RECORD]}... ({len(text)} characters in all)"
