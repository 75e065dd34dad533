"""`slvr-data convert --from FORM`: a file of another form becomes lines for the source `jsonl`, with accounts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slvr_data.errors import UsageError
from slvr_data.files import disk_errors
from slvr_data.forms import FORMS, Form, RecordError, Told
from slvr_data.forms.base import name_of
from slvr_data.forms.stage2 import are_pair, stem
from slvr_data.images import PictureError, probe
from slvr_data.schema import QuestionAnswer
from slvr_data.sources.base import Malformed, PictureMissingError, RawRow, record_text
from slvr_data.sources.json_array import json_rows
from slvr_data.sources.paths import read_below
from slvr_data.sources.rows import decoded

Write = Callable[[dict[str, Any]], None]


@dataclass
class Account:
    """What came of a conversion: read = kept + rejected; what was written may be fewer or more."""

    what: str
    """What is counted."""
    kept: int = 0
    written: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    out: Path = Path()
    rejected_to: Path = Path()

    @property
    def rejected(self) -> int:
        """Listed in the file of rejections, each with its reason."""
        return self.reasons.total()

    @property
    def read(self) -> int:
        """All that came in."""
        return self.kept + self.rejected


@dataclass
class Sink:
    """The two files of a conversion while they are written, and its account."""

    account: Account
    _write: Write
    _reject: Write

    def write(self, record: dict[str, Any]) -> None:
        """A record of the result."""
        self._write(record)
        self.account.written += 1

    def reject(self, reason: str, evidence: str, record: Any, **place: Any) -> None:
        """What does not come over, and why; `place` says where it stands."""
        self._reject({**place, "reason": reason, "evidence": evidence, "record": record})
        self.account.reasons[reason] += 1


@contextmanager
def sink(out: Path, lines: bool, what: str) -> Iterator[Sink]:
    """The files of a conversion; they appear when the block ends well.

    Raises:
        UsageError: `out` cannot be written.
    """
    rejected = out.with_suffix(".rejected.jsonl")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: name a file")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the folder {out.parent} is not there: make it first")
    account = Account(what, out=out, rejected_to=rejected)
    with _records(out, lines) as write, _records(rejected, True) as reject:
        yield Sink(account, write, reject)


@contextmanager
def _records(path: Path, lines: bool) -> Iterator[Write]:
    """Writes records to a file, line by line or as one array; the file appears whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_errors(f"writing {path}"):
        try:
            with temporary.open("w", encoding="utf-8") as stream:
                before = "" if lines else "[\n"

                def write(record: dict[str, Any]) -> None:
                    nonlocal before
                    stream.write(before + json.dumps(record, ensure_ascii=False) + ("\n" if lines else ""))
                    before = "" if lines else ",\n"

                yield write
                if not lines:
                    stream.write("[]\n" if before == "[\n" else "\n]\n")
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def form_named(name: str) -> Form:
    """The form of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in FORMS:
        raise UsageError(f"unknown form {name!r}: known are {', '.join(FORMS)}")
    return FORMS[name]


def convert(file: Path, name: str, out: Path, images: Path | None, follow_links: bool) -> Account:
    """Write what `file` tells, in the form `name`, as rows of the source `jsonl`.

    Raises:
        UsageError: an option that does not fit, or a file that cannot be read as a whole.
    """
    form = form_named(name)
    if not file.is_file():
        raise UsageError(f"{file} is not a file: name a file of the form {name}")
    if images is None or not images.is_dir():
        given = "is missing" if images is None else f"{images} is not a folder"
        raise UsageError(f"--images {given}: name the root of the pictures, whose sizes make pixels of shares")
    if file.resolve() in (out.resolve(), out.with_suffix(".rejected.jsonl").resolve()):
        raise UsageError(f"--out {out} would write over {file}: name another file")
    with sink(out, True, "records") as into:
        reader = _Reader(form, _Sizes(images, follow_links), into)
        if form.pairs:
            reader.pairs(json_rows(file))
        else:
            for row in json_rows(file):
                reader.take(row)
    return into.account


@dataclass(frozen=True)
class _Record:
    """A record that reads well, with its picture's size."""

    row: RawRow
    told: Told
    size: tuple[int, int]


class _Reader:
    """Turns records into rows, and keeps the account."""

    def __init__(self, form: Form, sizes: _Sizes, into: Sink) -> None:
        self._form, self._sizes, self._into = form, sizes, into
        self._names: dict[str, int] = {}

    def take(self, row: RawRow) -> None:
        """A record that stands alone."""
        try:
            record = self._read(row)
            self._claim(record.told.id, row)
        except RecordError as error:
            self._refuse(row, error.reason, error.evidence)
        else:
            self._write(record, record.told.id, record.told.questions)
            self._into.account.kept += 1

    def pairs(self, rows: Iterable[RawRow]) -> None:
        """Records of which two that follow each other are a pair; one alone is refused."""
        held: RawRow | None = None
        for row in rows:
            if held is None:
                held = row
            elif are_pair(_name(held), _name(row)):
                self._pair(held, row)
                held = None
            else:
                self._alone(held)
                held = row
        if held is not None:
            self._alone(held)

    def _alone(self, row: RawRow) -> None:
        found = _object(row)
        if isinstance(found, Malformed):
            self._refuse(row, found.reason, found.evidence)
        else:
            evidence = "no record that could be its partner follows: two records in a row are a pair, x-1 and x-2"
            self._refuse(row, "pair-incomplete", evidence)

    def _pair(self, *rows: RawRow) -> None:
        records: list[_Record] = []
        faults: dict[int, RecordError] = {}
        for index, row in enumerate(rows):
            try:
                records.append(self._read(row))
            except RecordError as error:
                faults[index] = error
        if not faults:
            fault = _difference(*records)
            try:
                self._claim(stem(records[0].told.id), rows[0])
            except RecordError as error:
                fault = fault or error
            faults = {0: fault, 1: fault} if fault else {}
        for index, row in enumerate(rows):
            own = faults.get(index)
            if own is not None:
                self._refuse(row, own.reason, own.evidence)
            elif faults:
                self._refuse(row, "pair-incomplete", f"its partner on line {rows[1 - index].line} cannot be used")
        if not faults:
            questions = [question for record in records for question in record.told.questions]
            self._write(records[0], stem(records[0].told.id), questions)
            self._into.account.kept += 2

    def _read(self, row: RawRow) -> _Record:
        record = _object(row)
        if isinstance(record, Malformed):
            raise RecordError(record.reason, record.evidence)
        told = self._form.told(record)
        return _Record(row, told, self._sizes.of(told.image))

    def _claim(self, name: str | None, row: RawRow) -> None:
        if name is not None:
            first = self._names.setdefault(name, row.line)
            if first != row.line:
                raise RecordError("id-duplicate", f"id {name!r} stands already on line {first}")

    def _write(self, record: _Record, name: str | None, questions: list[QuestionAnswer]) -> None:
        width, height = record.size
        boxes = record.told.boxes or [[0.0, 0.0, 1.0, 1.0]]
        for number, box in enumerate(boxes, 1):
            pixels = [round(c * side, 2) for c, side in zip(box, (width, height, width, height), strict=True)]
            row: dict[str, Any] = {"image": record.told.image, "bbox": pixels, "width": width, "height": height}
            if name is not None:
                row["id"] = name if len(boxes) == 1 else f"{name}#{number}"
            if record.told.split is not None:
                row["split"] = record.told.split
            row["original_questions"] = [question.model_dump() for question in questions]
            self._into.write(row)

    def _refuse(self, row: RawRow, reason: str, evidence: str) -> None:
        self._into.reject(reason, _printable(evidence), record_text(row.payload), line=row.line)


def _difference(one: _Record, other: _Record) -> RecordError | None:
    """Why two records that stand as a pair are none."""
    if one.told.image != other.told.image:
        names = f"{one.told.image!r} and {other.told.image!r}"
        return RecordError("pair-images-differ", f"lines {one.row.line} and {other.row.line} show {names}")
    if one.told.boxes != other.told.boxes:
        boxes = f"{one.told.boxes} and {other.told.boxes}"
        return RecordError("pair-boxes-differ", f"lines {one.row.line} and {other.row.line} have the boxes {boxes}")
    return None


def _object(row: RawRow) -> dict[str, Any] | Malformed:
    return row.problem or decoded(row.payload)


def _name(row: RawRow) -> str | None:
    record = _object(row)
    return None if isinstance(record, Malformed) else name_of(record, "id")


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


class _Sizes:
    """Width and height of pictures below a root, each read once."""

    def __init__(self, root: Path, follow_links: bool) -> None:
        self._root, self._follow_links = root, follow_links
        self._known: dict[str, tuple[int, int] | tuple[str, str]] = {}

    def of(self, path: str) -> tuple[int, int]:
        """(width, height).

        Raises:
            RecordError: the picture cannot be read, or is turned by its EXIF orientation.
        """
        if path not in self._known:
            self._known[path] = self._look(path)
        one, other = self._known[path]
        if isinstance(one, str) or isinstance(other, str):
            raise RecordError(str(one), str(other))
        return one, other

    def _look(self, path: str) -> tuple[int, int] | tuple[str, str]:
        try:
            found = probe(read_below(self._root, path, self._follow_links))
        except (PictureMissingError, PictureError) as error:
            return error.reason, error.evidence if isinstance(error, PictureMissingError) else str(error)
        if found.orientation > 1:
            return (
                "orientation-ambiguous",
                f"{path!r} is turned by EXIF orientation {found.orientation}, and shares do not tell which picture "
                "they are of: save it upright",
            )
        return found.width, found.height
