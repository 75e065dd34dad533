"""`slvr-bench import`: SV-QA items from files of others, each fault counted with its line and its cure.

These forms are read:

* the paper's JSON list (or one object per line): `{id, images: [...], conversations: [question, answer, ...]}`. Entries
  of conversations are texts, `{from, value}` or `{role, content}`, question and answer by turns. Elements whose ids
  differ only in a last "-1", "-2", ... and that show the same picture are one item.
* JSON lines: `{id, image, queries: [{question, answer, choices, facet, paraphrases}], bbox, label}`, or one query per
  line with the same columns at the top; lines with one id are one item.
* CSV: columns id, image, question, answer, and choices (JSON list, or texts between "|"), facet, bbox, label,
  paraphrases as they are there; rows with one id are one item.
* TSV as VLMEvalKit writes it, Parquet, Arrow, and folders of them: one question per row, whose picture stands in it
  (`imported_tables`).

In all of them a row of one question may have the words of others (`imported_forms`). An item has one question or
several; what is said of regions - both, all right, lift - is over those with several.

Choices that stand in the question ("A. red", "(B) blue", each on a line or one behind the other) are taken out of it,
and an answer that is a letter is then that choice. What is imported is asked as it stands: nothing is balanced.

A row is kept, or it is left out for one fault; kept + left out = rows, and each row that is left out has its line in
`left-out.jsonl` of the new folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.folder import LEFT_OUT, MOST_QUERIES, Bench, refuse_occupied, write_bench
from benchmark.imported_choices import Asked, choices_in, chosen
from benchmark.imported_forms import FaultError
from benchmark.imported_pictures import Pictures, opened_pictures
from benchmark.imported_rows import Row, RowQuery, checked_rows, read_rows, unit_of
from benchmark.imported_tables import SUFFIXES, TableRows, tables_of
from benchmark.prompts import LETTERS
from benchmark.records import Item, ItemQuery
from benchmark.templates import form_of
from slvr_data.errors import UsageError
from slvr_data.ids import ID_LENGTH
from slvr_data.images import PictureError
from slvr_data.queries.originals import facet_of
from slvr_data.schema import FACETS
from slvr_data.sources.base import PictureMissingError

SHOWN = 20
"""Faults that are printed."""
_TURN = re.compile(r"^(.*\S)[-_](\d{1,2})$", re.S)


class Fault(NamedTuple):
    """Why a row is left out."""

    row: int
    reason: str
    words: str


@dataclass
class ImportReport:
    """What became of each row: kept, or left out for one fault."""

    unit: str = "line"
    """What the number of a row counts: "line", "element" of a JSON list, or "row" of a table."""
    rows: int = 0
    kept: int = 0
    """Rows whose questions are asked."""
    items: int = 0
    faults: list[Fault] = field(default_factory=list)
    """One of each row that is left out; in the order of rows."""
    unused: set[str] = field(default_factory=set)
    """Columns of a table that nothing is asked about."""
    bench: Bench | None = None

    def leave_out(self, rows: Iterable[int], reason: str, words: str) -> None:
        """Count rows that are not asked."""
        self.faults.extend(Fault(row, reason, words) for row in rows)

    def dropped(self) -> dict[str, int]:
        """Reason -> rows."""
        return dict(sorted(Counter(fault.reason for fault in self.faults).items()))

    def left_out(self) -> bytes | None:
        """`left-out.jsonl`: each row that is left out; None where there is none."""
        trees = ({self.unit: fault.row, "reason": fault.reason, "words": fault.words} for fault in self.faults)
        return "".join(json.dumps(tree, ensure_ascii=False) + "\n" for tree in trees).encode() or None

    def lines(self) -> Iterator[str]:
        """For people."""
        if self.bench is not None:
            queries = sum(len(item.queries) for item in self.bench.items)
            yield (
                f"{self.items:,} items, {queries:,} queries of {self.kept:,} of {self.rows:,} rows, "
                f"revision {self.bench.revision[:12]}"
            )
            yield from self._alone(self.bench)
        if self.unused:
            yield f"columns that are left aside: {', '.join(sorted(self.unused))}"
        for reason, number in self.dropped().items():
            yield f"left out {number:>7,}  {reason}"
        for fault in self.faults[:SHOWN]:
            yield f"  {self.unit} {fault.row}: {fault.reason}: {fault.words}"
        if len(self.faults) > SHOWN:
            where = f", all in {self.bench.folder / LEFT_OUT}" if self.bench is not None else ""
            yield f"  and {len(self.faults) - SHOWN:,} more{where}"

    def _alone(self, bench: Bench) -> Iterator[str]:
        """What items of one query mean for the scores."""
        alone = sum(len(item.queries) == 1 for item in bench.items)
        if alone:
            rest = f"are over the other {self.items - alone:,}" if alone < self.items else "have nothing to be over"
            yield f"{alone:,} items have one query: accuracy is over all; both, all right and lift {rest}"


@dataclass
class _Open:
    """An item while its rows are read."""

    row: Row
    """Id, picture, box and label."""
    parts: list[tuple[int, list[RowQuery]]]
    """Its rows and their questions."""


def import_file(
    file: Path,
    out: Path,
    images: Path | None = None,
    follow_links: bool = False,
    name: str | None = None,
    split: str | None = None,
) -> ImportReport:
    """Write the benchmark folder `out` of the items in `file`.

    Args:
        file: `.json`, `.jsonl`, `.csv`, `.tsv`, `.parquet` or `.arrow`, or a folder of the last three.
        out: a new folder.
        images: root of the pictures; the file's folder unless told.
        follow_links: read pictures through symbolic links.
        name: of the benchmark; the file's unless told.
        split: the part of a folder that is read, where it has several.

    Raises:
        UsageError: the file cannot be read as a whole, `out` holds something else, or no item is left.
    """
    made: dict[str, Any] = {"from": file.name or file.absolute().name} | ({"split": split} if split else {})
    name = name or (file.absolute().name if file.is_dir() else file.stem)
    refuse_occupied(out, name, made)
    root = images or (file if file.is_dir() else file.parent)
    if not root.is_dir():
        raise UsageError(f"--images {root} is not a folder")
    report = ImportReport()
    with opened_pictures(root, follow_links, out) as pictures:
        merged = _merged(_rows(file, split, pictures, report), report)
        paths: dict[str, str] = {}
        items = list(_items(merged, report, pictures, paths))
        report.faults.sort()
        report.items = len(items)
        if not items:
            first = next((f"{report.unit} {row}: {why}: {words}" for row, why, words in report.faults), "it is empty")
            raise UsageError(f"{file} gives no item ({report.rows} rows, {len(report.faults)} left out): {first}")
        tree = {"made": made, "accounts": _accounts(report), "dropped": report.dropped()}
        report.bench = write_bench(
            out, name, items, lambda image_id: pictures.kept(paths[image_id]), tree, left_out=report.left_out()
        )
    return report


def _accounts(report: ImportReport) -> dict[str, int]:
    return {"rows": report.rows, "kept": report.kept, "left_out": len(report.faults), "items": report.items}


def _rows(file: Path, split: str | None, pictures: Pictures, report: ImportReport) -> Iterator[tuple[int, Row]]:
    """The rows without a fault."""
    files = tables_of(file, split)
    table = TableRows(files, pictures) if files[0].suffix.lower() in SUFFIXES else None
    if table is not None:
        report.unit, report.unused = table.unit, table.unused
    for number, row in read_rows(file) if table is None else checked_rows(iter(table)):
        if table is None and not report.rows:
            report.unit = unit_of(file)
        report.rows += 1
        if isinstance(row, FaultError):
            report.leave_out([number], row.reason, row.words)
        else:
            yield number, row


def _merged(rows: Iterable[tuple[int, Row]], report: ImportReport) -> list[_Open]:
    """Rows of one item joined: those with one id, or, of one picture, with ids that count its questions."""
    found: dict[str, _Open] = {}
    for number, row in rows:
        turn = _TURN.match(row.id) if row.turn else None
        key = f"{turn[1]}\0{row.image}" if turn else row.id
        first = found.get(key)
        if first is None:
            one = row if turn is None else row.model_copy(update={"id": turn[1]})
            found[key] = _Open(one, [(number, row.queries)])
            continue
        try:
            _join(first, number, row, report.unit)
        except FaultError as fault:
            report.leave_out([number], fault.reason, fault.words)
    return list(found.values())


def _join(first: _Open, number: int, row: Row, unit: str) -> None:
    """Add a further row to an item.

    Raises:
        FaultError: it is no further row of that item.
    """
    where = f"{unit} {first.parts[0][0]}"
    if first.row.image != row.image:
        raise FaultError("duplicate-id", f"{row.id!r} is an item about another picture ({where})")
    if len(row.queries) != 1:
        raise FaultError("duplicate-id", f"{row.id!r} is there already ({where})")
    if sum(len(queries) for _, queries in first.parts) >= MOST_QUERIES:
        raise FaultError("queries-number", f"item {row.id!r} ({where}) has {MOST_QUERIES} queries already: give 1 to 4")
    for name in ("bbox", "label"):
        before, now = getattr(first.row, name), getattr(row, name)
        if None not in (before, now) and before != now:
            words = f"the {name} of {row.id!r} is {_shown(now)} here and {_shown(before)} in {where}: give one"
            raise FaultError(f"{name}-differs", words)
    missing = {name: getattr(row, name) for name in ("bbox", "label") if getattr(first.row, name) is None}
    first.row = first.row.model_copy(update=missing)
    first.parts.append((number, row.queries))


def _shown(value: object) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


def _items(found: Iterable[_Open], report: ImportReport, pictures: Pictures, paths: dict[str, str]) -> Iterator[Item]:
    """The items without a fault; fills `paths`: image_id -> the picture's name in `pictures`."""
    seen: set[str] = set()
    for entry in found:
        rows, queries = _queries(entry, report)
        try:
            if entry.row.id in seen:
                raise FaultError("duplicate-id", f"{entry.row.id!r} is there already, about another picture")
            if rows:
                item = _item(entry.row, queries, pictures)
        except FaultError as fault:
            report.leave_out(rows, fault.reason, fault.words)
            continue
        if not rows:
            continue
        report.kept += len(rows)
        seen.add(item.item_id)
        paths[item.image_id] = entry.row.image
        yield item


def _queries(entry: _Open, report: ImportReport) -> tuple[list[int], list[ItemQuery]]:
    """The rows of an item that have no fault of their own, and their queries."""
    rows: list[int] = []
    queries: list[ItemQuery] = []
    for number, told in entry.parts:
        try:
            own = [_query(entry.row, query) for query in told]
            if len({query.query_id for query in (*queries, *own)}) < len(queries) + len(own):
                raise FaultError("duplicate-query", f"item {entry.row.id!r} asks the same twice")
        except FaultError as fault:
            report.leave_out([number], fault.reason, fault.words)
            continue
        rows.append(number)
        queries += own
    return rows, queries


def _item(row: Row, queries: list[ItemQuery], pictures: Pictures) -> Item:
    """An item of the queries that are left.

    Raises:
        FaultError: there are none or too many, or its picture or box will not do.
    """
    if not 1 <= len(queries) <= MOST_QUERIES:
        raise FaultError("queries-number", f"item {row.id!r} has {len(queries)} queries: give 1 to 4")
    try:
        image_id, width, height = pictures.look(row.image)
    except (PictureMissingError, PictureError) as error:
        raise FaultError(error.reason, f"{error}") from None
    if row.bbox is not None:
        x1, y1, x2, y2 = row.bbox
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise FaultError("bbox-outside", f"bbox {list(row.bbox)} does not lie in {width} x {height} pixels")
    return Item(
        item_id=row.id, image_id=image_id, region_id=row.id, bbox=row.bbox, label=row.label,
        width=width, height=height, queries=tuple(queries),
    )  # fmt: skip


def _query(row: Row, query: RowQuery) -> ItemQuery:
    given = [choice.strip() for choice in query.choices]
    head, question, choices = (
        Asked(query.question.strip(), query.question.strip(), given) if given else choices_in(query.question.strip())
    )
    answer = chosen(query.answer.strip(), choices)
    if (
        len({choice.casefold() for choice in choices}) < len(choices)
        or len(choices) == 1
        or len(choices) > len(LETTERS)
    ):
        raise FaultError("choices-invalid", f"choices {choices} must be 2 to {len(LETTERS)}, all different"[:300])
    if query.facet is not None and query.facet not in (*FACETS, "other"):
        raise FaultError("facet-unknown", f"facet {query.facet!r}: known are {', '.join(FACETS)}, other")
    identity = f"{row.id}\n{question}\n{'|'.join(choices)}"
    return ItemQuery(
        query_id=query.query_id or hashlib.sha256(identity.encode()).hexdigest()[:ID_LENGTH],
        facet=query.facet or _category(query.category) or facet_of(head) or "other",
        template=form_of(head, {row.label} if row.label else set()).template,
        question=question,
        answer=answer,
        choices=tuple(choices),
        answer_index=choices.index(answer) if choices else None,
        chance=1 / len(choices) if choices else None,
        paraphrases=tuple(query.paraphrases),
    )


def _category(told: str | None) -> str | None:
    """A file's own class of questions as the name of a facet, in which "/" would part the name of a score."""
    return " ".join((told or "").replace("/", " ").split()) or None
