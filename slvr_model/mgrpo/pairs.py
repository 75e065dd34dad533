"""Pairs of questions in the form of the released second stage, read as they are: rows 2k and 2k + 1 are one pair.

The released reader takes the picture of row 2k for both and looks at nothing else; here a pair must share its picture
and its box. Pairs on one box are about one region; pairs without a box are regions of their own, since they may be
about different things in the picture. A file is read once; pictures when they are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from slvr_data.errors import RunError, UsageError
from slvr_data.forms.base import RecordError, Told
from slvr_data.forms.stage2 import Stage2, are_pair
from slvr_data.ids import region_id
from slvr_data.images import PictureError, decoded
from slvr_data.sources.base import Malformed, PictureMissingError, RawRow
from slvr_data.sources.json_array import json_rows
from slvr_data.sources.paths import read_below
from slvr_data.sources.rows import decoded as object_of
from slvr_model.data import Accounts, Sample, Unusable, check_question, checked_box

WHOLE = (0.0, 0.0, 1.0, 1.0)
FACET = "question"
"""Of questions whose source names none."""
_PIECE = 2048


@dataclass(frozen=True)
class _Asked:
    row: int
    image: str
    box: tuple[float, float, float, float] | None
    """As shares of the picture's sides; None: it has none."""
    pair: int
    """The row of the first question of its pair."""
    question: str
    answer: str


class PairSamples:
    """The questions of a file of pairs, by number.

    Args:
        file: JSON lines, or one array.
        pictures: the folder below which pictures lie.
        whole: take the whole picture where a row has no box; else such a pair is unusable.
        budget: largest share of rows that may be unusable.

    Raises:
        UsageError: there is no such file or folder, or its number of rows is odd.
        RunError: more rows than the budget are unusable.
    """

    def __init__(self, file: Path, pictures: Path, *, whole: bool, budget: float) -> None:
        if not pictures.is_dir():
            raise UsageError(f"data.pictures {pictures} is not a folder: name the one below which pictures lie")
        self.file, self.pictures, self.whole, self.accounts = file, pictures, whole, Accounts(budget)
        self._asked: list[_Asked] = []
        for first, second in _twos(file):
            self._take(first, second)
        self.accounts.check()
        if not self._asked:
            raise UsageError(f"{file} holds no pair that could be used")

    def __len__(self) -> int:
        return len(self._asked)

    def __getitem__(self, number: int) -> Sample:
        """A question with its picture.

        Raises:
            Unusable: the picture cannot be read.
        """
        return self.several([number])[0]

    def several(self, numbers: Sequence[int]) -> list[Sample]:
        """Some of them; a picture that they share is decoded once.

        Raises:
            Unusable: a picture cannot be read.
        """
        pictures: dict[str, Image.Image] = {}
        return [self._sample(number, pictures) for number in numbers]

    def _sample(self, number: int, pictures: dict[str, Image.Image]) -> Sample:
        asked, region = self._asked[number], self._region(number)
        if asked.image not in pictures:
            pictures[asked.image] = self._picture(asked.image)
        picture = pictures[asked.image]
        width, height = picture.size
        box = asked.box or WHOLE
        pixels = [share * side for share, side in zip(box, (width, height, width, height), strict=True)]
        return Sample(
            query_id=f"row-{asked.row}",
            group_id=region,
            region_id=region,
            image_id=_name(asked.image),
            picture=picture,
            box=checked_box(pixels, picture.size),
            facet=FACET,
            question=asked.question,
            wordings=(asked.question,),
            choices=(),
            answer=asked.answer,
            profile_text="",
            embedding=None,
        )

    def rows(self, *columns: str) -> Iterator[list[dict[str, Any]]]:
        """What is known without pictures, in pieces: all columns, whichever are asked for."""
        for start in range(0, len(self), _PIECE):
            numbers = range(start, min(start + _PIECE, len(self)))
            yield [self._known(number) for number in numbers]

    def _known(self, number: int) -> dict[str, Any]:
        asked = self._asked[number]
        told = {"region_id": self._region(number), "image_id": _name(asked.image)}
        return told | {"question": asked.question, "choices": [], "answer": asked.answer}

    def _region(self, number: int) -> str:
        """Pairs about the same box of the same picture are about one region; one without a box is by itself."""
        asked = self._asked[number]
        apart = f"pair {asked.pair}" if asked.box is None else None
        return region_id(_name(asked.image), [1e4 * share for share in asked.box or WHOLE], apart)

    def _take(self, first: RawRow, second: RawRow) -> None:
        """A pair, or the account of what is wrong: with a row, whose partner goes with it, or with both together."""
        self.accounts.seen += 2
        told: list[Told] = []
        sound: list[RawRow] = []
        for row in (first, second):
            try:
                told.append(self._told(row))
                sound.append(row)
            except Unusable as fault:
                self.accounts.count(f"row {row.line - 1}", fault)
        if len(told) < 2:
            for row in sound:
                self.accounts.count(f"row {row.line - 1}", Unusable("partner-unusable", "the other of its pair is"))
            return
        if apart := _difference(told[0], told[1]):
            self.accounts.count(f"rows {first.line - 1} and {second.line - 1}", apart, 2)
            return
        for row, one in ((first, told[0]), (second, told[1])):
            box = None
            if one.boxes:
                x1, y1, x2, y2 = one.boxes[0]
                box = (x1, y1, x2, y2)
            question = one.questions[0]
            asked = _Asked(row.line - 1, one.image, box, first.line - 1, question.question, question.answer)
            self._asked.append(asked)

    def _told(self, row: RawRow) -> Told:
        record = object_of(row.payload)
        if isinstance(record, Malformed):
            raise Unusable(record.reason, record.evidence)
        try:
            told = Stage2().told(record)
        except RecordError as error:
            raise Unusable(error.reason, error.evidence) from None
        if len(told.boxes) > 1 or len(told.questions) != 1:
            raise Unusable(
                "pair-form", f"{len(told.boxes)} boxes and {len(told.questions)} questions: a row has at most 1, and 1"
            )
        if not told.boxes and not self.whole:
            raise Unusable("box-missing", "it has no bboxes: give them, or data.boxless=whole for whole pictures")
        check_question(told.questions[0].question, told.questions[0].answer, ())
        return told

    def _picture(self, image: str) -> Image.Image:
        try:
            return decoded(read_below(self.pictures, image, follow_links=False))
        except (PictureMissingError, PictureError, OSError) as error:
            reason = getattr(error, "reason", "picture-unreadable")
            raise Unusable(reason, f"{image}: {getattr(error, 'evidence', error)}") from None


def _twos(file: Path) -> Iterator[tuple[RawRow, RawRow]]:
    """Rows two by two.

    Raises:
        UsageError: the file cannot be read, or one row is left over.
    """
    held: RawRow | None = None
    count = 0
    try:
        for count, row in enumerate(json_rows(file), 1):
            if held is None:
                held = RawRow(count, row.payload)
            else:
                yield held, RawRow(count, row.payload)
                held = None
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}") from None
    if held is not None:
        raise UsageError(
            f"{file} has {count} rows, an odd number: rows 2k and 2k + 1 are a pair, counted from 0, so that row "
            f"{count - 1} has no partner; one row is missing somewhere, or one too many"
        )


def _difference(first: Told, second: Told) -> Unusable | None:
    """Why two rows that stand as a pair are none."""
    if first.image != second.image:
        return Unusable("pair-images-differ", f"they show {first.image!r} and {second.image!r}")
    if first.boxes != second.boxes:
        return Unusable("pair-boxes-differ", f"they have the boxes {first.boxes} and {second.boxes}")
    if not are_pair(first.id, second.id):
        return Unusable(
            "pair-incomplete", f"their ids are {first.id!r} and {second.id!r}: those of a pair are x-1, x-2"
        )
    return None


def _name(image: str) -> str:
    """The id of a picture whose bytes have not been looked at: a hash of its path."""
    return hashlib.sha256(image.encode()).hexdigest()
