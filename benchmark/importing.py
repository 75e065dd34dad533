"""`slvr-bench import`: SV-QA items from files of others, each fault counted with its line and its cure.

Three forms are read:

* the paper's JSON list (or one object per line): `{id, images: [...], conversations: [question, answer, ...]}`. Entries
  of conversations are texts, `{from, value}` or `{role, content}`, question and answer by turns. Elements whose ids
  differ only in a last "-1", "-2", ... and that show the same picture are one item.
* JSON lines: `{id, image, queries: [{question, answer, choices, facet, paraphrases}], bbox, label}`, or one query per
  line with the same columns at the top; lines with one id are one item.
* CSV: columns id, image, question, answer, and choices (JSON list, or texts between "|"), facet, bbox, label,
  paraphrases as they are there; rows with one id are one item.

Choices that stand in the question ("A. red", "(B) blue", each on a line of its own) are taken out of it, and an answer
that is a letter is then that choice. What is imported is asked as it stands: nothing is balanced.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.folder import LEAST_QUERIES, MOST_QUERIES, Bench, refuse_occupied, write_bench
from benchmark.imported_rows import FaultError, Row, RowQuery, read_rows
from benchmark.prompts import LETTERS
from benchmark.records import Item, ItemQuery
from benchmark.templates import form_of
from slvr_data.errors import UsageError
from slvr_data.ids import ID_LENGTH
from slvr_data.images import PictureError, load
from slvr_data.queries.originals import facet_of
from slvr_data.schema import FACETS
from slvr_data.sources.base import PictureMissingError
from slvr_data.sources.paths import read_below

MOST_PIXELS = 1 << 28
SHOWN = 20
"""Faults that are printed."""
_OPTION = re.compile(r"^\s*\(?([A-Z])[.):]\s*(\S.*?)\s*$")
_LETTER = re.compile(r"^\(?([A-Z])[.):]?(?:\s+.*)?$", re.S)
_TURN = re.compile(r"^(.*\S)[-_](\d{1,2})$", re.S)


@dataclass
class ImportReport:
    """What became of each row."""

    rows: int = 0
    items: int = 0
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    """Line, reason, words."""
    bench: Bench | None = None

    def lines(self) -> Iterator[str]:
        """For people."""
        if self.bench is not None:
            queries = sum(len(item.queries) for item in self.bench.items)
            revision = self.bench.revision[:12]
            yield f"{self.items:,} items, {queries:,} queries of {self.rows:,} rows, revision {revision}"
        for reason, number in sorted(Counter(reason for _, reason, _ in self.faults).items()):
            yield f"left out {number:>7,}  {reason}"
        for line, reason, words in self.faults[:SHOWN]:
            yield f"  line {line}: {reason}: {words}"
        if len(self.faults) > SHOWN:
            yield f"  and {len(self.faults) - SHOWN:,} more"


@dataclass
class _Open:
    """An item while its rows are read."""

    line: int
    row: Row


def import_file(
    file: Path, out: Path, images: Path | None = None, follow_links: bool = False, name: str | None = None
) -> ImportReport:
    """Write the benchmark folder `out` of the items in `file`.

    Args:
        file: `.json`, `.jsonl` or `.csv`.
        out: a new folder.
        images: root of the pictures; the file's folder unless told.
        follow_links: read pictures through symbolic links.
        name: of the benchmark; the file's unless told.

    Raises:
        UsageError: the file cannot be read as a whole, `out` holds something else, or no item is left.
    """
    refuse_occupied(out)
    root = images or file.parent
    if not root.is_dir():
        raise UsageError(f"--images {root} is not a folder")
    report = ImportReport()
    merged = _merged(_rows(file, report), report)
    pictures: dict[str, str] = {}
    items = list(_items(merged, report, lambda path: _picture(root, path, follow_links), pictures))
    if not items:
        first = "; ".join(f"line {line}: {reason}: {words}" for line, reason, words in report.faults[:1])
        raise UsageError(
            f"{file} gives no item ({report.rows} rows, {len(report.faults)} faults): {first or 'it is empty'}"
        )
    report.items = len(items)
    made = {
        "made": {"from": file.name},
        "accounts": {"rows": report.rows, "items": len(items), "faults": len(report.faults)},
        "dropped": dict(sorted(Counter(reason for _, reason, _ in report.faults).items())),
    }
    report.bench = write_bench(
        out, name or file.stem, items, lambda image_id: _picture(root, pictures[image_id], follow_links)[1], made
    )
    return report


def _rows(file: Path, report: ImportReport) -> Iterator[tuple[int, Row]]:
    """The rows without a fault."""
    for line, row in read_rows(file):
        report.rows += 1
        if isinstance(row, FaultError):
            report.faults.append((line, row.reason, row.words))
        else:
            yield line, row


def _merged(rows: Iterable[tuple[int, Row]], report: ImportReport) -> list[_Open]:
    """Rows of one item joined: those with one id, or, of one picture, with ids that count its questions."""
    found: dict[str, _Open] = {}
    for line, row in rows:
        turn = _TURN.match(row.id) if row.turn else None
        key = f"{turn[1]}\0{row.image}" if turn else row.id
        first = found.get(key)
        if first is None:
            found[key] = _Open(line, row if turn is None else row.model_copy(update={"id": turn[1]}))
        elif first.row.image != row.image:
            report.faults.append(
                (line, "duplicate-id", f"{row.id!r} is an item about another picture (line {first.line})")
            )
        elif len(row.queries) > 1 or len(first.row.queries) >= MOST_QUERIES:
            report.faults.append((line, "duplicate-id", f"{row.id!r} is there already (line {first.line})"))
        else:
            first.row.queries.extend(row.queries)
    return list(found.values())


def _items(
    found: Iterable[_Open],
    report: ImportReport,
    picture: Callable[[str], tuple[str, bytes, int, int]],
    pictures: dict[str, str],
) -> Iterator[Item]:
    """The items without a fault; fills `pictures`: image_id -> path."""
    seen: set[str] = set()
    for entry in found:
        try:
            item = _item(entry.row, picture)
            if item.item_id in seen:
                raise FaultError("duplicate-id", f"{item.item_id!r} is there already, about another picture")
        except FaultError as fault:
            report.faults.append((entry.line, fault.reason, fault.words))
            continue
        seen.add(item.item_id)
        pictures[item.image_id] = entry.row.image
        yield item


def _item(row: Row, picture: Callable[[str], tuple[str, bytes, int, int]]) -> Item:
    if not LEAST_QUERIES <= len(row.queries) <= MOST_QUERIES:
        raise FaultError("queries-number", f"item {row.id!r} has {len(row.queries)} queries: give 2 to 4")
    queries = tuple(_query(row, query) for query in row.queries)
    if len({query.query_id for query in queries}) < len(queries):
        raise FaultError("duplicate-query", f"item {row.id!r} asks the same twice")
    try:
        image_id, _, width, height = picture(row.image)
    except (PictureMissingError, PictureError) as error:
        raise FaultError(error.reason, f"{error}") from None
    if row.bbox is not None:
        x1, y1, x2, y2 = row.bbox
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise FaultError("bbox-outside", f"bbox {list(row.bbox)} does not lie in {width} x {height} pixels")
    return Item(
        item_id=row.id, image_id=image_id, region_id=row.id, bbox=row.bbox, label=row.label,
        width=width, height=height, queries=queries,
    )  # fmt: skip


def _query(row: Row, query: RowQuery) -> ItemQuery:
    question, choices, answer = query.question.strip(), [c.strip() for c in query.choices], query.answer.strip()
    if not choices:
        question, choices = _inside(question)
    letter = _LETTER.match(answer)
    if choices and answer not in choices and letter and LETTERS.index(letter[1]) < len(choices):
        answer = choices[LETTERS.index(letter[1])]
    if choices and answer not in choices:
        raise FaultError("answer-not-in-choices", f"{answer[:80]!r} is none of {choices}"[:300])
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
        facet=query.facet or facet_of(question) or "other",
        template=form_of(question, {row.label} if row.label else set()).template,
        question=question,
        answer=answer,
        choices=tuple(choices),
        answer_index=choices.index(answer) if choices else None,
        chance=1 / len(choices) if choices else None,
        paraphrases=tuple(query.paraphrases),
    )


def _inside(question: str) -> tuple[str, list[str]]:
    """Choices that stand at the end of a question, each on a line behind its letter, and the question without them."""
    lines = question.splitlines()
    options = [_OPTION.match(line) for line in lines]
    first = next((i for i, option in enumerate(options) if option and option[1] == "A"), None)
    if first is None:
        return question, []
    run = []
    for place, option in enumerate(options[first:]):
        if option is None or option[1] != LETTERS[place : place + 1]:
            break
        run.append(option[2])
    text = "\n".join(lines[:first]).strip()
    return (text, run) if len(run) > 1 and text else (question, [])


def _picture(root: Path, path: str, follow_links: bool) -> tuple[str, bytes, int, int]:
    """image_id, the picture as it is kept (upright, without metadata), width and height."""
    data = read_below(root, path, follow_links)
    upright = load(data, MOST_PIXELS)
    return hashlib.sha256(data).hexdigest(), upright.data, upright.width, upright.height
