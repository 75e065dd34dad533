"""What sources of rows share: lines as they stand, units made of them, and what is wrong with a row."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from slvr_data.sources.base import MAX_RECORD, Malformed, RawRow, SourceConfig, Unit
from slvr_data.sources.paths import read_below

MAX_ROW_BYTES = 1 << 24
"""A longer row is not one that anybody wrote (16 MiB)."""

_PIECE = 1 << 20
_COCO = re.compile(rb'"(annotations|images|categories|info|licenses)"\s*:')

Named = tuple[str | None, RawRow]
"""A row behind the path of the picture that it names; None where it names none."""


def units_of(files: Iterable[Path], named: Callable[[Path], Iterator[Named]], limit: int | None) -> Iterator[Unit]:
    """Pictures in the order of their first row, file by file in the order of their names.

    Rows that name no picture are units without one. `limit` is the number of distinct pictures.
    """
    pictures: set[str] = set()
    stopped = False
    for file in sorted(files, key=lambda path: path.name):
        strays = Unit(path=None, file=file.name)
        own: dict[str, Unit] = {}
        for picture, row in named(file):
            if picture is None:
                if not stopped:
                    strays.rows.append(row)
            elif picture in own:
                own[picture].rows.append(row)
            elif limit is not None and picture not in pictures and len(pictures) >= limit:
                stopped = True
            else:
                pictures.add(picture)
                own[picture] = Unit(path=picture, file=file.name, rows=[row])
        yield from own.values()
        if strays.rows:
            yield strays


class RowSource(ABC):
    """A source of annotation files whose rows name pictures below one root; boxes are absolute pixels unless told."""

    normalized = False
    exhaustive = False

    def __init__(self, config: SourceConfig, follow_links: bool) -> None:
        self.config = config
        self._follow_links = follow_links

    @abstractmethod
    def named(self, file: Path) -> Iterator[Named]:
        """The rows of a file behind the pictures that they name."""

    def units(self, limit: int | None) -> Iterator[Unit]:
        """Pictures in the order of their first row."""
        return units_of(self.config.annotations, self.named, limit)

    def read_picture(self, path: str) -> bytes:
        """From below the configured root."""
        assert self.config.images is not None
        return read_below(self.config.images, path, self._follow_links)


def json_lines(file: Path) -> Iterator[RawRow]:
    """The file's lines that are not blank, numbered from 1; a byte-order mark is passed over.

    Of a line that is longer than `MAX_ROW_BYTES` only the beginning is kept, with what is wrong.
    """
    with file.open("rb") as stream:
        number = 0
        while line := stream.readline(MAX_ROW_BYTES + 1):
            number += 1
            if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
                size = len(line)
                while (piece := stream.readline(_PIECE)) and not piece.endswith(b"\n"):
                    size += len(piece)
                yield _too_long(number, line[:MAX_RECORD], size + len(piece.rstrip(b"\r\n")))
                continue
            content = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
            if content:
                yield RawRow(number, content)


def _too_long(number: int, beginning: bytes, size: int) -> RawRow:
    """A line of which no more than the beginning is kept."""
    why = f"the line has {size} bytes, at most {MAX_ROW_BYTES} are read"
    if number == 1 and beginning.lstrip(b"\xef\xbb\xbf \t").startswith(b"{") and _COCO.search(beginning):
        why += ": is it a COCO file? then the source is coco"
    kept = beginning + f"... ({size} bytes in all)".encode()
    return RawRow(number, kept, Malformed("line-too-long", why))


def decoded(payload: bytes, most: int = MAX_ROW_BYTES) -> dict[str, Any] | Malformed:
    """A row as an object, or what is wrong with it as JSON."""
    if len(payload) > most:
        return Malformed("line-too-long", f"the line has {len(payload)} bytes, at most {most} are read")
    try:
        record = json.loads(payload.decode())
    except UnicodeDecodeError as error:
        return Malformed("not-utf8", f"byte {error.start + 1} of the line is not UTF-8: save the file as UTF-8")
    except (ValueError, RecursionError) as error:  # too long a number is a ValueError
        return Malformed("not-json", f"the line is not JSON: {error}")
    if not isinstance(record, dict):
        return Malformed("not-an-object", f"the line is a {type(record).__name__}, not an object")
    return record


def shown(value: Any) -> str:
    """A value as evidence: its text, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def explain(error: ValidationError, model: type[BaseModel], wanted: Mapping[str, str]) -> Malformed:
    """The first fault of a row, by its field; `wanted` says of some fields what to give."""
    fault = error.errors()[0]
    if fault["type"] == "json_invalid":
        half = "hex escape" in fault["msg"]
        return (
            Malformed("text-invalid", "the line holds half a character (a lone surrogate): save its text anew")
            if half
            else Malformed("not-json", f"the line is not JSON: {fault['msg']}")
        )
    where = ".".join(str(part) for part in fault["loc"])
    column = str(fault["loc"][0])
    name = column.replace("_", "-")
    if fault["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        return Malformed("column-unknown", f"column {where!r} is unknown; known are {known}")
    cure = wanted.get(column, fault["msg"])
    if fault["type"] == "missing" and len(fault["loc"]) == 1:
        return Malformed(f"{name}-absent", f"the line has no {column}: {cure}")
    # Of a value that may have several forms, the place within one of them means little to a reader.
    where = column if column == "mask" else where
    return Malformed(f"{name}-invalid", f"{where} = {shown(fault.get('input'))}: {cure}")
